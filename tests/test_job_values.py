"""A value that its key does not take is refused with its line, in the words of the file."""

import pytest
from conftest import Bench
from jobs import line_named, refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input = 5", "input"),
        ('input = ["a"]', "input"),
        ('input = "a"\ngateway = 5', "gateway"),
        ('input = "a"\n[[gateway]]\nbase_url = "x"', "gateway"),
        ('input = "a"\n[gateway]\nauth_scheme = "Basic"', "gateway.auth_scheme"),
        ('input = "a"\n[request]\nparams = "x"', "request.params"),
        ('input = "a"\n[limits]\nrequests_per_minute = "3000"', "limits.requests_per_minute"),
        ('input = "a"\n[limits]\nrequests_per_minute = true', "limits.requests_per_minute"),
        ('input = "a"\n[limits]\nrequests_per_minute = 1.5', "limits.requests_per_minute"),
        ('input = "a"\n[limits]\nrequests_per_minute = 0', "limits.requests_per_minute"),
        ('input = "a"\n[limits]\ntokens_per_second = -1', "limits.tokens_per_second"),
        ('input = "a"\n[limits]\ntokens_per_minute = 1' + "0" * 400, "limits.tokens_per_minute"),
        ('input = "a"\n[limits]\nconcurrency = 0', "limits.concurrency"),
        ('input = "a"\n[limits]\nconcurrency = "many"', "limits.concurrency"),
        ('input = "a"\n[limits]\nrequests_per_day = 0', "limits.requests_per_day = 0 is not"),
        ('input = "a"\n[limits]\ntokens_per_day = 1.5', "limits.tokens_per_day"),
        ('input = "a"\n[limits]\ntokens_per_day = 1' + "0" * 16, "limits.tokens_per_day = 10000000000000000 is not"),
        ('input = "a"\n[limits]\nmax_concurrency = 0', "limits.max_concurrency = 0 is not"),
        ('input = "a"\n[limits]\nmax_concurrency = "auto"', "limits.max_concurrency"),
        ('input = "a"\n[limits]\nconcurrency = 9\nmax_concurrency = 8', "concurrency = 9 is more than max_concurrency"),
        ('input = "a"\n[limits]\ndaily_reset = "noon"', "limits.daily_reset: 'noon' is no daily reset"),
        ('input = "a"\n[limits]\ndaily_reset = 0', "limits.daily_reset"),
        ('input = "a"\n[limits]\ndaily_reset = 00:00:00', "limits.daily_reset"),
        ('input = "a"\n[limits]\ntoken_accounting = "completion"', "limits.token_accounting"),
        ('input = "a"\n[limits]\nscope = "key"', "limits.scope"),
        ('input = "a"\nlimits = 5', "limits"),
        ('input = "a"\n[[limits]]\nconcurrency = 5', "limits"),
        ('input = "a"\n[limits]\nconcurrency = { max = 5 }', "limits.concurrency"),
        ('input = "a"\n[limits."acme/small"]\ntokens_per_day = "5"', 'limits."acme/small".tokens_per_day'),
        ('input = "a"\n[limits."acme/small"]\ntokens_per_day = 0', 'limits."acme/small".tokens_per_day = 0 is not'),
        ('input = "a"\n[limits.tiny]\ndaily_reset = "0:00 Mars"', "limits.tiny.daily_reset: there is no zone 'Mars'"),
        (
            'input = "a"\n[limits]\nconcurrency = 9\n[limits.tiny]\nmax_concurrency = 8',
            "limits.tiny.concurrency = 9 is more than max_concurrency = 8",
        ),
        (
            'input = "a"\n[limits]\nscope = "account"\n[limits."acme/small"]\ntokens_per_day = 5',
            'limits."acme/small" can\'t be: limits.scope = "account" counts all models together',
        ),
        ('input = "a"\n[run]\non_daily_limit = "stop"', "run.on_daily_limit"),
        ("input = ''", 'input = "" is no path'),
        ('input = "a\\u0000b"', "input = "),
        ('output = " "\ninput = "a"', 'output = " " is no path'),
        ('input = "a"\n[request]\nparams = { a = [0, nan] }', "request.params.a[1] = nan is no number"),
        ('input = "a"\n[request]\nparams = { a = { "b c" = -inf } }', 'request.params.a."b c" = -inf is no number'),
        ('input = "a"\n[request]\nparams = { seed = 9223372036854775808 }', "= 9223372036854775808 has more than 64"),
        ('input = "a"\n[request]\nparams = { day = 2026-01-31 }', "= 2026-01-31 is a date or time"),
        ('input = "a"\n[request]\nparams = { at = 07:30:00 }', "= 07:30:00 is a date or time"),
        (f'input = "a"\n[request]\nparams = {{ a = {"[" * 70}{"]" * 70} }}', "request.params.a is nested too deep"),
        ('input = "a"\n[request]\nmodel = ""', "request.model is empty"),
        ('input = "a"\n[request]\nprompt = "\\n"', "request.prompt is empty"),
        ('input = "a"\n[gateway]\nbase_url = ""', 'gateway.base_url = "" is no URL'),
        ('input = "a"\n[gateway]\nbase_url = "gateway.example/v1"', 'base_url = "gateway.example/v1" is no URL'),
        ('input = "a"\n[gateway]\nbase_url = "https://me:pw@gateway.example"', "must hold no user name"),
        ('input = "a"\n[gateway]\napi_key_env = ""', "gateway.api_key_env takes the name of an environment variable"),
        ('input = "a"\n[limits.""]\nconcurrency = 5', 'limits."" is no model'),
        ('input = "a"\n[retry]\nattempts = 0', "retry.attempts"),
        ('input = "a"\n[retry]\ntimeout = 0', "retry.timeout"),
        ('input = "a"\n[retry]\ntimeout = -5', "retry.timeout"),
        ('input = "a"\n[retry]\ntimeout = nan', "retry.timeout"),
        ('input = "a"\n[retry]\ntimeout = inf', "retry.timeout"),
        ('input = "a"\n[retry]\ntimeout = "90s"', "retry.timeout"),
        ('input = "a"\n[request]\nparams = { n = 2 }', "samples = 4"),
        ('input = "a"\n[request]\nparams = { stream = "yes" }', 'stream = "yes" is neither true nor false'),
        ('input = "a"\n[request]\nparams = { model = "x" }', "--model"),
        ('input = "a"\n[request]\nparams = { messages = [] }', "the rows"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_key(text: str, words: str) -> None:
    told = refused(text)
    assert words in told
    assert "$" not in told
    assert line_named(told, text) != 'input = "a"'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the key `input` is missing."),
        ("input = 5", "input takes a text in quotes, not a whole number: 5."),
        ('input = ["a"]', "input takes a text in quotes, not a list."),
        ('input = "a"\ngateway = 5', "gateway takes a table, not a whole number: 5."),
        (
            'input = "a"\n[limits]\ntokens_per_minute = "3000"',
            'limits.tokens_per_minute takes a whole number, not a text in quotes: "3000".',
        ),
        (
            'input = "a"\n[limits.tiny]\ntokens_per_day = 1.5',
            "limits.tiny.tokens_per_day takes a whole number, not a fraction: 1.5.",
        ),
        (
            'input = "a"\n[limits]\nconcurrency = true',
            'limits.concurrency takes a whole number or "auto", not true.',
        ),
        ('input = "a"\n[limits]\nconcurrency = "many"', 'takes a whole number or "auto", not "many".'),
        ('input = "a"\n[limits]\nscope = "key"', 'limits.scope takes "model" or "account", not "key".'),
        ('input = "a"\n[run]\non_daily_limit = 5', 'takes "wait" or "park", not a whole number: 5.'),
        (
            'input = "a"\n[limits]\ndaily_reset = 00:00:00',
            "takes a text in quotes, not a time of day without quotes: 00:00:00.",
        ),
        ('input = "a"\n[retry]\ntimeout = "90s"', 'retry.timeout takes a number, not a text in quotes: "90s".'),
        ('input = "a"\n[limits]\ndaily_reset = "8:30 Berlin"', "no zone 'Berlin'; did you mean 'Europe/Berlin'?"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_file(text: str, words: str) -> None:
    told = refused(text)
    assert told.endswith(words)
    assert told.startswith("job.toml:")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('input = "a"\n\n# more\n[retry]\ntimeout = 5\nattempts = 0', 6),
        ('retry.attempts = 0\ninput = "a"', 1),
        ('input = "a"\nretry = { timeout = 5,  attempts = 0 }', 2),
        ('input = "a"\n"retry" . \'attempts\' = 0', 2),
        ('input = "a"\n[request]\nprompt = """\nattempts = 1\n[retry]\n"""\n[retry]\nattempts = 0', 8),
        ('input = "a"\r\n[retry]\r\nattempts = 0\r\n', 3),
        ('\ufeffinput = "a"\n[retry]\nattempts = 0', 3),
        ('input = "a"\n[request]\nparams = {}\n[request.params.n]\n', 4),
        ('input = "a"\n[limits]\nconcurrency = 9\nmax_concurrency = 8', 3),
        ('input = "a"\n[limits]\nconcurrency = 9\n[limits.tiny]\nmax_concurrency = 8', 4),
    ],
)
def test_a_wrong_value_is_named_with_its_line(text: str, line: int) -> None:
    assert refused(text).startswith(f"job.toml:{line}: ")


def test_a_job_file_that_is_wrong_ends_with_78_and_leaves_nothing(bench: Bench) -> None:
    bench.prompts(1)
    bench.write("job.toml", 'input = "in.jsonl"', "[limits]", "requests_per_minute = -5")
    told = bench.run("job.toml", "--simulate", code=78)
    assert told.stderr.startswith("batchrunner: job.toml:3: limits.requests_per_minute = -5 is not a number from 1 to ")
    assert sorted(path.name for path in bench.folder.iterdir()) == ["in.jsonl", "job.toml"]
