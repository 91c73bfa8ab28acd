"""Whole runs whose answers come as streams, against a simulated gateway that knows how streams go wrong."""

from typing import Any

import pytest
from conftest import Bench, Gateway, Simulate, wait_until

STREAMED = ("in.jsonl", "-m", "m/m", "--param", "stream=true")
LATER = ("model", "request_id", "latency_s", "first_token_s", "finished_at")

JOB_OF_JSON = (
    'input = "in.jsonl"',
    "[request]",
    'model = "m/m"',
    'tools = [{ type = "function", function = { name = "look_up", parameters = { type = "object" } } }]',
    "[request.response_format]",
    'type = "json_schema"',
    "[request.response_format.json_schema]",
    'name = "solution"',
    'schema = { type = "object", properties = { answer = { type = "integer" } }, required = ["answer"] }',
    "[retry]",
    "tell_errors = true",
)
SWEEP = ("[sweep]", 'model = ["m/a", "m/b"]', "samples = 2")


def rows_of(*texts: str) -> list[dict[str, Any]]:
    return [{"prompt": f"{number} {text}"} for number, text in enumerate(texts)]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is the same whenever and however it was asked."""
    return [{name: value for name, value in row.items() if name not in LATER} for row in rows]


def without_calls(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Likewise, without the numbers that the calls of tools have."""
    told = without_times(rows)
    for row in told:
        row["tool_calls"] = [call["function"] for call in row["tool_calls"] or ()]
    return told


def outcomes(gateway: Gateway) -> dict[str, int]:
    return gateway.ledger()["outcomes"]


def test_a_stream_brings_the_same_rows_and_the_time_of_the_first_token(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1", "--piece-seconds", "0.02")
    bench.prompts(30)
    bench.run(*STREAMED, "--base-url", gateway.base_url)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "-o", "whole.jsonl")
    streamed, whole = bench.output(), bench.output("whole.jsonl")
    assert without_times(streamed) == without_times(whole)
    assert all(0.1 <= row["first_token_s"] <= row["latency_s"] - 0.02 for row in streamed)
    assert {row["first_token_s"] for row in whole} == {None}
    assert gateway.ledger()["completion_tokens"] == 2 * bench.summary()["usage"]["completion_tokens"]


def test_json_calls_of_tools_and_refusals_come_as_streams_too(bench: Bench, simulate: Simulate) -> None:
    bench.write("in.jsonl", *rows_of("plain", "[[misfitx1]]", "[[invalid]]", "[[length]]", "[[refusal]]", "[[call]]"))
    bench.write("job.toml", *JOB_OF_JSON)
    bench.run("job.toml", "--base-url", simulate().base_url, "--param", "stream=true", code=1)
    bench.run("job.toml", "--base-url", simulate().base_url, "-o", "whole.jsonl", code=1)
    streamed, whole = bench.output(), bench.output("whole.jsonl")
    assert without_calls(streamed) == without_calls(whole)
    assert [row["parsed"] for row in streamed[:2]] == [{"answer": 7}] * 2
    assert [row["attempts"] for row in streamed] == [1, 2, 2, 1, 1, 1]
    assert (streamed[-1]["tool_calls"][0]["function"]["name"], streamed[-1]["finish_reason"]) == (
        "look_up",
        "tool_calls",
    )


def test_every_arm_of_a_sweep_is_streamed(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(3)
    bench.write("job.toml", 'input = "in.jsonl"', "request.stream = true", *SWEEP)
    bench.run("job.toml", "--base-url", gateway.base_url)
    rows = bench.output()
    assert {(row["variant"], row["sample"]) for row in rows} == {
        (f"model={model}", sample) for model in ("m/a", "m/b") for sample in (0, 1)
    }
    assert all(row["first_token_s"] is not None for row in rows)
    bench.run("job.toml", "--base-url", gateway.base_url, "--param", "stream=false")
    assert gateway.ledger()["arrivals"] == 3 * 4


@pytest.mark.parametrize("usage", ["every", "last"])
def test_oddities_of_streams_cost_nothing(bench: Bench, simulate: Simulate, usage: str) -> None:
    gateway = simulate("--stream-usage", usage)
    oddities = ["no_done", "late_content", "keep_alive"]
    bench.write("in.jsonl", *rows_of(*(f"[[{oddity}]] {number}" for oddity in oddities for number in range(4))))
    bench.run(*STREAMED, "--base-url", gateway.base_url)
    rows = bench.output()
    assert [row["response"].partition(": ")[2] for row in rows] == [
        row["prompt"] for row in rows_of(*(f"[[{oddity}]] {number}" for oddity in oddities for number in range(4)))
    ]
    assert {(row["attempts"], row["finish_reason"]) for row in rows} == {(1, "stop")}
    assert outcomes(gateway) == dict.fromkeys(oddities, 4)
    told = [row["usage"]["total_tokens"] is not None for row in rows]
    assert told == [usage == "every"] * 4 + [True] * 8


# What goes wrong once, and the kind under which the try is counted.
FAULTS = {
    "cut": "truncated",
    "truncated": "reset",
    "stalled": "timeout",
    "error_inside": "server_error",
    "reset_after": "reset",
    "html": "invalid_reply",
    "empty": "empty_answer",
    "hang": "timeout",
}


def test_a_stream_that_breaks_costs_its_row_a_try_and_what_it_told_of_its_usage_counts(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *rows_of(*["good"] * 8, *(f"[[{fault}x1]] well then" for fault in FAULTS)))
    bench.run(*STREAMED, "--timeout", "1", "--concurrency", "4", "--base-url", gateway.base_url)
    rows, summary = bench.output(), bench.summary()
    assert [row["attempts"] for row in rows] == [1] * 8 + [2] * len(FAULTS)
    counted = {kind: list(FAULTS.values()).count(kind) for kind in FAULTS.values()}
    assert summary["failed_tries_by_kind"] == counted
    assert {row["status"] for row in rows} == {"ok"}
    paid = {entry["prompt"]: entry["completion_tokens"] for entry in gateway.entries() if entry["outcome"] == "ok"}
    usage = dict(zip(FAULTS, (row["usage"]["completion_tokens"] for row in rows[8:]), strict=True))
    whole = dict(zip(FAULTS, list(paid.values())[-len(FAULTS) :], strict=False))
    assert len(whole) == len(FAULTS)
    first_fault = {entry["outcome"]: entry["completion_tokens"] for entry in gateway.entries()}
    for fault in ("cut", "truncated", "stalled", "error_inside"):
        assert 1.3 * first_fault[fault] <= usage[fault] < 2 * first_fault[fault], fault  # half of it, and all of it
    assert usage["reset_after"] == first_fault["reset_after"]
    assert gateway.ledger()["servings"]["extra_paid_without_fault"] == 0


def test_a_stream_that_is_always_cut_fails_its_row_alone_with_its_usage(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *rows_of("good", "[[cut]] always so", "good"))
    bench.run(*STREAMED, "--attempts", "2", "--concurrency", "1", "--base-url", gateway.base_url, code=1)
    first, cut, last = bench.output()
    assert (first["status"], last["status"]) == ("ok", "ok")
    assert (cut["error"]["kind"], cut["error"]["status"], cut["attempts"]) == ("truncated", 200, 2)
    assert cut["usage"]["completion_tokens"] > 0
    assert cut["response"] is None


def test_tokens_of_a_stream_that_broke_off_stay_counted(bench: Bench, simulate: Simulate) -> None:
    """Nobody knows what it cost: were its tokens given back, the next try would be one too many for the gateway."""
    gateway = simulate("--token-accounting", "upfront", "--tps", "1000")
    bench.write("in.jsonl", *rows_of("good", *["[[cutx1]] once"] * 12))
    options = ("--tps", "1000", "--token-accounting", "upfront", "--param", "max_tokens=150")
    bench.run(*STREAMED, *options, "--base-url", gateway.base_url)
    ledger = gateway.ledger()
    assert ledger["outcomes"] == {"cut": 12, "ok": 13}
    assert ledger["limits"][0]["worst"] <= 1000


def test_whether_answers_are_streamed_is_no_other_question(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(20)
    common = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    bench.run(*common, "--limit", "10", "--resume", "auto")
    bench.run(*common, "--param", "stream=true")
    assert [row["first_token_s"] is not None for row in bench.output()] == [False] * 10 + [True] * 10
    assert outcomes(gateway) == {"ok": 20}
    assert bench.run(*common).stdout.count("nothing was left to ask") == 1


def test_a_job_file_may_ask_for_streams_and_an_option_refuse_them(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(2)
    for name, params in (("key", "stream = true"), ("param", "params = { stream = true }")):
        job = f'input = "in.jsonl"\noutput = "{name}.jsonl"\n[request]\nmodel = "m/m"\n{params}\n'
        (bench.folder / f"{name}.toml").write_text(job)
        bench.run(f"{name}.toml", "--base-url", gateway.base_url)
        assert bench.output(f"{name}.jsonl")[0]["first_token_s"] is not None
        bench.run(f"{name}.toml", "--base-url", gateway.base_url, "--param", "stream=false", "-o", f"{name}.no.jsonl")
        assert bench.output(f"{name}.no.jsonl")[0]["first_token_s"] is None


def test_lines_of_a_batch_file_are_streamed_when_the_job_says_so(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    body = {"model": "m/m", "stream": False, "messages": [{"role": "user", "content": "Hi"}]}
    bench.write("in.jsonl", {"custom_id": "a", "body": body})
    bench.run("in.jsonl", "--param", "stream=true", "--base-url", gateway.base_url)
    assert bench.output()[0]["first_token_s"] is not None


def test_a_run_that_is_stopped_leaves_its_streams_at_once_when_the_grace_is_over(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--piece-seconds", "1")
    bench.prompts(4)
    process = bench.start("run", *STREAMED, "--grace", "0.5", "--base-url", gateway.base_url)
    wait_until(lambda: gateway.ledger()["admitted"] == 4)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    wait_until(lambda: outcomes(gateway) == {"client_left": 4})
    bench.run(*STREAMED, "--base-url", simulate().base_url, "--on-drift", "keep")
    assert bench.summary()["in_doubt"] == 4
