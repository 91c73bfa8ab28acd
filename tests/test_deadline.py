"""Deadlines: nothing is sent after one, what is in flight is drained, the same command goes on later."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from conftest import Bench, Simulate
from jobs import refused_at

from batchrunner.folder.ending import End
from batchrunner.job.schema import RunTable
from batchrunner.job.times import parse_duration, parse_until
from batchrunner.runner.deadline import Deadline, deadline_of

NOON = datetime(2026, 1, 31, 12, 0, 30)  # noqa: DTZ001 - local time


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("12:01", datetime(2026, 1, 31, 12, 1)),  # noqa: DTZ001
        ("12:00", datetime(2026, 2, 1, 12, 0)),  # noqa: DTZ001
        ("12:00:31", datetime(2026, 1, 31, 12, 0, 31)),  # noqa: DTZ001
        ("12:00:30", datetime(2026, 2, 1, 12, 0, 30)),  # noqa: DTZ001
        (" 6:00 ", datetime(2026, 2, 1, 6, 0)),  # noqa: DTZ001
        ("2026-01-01T06:00", datetime(2026, 1, 1, 6, 0)),  # noqa: DTZ001
        ("2026-02-28 06:00:01", datetime(2026, 2, 28, 6, 0, 1)),  # noqa: DTZ001
        ("2026-02-28T06:00Z", datetime(2026, 2, 28, 6, 0, tzinfo=UTC)),
        ("2026-02-28T06:00+02:00", datetime(2026, 2, 28, 4, 0, tzinfo=UTC)),
    ],
)
def test_a_time_of_day_is_the_next_one_and_an_instant_is_itself(text: str, instant: datetime) -> None:
    assert parse_until(text, NOON) == instant.astimezone()


@pytest.mark.parametrize(
    "text", ["", "noon", "24:00", "6", "06:60", "2026-01-31", "2026-13-01T00:00", "06:00 UTC", "-1:00"]
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="write 06:00"):
        parse_until(text, NOON)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("8h", 28_800), ("1d", 86_400)])
def test_lengths_of_time_are_understood(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert RunTable(max_duration=text).max_seconds == seconds


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ('until = "noon"', "run.until: 'noon' is no time: write 06:00"),
        ("until = 06:00:00", "run.until takes a text in quotes"),
        ('max_duration = "long"', "run.max_duration: 'long' is no length of time"),
        ("max_duration = 0", "run.max_duration = 0.0 is no length of time above 0"),
        ('max_duration = "0s"', "run.max_duration"),
    ],
)
def test_what_is_no_deadline_is_told_with_its_line(run: str, words: str) -> None:
    told, line = refused_at(f"[run]\n{run}")
    assert words in told
    assert line == run


def test_the_earlier_of_two_deadlines_counts_and_no_clock_that_is_set_makes_a_run_longer() -> None:
    deadline = Deadline(until=1000.0, ends_at=50.0)
    assert deadline.seconds_left(990.0, 45.0) == 5.0
    assert deadline.seconds_left(999.0, 45.0) == 1.0
    assert deadline.seconds_left(0.0, 49.0) == 1.0
    assert deadline_of(RunTable()).passed() is None
    assert deadline_of(RunTable(until="2000-01-01T00:00Z")).passed().end is End.PARKED


def test_nothing_is_sent_after_a_deadline_and_what_is_in_flight_is_drained(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.6")
    bench.prompts(400)
    until = datetime.now(UTC) + timedelta(seconds=8)
    options = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "8")
    process = bench.run(*options, "--until", until.isoformat(), code=75)
    assert time.time() < until.timestamp() + 10
    entries = gateway.entries()
    assert 8 < len(entries) < 400
    assert max(entry["wall"] for entry in entries) <= until.timestamp() + 0.3
    summary = bench.summary()
    assert summary["units"]["ok"] == len(entries)
    assert (summary["message"], summary["resume_at"]) == ("parked: the deadline of --until has come", None)
    assert process.stdout.splitlines()[-1].startswith("go on with: batchrunner run in.jsonl")
    bench.run(*options, "--max-duration", "10m")
    assert gateway.ledger()["paid"] == 400


def test_what_is_in_flight_at_a_deadline_has_the_grace(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "30")
    bench.prompts(5)
    began = time.monotonic()
    options = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--max-duration", "2s", "--grace", "1")
    bench.run(*options, code=75)
    assert time.monotonic() - began < 15
    assert bench.summary()["message"] == "parked: the deadline of --max-duration has come"


def test_a_deadline_that_has_passed_sends_nothing(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(5)
    (bench.folder / "job.toml").write_text(
        'input = "in.jsonl"\n[request]\nmodel = "m/m"\n[run]\nuntil = "2020-01-01T06:00"\n'
    )
    told = bench.run("job.toml", "--base-url", gateway.base_url, "--json", code=75)
    assert json.loads(told.stdout)["units"]["pending"] == 5
    assert gateway.ledger()["arrivals"] == 0
    bench.run("job.toml", "--base-url", gateway.base_url, "--until", "2999-01-01T06:00")
    bench.run("job.toml", "--base-url", gateway.base_url)
