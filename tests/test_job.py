"""What a job file says."""

from pathlib import Path

import pytest
from jobs import WHOLE, parsed

from batchrunner.job.schema import BASE_URL, ModelLimits


def test_a_whole_job_file_is_read() -> None:
    job = parsed(WHOLE)
    assert (job.input, job.output) == ("questions.parquet", "out/answers.parquet")
    assert (job.gateway.base_url, job.gateway.api_key_env) == ("https://gateway.example/v1", "ACME_KEY")
    assert (job.gateway.auth_scheme, job.gateway.account) == ("Bearer", "team")
    assert job.request.model == "acme/llama-3-70b"
    assert job.request.prompt == "Solve step by step.\n\n{{ question }}"
    assert job.request.params == {"temperature": 0, "max_tokens": 512}
    assert (job.limits.requests_per_minute, job.limits.tokens_per_minute) == (3000, 10**6)
    assert (job.limits.requests_per_second, job.limits.tokens_per_second) == (50, 20_000)
    assert (job.limits.requests_per_day, job.limits.tokens_per_day) == (100_000, 50_000_000)
    assert (job.limits.daily_reset, job.limits.reset) == ("00:00 America/Los_Angeles", (0, 0, "America/Los_Angeles"))
    assert (job.limits.token_accounting, job.limits.scope) == ("upfront", "model")
    assert (job.limits.concurrency, job.limits.max_concurrency) == (64, 64)
    assert (job.retry.attempts, job.retry.timeout, job.run.on_daily_limit) == (3, 90.0, "wait")
    assert job.limits.models == {
        "acme/small": ModelLimits(requests_per_minute=12_000, concurrency="auto", daily_reset="08:30 Europe/Berlin"),
        "tiny": ModelLimits(tokens_per_day=1000, token_accounting="settled", concurrency=2, max_concurrency=8),
    }


def test_the_defaults_are_those_of_the_contract() -> None:
    job = parsed('input = "a.jsonl"')
    assert job.output_path == Path("a.results.jsonl")
    assert (job.gateway.base_url, job.gateway.auth_scheme) == (BASE_URL, "Api-Key")
    assert BASE_URL == "https://inference.baseten.co/v1"
    assert (job.retry.attempts, job.retry.timeout, job.limits.concurrency) == (6, 1200.0, "auto")
    assert job.limits.requests_per_minute is None
    assert (job.limits.requests_per_day, job.limits.tokens_per_day, job.limits.max_concurrency) == (None, None, None)
    assert (job.limits.daily_reset, job.limits.token_accounting, job.limits.scope) == ("00:00 UTC", "settled", "model")
    assert (job.limits.models, job.run.on_daily_limit) == ({}, None)


def test_a_table_of_a_model_says_what_differs_and_the_rest_is_as_for_all() -> None:
    limits = parsed(WHOLE).limits
    small, tiny = limits.for_model("acme/small"), limits.for_model("tiny")
    assert (small.requests_per_minute, small.concurrency, small.reset) == (12_000, "auto", (8, 30, "Europe/Berlin"))
    assert (small.requests_per_second, small.tokens_per_minute, small.tokens_per_day) == (50, 10**6, 50_000_000)
    assert (small.token_accounting, small.max_concurrency, small.scope) == ("upfront", 64, "model")
    assert (tiny.requests_per_minute, tiny.tokens_per_day, tiny.token_accounting) == (3000, 1000, "settled")
    assert (tiny.concurrency, tiny.max_concurrency) == (2, 8)
    other = limits.for_model("acme/other")
    assert (other.requests_per_minute, other.daily_reset, other.concurrency) == (3000, limits.daily_reset, 64)
    assert other.for_model("tiny") == other


@pytest.mark.parametrize("model", ["models", "gpt-5.5", "a b", "Concurrency", "org/request_per_minute"])
def test_a_model_may_have_nearly_any_name(model: str) -> None:
    limits = parsed(f'input = "a"\n[limits]\ntokens_per_day = 9\n[limits."{model}"]\nrequests_per_day = 5').limits
    assert (limits.for_model(model).requests_per_day, limits.for_model(model).tokens_per_day) == (5, 9)
    assert limits.for_model("other").requests_per_day is None


def test_parameters_may_have_any_name() -> None:
    assert parsed('input = "a"\n[request.params]\nanything = { deep = [1] }').request.params == {
        "anything": {"deep": [1]}
    }
