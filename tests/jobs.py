"""A whole job file, and what is made of texts, for the tests of job files."""

import re

import pytest

from batchrunner.errors import UsageError
from batchrunner.job.load import parse_job
from batchrunner.job.schema import Job

WHOLE = """
input  = "questions.parquet"
output = "out/answers.parquet"

[gateway]
base_url = "https://gateway.example/v1"
api_key_env = "ACME_KEY"
auth_scheme = "Bearer"
account = "team"

[request]
model  = "acme/llama-3-70b"
system = "You are a careful tutor."
prompt = "Solve step by step.\\n\\n{{ question }}"
params = { temperature = 0, max_tokens = 512 }

[limits]
requests_per_second = 50
requests_per_minute = 3000
tokens_per_second = 20_000
tokens_per_minute = 1_000_000
requests_per_day = 100_000
tokens_per_day = 50_000_000
daily_reset = "00:00 America/Los_Angeles"
token_accounting = "upfront"
scope = "model"
concurrency = 64
max_concurrency = 64

[limits."acme/small"]
requests_per_minute = 12_000
concurrency = "auto"
daily_reset = "08:30 Europe/Berlin"

[limits.tiny]
tokens_per_day = 1_000
token_accounting = "settled"
concurrency = 2
max_concurrency = 8

[retry]
attempts = 3
timeout = 90

[run]
on_daily_limit = "wait"
"""


def parsed(text: str) -> Job:
    """The job that a text says."""
    return parse_job(text.encode(), name="job.toml")


def refused(text: str) -> str:
    """Why a text is no job."""
    with pytest.raises(UsageError) as caught:
        parsed(text)
    return str(caught.value)


def refused_at(text: str) -> tuple[str, str]:
    """Why a job with these lines is none, and which line that names."""
    whole = f'input = "a"\n{text}'
    told = refused(whole)
    return told, line_named(told, whole)


def line_named(told: str, text: str) -> str:
    """The line of the text that the words name."""
    found = re.match(r"job\.toml:(\d+): ", told)
    assert found is not None, told
    return text.splitlines()[int(found[1]) - 1]
