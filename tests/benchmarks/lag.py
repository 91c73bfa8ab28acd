"""How long the event loop is away: `python -m tests.benchmarks.lag run ...` is batchrunner with a watch on its loop,
that prints the longest silences on stderr, in milliseconds. As a benchmark: over 100,000 rows of 16 KB."""

import heapq
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from batchrunner.cli import main as batchrunner
from batchrunner.runner.loop import Loop
from tests.benchmarks.gateways import ENVIRONMENT, ROOT, gateway

ROWS = 100_000
EVERY_SECONDS = 0.005
_run = Loop.run


async def _watched(loop: Loop) -> Any:
    away: list[float] = []

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await anyio.sleep(EVERY_SECONDS)
            heapq.heappush(away, time.monotonic() - before - EVERY_SECONDS)
            if len(away) > 10:
                heapq.heappop(away)

    async with anyio.create_task_group() as beside:
        beside.start_soon(watch)
        ending = await _run(loop)
        beside.cancel_scope.cancel()
    print("the event loop was away for at most (ms):", *(f"{1000 * one:.0f}" for one in sorted(away)), file=sys.stderr)
    return ending


def main() -> None:
    """Print the longest silences of the loop."""
    print(f"\nThe event loop over {ROWS:,} rows, answers of 16 KB, 64 in flight", flush=True)
    with gateway(16_000) as base_url, tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in.jsonl"
        source.write_text("".join(json.dumps({"prompt": f"Question {number}"}) + "\n" for number in range(ROWS)))
        options = ["-m", "org/model", "--base-url", base_url, "--concurrency", "64", "--rps", "1M", "-q"]
        command = [sys.executable, "-m", "tests.benchmarks.lag", "run", str(source), *options]
        environment = ENVIRONMENT | {"BATCHRUNNER_STATE_DIR": f"{name}/state"}
        subprocess.run(command, env=environment, cwd=ROOT, check=True)


if __name__ == "__main__":
    Loop.run = _watched  # type: ignore[method-assign]
    batchrunner()
