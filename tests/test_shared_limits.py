"""Several processes on one key: together inside the limit, together using it, fairly, and whoever is killed."""

import subprocess
import time
from typing import Any

import pytest
from conftest import Bench, Gateway, Simulate, wait_until

GUARD = 0.05
Entries = list[dict[str, Any]]


def started(bench: Bench, gateway: Gateway, name: str, rows: int, *options: str) -> subprocess.Popen[str]:
    """A run of its own input and output, on the key that all share."""
    bench.write(f"{name}.jsonl", *({"prompt": f"{name} {number}"} for number in range(rows)))
    return bench.start("run", f"{name}.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "-q", *options)


def rate(entries: Entries, begin: float, end: float) -> float:
    """Arrivals per second between two instants."""
    return sum(begin <= entry["arrived"] < end for entry in entries) / (end - begin)


def rows_done(bench: Bench, name: str) -> int:
    return bench.summary(f"{name}.results.jsonl")["units"]["ok"]


@pytest.mark.exact
@pytest.mark.slow
def test_two_jobs_started_together_share_a_limit_fairly_and_one_that_is_killed_leaves_it_to_the_other(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--rps", "60", "--latency", "0.2")
    first, second = (started(bench, gateway, name, 900, "--rps", "60") for name in ("first", "second"))
    wait_until(lambda: gateway.ledger()["paid"] >= 480)
    second.kill()
    second.communicate()
    killed_at = gateway.entries()[-1]["arrived"]
    first.communicate(timeout=60)
    assert first.returncode == 0
    ledger, entries = gateway.ledger(), gateway.entries()
    began, ended = entries[0]["arrived"], entries[-1]["arrived"]
    assert ledger["limits"][0]["worst"] <= 60
    assert ledger["outcomes"].get("429", 0) == 0
    possible = 60 / (1 + GUARD)
    assert rate(entries, began + 2, killed_at) >= 0.97 * possible
    assert rate(entries, killed_at + 2, ended) >= 0.97 * possible
    shared = [entry for entry in entries if began + 2 <= entry["arrived"] < killed_at]
    by_first = rows_done(bench, "first") - sum(entry["arrived"] >= killed_at for entry in entries)
    assert 0.4 <= by_first / (by_first + len(shared) - by_first / 2) <= 1.2


@pytest.mark.exact
@pytest.mark.slow
def test_a_limit_by_the_minute_holds_over_two_jobs_of_which_one_begins_later(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpm", "600", "--latency", "0.1")
    first = started(bench, gateway, "first", 400, "--rpm", "600")
    wait_until(lambda: gateway.ledger()["paid"] >= 100)
    joined_at = gateway.entries()[-1]["arrived"]
    second = started(bench, gateway, "second", 150, "--rpm", "600")
    second.communicate(timeout=80)
    entries = gateway.entries()
    first.terminate()
    first.communicate(timeout=60)
    assert second.returncode == 0
    assert rate(entries, joined_at + 2, entries[-1]["arrived"]) >= 0.97 * 600 / (60 + GUARD)
    assert gateway.ledger()["limits"][0]["worst"] <= 600
    assert gateway.ledger()["outcomes"].get("429", 0) == 0


@pytest.mark.exact
@pytest.mark.slow
def test_a_daily_quota_is_kept_over_two_jobs_at_once_and_their_restarts(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "300", "--latency", "0.05")
    options = ("--rpd", "300", "--rps", "100", "--on-daily-limit", "park")
    runs = [started(bench, gateway, name, 400, *options) for name in ("first", "second")]
    wait_until(lambda: gateway.ledger()["paid"] >= 100)
    runs[0].kill()
    runs[0].communicate()
    runs[0] = started(bench, gateway, "first", 400, *options)
    for run in runs:
        run.communicate(timeout=60)
        assert run.returncode == 75
    ledger = gateway.ledger()
    assert ledger["outcomes"].get("429", 0) == 0
    assert 300 - 130 <= ledger["paid"] <= 300  # what the killed one had on lease is lost for the day


def test_two_jobs_of_different_models_do_not_share(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rps", "20", "--latency", "0.05")
    began = time.monotonic()
    runs = []
    for name in ("first", "second"):
        bench.write(f"{name}.jsonl", *({"prompt": f"{name} {number}"} for number in range(60)))
        command = (f"{name}.jsonl", "-m", f"org/{name}", "--base-url", gateway.base_url, "-q", "--rps", "20")
        runs.append(bench.start("run", *command))
    for run in runs:
        run.communicate(timeout=60)
        assert run.returncode == 0
    assert time.monotonic() - began < 60 / 20 * 1.05 + 2.5
    assert gateway.ledger()["outcomes"] == {"ok": 120}
