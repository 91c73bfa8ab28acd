"""A million rows of 100 characters, 64 in flight: first request, memory, cost at the beginning and at the end, both
formats of the output, the same command once more. `BATCHRUNNER_ROWS` says another number.

Linux only: it looks at /proc.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.gateways import ENVIRONMENT, ROOT, gateway

ROWS = int(os.environ.get("BATCHRUNNER_ROWS", "1_000_000"))
CLOCK = os.sysconf("SC_CLK_TCK")
SLICE = 0.1  # of the rows: at the beginning, and at the end


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended: seconds and the most memory it had, in MB."""

    wall: float
    cpu: float
    most: float


def main() -> None:
    """Print the figures."""
    with gateway(100) as base_url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, output = folder / "in.jsonl", folder / "out.jsonl"
        with source.open("w") as file:
            for number in range(ROWS):
                file.write(json.dumps({"prompt": f"Question {number}: ".ljust(100, "x")}) + "\n")
        options = ["-m", "org/model", "--base-url", base_url, "--concurrency", "64", "--rps", "1M", "-q"]
        run = ["run", str(source), *options, "-o", str(output), "--state-dir", str(folder / "state")]
        print(f"\n{ROWS:,} rows of 100 characters, 64 in flight, no latency")
        process = _started(run)
        _print("first request after", f"{_first_request(process, folder / 'out.jsonl.run' / 'marks'):.2f} s")
        begin, end = _costs(process, folder / "out.jsonl.run" / "run.sqlite")
        asked = _ended(process)
        _print("asked and written", f"{asked.wall:.1f} s, {1e6 * asked.cpu / ROWS:.0f} us of CPU a row")
        _print("CPU a row, first and last tenth", f"{begin:.0f} us, {end:.0f} us")
        _print("most memory", f"{asked.most:.0f} MB")
        for what, command in (
            ("the same again, finished", run),
            ("export to JSONL", ["export", str(output), "-o", str(folder / "again.jsonl")]),
            ("export to Parquet", ["export", str(output), "-o", str(folder / "again.parquet")]),
        ):
            ended = _ended(_started(command))
            _print(what, f"{ended.wall:.1f} s, most memory {ended.most:.0f} MB")


def _print(what: str, figures: str) -> None:
    print(f"{what:<32} {figures}", flush=True)


def _started(arguments: list[str]) -> tuple[subprocess.Popen[bytes], float]:
    command = [sys.executable, "-m", "batchrunner", *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT), time.monotonic()


def _first_request(started: tuple[subprocess.Popen[bytes], float], marks: Path) -> float:
    """Seconds until a unit was marked as in flight, which is immediately before its request is written."""
    process, began = started
    while process.poll() is None and not (marks.exists() and any(marks.read_bytes())):
        time.sleep(0.002)
    return time.monotonic() - began


def _costs(started: tuple[subprocess.Popen[bytes], float], store: Path) -> tuple[float, float]:
    """CPU microseconds a row over the first and the last tenth of the asking."""
    at = (0.05, 0.05 + SLICE, 0.95 - SLICE, 0.95)
    seen: list[tuple[int, float]] = []
    while len(seen) < len(at) and started[0].poll() is None:
        done = _done(store)
        if done >= at[len(seen)] * ROWS:
            seen.append((done, _cpu(started[0].pid)))
        time.sleep(0.02)
    pairs = ((seen[0], seen[1]), (seen[2], seen[3]))
    begin, end = (1e6 * (later - sooner) / (more - less) for (less, sooner), (more, later) in pairs)
    return begin, end


def _done(store: Path) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT coalesce(max(rowid), 0) FROM tries").fetchone()[0])


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK


def _ended(started: tuple[subprocess.Popen[bytes], float]) -> Ended:
    process, began = started
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Ended(wall=time.monotonic() - began, cpu=used.ru_utime + used.ru_stime, most=used.ru_maxrss / 1024)
