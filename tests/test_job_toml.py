"""What is no TOML is told so, with its line; no bytes do worse."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jobs import refused

from batchrunner.errors import UsageError
from batchrunner.job.load import parse_job, with_options
from batchrunner.job.schema import Job


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
    with pytest.raises(UsageError, match=r"job\.toml(:\d)?: this is no TOML: "):
        parse_job(content, name="job.toml")


@pytest.mark.parametrize("name", ["acme/small", "a:b", "a b", "é", "acme/gpt-5.5"])
@pytest.mark.parametrize("header", ["[limits.{}]", "  [ limits . {} ]  # ours", "[limits.{}"])
def test_a_models_name_without_its_quotes_is_shown_with_them(name: str, header: str) -> None:
    told = refused('input = "a"\n' + header.format(name) + "\nrequests_per_minute = 5")
    assert told.startswith("job.toml:2: this is no TOML: ")
    assert told.endswith(f'needs quotes: [limits."{name}"].')


@pytest.mark.parametrize("text", ["[limits.small", "[limits.", "[limits", '[limits."a/b"', "x = acme/small"])
def test_quotes_are_not_asked_for_where_they_are_not_what_is_missing(text: str) -> None:
    assert "needs quotes" not in refused('input = "a"\n' + text)


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
