"""The main job on real input: a file of questions through the simulated gateway at a rate a second and a minute.

300 ms latency, 3 % 5xx, 1 % resets. `BATCHRUNNER_QUESTIONS` names a JSONL file with a column `question`; without it
as many questions are made up. Beside it the same with the limiter taken out, and with two `kill -9`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUESTIONS = 1319
FAULTS = ("--latency", "0.3", "--fault", "5xx=0.03", "--fault", "reset=0.01")
BATCHRUNNER = (sys.executable, "-m", "batchrunner")
HEADER = "limit       case             rows  tries  429s  asked twice  in doubt  worst window   wall s  bound s"


def main() -> None:
    """Print the table."""
    print(f"\nThe main job: {QUESTIONS} questions, 300 ms latency, 3 % 5xx, 1 % resets\n{HEADER}")
    for option, amount, seconds in (("--rps", 50, 1), ("--rpm", 600, 60)):
        limit = (option, str(amount))
        for case, kills, declared in (("limiter on", 0, True), ("killed twice", 2, True), ("limiter off", 0, False)):
            with simulator(*limit, *FAULTS) as base_url, tempfile.TemporaryDirectory() as folder:
                wall = _run(Path(folder), base_url, limit if declared else (), kills)
                _print(f"{option[2:]} {amount}", case, wall, amount / seconds, base_url, Path(folder))


def _print(limit: str, case: str, wall: float, rate: float, base_url: str, folder: Path) -> None:
    seen = ledger(base_url)
    rows = [json.loads(line)["row"] for line in (folder / "out.jsonl").read_text().splitlines()]
    assert rows == list(range(len(rows)))
    in_doubt = json.loads((folder / "out.jsonl.summary.json").read_text())["in_doubt"]
    twice, worst = seen["servings"]["extra_paid_without_fault"], seen["limits"][0]["worst"]
    tries, refused = seen["arrivals"], seen["outcomes"].get("429", 0)
    print(
        f"{limit:<11} {case:<15} {len(rows):>5}  {tries:>5}  {refused:>4}  {twice:>11}  {in_doubt:>8}"
        f"  {worst:>5} of {seen['limits'][0]['limit']:>4}  {wall:>6.1f}  {1.05 * tries / rate + 3:>7.1f}",
        flush=True,
    )


def _run(folder: Path, base_url: str, limit: tuple[str, ...], kills: int) -> float:
    """Run to the end, with so many kills on the way; wall seconds."""
    options = ["--base-url", base_url, "--state-dir", folder / "state", "-o", folder / "out.jsonl", "-q", *limit]
    command = [*BATCHRUNNER, "run", questions(folder), "-m", "org/model", "--prompt", "Solve: {{ question }}", *options]
    environment = os.environ | {"BATCHRUNNER_API_KEY": "benchmark"}
    began = time.monotonic()
    for number in range(kills):
        process = subprocess.Popen(command, env=environment)
        while ledger(base_url)["paid"] < QUESTIONS * (number + 1) // (kills + 1):
            time.sleep(0.05)
        process.kill()
        process.wait()
    subprocess.run(command, env=environment, check=True)
    return time.monotonic() - began


def questions(folder: Path) -> Path:
    """The questions to ask."""
    if "BATCHRUNNER_QUESTIONS" in os.environ:
        return Path(os.environ["BATCHRUNNER_QUESTIONS"])
    path = folder / "questions.jsonl"
    rows = ({"question": f"What is {number} times {number + 7}, and why?"} for number in range(QUESTIONS))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@contextmanager
def simulator(*options: str) -> Iterator[str]:
    """A simulated gateway; the value is its base URL."""
    command = [*BATCHRUNNER, "simulate", "--port", "0", "--until-stdin-closes", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("listening on ").strip()
        finally:
            process.stdin.close()


def ledger(base_url: str) -> Any:
    """What the simulator counted."""
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/simulator/ledger") as reply:
        return json.load(reply)
