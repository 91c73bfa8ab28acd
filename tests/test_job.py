"""Job files: what they say, what is refused and how it is explained, and options that override them."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchrunner.errors import BatchrunnerError, InputError, UsageError
from batchrunner.job.load import LARGEST_FILE, load_job, parse_job, with_options
from batchrunner.job.reset import parse_reset
from batchrunner.job.schema import BASE_URL, Job, ModelLimits

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


@pytest.mark.parametrize(
    ("text", "key", "place", "advice"),
    [
        ('inptu = "a"', "inptu", "the job", "`input`"),
        ('input = "a"\nouput = "b"', "ouput", "the job", "`output`"),
        ('input = "a"\n[limts]\nrequests_per_minute = 5', "limts", "the job", "`limits`"),
        ('input = "a"\n[gateway]\nbaseurl = "x"', "baseurl", "[gateway]", "`base_url`"),
        ('input = "a"\n[gateway]\napi_key = "sk-x"', "api_key", "[gateway]", "`api_key_env`"),
        ('input = "a"\n[request]\nmodle = "x"', "modle", "[request]", "`model`"),
        ('input = "a"\n[request]\nparms = {}', "parms", "[request]", "`params`"),
        ('input = "a"\n[limits]\nrequest_per_minute = 5', "request_per_minute", "[limits]", "`requests_per_minute`"),
        ('input = "a"\n[limits]\nrequests_per_days = 5', "requests_per_days", "[limits]", "`requests_per_day`"),
        ('input = "a"\n[limits]\ndaily_rest = "00:00 UTC"', "daily_rest", "[limits]", "`daily_reset`"),
        ('input = "a"\n[limits]\nmodels = 5', "models", "[limits]", "requests_per_day, "),
        ('input = "a"\n[limits]\n"acme/small" = 5', "acme/small", "[limits]", "requests_per_day, "),
        (
            'input = "a"\n[limits."acme/small"]\nrequest_per_day = 5',
            "request_per_day",
            '[limits."acme/small"]',
            "`requests_per_day`",
        ),
        ('input = "a"\n[limits.tiny]\nscope = "model"', "scope", "[limits.tiny]", "`scope` stands in [limits]."),
        ('input = "a"\n[limits.tiny]\nqqqqqqqq = 5', "qqqqqqqq", "[limits.tiny]", "token_accounting"),
        ('input = "a"\n[limits.gpt-5.5]\nconcurrency = 5', "5", "[limits.gpt-5]", '[limits."gpt-5.5"].'),
        ('input = "a"\n[limits.a.b.c]\nconcurrency = 5', "b", "[limits.a]", '[limits."a.b.c"].'),
        ('input = "a"\n[limits]\nrps = 5', "rps", "[limits]", "did you mean `requests_per_second`?"),
        ('input = "a"\n[limits]\nrpm = 5', "rpm", "[limits]", "did you mean `requests_per_minute`?"),
        ('input = "a"\n[limits]\nrpd = 5', "rpd", "[limits]", "did you mean `requests_per_day`?"),
        ('input = "a"\n[limits]\ntps = 5', "tps", "[limits]", "did you mean `tokens_per_second`?"),
        ('input = "a"\n[limits]\ntpm = 5', "tpm", "[limits]", "did you mean `tokens_per_minute`?"),
        ('input = "a"\n[limits."a/b"]\ntpd = 5', "tpd", '[limits."a/b"]', "did you mean `tokens_per_day`?"),
        ('input = "a"\nrpm = 5', "rpm", "the job", "`requests_per_minute` stands in [limits]."),
        ('input = "a"\nmodel = "x"', "model", "the job", "`model` stands in [request]."),
        ('[request]\ninput = "a"', "input", "[request]", "`input` stands above the first table."),
        ('input = "a"\n[request]\nmax_tokens = 5', "max_tokens", "[request]", "params = { max_tokens = ... }"),
        ('input = "a"\n[run]\non_daily_limits = "park"', "on_daily_limits", "[run]", "`on_daily_limit`"),
        ('input = "a"\n[retry]\nattemps = 5', "attemps", "[retry]", "`attempts`"),
        ('input = "a"\n[retry]\nqqqqqqqq = 5', "qqqqqqqq", "[retry]", "attempts, timeout"),
        ('input = "a"\n"" = 5', "", "the job", "input, output"),
    ],
)
def test_an_unknown_key_is_refused_with_its_place_and_the_nearest_name(
    text: str, key: str, place: str, advice: str
) -> None:
    words = refused(text)
    assert words.startswith("job.toml: ")
    assert f"no key `{key}`" in words
    assert place in words
    assert advice in words
    assert not words.endswith("?.")


def test_parameters_may_have_any_name() -> None:
    assert parsed('input = "a"\n[request.params]\nanything = { deep = [1] }').request.params == {
        "anything": {"deep": [1]}
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "input"),
        ("input = 5", "`input`"),
        ('input = ["a"]', "`input`"),
        ('input = "a"\ngateway = 5', "`gateway`"),
        ('input = "a"\n[[gateway]]\nbase_url = "x"', "`gateway`"),
        ('input = "a"\n[gateway]\nauth_scheme = "Basic"', "`gateway.auth_scheme`"),
        ('input = "a"\n[request]\nparams = "x"', "`request.params`"),
        ('input = "a"\n[limits]\nrequests_per_minute = "3000"', "`limits.requests_per_minute`"),
        ('input = "a"\n[limits]\nrequests_per_minute = true', "`limits.requests_per_minute`"),
        ('input = "a"\n[limits]\nrequests_per_minute = 1.5', "`limits.requests_per_minute`"),
        ('input = "a"\n[limits]\nrequests_per_minute = 0', "limits.requests_per_minute"),
        ('input = "a"\n[limits]\ntokens_per_second = -1', "limits.tokens_per_second"),
        ('input = "a"\n[limits]\ntokens_per_minute = 1' + "0" * 400, "limits.tokens_per_minute"),
        ('input = "a"\n[limits]\nconcurrency = 0', "limits.concurrency"),
        ('input = "a"\n[limits]\nconcurrency = "many"', "limits.concurrency"),
        ('input = "a"\n[limits]\nrequests_per_day = 0', "limits.requests_per_day is not"),
        ('input = "a"\n[limits]\ntokens_per_day = 1.5', "`limits.tokens_per_day`"),
        ('input = "a"\n[limits]\ntokens_per_day = 1' + "0" * 16, "limits.tokens_per_day is not"),
        ('input = "a"\n[limits]\nmax_concurrency = 0', "limits.max_concurrency is not"),
        ('input = "a"\n[limits]\nmax_concurrency = "auto"', "`limits.max_concurrency`"),
        ('input = "a"\n[limits]\nconcurrency = 9\nmax_concurrency = 8', "concurrency = 9 is more than max_concurrency"),
        ('input = "a"\n[limits]\ndaily_reset = "noon"', "limits.daily_reset: 'noon' is no daily reset"),
        ('input = "a"\n[limits]\ndaily_reset = 0', "`limits.daily_reset`"),
        ('input = "a"\n[limits]\ndaily_reset = 00:00:00', "`limits.daily_reset`"),
        ('input = "a"\n[limits]\ntoken_accounting = "completion"', "`limits.token_accounting`"),
        ('input = "a"\n[limits]\nscope = "key"', "`limits.scope`"),
        ('input = "a"\nlimits = 5', "`limits`"),
        ('input = "a"\n[[limits]]\nconcurrency = 5', "`limits`"),
        ('input = "a"\n[limits]\nconcurrency = { max = 5 }', "`limits.concurrency`"),
        ('input = "a"\n[limits."acme/small"]\ntokens_per_day = "5"', '`limits."acme/small".tokens_per_day`'),
        ('input = "a"\n[limits."acme/small"]\ntokens_per_day = 0', 'limits."acme/small".tokens_per_day is not'),
        ('input = "a"\n[limits.tiny]\ndaily_reset = "0:00 Mars"', "limits.tiny.daily_reset: there is no zone 'Mars'"),
        (
            'input = "a"\n[limits]\nconcurrency = 9\n[limits.tiny]\nmax_concurrency = 8',
            "limits.tiny.concurrency = 9 is more than max_concurrency = 8",
        ),
        (
            'input = "a"\n[limits]\nscope = "account"\n[limits."acme/small"]\ntokens_per_day = 5',
            'counts all models together: [limits."acme/small"]',
        ),
        ('input = "a"\n[run]\non_daily_limit = "stop"', "`run.on_daily_limit`"),
        ('input = "a"\n[retry]\nattempts = 0', "retry.attempts"),
        ('input = "a"\n[retry]\ntimeout = 0', "retry.timeout"),
        ('input = "a"\n[retry]\ntimeout = -5', "retry.timeout"),
        ('input = "a"\n[retry]\ntimeout = nan', "retry.timeout"),
        ('input = "a"\n[retry]\ntimeout = inf', "retry.timeout"),
        ('input = "a"\n[retry]\ntimeout = "90s"', "retry.timeout"),
        ('input = "a"\n[request]\nparams = { n = 2 }', "repeat the rows"),
        ('input = "a"\n[request]\nparams = { stream = "yes" }', "stream is neither true nor false"),
        ('input = "a"\n[request]\nparams = { model = "x" }', "--model"),
        ('input = "a"\n[request]\nparams = { messages = [] }', "the rows"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_key(text: str, words: str) -> None:
    told = refused(text)
    assert words in told
    assert "$" not in told


@pytest.mark.parametrize(
    "content",
    [
        b"input = ",
        b'input = "a"\ninput = "b"',
        b"[limits\n",
        b"\xff\xfe",
        b"\x00",
        b"[limits.\xff/a]",
        b"{}",
        b"x = " + b"[" * 5000,
        b'input = "a"\nx = ' + b"9" * 5000,
        b'input = "a"\nx = 2023-13-45',
    ],
)
def test_what_is_no_toml_is_told_so(content: bytes) -> None:
    with pytest.raises(UsageError, match=r"job\.toml is no TOML"):
        parse_job(content, name="job.toml")


@pytest.mark.parametrize("name", ["acme/small", "a:b", "a b", "é", "acme/gpt-5.5"])
@pytest.mark.parametrize("header", ["[limits.{}]", "  [ limits . {} ]  # ours", "[limits.{}"])
def test_a_models_name_without_its_quotes_is_shown_with_them(name: str, header: str) -> None:
    told = refused('input = "a"\n' + header.format(name) + "\nrequests_per_minute = 5")
    assert "is no TOML: " in told
    assert told.endswith(f'needs quotes: [limits."{name}"].')


@pytest.mark.parametrize("text", ["[limits.small", "[limits.", "[limits", '[limits."a/b"', "x = acme/small"])
def test_quotes_are_not_asked_for_where_they_are_not_what_is_missing(text: str) -> None:
    assert "needs quotes" not in refused('input = "a"\n' + text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the key `input` is missing."),
        ("input = 5", "`input` takes a text in quotes, not a whole number."),
        ('input = ["a"]', "`input` takes a text in quotes, not a list."),
        ('input = "a"\ngateway = 5', "`gateway` takes a table, not a whole number."),
        (
            'input = "a"\n[limits]\ntokens_per_minute = "3000"',
            "`limits.tokens_per_minute` takes a whole number, not a text in quotes.",
        ),
        (
            'input = "a"\n[limits.tiny]\ntokens_per_day = 1.5',
            "`limits.tiny.tokens_per_day` takes a whole number, not a fraction.",
        ),
        (
            'input = "a"\n[limits]\nconcurrency = true',
            '`limits.concurrency` takes a whole number or "auto", not true or false.',
        ),
        ('input = "a"\n[limits]\nconcurrency = "many"', "takes a whole number or \"auto\", not 'many'."),
        ('input = "a"\n[limits]\nscope = "key"', '`limits.scope` takes "model" or "account", not \'key\'.'),
        ('input = "a"\n[run]\non_daily_limit = 5', 'takes "wait" or "park", not a whole number.'),
        ('input = "a"\n[limits]\ndaily_reset = 00:00:00', "takes a text in quotes, not a time of day without quotes."),
        ('input = "a"\n[retry]\ntimeout = "90s"', "`retry.timeout` takes a number, not a text in quotes."),
        ('input = "a"\n[limits]\ndaily_reset = "8:30 Berlin"', "no zone 'Berlin'; did you mean 'Europe/Berlin'?"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_file(text: str, words: str) -> None:
    told = refused(text)
    assert told.endswith(words)
    assert told.startswith("job.toml: ")


PIECES = st.lists(
    st.sampled_from(
        ["input", "rpm", "=", '"a"', "\n", "[limits]", "[request.params]", "n", "5", "1e999", "nan", "{", "}"]
    )
    | st.sampled_from(["[limits.a]", "[limits.models]", "daily_reset", "scope", "max_concurrency", "[run]", "-"])
    | st.sampled_from(["[", "]", ".", "concurrency", '"auto"', "timeout", "[retry]", "true", "2020-01-01", "gateway"]),
    max_size=12,
).map(" ".join)


@given(st.binary(max_size=60) | PIECES.map(str.encode) | PIECES.map(lambda text: b'input = "a"\n' + text.encode()))
@example(b'input = "a"\nx = ' + b"9" * 5000)
def test_no_bytes_raise_anything_but_a_usage_error(content: bytes) -> None:
    try:
        job = parse_job(content, name="job.toml")
    except UsageError:
        return
    assert isinstance(job, Job)
    assert with_options(job, {}).input == job.input


def test_paths_in_a_job_file_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "job.toml").write_text('input = "data/in.jsonl"\noutput = "../out.jsonl"\n')
    monkeypatch.chdir(tmp_path)
    job = load_job(Path("jobs/job.toml"))
    assert job.input_path == Path("jobs/data/in.jsonl")
    assert job.output_path.resolve() == tmp_path / "out.jsonl"


def test_without_an_output_the_answers_go_beside_the_input(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('input = "data/in.jsonl"\n')
    assert load_job(tmp_path / "job.toml").output_path == tmp_path / "data" / "in.results.jsonl"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('input = "/data/in.jsonl"\noutput = "/data/out.jsonl"\n')
    job = load_job(tmp_path / "job.toml")
    assert (job.input, job.output) == ("/data/in.jsonl", "/data/out.jsonl")


@pytest.mark.parametrize("name", ["nothing.toml", "folder.toml"])
def test_a_job_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match=name):
        load_job(tmp_path / name)


def test_a_job_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_bytes(b'input = "a"\n#' + b"x" * LARGEST_FILE)
    with pytest.raises(UsageError, match="is it the right file"):
        load_job(tmp_path / "job.toml")
    os.truncate(tmp_path / "job.toml", LARGEST_FILE)
    assert load_job(tmp_path / "job.toml").input_path == tmp_path / "a"


def test_an_endless_job_file_is_refused_without_reading_it_all() -> None:
    with pytest.raises(UsageError, match="is it the right file"):
        load_job(Path("/dev/zero"))


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
    ("text", "reset"),
    [
        ("00:00 UTC", (0, 0, "UTC")),
        ("00:00 America/Los_Angeles", (0, 0, "America/Los_Angeles")),
        (" 8:05  Asia/Kathmandu ", (8, 5, "Asia/Kathmandu")),
        ("23:59 America/Argentina/Buenos_Aires", (23, 59, "America/Argentina/Buenos_Aires")),
    ],
)
def test_a_daily_reset_is_a_time_and_a_zone(text: str, reset: tuple[int, int, str]) -> None:
    assert parse_reset(text) == reset


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write a time and a zone"),
        ("UTC", "write a time and a zone"),
        ("00:00", "write a time and a zone"),
        ("24:00 UTC", "write a time and a zone"),
        ("12:60 UTC", "write a time and a zone"),
        ("12:5 UTC", "write a time and a zone"),
        ("-1:00 UTC", "write a time and a zone"),
        ("\u0661\u0662:00 UTC", "write a time and a zone"),
        ("00:00 utcc", "did you mean 'UTC'?"),
        ("08:30 Berlin", "did you mean 'Europe/Berlin'?"),
        ("08:30 rome", "did you mean 'Europe/Rome'?"),
        ("08:30 america/los angeles", "did you mean 'America/Los_Angeles'?"),
        ("08:30 Amerika/New_York", "did you mean 'America/New_York'?"),
        ("08:30 America", "no zone 'America'"),
        ("08:30 +02:00", "write UTC, or one such as Europe/Berlin"),
        ("08:30 ../../etc/passwd", "no zone"),
        ("08:30 /etc/localtime", "no zone"),
        ("08:30 zone.tab", "no zone"),
        ("08:30 U\0C", "no zone"),
        ("08:30 \ud800", "no zone"),
        ("08:30 " + "x" * 5000, "no zone"),
    ],
)
def test_what_is_no_daily_reset_is_told_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"no daily reset|no zone") as caught:
        parse_reset(text)
    assert words in str(caught.value)


ZONE_LIKE = st.sampled_from(["UTC", "Europe", "/", "Berlin", ".", "..", " ", "\0", "EST5EDT", "%", "tzdata"])


@given(
    st.text(max_size=20)
    | st.lists(ZONE_LIKE | st.text(max_size=3), max_size=5).map(lambda zone: "7:00 " + "".join(zone))
)
def test_no_text_raises_anything_but_what_to_write(text: str) -> None:
    with suppress(ValueError):
        hour, minute, zone = parse_reset(text)
        assert (hour in range(24), minute in range(60), ZoneInfo(zone).key) == (True, True, zone)


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
        ({"request": {"params": {"n": 4}}}, "repeat the rows"),
    ],
)
def test_options_are_held_to_the_rules_of_the_file(options: dict[str, dict[str, Any]], words: str) -> None:
    with pytest.raises(BatchrunnerError, match="the options: ") as caught:
        with_options(parsed(WHOLE), options)
    assert words in str(caught.value)
