"""The daily quota from the command line: kept, waited for over midnight, parked, and remembered by the next run."""

import json
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Bench, Simulate, wait_until


def test_near_the_end_of_the_quota_the_run_stops_in_time_and_parks(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "30", "--latency", "0.05")
    bench.prompts(50)
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--rpd", "30")
    told = bench.run(*command, code=75)
    assert gateway.ledger()["outcomes"] == {"ok": 30}
    assert "come back at" in told.stdout
    assert "requests/day at 100 %" in told.stdout
    midnight = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:0")
    assert bench.summary()["resume_at"].startswith(midnight)
    bench.run(*command, code=75)
    assert gateway.ledger()["arrivals"] == 30


@pytest.mark.parametrize("day", ["2026-01-31", f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}", "2030-05-31"])
def test_over_midnight_the_run_waits_and_goes_on_with_the_new_days_quota(
    bench: Bench, simulate: Simulate, day: str
) -> None:
    gateway = simulate("--rpd", "20", "--latency", "0.02", "--clock", f"{day}T23:59:51")
    bench.prompts(35)
    options = ("--rpd", "20", "--on-daily-limit", "wait", "--progress", "log")
    told = bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, *options)
    assert gateway.ledger()["outcomes"] == {"ok": 35}
    assert gateway.ledger()["limits"][0]["worst"] == 20
    assert "paused 0:0" in told.stderr
    assert "quota" in told.stderr


def test_a_day_that_the_gateway_alone_knows_of_is_waited_for_too(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "20", "--headers", "retry-after", "--clock", "2026-01-31T23:40:00")
    bench.prompts(30)
    process = bench.start(
        "run", "in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--on-daily-limit", "wait", "--progress", "log"
    )
    wait_until(lambda: gateway.ledger()["outcomes"].get("429", 0) >= 1)
    with pytest.raises(Exception, match="timed out"):
        process.communicate(timeout=3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "paused 19:" in stderr or "paused 20:" in stderr
    assert gateway.ledger()["outcomes"]["429"] < 20


def test_a_quota_that_is_gone_is_not_asked_for_again_before_its_time_but_for_now(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--rpd", "5", "--headers", "retry-after")
    bench.prompts(10)
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    bench.run(*command, code=75)
    arrivals = gateway.ledger()["arrivals"]
    bench.run(*command, code=75)
    assert gateway.ledger()["arrivals"] == arrivals
    bench.run(*command, "--now", code=75)
    assert gateway.ledger()["arrivals"] > arrivals


def test_the_book_is_shown_and_reset(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "5", "--headers", "retry-after")
    bench.prompts(10)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, code=75)

    def limits(*arguments: str) -> str:
        process = bench.start("limits", *arguments)
        stdout, stderr = process.communicate(timeout=20)
        assert process.returncode == 0, stderr
        return stdout

    shown = limits("show")
    assert "m/m" in shown
    assert "5 requests" in shown
    assert "quota is gone until" in shown
    assert '"quota_gone_until"' in limits("show", "--json")
    assert "forgotten" in limits("reset", "m/m")
    assert "nothing was used yet" in limits("show")


def test_the_time_to_finish_counts_the_reset_that_one_lane_of_several_waits_for(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "0.02", "--clock", "2026-01-31T20:00:00")
    bench.prompts(30)
    lines = ['input = "in.jsonl"', "[gateway]", f'base_url = "{gateway.base_url}"', "[request]"]
    lines += ["[sweep]", 'model = ["m/a", "m/b"]', '[limits."m/a"]', "requests_per_day = 10"]
    bench.write("job.toml", *lines)
    process = bench.start("run", "job.toml", "--on-daily-limit", "wait", "--log-file", "log")
    wait_until(lambda: gateway.ledger()["outcomes"].get("ok") == 40 and "paused" in (bench.folder / "log").read_text())
    wait_until(lambda: (_told(bench)["eta_s"] or 0) > 27.5 * 3600)  # 4 hours for ten of the 20 that are left, and a day
    assert _told(bench)["eta_s"] < 28.1 * 3600
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def _told(bench: Bench) -> dict[str, Any]:
    return json.loads(bench.call("status", "job.toml", "--json").stdout)
