"""Gateways named once in a user's own file, and jobs that name them."""

from pathlib import Path

import pytest
from conftest import Bench, Simulate
from jobs import refused

from batchrunner.errors import UsageError
from batchrunner.job.load import parse_job, with_options
from batchrunner.job.profiles import profiles_path
from batchrunner.job.schema import Job
from batchrunner.job.sheet import parse_sheet

PROFILES = """
[gateways.acme]
base_url = "https://gateway.example/v1/"
auth_scheme = "Bearer"
api_key_env = "ACME_KEY"
account = "team"
headers = { X-Org = "acme" }

[gateways.acme.limits]
requests_per_minute = 600
concurrency = 9
[gateways.acme.limits."acme/small"]
requests_per_minute = 6000
tokens_per_day = 5

[gateways.other]
"""


def said(job: str, profiles: str = PROFILES) -> Job:
    """The job of these two files."""
    return parse_job(job.encode(), name="job.toml", profiles=parse_sheet(profiles.encode(), name="config.toml"))


def told(job: str, profiles: str) -> str:
    """Why these two files are no job."""
    with pytest.raises(UsageError) as caught:
        said(job, profiles)
    return str(caught.value)


def test_a_job_names_a_gateway_and_has_all_that_its_profile_says() -> None:
    job = said('input = "a"\ngateway = "acme"')
    gateway = job.gateway
    assert (gateway.base_url, gateway.auth_scheme) == ("https://gateway.example/v1", "Bearer")
    assert (gateway.api_key_env, gateway.account, gateway.headers) == ("ACME_KEY", "team", {"X-Org": "acme"})
    assert (job.limits.requests_per_minute, job.limits.concurrency) == (600, 9)
    assert job.limits.for_model("acme/small").requests_per_minute == 6000


def test_a_job_that_names_a_gateway_is_the_job_that_describes_it() -> None:
    limits = '[limits]\nrequests_per_minute = 600\nconcurrency = 9\n[limits."acme/small"]\nrequests_per_minute = 6000\n'
    table = PROFILES.partition("[gateways.acme.limits]")[0].replace("gateways.acme", "gateway")
    described = said(f'input = "a"\n{table}{limits}tokens_per_day = 5')
    named = said('input = "a"\ngateway = "acme"')
    assert named.gateway == described.gateway
    assert named.request == described.request
    assert named.limits.models == described.limits.models


def test_the_job_is_over_its_profile_and_options_are_over_both() -> None:
    text = (
        'input = "a"\ngateway = "acme"\n[limits]\nrequests_per_minute = 60\n[limits."acme/small"]\ntokens_per_day = 7'
    )
    limits = said(text).limits
    assert (limits.requests_per_minute, limits.concurrency, limits.requests_per_second) == (60, 9, None)
    small = limits.for_model("acme/small")
    assert (small.requests_per_minute, small.tokens_per_day) == (6000, 7)
    over = with_options(said(text), {"limits": {"concurrency": 3}, "gateway": {"auth_scheme": "Api-Key"}})
    assert (over.limits.concurrency, over.limits.requests_per_minute) == (3, 60)
    assert (over.gateway.auth_scheme, over.gateway.base_url) == ("Api-Key", "https://gateway.example/v1")


def test_a_profile_may_say_nothing_and_the_rest_is_as_ever() -> None:
    assert said('input = "a"\ngateway = "other"') == said('input = "a"')


@pytest.mark.parametrize(
    ("job", "profiles", "words"),
    [
        ('input = "a"\ngateway = "acm"', PROFILES, 'job.toml:2: gateway = "acm" is no profile in config.toml; did you'),
        ('input = "a"\ngateway = "acm"', PROFILES, 'did you mean "acme"?'),
        ('input = "a"\ngateway = "zzz"', PROFILES, "there are: acme, other."),
        ('input = "a"\ngateway = ""', "", "there are none: write a table [gateways.NAME]."),
        ('input = "a"\ngateway = "x"', "\n[gateway.x]", "config.toml:2: there is no key `gateway` here"),
        ('input = "a"\ngateway = "x"', "gateways = 5", "config.toml:1: gateways takes tables such as"),
        ('input = "a"\ngateway = "x"', "\ngateways.x = 5", "config.toml:2: gateways.x takes a table."),
        ('input = "a"\ngateway = "x"', "[gateways.x]\nbase = 5", "config.toml:2: [gateways.x] has no key `base`; did"),
        (
            'input = "a"\ngateway = "x"',
            "[gateways.x]\nlimts = 5",
            "[gateways.x] has no key `limts`; did you mean `limits`?",
        ),
        (
            'input = "a"\ngateway = "x"',
            "[gateways.x]\n[gateways.x.limits]\nrpm = 5",
            "config.toml:3: [gateways.x.limits] has no key `rpm`; did you mean `requests_per_minute`?",
        ),
        (
            'input = "a"\ngateway = "x"',
            "[gateways.x.limits.tiny]\nconcurrency = 0",
            "config.toml:2: gateways.x.limits.tiny.concurrency = 0 is not a number",
        ),
        (
            'input = "a"\ngateway = "x"',
            "\n[gateways.x]\nauth_scheme = 5",
            'config.toml:3: gateways.x.auth_scheme takes "Api-Key" or "Bearer", not a whole number: 5.',
        ),
        (
            'input = "a"\ngateway = "acme"\n[limits]\nmax_concurrency = 8',
            PROFILES,
            "config.toml:11: gateways.acme.limits.concurrency = 9 is more than max_concurrency = 8.",
        ),
        ('input = "a"\ngateway = "acme"\n[limits]\nscope = "x"', PROFILES, "job.toml:4: limits.scope takes"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_line(job: str, profiles: str, words: str) -> None:
    assert words in told(job, profiles)


@pytest.mark.parametrize("key", ["api_key", "key", "token", "Api-Key", "password", "secret"])
def test_a_secret_is_refused_with_the_way_to_say_it_and_not_shown(key: str) -> None:
    words = told('input = "a"\ngateway = "x"', f'[gateways.x]\n{key} = "hush"')
    assert words.startswith(f"config.toml:2: [gateways.x] has no key `{key}`; no secrets in files: ")
    assert 'api_key_env = "NAME"' in words
    assert "--api-key-file" in words
    assert "hush" not in words
    words = refused(f'input = "a"\n[gateway]\n{key} = "hush"')
    assert words.startswith(f"job.toml:3: [gateway] has no key `{key}`; no secrets in files: ")
    assert "hush" not in words


@pytest.mark.parametrize(
    "line",
    [
        'gateway.auth_scheme = "Bearer sk-hush-hush-hush"',
        'gateway.api_key_env = "sk-hush-hush-hush"',
        'gateway.base_url = "sk-hush-hush-hush"',
        'limits.concurrency = "hush4hush4hush4hush4"',
        'request.params.api_key = "hush"',
        'api_key = "hush"',
        'gateway.api_key = sk-hush"',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(line: str) -> None:
    assert "hush" not in refused(f'input = "a"\n{line}')


def test_the_file_of_profiles_is_where_the_environment_says() -> None:
    assert profiles_path({"BATCHRUNNER_CONFIG": "/x/c.toml", "XDG_CONFIG_HOME": "/y"}) == Path("/x/c.toml")
    assert profiles_path({"XDG_CONFIG_HOME": "/y"}) == Path("/y/batchrunner/config.toml")
    home = Path.home() / ".config" / "batchrunner" / "config.toml"
    assert [profiles_path({}), profiles_path({"XDG_CONFIG_HOME": "relative"})] == [home, home]


def test_a_run_goes_on_when_its_gateway_is_named_or_described(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rps", "50", "--auth-scheme", "Bearer")
    described = [f'base_url = "{gateway.base_url}"', 'auth_scheme = "Bearer"', 'api_key_env = "ACME_KEY"']
    config = bench.write(
        "profiles.toml", "[gateways.acme]", *described, "[gateways.acme.limits.'m/x']", "concurrency = 5"
    )
    bench.environment |= {"BATCHRUNNER_CONFIG": str(config), "ACME_KEY": bench.environment.pop("BATCHRUNNER_API_KEY")}
    bench.prompts(6)
    asked = ['input = "in.jsonl"', "request.model = 'm/m'"]
    bench.write("job.toml", *asked, 'gateway = "acme"')
    bench.run("job.toml", "--limit", "3")
    bench.write("job.toml", *asked, "[gateway]", *described)
    bench.run("job.toml")
    bench.write("job.toml", *asked, 'gateway = "acme"')
    assert "nothing was left to ask" in bench.run("job.toml").stdout
    assert bench.summary()["units"]["ok"] == 6
    assert len(gateway.entries()) == 6
