"""Options override the job file, and are held to its rules."""

from typing import Any

import pytest
from jobs import WHOLE, parsed

from batchrunner.errors import BatchrunnerError
from batchrunner.job.load import with_options


def test_options_override_the_file_and_the_rest_stays() -> None:
    options: dict[str, dict[str, Any]] = {
        "": {"output": "other.jsonl"},
        "gateway": {"base_url": None, "auth_scheme": "Api-Key"},
        "request": {"model": "acme/small", "params": {"stop": None}},
        "limits": {"requests_per_minute": 600, "concurrency": "auto"},
        "retry": {"timeout": 5},
    }
    job = with_options(parsed(WHOLE), options)
    assert (job.input, job.output) == ("questions.parquet", "other.jsonl")
    assert (job.gateway.base_url, job.gateway.auth_scheme) == ("https://gateway.example/v1", "Api-Key")
    assert (job.request.model, job.request.params) == ("acme/small", {"stop": None})
    assert job.request.system == "You are a careful tutor."
    assert (job.limits.requests_per_minute, job.limits.concurrency) == (600, "auto")
    assert (job.limits.tokens_per_minute, job.retry.timeout, job.retry.attempts) == (10**6, 5.0, 3)


def test_options_that_say_nothing_change_nothing() -> None:
    job = parsed(WHOLE)
    assert with_options(job, {"": {"output": None}, "limits": {"concurrency": None}}) == job


def test_a_limit_that_is_an_option_holds_for_every_model() -> None:
    limits = with_options(parsed(WHOLE), {"limits": {"requests_per_minute": 600, "token_accounting": None}}).limits
    assert {limits.for_model(model).requests_per_minute for model in ("acme/small", "tiny", "other")} == {600}
    assert limits.for_model("acme/small").reset == (8, 30, "Europe/Berlin")
    assert limits.for_model("tiny").token_accounting == "settled"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limits": {"concurrency": "lots"}}, "concurrency"),
        ({"limits": {"requests_per_minute": 10**400}}, "requests_per_minute"),
        ({"limits": {"max_concurrency": 32}}, "limits.concurrency = 64 is more than max_concurrency = 32"),
        ({"limits": {"daily_reset": "24:00 UTC"}}, "limits.daily_reset: '24:00 UTC' is no daily reset"),
        ({"limits": {"token_accounting": "both"}}, "limits.token_accounting"),
        ({"run": {"on_daily_limit": "stop"}}, "run.on_daily_limit"),
        ({"retry": {"timeout": float("inf")}}, "retry.timeout"),
        ({"retry": {"attempts": 0}}, "retry.attempts"),
        ({"request": {"params": {"n": 4}}}, "samples = 4"),
    ],
)
def test_options_are_held_to_the_rules_of_the_file(options: dict[str, dict[str, Any]], words: str) -> None:
    with pytest.raises(BatchrunnerError, match="the options: ") as caught:
        with_options(parsed(WHOLE), options)
    assert words in str(caught.value)
