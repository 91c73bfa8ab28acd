"""Rows per second and the driver's CPU a row, sent from here and from one, two and four workers of Ray.

Gateway, cluster and workers are on this machine, too, and take their part of its cores: that the driver's CPU a row
stays small is what lets workers elsewhere bring more. Start-up is told apart, and is in no other figure.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import rays
from tests.benchmarks.gateways import ENVIRONMENT, ROOT, gateway

_ROWS = 10_000
_FEW = 200
_HEADER = "sent from       start-up s   CPU us/row    rows/s"


def main() -> None:
    """Print the table."""
    address = rays.shared_address("no-key-needed-by-this-gateway")
    ray = ("--engine", "ray", "--ray-address", address, "--workers")
    ways = {"here": (), "1 worker": (*ray, "1"), "2 workers": (*ray, "2"), "4 workers": (*ray, "4")}
    print(f"\nWorkers: answers of 100 B after 50 ms, 256 in flight, {_ROWS:,} rows, {os.cpu_count()} cores\n{_HEADER}")
    with gateway(100, 0.05, 0.3) as base_url, tempfile.TemporaryDirectory() as name:
        for words, options in ways.items():
            few_cpu, few_wall, _ = _run(Path(name), base_url, _FEW, options)
            cpu, _, pace = _run(Path(name), base_url, _ROWS, options)
            print(
                f"{words:<14}  {few_wall:>10.1f}  {1e6 * (cpu - few_cpu) / (_ROWS - _FEW):>11.0f}  {pace:>8.0f}",
                flush=True,
            )


def _run(folder: Path, base_url: str, rows: int, options: tuple[str, ...]) -> tuple[float, float, float]:
    """CPU and wall seconds of one run, and the rows per second while it sent."""
    source, output = folder / f"{rows}.jsonl", folder / "out.jsonl"
    source.write_text("".join(f'{{"prompt": "{f"Question {number}: ":x<100}"}}\n' for number in range(rows)))
    asked = [
        "-m",
        "org/model",
        "--base-url",
        base_url,
        "--concurrency",
        "256",
        "--rps",
        "1M",
        "-q",
        "--resume",
        "never",
    ]
    paths = ["-o", str(output), "--state-dir", str(folder / "state")]
    environment = ENVIRONMENT | (rays.environment_of(rays.shared_folder()) if options else {})
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "batchrunner", "run", str(source), *asked, *paths, *options]
    subprocess.run(command, env=environment, check=True, cwd=ROOT)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    (lane,) = json.loads(Path(f"{output}.summary.json").read_text())["this_run"]["lanes"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall, lane["requests"] / lane["seconds"]
