"""What is read ahead of the sending is little, however large the rows are."""

import os
import shutil
import time

import pytest
from conftest import Bench, Simulate, wait_until

MIB = 1024 * 1024


@pytest.mark.parametrize("models", [1, 2])
def test_large_files_are_not_read_long_before_they_are_sent(bench: Bench, simulate: Simulate, models: int) -> None:
    gateway = simulate("--latency", "0.5")
    (bench.folder / "images").mkdir()
    for number in range(24):
        (bench.folder / "images" / f"{number}.png").touch()
        os.truncate(bench.folder / "images" / f"{number}.png", 8 * MIB)
    content = [[{"type": "image_url", "image_url": {"url": f"{number}.png"}}] for number in range(24)]
    rows = [
        {"messages": [{"role": "user", "content": one}], "model": f"m/{n % models}"} for n, one in enumerate(content)
    ]
    bench.write("in.jsonl", *rows)
    (bench.folder / "job.toml").write_text(
        'input = "in.jsonl"\noutput = "out.jsonl"\n[request]\nmodel = "m/m"\nrow_params = ["model"]\nfiles = "images"\n'
    )
    running = bench.start(
        "run", "job.toml", "--base-url", gateway.base_url, "--concurrency", "1", "--max-failed", "none"
    )
    wait_until(lambda: gateway.ledger()["arrivals"] > 0)
    time.sleep(2)  # long enough to read all of them
    shutil.rmtree(bench.folder / "images")
    running.communicate(timeout=60)
    assert running.returncode == 1
    statuses = [row["status"] for row in bench.output("out.jsonl")]
    answered_by_then = models * 6
    ahead = (
        3 + 3 * models
    )  # three times 11 MiB wait; each lane has one in flight, one that is next, one to be handed on
    assert 0 < statuses.count("ok") <= answered_by_then + ahead
