"""How the daily reset is written."""

from contextlib import suppress
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.job.reset import parse_reset


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
