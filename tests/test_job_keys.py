"""A key that no job has is refused with its line and the name that was meant."""

import pytest
from jobs import line_named, refused


@pytest.mark.parametrize(
    ("text", "key", "place", "advice"),
    [
        ('inptu = "a"', "inptu", "the job", "`input`"),
        ('input = "a"\nouput = "b"', "ouput", "the job", "`output`"),
        ('input = "a"\n[limts]\nrequests_per_minute = 5', "limts", "the job", "`limits`"),
        ('input = "a"\n[gateway]\nbaseurl = "x"', "baseurl", "[gateway]", "`base_url`"),
        ('input = "a"\n[gateway]\napi_key = "sk-x"', "api_key", "[gateway]", "api_key_env = "),
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
    assert key in line_named(words, text)
    assert f"no key `{key}`" in words
    assert place in words
    assert advice in words
    assert not words.endswith("?.")
