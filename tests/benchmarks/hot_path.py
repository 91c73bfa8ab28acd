"""What a row costs: 20,000 rows, 64 in flight, no latency, everything recorded, beside a bare aiohttp loop.

CPU is that of the whole client process, start-up included. The two run in turns; quote the ratio.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROWS = 20_000
TURNS = 3
IN_FLIGHT = "64"


def main() -> None:
    """Print the table."""
    print(f"\nThe hot path: {ROWS:,} rows of 100 characters, {IN_FLIGHT} in flight, no latency; medians of {TURNS}")
    print("client              CPU us a row    rows/s")
    with fixed_gateway() as base_url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = ({"prompt": f"Question {number}: ".ljust(100, "x")} for number in range(ROWS))
        (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        clients = {"batchrunner": _batchrunner(folder, base_url), "bare aiohttp loop": _bare(folder, base_url)}
        seen: dict[str, list[tuple[float, float]]] = {client: [] for client in clients}
        for _ in range(TURNS):
            for client, command in clients.items():
                seen[client].append(_measure(command))
    for client, figures in seen.items():
        cpu, wall = median(cpu for cpu, _ in figures), median(wall for _, wall in figures)
        print(f"{client:<18} {cpu / ROWS * 1e6:>13.0f} {ROWS / wall:>9.0f}")


def _batchrunner(folder: Path, base_url: str) -> list[str]:
    options = ["-m", "org/model", "--base-url", base_url, "--concurrency", IN_FLIGHT, "--rps", "1M", "-q"]
    paths = ["-o", str(folder / "out.jsonl"), "--state-dir", str(folder / "state"), "--resume", "never"]
    return [sys.executable, "-m", "batchrunner", "run", str(folder / "in.jsonl"), *options, *paths]


def _bare(folder: Path, base_url: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.bare_loop", str(folder / "in.jsonl"), base_url, IN_FLIGHT]


def _measure(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=os.environ | {"BATCHRUNNER_API_KEY": "benchmark"}, check=True, cwd=_root())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - began


@contextmanager
def fixed_gateway() -> Iterator[str]:
    """The fixed gateway as a process; the value is its base URL."""
    command = [sys.executable, "-m", "tests.benchmarks.fixed_gateway"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_root()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def _root() -> Path:
    return Path(__file__).parents[2]
