"""The formats of the OpenAI Batch API: its input runs unchanged, and its SDK's own types take the output."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Bench, Gateway, Simulate
from openai.types.chat import ChatCompletion

MODEL = ("-m", "acme/small")
BATCH = ("--output-format", "openai-batch")


@pytest.fixture
def gateway(simulate: Simulate) -> Gateway:
    """A gateway without latency."""
    return simulate()


def asked(number: int, words: str = "") -> dict[str, Any]:
    """A line of the Batch API's input file."""
    messages = [{"role": "user", "content": f"{number} {words}"}]
    body = {"model": "acme/small", "messages": messages, "max_tokens": 500}
    return {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, each of the shape that the Batch API documents."""
    content = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    found = [json.loads(line) for line in content.splitlines()]
    for line in found:
        assert list(line) == ["id", "custom_id", "response", "error"]
        assert line["response"] is not None or line["error"] is not None
        assert line["response"] is None or list(line["response"]) == ["status_code", "request_id", "body"]
        assert line["error"] is None or list(line["error"]) == ["code", "message"]
    assert len({line["id"] for line in found}) == len(found)
    return found


def answer_of(line: dict[str, Any]) -> str | None:
    """The text of an answered line, whose body the SDK takes for a completion."""
    assert line["error"] is None
    assert line["response"]["status_code"] == 200
    assert line["response"]["request_id"]
    completion = ChatCompletion.model_validate(line["response"]["body"], strict=True)
    assert completion.usage is not None
    return completion.choices[0].message.content


def test_an_input_file_of_the_batch_api_becomes_its_output_file(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", *map(asked, range(20)))
    bench.run("in.jsonl", "--base-url", gateway.base_url, *BATCH, "-o", "out.jsonl")
    found = lines(bench.folder / "out.jsonl")
    assert [line["custom_id"] for line in found] == [f"request-{number}" for number in range(20)]
    assert all(str(number) in (answer_of(line) or "") for number, line in enumerate(found))
    assert not (bench.folder / "out.jsonl.errors.jsonl").exists()


@pytest.mark.parametrize("stream", ["false", "true"])
def test_rows_that_failed_are_in_a_file_of_their_own_with_what_came(
    bench: Bench, gateway: Gateway, stream: str
) -> None:
    bench.write("in.jsonl", asked(0), asked(1, "[[status:422]]"), asked(2, "[[reset]]"), "{no json", asked(4))
    options = ("--attempts", "1", "-o", "out.jsonl.gz", "--param", f"stream={stream}")
    bench.run("in.jsonl", "--base-url", gateway.base_url, *BATCH, *options, code=1)
    assert [line["custom_id"] for line in lines(bench.folder / "out.jsonl.gz")] == ["request-0", "request-4"]
    refused, broken, unread = lines(bench.folder / "out.jsonl.gz.errors.jsonl")
    assert refused["error"] is None
    assert refused["response"]["status_code"] == 422
    assert "422" in str(refused["response"]["body"]["error"])
    assert (broken["custom_id"], broken["response"], broken["error"]["code"]) == ("request-2", None, "reset")
    assert (unread["custom_id"], unread["response"], unread["error"]["code"]) == ("3", None, "invalid_row")


def test_a_reply_that_was_no_use_stands_beside_what_is_wrong_with_it(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", asked(0, "[[html]]"), asked(1, "[[empty]]"), asked(2))
    bench.run("in.jsonl", "--base-url", gateway.base_url, *BATCH, "--attempts", "1", "-o", "out.jsonl", code=1)
    page, empty = lines(bench.folder / "out.jsonl.errors.jsonl")
    assert (page["response"]["status_code"], page["error"]["code"]) == (200, "invalid_reply")
    assert isinstance(page["response"]["body"], str)
    assert (empty["response"]["status_code"], empty["error"]["code"]) == (200, "empty_answer")
    assert ChatCompletion.model_validate(empty["response"]["body"])


def test_failures_go_when_they_are_asked_again_and_answered(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--fault", "5xx=0.5", "--seed", "5")
    bench.write("in.jsonl", *map(asked, range(12)))
    job = ("in.jsonl", "--base-url", gateway.base_url, *BATCH, "-o", "out.jsonl", "--attempts", "1")
    bench.run(*job, "--max-failed", "none", code=1)
    errors = bench.folder / "out.jsonl.errors.jsonl"
    assert lines(errors)
    while errors.exists():
        bench.start("retry", "out.jsonl").communicate(timeout=100)
        rest = lines(errors) if errors.exists() else []
        assert len(lines(bench.folder / "out.jsonl")) + len(rest) == 12
    bench.run(*job)
    assert len(lines(bench.folder / "out.jsonl")) == 12


def test_files_of_vllm_and_together_are_taken(bench: Bench, gateway: Gateway) -> None:
    """Together asks for custom_id and body only; vLLM names a method and, at times, the stream itself."""
    together = {"custom_id": "t" * 64, "body": asked(1)["body"]}
    vllm = asked(2) | {"url": "/v1/chat/completions", "method": "POST"}
    vllm["body"] |= {"stream": False, "max_completion_tokens": 20, "guided_choice": ["a", "b"]}
    del vllm["body"]["max_tokens"]
    bench.write("in.jsonl", together, vllm)
    bench.run("in.jsonl", "--base-url", gateway.base_url, *BATCH, "-o", "out.jsonl")
    assert [line["custom_id"] for line in lines(bench.folder / "out.jsonl")] == ["t" * 64, "request-2"]


def test_any_row_may_be_written_so_and_a_run_with_bodies_exported(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", {"prompt": "a"}, {"prompt": "b [[status:422]]"})
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--raw", code=1)
    for name in ("x.jsonl", "x.jsonl.zst"):
        bench.call("export", "in.jsonl", "-o", name, *BATCH)
        assert [line["custom_id"] for line in lines(bench.folder / f"{name}.errors.jsonl")] == ["1"]
    assert answer_of(lines(bench.folder / "x.jsonl")[0]) == bench.output()[0]["response"]
    written = bench.call("export", "in.jsonl", "-o", "-", *BATCH).stdout
    assert [json.loads(line)["custom_id"] for line in written.splitlines()] == ["0", "1"]
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, *BATCH, code=1)
    assert gateway.ledger()["arrivals"] == 2
    assert (bench.folder / "in.results.jsonl.errors.jsonl").exists()
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--raw", code=1)
    assert "raw" in bench.output()[0]
    assert not (bench.folder / "in.results.jsonl.errors.jsonl").exists()


def test_a_run_without_bodies_can_t_be_written_so_and_is_told_what_to_do(bench: Bench, gateway: Gateway) -> None:
    bench.prompts(2)
    job = ("in.jsonl", *MODEL, "--base-url", gateway.base_url)
    bench.run(*job)
    assert "run with --raw" in bench.call("export", "in.jsonl", "-o", "x.jsonl", *BATCH, code=78).stderr
    assert sorted(path.name for path in bench.folder.glob("x*")) == []
    assert "the gateway's bodies" in bench.run(*job, *BATCH, code=65).stderr
    assert "run with --raw" in bench.run(*job, *BATCH, "--on-drift", "keep", code=78).stderr
    assert gateway.ledger()["arrivals"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "out.parquet"), "name a .jsonl file"),
        (("-o", "out/"), "one file"),
        (("-o", "there.jsonl"), "there.jsonl.errors.jsonl exists and is not of this run"),
    ],
)
def test_what_can_t_be_written_so_is_refused_before_anything_is_sent(
    bench: Bench, gateway: Gateway, options: tuple[str, ...], words: str
) -> None:
    bench.prompts(1)
    (bench.folder / "there.jsonl.errors.jsonl").write_text("mine")
    assert words in bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, *BATCH, *options, code=78).stderr
    assert gateway.ledger()["arrivals"] == 0
    assert (bench.folder / "there.jsonl.errors.jsonl").read_text() == "mine"


def test_a_sweep_has_no_place_in_it(bench: Bench) -> None:
    bench.prompts(1)
    (bench.folder / "job.toml").write_text('input = "in.jsonl"\n[sweep]\nmodel = ["a", "b"]\n')
    assert "no variants" in bench.run("job.toml", "--simulate", *BATCH, code=78).stderr
    bench.run("job.toml", "--simulate", "--raw", "-o", "out.jsonl")
    assert "no variants" in bench.call("export", "out.jsonl", "-o", "x.jsonl", *BATCH, code=78).stderr
