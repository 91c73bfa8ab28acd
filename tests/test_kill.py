"""kill -9 in the middle: nothing lost, nothing doubled, and only what was in flight is asked twice."""

import signal

import pyarrow.parquet as pq
import pytest
from conftest import Bench, Gateway, Simulate, wait_until
from crash.running import marked_units

FAULTS = ("--latency", "0.3", "--latency-spread", "0.3", "--fault", "5xx=0.03", "--fault", "reset=0.02")


def test_a_run_killed_at_a_third_and_at_two_thirds_answers_every_row_once(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rps", "80", *FAULTS)
    bench.prompts(240)
    command = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--rps", "80")
    in_flight = [_killed_when(bench, gateway, answered, *command) for answered in (80, 160)]
    bench.run(*command)

    rows = bench.output()
    assert [row["row"] for row in rows] == list(range(240))
    assert all(f"Question {row['row']}?" in row["response"] for row in rows)
    assert {row["status"] for row in rows} == {"ok"}
    ledger = gateway.ledger()
    assert ledger["servings"]["prompts"] == 240
    assert ledger["servings"]["extra_paid_without_fault"] <= bench.summary()["in_doubt"] <= sum(in_flight)
    assert bench.summary()["in_doubt"] > 0
    assert ledger["limits"][0]["worst"] <= 80
    assert "429" not in ledger["outcomes"]


def test_a_limit_a_minute_holds_across_a_kill_and_a_restart(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpm", "600", "--latency", "0.05")
    bench.prompts(40)
    command = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--rpm", "600")
    for answered in (12, 24):
        _killed_when(bench, gateway, answered, *command)
    bench.run(*command)
    arrived = [entry["arrived"] for entry in gateway.entries()]
    pace = 600 / 60.05
    burst = 1 + 0.005 * 600
    for first in range(len(arrived)):
        for last in range(first, len(arrived)):
            assert last - first + 1 <= burst + pace * (arrived[last] - arrived[first] + 0.05) + 1


def test_a_kill_while_the_output_is_written_leaves_no_half_of_it(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    content = "x" * 20_000
    bench.write("in.jsonl", *({"prompt": f"{number} {content}"} for number in range(1000)))
    command = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "-o", "out.parquet")
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["paid"] == 1000)
    wait_until(lambda: any(path.name.endswith(".tmp") for path in bench.folder.iterdir()))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (bench.folder / "out.parquet").exists()
    bench.run(*command)
    assert pq.read_table(bench.folder / "out.parquet")["row"].to_pylist() == list(range(1000))
    assert gateway.ledger()["servings"]["once"] == 1000
    assert [path.name for path in bench.folder.iterdir() if ".tmp" in path.name] == []


@pytest.mark.slow
def test_kills_at_any_moment_cost_only_what_was_in_flight(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.02", "--latency-spread", "1", "--fault", "reset_after=0.02")
    bench.prompts(2000)
    command = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--concurrency", "16")
    in_flight = [_killed_when(bench, gateway, 150 * number, *command) for number in range(1, 12)]
    bench.run(*command)
    assert [row["row"] for row in bench.output()] == list(range(2000))
    servings = gateway.ledger()["servings"]
    assert servings["prompts"] == 2000
    assert servings["extra_paid_without_fault"] <= bench.summary()["in_doubt"] <= sum(in_flight)
    assert max(in_flight) <= 2 * 16 + 1024
    assert sum(in_flight) > 0


def _killed_when(bench: Bench, gateway: Gateway, answered: int, *command: str) -> int:
    """Run, kill -9 once so many answers were paid for; how many units were marked in flight."""
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["paid"] >= answered)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (bench.folder / "in.results.jsonl").exists()
    return len(set(marked_units(bench.folder / "in.results.jsonl.run")))
