"""Answers that have to be JSON of a schema, or to end in some way: checked, asked again, told apart."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Bench, Gateway, Simulate, wait_until

from batchrunner.store.reading import read_store

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}, "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}}},
    "required": ["answer", "steps"],
    "additionalProperties": False,
    "$defs": {"step": {"enum": ["think", "write"]}},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "solution", "schema": SCHEMA, "strict": True}}
FITTING = {"answer": 7, "steps": ["think"]}


def job(bench: Bench, *, retry: str = "", response_format: object = FORMAT) -> Path:
    """A job file whose answers have to fit the schema."""
    path = bench.folder / "job.toml"
    path.write_text(
        'input = "in.jsonl"\noutput = "in.results.jsonl"\n[request]\nmodel = "acme/small"\n'
        f"response_format = {toml(response_format)}\n[retry]\n{retry}\n"
    )
    return path


def toml(value: Any) -> str:
    """A JSON value as an inline value of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)


def run(bench: Bench, gateway: Gateway, of: Path, *options: str, code: int = 0) -> list[dict[str, Any]]:
    """The output of the job's run."""
    bench.run(of, "--base-url", gateway.base_url, *options, code=code)
    return bench.output()


def test_answers_that_fit_their_schema_are_parsed(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(3)
    rows = run(bench, gateway, job(bench))
    assert [(row["status"], row["parsed"], row["attempts"]) for row in rows] == [("ok", FITTING, 1)] * 3
    assert all(json.loads(row["response"]) == FITTING for row in rows)


def test_parquet_has_the_answer_s_json_as_text(bench: Bench, simulate: Simulate) -> None:
    bench.prompts(1)
    bench.run(job(bench), "-o", "out.parquet", "--base-url", simulate().base_url)
    (parsed,) = pq.read_table(bench.folder / "out.parquet")["parsed"].to_pylist()
    assert json.loads(parsed) == FITTING


@pytest.mark.parametrize("manner", ["invalid", "misfit"])
def test_an_answer_that_does_not_fit_is_asked_again_and_paid(bench: Bench, simulate: Simulate, manner: str) -> None:
    gateway = simulate("--completion-tokens", "10", "--completion-spread", "0")
    bench.write("in.jsonl", {"prompt": f"[[{manner}x2]]"}, {"prompt": "plain"})
    first, second = run(bench, gateway, job(bench, retry="attempts = 1"))
    assert (first["status"], first["parsed"], first["attempts"]) == ("ok", FITTING, 3)
    assert first["usage"]["completion_tokens"] == 3 * second["usage"]["completion_tokens"]
    assert bench.summary()["failed_tries_by_kind"] == {"invalid_answer": 2}


def test_answers_that_never_fit_fail_their_row_with_the_last_one_kept(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[misfit]]"}, {"prompt": "[[invalid]]"}, {"prompt": "plain"})
    misfit, invalid, plain = run(bench, gateway, job(bench, retry="invalid_answers = 1"), code=1)
    for row in (misfit, invalid):
        assert (row["status"], row["error"]["kind"], row["attempts"], row["parsed"]) == (
            "failed",
            "invalid_answer",
            2,
            None,
        )
    assert misfit["response"] == '["a misfit"]'
    assert "does not fit the schema" in misfit["error"]["message"]
    assert invalid["response"] == "Simulated answer to: [[invalid]]"
    assert "no JSON" in invalid["error"]["message"]
    assert plain["status"] == "ok"
    assert gateway.ledger()["arrivals"] == 5


def test_invalid_answers_are_counted_apart_from_failures_of_the_gateway(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[5xxx2]]"}, {"prompt": "[[misfit]]"})
    broken, misfit = run(bench, gateway, job(bench, retry="attempts = 3\ninvalid_answers = 4"), code=1)
    assert (broken["status"], broken["attempts"]) == ("ok", 3)
    assert (misfit["status"], misfit["attempts"]) == ("failed", 5)


def test_zero_further_tries_are_none(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[misfit]]"}, {"prompt": "plain"})
    run(bench, gateway, job(bench, retry="invalid_answers = 0"), code=1)
    assert gateway.ledger()["arrivals"] == 2


def test_an_answer_that_was_cut_short_is_not_asked_again(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[length]]"}, {"prompt": "plain"})
    cut, plain = run(bench, gateway, job(bench), code=1)
    assert (cut["error"]["kind"], cut["finish_reason"], cut["attempts"]) == ("invalid_answer", "length", 1)
    assert "cut short" in cut["error"]["message"]
    assert json.dumps(FITTING, separators=(",", ":")).startswith(cut["response"])
    assert plain["status"] == "ok"
    assert gateway.ledger()["arrivals"] == 2


def test_the_model_is_told_what_was_wrong_where_the_job_says_so(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[misfit]]"}, {"prompt": "plain"})
    told, plain = run(bench, gateway, job(bench, retry="tell_errors = true"))
    assert (told["status"], told["parsed"], told["attempts"]) == ("ok", FITTING, 2)
    assert told["usage"]["prompt_tokens"] > 2 * plain["usage"]["prompt_tokens"]
    assert len({entry["prompt"] for entry in gateway.entries()}) == 3


def test_any_object_will_do_where_any_is_asked_for(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[misfitx1]]"}, {"prompt": "plain"})
    misfit, plain = run(bench, gateway, job(bench, response_format={"type": "json_object"}))
    assert (misfit["attempts"], plain["attempts"]) == (2, 1)
    assert plain["parsed"] == {"answer": "Simulated answer to: plain"}


def test_the_schema_of_a_batch_line_is_its_own(bench: Bench, simulate: Simulate) -> None:
    def line(name: str, prompt: str, **body: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"custom_id": name, "body": {"model": "m", "messages": messages, **body}}

    other = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array", "items": {"const": 1}}}}
    remote = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1:9/schema"}}}
    bench.write(
        "in.jsonl",
        line("a", "[[misfitx1]]", response_format=FORMAT),
        line("b", "plain", response_format=other),
        line("c", "plain"),
        line("d", "plain", response_format=remote),
        line("e", "plain", response_format="json"),
    )
    bench.run("in.jsonl", "--base-url", simulate().base_url, code=1)
    a, b, c, d, e = bench.output()
    assert (a["parsed"], a["attempts"]) == (FITTING, 2)
    assert b["parsed"] == [1]
    assert (c["status"], c["parsed"]) == ("ok", None)
    for row in (d, e):
        assert (row["error"]["kind"], row["attempts"]) == ("invalid_row", 0)
    assert "another document" in d["error"]["message"]


@pytest.mark.parametrize(
    ("response_format", "words"),
    [
        ({"type": "json_schema"}, "no schema"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}}, "objekt"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "file:///etc/passwd"}}}, "document"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/no"}}}, "$defs/no"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"pattern": "("}}}, "regex"),
    ],
)
def test_a_schema_that_is_none_is_found_before_anything_is_sent(
    bench: Bench, simulate: Simulate, response_format: object, words: str
) -> None:
    gateway = simulate()
    bench.prompts(2)
    told = bench.run(job(bench, response_format=response_format), "--base-url", gateway.base_url, code=78).stderr
    assert "response_format" in told
    assert words in told
    assert gateway.ledger()["arrivals"] == 0


def test_what_the_model_declines_is_answered_and_never_asked_again(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"[[{manner}]]"} for manner in ("refusal", "content_filter")), {"prompt": "x"})
    refused, filtered, plain = run(bench, gateway, job(bench))
    assert [row["status"] for row in (refused, filtered, plain)] == ["ok"] * 3
    assert (refused["finish_reason"], refused["response"]) == ("refusal", "I can't help with that.")
    assert (filtered["finish_reason"], filtered["parsed"], refused["parsed"]) == ("content_filter", None, None)
    assert gateway.ledger()["arrivals"] == 3
    assert bench.summary()["finish_reasons"] == {"refusal": 1, "content_filter": 1, "stop": 1}


def test_what_was_declined_or_cut_short_is_told_apart_in_the_summary(bench: Bench, simulate: Simulate) -> None:
    bench.write("in.jsonl", *({"prompt": f"[[{manner}]] {n}"} for manner in ("refusal", "length") for n in "ab"))
    told = bench.run("in.jsonl", "-m", "m", "--base-url", simulate().base_url).stdout
    assert "4 of 4 answered (length 2, refusal 2)" in told


@pytest.mark.parametrize("reason", ["length", "refusal", "content_filter"])
def test_a_finish_reason_may_count_as_failure(bench: Bench, simulate: Simulate, reason: str) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": f"[[{reason}]]"}, {"prompt": "plain"})
    path = job(bench, retry=f'fail_on = ["{reason}"]', response_format={})
    failed, plain = run(bench, gateway, path, code=1)
    assert (failed["status"], failed["error"]["kind"], failed["finish_reason"]) == ("failed", "finish_reason", reason)
    assert reason in failed["error"]["message"]
    assert failed["usage"]["total_tokens"] > 0
    assert plain["status"] == "ok"
    assert gateway.ledger()["arrivals"] == 2


def test_rejected_answers_of_a_killed_run_stay_paid(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--completion-tokens", "10", "--completion-spread", "0", "--latency", "3")
    bench.write("in.jsonl", {"prompt": "[[misfitx1]]"})
    path = job(bench)
    first = bench.start("run", path, "--base-url", gateway.base_url, "--grace", "0")
    folder = bench.folder / "in.results.jsonl.run"
    wait_until(lambda: gateway.ledger()["arrivals"] == 2)
    wait_until(lambda: read_store(folder, lambda store: store.failed_tries()) == {"invalid_answer": 1})
    first.kill()
    first.communicate()
    (row,) = run(bench, gateway, path)
    assert row["usage"]["completion_tokens"] == 20
    assert bench.summary()["in_doubt"] == 1


def test_tool_calls_are_answers_where_a_schema_is_asked_for_too(bench: Bench, simulate: Simulate) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    bench.write("in.jsonl", {"prompt": "[[call]]", "tools": tools}, {"prompt": "plain", "tools": tools})
    called, plain = run(bench, simulate(), job(bench))
    assert (called["status"], called["parsed"], called["finish_reason"]) == ("ok", None, "tool_calls")
    assert called["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"simulated"}'}
    assert plain["parsed"] == FITTING
