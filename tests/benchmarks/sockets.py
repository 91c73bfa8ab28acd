"""The limiter over sockets: the real command line against the simulator, some forty seconds a scene, and five minutes
of a limit by the minute that has to be found.

`use` is that of the limit over the middle of the run, from the second window on for limits by the second, from a tenth
on for those by the minute, beside W / (W + 0.05); the worst window and the 429s are of the whole run.
"""

import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.main_job import BATCHRUNNER, ledger, simulator
from tests.redis_server import RedisServer

SECONDS = 40.0
GUARD = 0.05


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is limited, how the gateway counts, what the client is told."""

    name: str
    limit: tuple[str, str]
    gateway: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    declared: bool = True
    seconds: float = SECONDS
    rows: int = 9000
    processes: int = 1
    kill_one: bool = False
    on_redis: bool = False  # each process with a state folder of its own


def main() -> None:
    """Print the table."""
    print(f"\nThe limiter over sockets, {SECONDS:g} s a scene where none is named")
    print_head()
    for case in _cases():
        print_line(case, *measured(case))


def print_head() -> None:
    """What stands over the columns."""
    print(f"{'scene':<52}   use    429s  worst window  tries/s")


def _cases() -> Iterator[Case]:
    slow = ("--latency", "0.5", "--latency-spread", "0.5")
    yield Case(name="2 requests/s", limit=("--rps", "2"), gateway=slow)
    yield Case(name="50 requests/s", limit=("--rps", "50"), gateway=slow)
    yield Case(name="600 requests/min", limit=("--rpm", "600"), gateway=slow)
    yield Case(name="600 requests/min, fixed", limit=("--rpm", "600"), gateway=(*slow, "--window", "fixed"))
    yield Case(name="50 requests/s, bucket", limit=("--rps", "50"), gateway=(*slow, "--window", "bucket"))
    for accounting in ("admission", "completion", "upfront"):
        client = (
            "--param",
            "max_tokens=200",
            "--token-accounting",
            "upfront" if accounting == "upfront" else "settled",
        )
        gateway = (*slow, "--token-accounting", accounting)
        yield Case(name=f"10k tokens/s, {accounting}", limit=("--tps", "10k"), gateway=gateway, client=client)
    for hint in ("none", "retry-after", "openai"):
        gateway = (*slow, "--headers", hint)
        yield Case(name=f"50 requests/s, unknown, {hint}", limit=("--rps", "50"), gateway=gateway, declared=False)
    many = ("--max-concurrency", "4096")  # the default, 256 where no limit is declared, would bind
    thousands = ("--rps", "2000")
    yield Case(
        name="2,000 requests/s, unknown", limit=thousands, gateway=slow, client=many, declared=False, rows=90_000
    )
    minutes = (*slow, "--headers", "none")
    yield Case(
        name="600 requests/min, unknown, 300 s", limit=("--rpm", "600"), gateway=minutes, declared=False, seconds=300
    )
    yield Case(name="60 requests/s, two processes", limit=("--rps", "60"), gateway=slow, processes=2)
    yield Case(name="60 requests/s, two processes, one killed", limit=("--rps", "60"), processes=2, kill_one=True)


def measured(case: Case) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The ledger and its entries after the time is over."""
    with ExitStack() as stack:
        base_url = stack.enter_context(simulator(*case.limit, *case.gateway))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        more = ("--shared", _redis(stack, folder)) if case.on_redis else ()
        runs = [_start(case, base_url, folder, number, *more) for number in range(case.processes)]
        time.sleep(case.seconds / 2)
        if case.kill_one:
            runs.pop().kill()
        time.sleep(case.seconds / 2)
        seen = ledger(base_url)
        with urllib.request.urlopen(base_url.removesuffix("/v1") + "/simulator/ledger/entries") as reply:
            entries = [json.loads(line) for line in reply]
        for run in runs:
            run.kill()
            run.wait()
    return seen, entries


def _redis(stack: ExitStack, folder: Path) -> str:
    """What --shared takes, of a server that ends with the stack."""
    return stack.enter_context(RedisServer(folder)).url


def _start(case: Case, base_url: str, folder: Path, number: int, *more: str) -> subprocess.Popen[bytes]:
    source = folder / f"{number}.jsonl"
    source.write_text(
        "".join(json.dumps({"prompt": f"{number}: {row} " + "x" * (row % 400)}) + "\n" for row in range(case.rows))
    )
    limit = case.limit if case.declared else ()
    command = [*BATCHRUNNER, "run", str(source), "-m", "org/model", "--base-url", base_url, "-q", *limit, *case.client]
    state_dir = folder / (f"state{number}" if case.on_redis else "state")
    return subprocess.Popen(
        [*command, "--state-dir", str(state_dir), *more], env=os.environ | {"BATCHRUNNER_API_KEY": "benchmark"}
    )


def print_line(case: Case, seen: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    use = seen["limits"][0]
    window = use["window_seconds"]
    admitted = [entry for entry in entries if entry["admitted"]]
    began = entries[0]["arrived"] + (2 if window == 1 else case.seconds / 10)
    ended = entries[-1]["arrived"] - 2
    middle = [entry for entry in admitted if began <= entry["arrived"] < ended]
    amount = sum(entry["counted_tokens"] for entry in middle) if use["dimension"] == "tokens" else len(middle)
    share = amount / (ended - began) * (window + GUARD) / use["limit"]
    refused = seen["outcomes"].get("429", 0)
    print(
        f"{case.name:<52} {share:>5.3f}  {refused / len(entries):>6.2%}  {use['worst'] / use['limit']:>12.3f}"
        f"  {len(entries) / (entries[-1]['arrived'] - entries[0]['arrived']):>7.1f}",
        flush=True,
    )
