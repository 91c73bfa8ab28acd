"""The disk fills, folders vanish, pipes close while a run goes on: sending stops, what was paid for is recorded or
named, and the same command goes on afterwards."""

import random
import re
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import Bench, Gateway, Simulate, wait_until

MIB = 2**20


def command(gateway: Gateway, *options: str) -> tuple[str, ...]:
    """The job of these tests: big rows, so that the disk fills."""
    return ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "20", *options)


def big_rows(bench: Bench, count: int, size: int = 20_000) -> None:
    """An input whose answers, which repeat their prompts, are big."""
    bench.write("in.jsonl", *({"prompt": f"Question {number}? {'x' * size}"} for number in range(count)))


def test_a_store_that_can_grow_no_more_names_the_answers_it_lost_and_goes_on_later(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "0.2")
    big_rows(bench, 300)
    limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))
    process = bench.start("run", *command(gateway), preexec_fn=limited)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 74, stderr
    lost = int(re.search(r"The answers of (\d+) rows could not be recorded and will be asked again: \d", stderr)[1])
    assert 0 < lost <= 60
    assert gateway.ledger()["paid"] < 150
    bench.run(*command(gateway))
    assert [row["row"] for row in bench.output()] == list(range(300))
    assert gateway.ledger()["servings"]["extra_paid_without_fault"] == lost
    assert bench.summary()["in_doubt"] == lost


FULL_DISK = """
set -e
mount -t tmpfs -o size=40m none "$DISK"
cp in.jsonl "$DISK"; cd "$DISK"
head -c 20m /dev/zero > filler
code=0; "$@" > first.txt 2>&1 || code=$?
echo "$code"; cat first.txt; rm filler
"$@" >> second.txt 2>&1 || cat second.txt
cp in.results.jsonl* "$OUT"
"""


def test_a_disk_that_fills_stops_sending_while_all_in_flight_can_still_be_recorded(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "0.2")
    big_rows(bench, 300)
    disk = bench.folder / "disk"
    disk.mkdir()
    run = [sys.executable, "-m", "batchrunner", "run", *command(gateway)]
    told = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL_DISK, "sh", *run],
        cwd=bench.folder,
        env=bench.environment | {"DISK": str(disk), "OUT": str(bench.folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    code, *words = told.stdout.splitlines()
    assert code == "74", told.stdout + told.stderr
    assert "make room and run the same command again" in " ".join(words)
    assert "could not be recorded" not in " ".join(words)
    assert [row["row"] for row in bench.output()] == list(range(300))
    assert gateway.ledger()["servings"]["once"] == 300
    assert bench.summary()["in_doubt"] == 0


def test_no_room_from_the_start_is_told_before_anything_is_sent(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(3)
    script = 'mount -t tmpfs -o size=8m none "$0" && cp in.jsonl "$0" && cd "$0" && exec "$@"'
    disk = bench.folder / "disk"
    disk.mkdir()
    run = [sys.executable, "-m", "batchrunner", "run", *command(gateway)]
    told = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, disk, *run],
        cwd=bench.folder,
        env=bench.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 74, told.stderr
    assert "16 are the least" in told.stderr
    assert gateway.ledger()["arrivals"] == 0


def test_a_run_folder_that_is_taken_away_stops_the_run_and_is_gone_on_with_when_it_is_back(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "0.2")
    bench.prompts(200)
    process = bench.start("run", *command(gateway))
    wait_until(lambda: gateway.ledger()["paid"] >= 40)
    folder = bench.folder / "in.results.jsonl.run"
    folder.rename(bench.folder / "elsewhere.run")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 74
    assert "was taken away" in stderr
    lost = int(re.search(r"The answers of (\d+) rows", stderr)[1])
    assert gateway.ledger()["arrivals"] < 200
    (bench.folder / "elsewhere.run").rename(folder)
    bench.run(*command(gateway))
    assert len(bench.output()) == 200
    assert gateway.ledger()["servings"]["extra_paid_without_fault"] <= lost
    assert bench.summary()["in_doubt"] >= lost


def test_a_damaged_book_of_limits_stops_sending_but_loses_no_answer(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.3")
    bench.prompts(200)
    process = bench.start("run", *command(gateway, "--rps", "40"))
    wait_until(lambda: gateway.ledger()["paid"] >= 20)
    for path in (bench.folder.parent / "state").glob("book.sqlite*"):
        path.write_bytes(random.Random(1).randbytes(path.stat().st_size))
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 74, stderr
    assert "book.sqlite" in stderr
    for path in (bench.folder.parent / "state").glob("book.sqlite*"):
        path.unlink()
    bench.run(*command(gateway))
    assert gateway.ledger()["servings"]["once"] == 200
    assert bench.summary()["in_doubt"] == 0


def test_an_input_that_is_cut_while_it_is_read_costs_no_answer(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    big_rows(bench, 600)
    content = (bench.folder / "in.jsonl").read_bytes()
    process = bench.start("run", *command(gateway))
    wait_until(lambda: gateway.ledger()["arrivals"] >= 10)
    with (bench.folder / "in.jsonl").open("r+b") as file:
        file.truncate(len(content) // 2)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 65, stderr
    assert "changed while it was read" in stderr
    assert 100 < gateway.ledger()["paid"] < 600
    (bench.folder / "in.jsonl").write_bytes(content)
    assert "1 changed" in bench.run(*command(gateway), code=65).stderr
    bench.run(*command(gateway, "--on-drift", "rerun-changed"))
    assert gateway.ledger()["servings"]["once"] == 600
    assert [row["row"] for row in bench.output()] == list(range(600))


@pytest.mark.parametrize(
    ("options", "code"), [(("--progress", "log"), 0), (("--progress", "bar"), 0), (("--json",), 74)]
)
def test_a_full_disk_under_the_messages_costs_no_answer(
    bench: Bench, simulate: Simulate, options: tuple[str, ...], code: int
) -> None:
    gateway = simulate()
    bench.prompts(30)
    run = [sys.executable, "-m", "batchrunner", "run", *command(gateway, *options)]
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            run, cwd=bench.folder, env=bench.environment, stdout=full, stderr=full, check=False, timeout=60
        )
    assert told.returncode == code
    assert [row["status"] for row in bench.output()] == ["ok"] * 30
    assert bench.summary()["units"]["ok"] == 30


def test_a_reader_of_the_messages_who_goes_away_costs_no_answer(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    bench.prompts(60)
    process = bench.start("run", *command(gateway, "--rps", "30", "--progress", "bar"))
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert [row["status"] for row in bench.output()] == ["ok"] * 60
