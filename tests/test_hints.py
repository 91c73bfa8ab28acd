"""What a refusal says: the grammar and the order of hints, the classes of 429s, and no words that raise."""

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchrunner.limits.hints import (
    DAILY_SECONDS,
    LONGEST_BODY,
    LONGEST_SECONDS,
    Refusal,
    read_refusal,
    retry_after_seconds,
)
from batchrunner.records import Kind

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp()


def wait(*, body: bytes | str = b"", **headers: str) -> float | None:
    """The seconds that a reply asks us to wait."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return retry_after_seconds(named, body.encode() if isinstance(body, str) else body, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("60", 60.0),
        ("93600", float(LONGEST_SECONDS)),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 13:00:30 +0100", 30.0),
        ("Monday, 23-Nov-26 12:00:30 GMT", 30.0),
        ("Mon Nov 23 12:00:30 2026", 30.0),
        ("Tue, 24 Nov 2026 00:00:00 GMT", 12 * 3600.0),
        ("20s", 20.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float) -> None:
    assert wait(retry_after=text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "-0.001",
        "nan",
        "inf",
        "-inf",
        "1e9",
        "9" * 400,
        "93601",
        "soon",
        "1 2 3 4 5 6",
        "Mon, 99 Nov 2026 12:00:00 GMT",
        "Mon, 23 Nov 2026 99:00:00 GMT",
        "Mon, 23 Nov 2026 12:00:00 +9999",
        "Wed, 25 Nov 2026 12:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 23 Nov 99999999999 12:00:00 GMT",
        "\x00",
        "é",
    ],
)
def test_negative_endless_absurd_and_broken_hints_are_ignored(text: str) -> None:
    assert wait(retry_after=text) is None


def test_a_date_without_a_zone_is_in_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert wait(retry_after="Mon, 23 Nov 2026 12:00:30 -0000") == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["Mon, 23 Nov 2026 11:59:00 GMT", "Sat, 01 Jan 0001 00:00:00 +2359"])
def test_a_date_that_has_passed_asks_for_no_wait(text: str) -> None:
    assert wait(retry_after=text) == 0.0


@pytest.mark.parametrize(
    ("date", "seconds"),
    [("Mon, 23 Nov 2026 12:00:20 GMT", 10.0), ("Mon, 23 Nov 2026 02:00:00 GMT", 36030.0), ("today", 30.0), ("", 30.0)],
)
def test_a_date_is_measured_against_the_clock_of_the_gateway(date: str, seconds: float) -> None:
    assert wait(retry_after="Mon, 23 Nov 2026 12:00:30 GMT", date=date) == seconds
    assert wait(date=date, x_ratelimit_remaining="0", x_ratelimit_reset="2026-11-23T12:00:30Z") == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5, 7", 5.0),
        ("7, 5, nonsense", 5.0),
        ("-1, 7", 7.0),
        ("1e9, 7", 7.0),
        ("Mon, 23 Nov 2026 12:00:30 GMT, Mon, 23 Nov 2026 12:00:20 GMT", 20.0),
        ("40, Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
    ],
)
def test_of_a_header_that_came_twice_the_smallest_value_counts(text: str, seconds: float) -> None:
    assert wait(retry_after=text) == seconds


@pytest.mark.parametrize("name", ["retry_after_ms", "x_ms_retry_after_ms"])
@pytest.mark.parametrize(
    ("text", "seconds"), [("1500", 1.5), ("0", 0.0), ("120.5", 0.1205), ("-1", None), ("nan", None), ("1e999", None)]
)
def test_azure_counts_in_milliseconds(name: str, text: str, seconds: float | None) -> None:
    assert wait(**{name: text}) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ('{"error":"Rate limit exceeded. Please try again later.","retry_after":37}', 37.0),
        ('{"retry_after": 0}', 0.0),
        ('{"retry_after": 1.25}', 1.25),
        ('{"error":{"message":"Rate limit reached for gpt-4o. Please try again in 1.2s. Visit"}}', 1.2),
        ('{"error":{"message":"Limit 500, Used 500. Please try again in 120ms."}}', 0.12),
        ('{"error":{"message":"Please retry after 20 seconds."}}', 20.0),
        ("Please retry in 34.07s.", 34.07),
        ("PLEASE TRY AGAIN IN 2S", 2.0),
        ('{"retry_after": null, "error": "try again in 3s"}', 3.0),
        ('{"retry_after": -1, "error": "try again in 3s"}', 3.0),
        ('{"retry_after": "soon"}', None),
        ('{"retry_after": 1e9}', None),
        ('{"retry_after": 1e999}', None),
        ('{"retry_after": ' + "9" * 400 + "}", None),
        ('{"retry_after": ' + "9" * 5000 + "}", None),
        ('{"retry_after": {}}', None),
        ('["retry_after"]', None),
        ("try again in " + "9" * 400 + "s", None),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 2m59.56s. Visit", 179.56),
        ("Please try again in 1h2m3s", 3723.0),
        ("try again in 5 minutes", 300.0),
        ("Try again in 1 hour, 2 minutes and 3 seconds.", 3723.0),
        ("retry after 20 secs", 20.0),
        ("retrying in 1m", 60.0),
        ("try again in 1 day", 86400.0),
        ("try again in 2 days", None),
        ("try again in 5 months", None),
        ("try again in 5", None),
        ('{"error":{"message":"Slow down","retry_after":12}}', 12.0),
        ('{"error":{"retry_after":"12"}}', 12.0),
        ('{"retry_after": -1, "error": {"retry_after": 4}}', 4.0),
        ('{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.07s"}]}}', 34.07),
        ('{"error":{"metadata":{"raw":"{\\"retryDelay\\": \\"34s\\", \\"retry_after\\": 30}"}}}', 30.0),
        ('{"retryDelay": "1000000s"}', None),
        ('{"retry_after": 1.' + "0" * 40 + "e9}", None),
        ("try again later", None),
        ("", None),
    ],
)
def test_a_hint_in_the_body_is_found(body: str, seconds: float | None) -> None:
    assert wait(body=body) == seconds


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry_after_ms": "250", "retry_after": "1"}, "", 0.25),
        ({"x_ms_retry_after_ms": "250", "retry_after": "1"}, "", 0.25),
        ({"retry_after_ms": "nonsense", "retry_after": "1"}, "", 1.0),
        ({"retry_after": "2"}, '{"retry_after": 9}', 2.0),
        ({"retry_after": "-2"}, '{"retry_after": 9}', 9.0),
        ({"retry_after": "nonsense"}, '{"retry_after": 9}', 9.0),
        ({"retry_after": "Mon, 23 Nov 2026 12:00:05 GMT"}, '{"retry_after": 9}', 5.0),
        ({"retry_after": "2", "x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "30s"}, "", 2.0),
        ({"retry_after": "2", "ratelimit": '"default";r=0;t=30'}, "", 2.0),
        ({"ratelimit": '"default";r=0;t=30'}, "try again in 3s", 3.0),
        ({}, '{"retryDelay": "4s", "message": "try again in 3s", "retry_after": 9}', 9.0),
        ({}, '{"message": "try again in 3s", "retryDelay": "4s"}', 4.0),
    ],
)
def test_headers_come_before_the_body_the_finer_before_the_coarser_and_resets_last(
    headers: dict[str, str], body: str, seconds: float
) -> None:
    assert wait(body=body, **headers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}, 20.0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "20s"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "20s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            360.0,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "20s",
                "x-ratelimit-remaining-tokens": "9",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            20.0,
        ),
    ],
)
def test_the_longest_reset_of_what_is_exhausted_is_waited_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, b"", NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("0s", 0.0),
        ("120ms", 0.12),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1h0m0.5s", 3600.5),
        ("1s120ms", 1.12),
        ("37.26", 37.26),
        ("0", 0.0),
        (str(NOW + 30), 30.0),
        (str(int(NOW + 30) * 1000), 30.0),
        (str(NOW - 30), 0.0),
        ("2026-11-23T12:00:30Z", 30.0),
        ("2026-11-23T13:00:30.123456789+01:00", 30.123456),
        ("2026-11-23T12:00:30", 30.0),
        ("2026-11-23T11:00:00Z", 0.0),
        ("6m0s, 20s", 20.0),
        ("999999", None),
        ("1000000", None),
        ("1e10", None),
        ("5e11", None),
        ("27h", None),
        ("2026-11-25T12:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", 0.0),
        ("-1", None),
        ("-1s", None),
        ("nan", None),
        ("infs", None),
        ("1s?", None),
        ("ms", None),
        ("", None),
    ],
)
def test_a_reset_is_a_duration_a_number_or_an_instant(text: str, seconds: float | None) -> None:
    found = wait(x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens=text)
    assert found == (None if seconds is None else pytest.approx(seconds))


@given(st.floats(0.0, LONGEST_SECONDS))
def test_any_sensible_number_of_seconds_is_taken_as_it_is(seconds: float) -> None:
    assert wait(retry_after=repr(seconds)) == seconds
    assert wait(body=json.dumps({"retry_after": seconds})) == seconds


@given(st.integers(1, LONGEST_SECONDS))
def test_any_date_ahead_is_so_far_ahead(seconds: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)
    assert wait(retry_after=date) == seconds


DATE_LIKE = st.lists(
    st.sampled_from(["Mon,", "31", "Feb", "Nov", "2026", "99", "0001", "9999", "12:00:00", "24:60:61", "1:2:3:4"])
    | st.sampled_from(["GMT", "+0100", "-2359", "+9999", "-0000", "PM", ",", "-", ":", "(", ")", ";", "\n", "\x00"]),
    max_size=9,
).map(" ".join)
WORDS = st.text(max_size=40) | DATE_LIKE | st.floats().map(repr) | st.integers().map(str)


@given(WORDS, WORDS, WORDS, st.binary(max_size=80), st.floats(0, 4e9))
@example("", "", "", b'{"retry_after":' + b"9" * 400 + b"}", 0.0)
@example("(", "(", "(", b"", 0.0)
def test_no_words_raise_and_what_comes_out_can_be_waited_for(
    milliseconds: str, azure: str, seconds: str, body: bytes, now: float
) -> None:
    headers = {"retry-after-ms": milliseconds, "x-ms-retry-after-ms": azure, "retry-after": seconds}
    found = retry_after_seconds(headers, body, now)
    assert found is None or 0 <= found <= LONGEST_SECONDS


OPENAI_RATE = (
    "Rate limit reached for gpt-3.5-turbo in organization org-x on requests per min. Limit: 3 / min. Please try again "
    "in 20s. Please add a payment method to your account to increase your rate limit. Visit "
    "https://platform.openai.com/account/billing to add a payment method."
)
GEMINI_RATE = (
    "You exceeded your current quota, please check your plan and billing details. * Quota exceeded for metric: "
    "generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 15. Please retry in 34.07s."
)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", Kind.RATE_LIMITED),
        ('{"error":"Rate limit exceeded. Please try again later.","retry_after":37}', Kind.RATE_LIMITED),
        ('{"error":{"code":"rate_limit_exceeded","type":"tokens"}}', Kind.RATE_LIMITED),
        ('{"error":{"code":"slow_down"}}', Kind.RATE_LIMITED),
        (OPENAI_RATE, Kind.RATE_LIMITED),
        (GEMINI_RATE, Kind.RATE_LIMITED),
        ('{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}', Kind.RATE_LIMITED),
        ('{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}', Kind.DAILY_LIMIT),
        ("Rate limit reached for model `x` on tokens per day (TPD): Limit 500000", Kind.DAILY_LIMIT),
        ("requests per-day", Kind.DAILY_LIMIT),
        ("Daily limit reached", Kind.DAILY_LIMIT),
        ("Usage limit exceeded for acme/small", Kind.DAILY_LIMIT),
        ('{"error_code":"usage_limit"}', Kind.DAILY_LIMIT),
        (
            '{"error":{"message":"You exceeded your current quota, check your plan","code":"insufficient_quota"}}',
            Kind.BILLING,
        ),
        ('{"error":{"type":"insufficient_quota","code":"credit_balance_exhausted"}}', Kind.BILLING),
        ('{"error":{"code":"organization_spend_limit_exceeded"}}', Kind.BILLING),
        ('{"error":{"code":"project_spend_limit_exceeded"}}', Kind.BILLING),
        ('{"error":{"code":"organization_usage_limit_exceeded"}}', Kind.BILLING),
        ('{"error":{"type":"rate_limit_error","code":"enforced_spend_limit_reached"}}', Kind.BILLING),
        ('{"error":{"code":"billing_hard_limit_reached"}}', Kind.BILLING),
        ("INSUFFICIENT_QUOTA and the daily limit", Kind.BILLING),
        ('{"message":"Monthly token quota exceeded"}', Kind.BILLING),
        ("Limit of 1000000 tokens per month reached", Kind.BILLING),
        ("Requests rate limit exceeded. For more, upgrade for $20 per month.", Kind.RATE_LIMITED),
        ('{"error":{"code":"concurrency_limit_exceeded"}}', Kind.CONCURRENCY),
        ("Too many concurrent requests. See our page on daily limits.", Kind.CONCURRENCY),
        ("x" * (LONGEST_BODY - 5) + "daily", Kind.DAILY_LIMIT),
        ("x" * LONGEST_BODY + "daily", Kind.RATE_LIMITED),
    ],
)
def test_the_table_of_codes_and_phrases_tells_429s_apart(body: str, kind: Kind) -> None:
    assert read_refusal({}, body.encode(), NOW).kind is kind
    assert read_refusal({"retry-after": "5"}, body.encode(), NOW).kind is kind


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [
        (0.0, Kind.RATE_LIMITED),
        (float(DAILY_SECONDS), Kind.RATE_LIMITED),
        (DAILY_SECONDS + 0.1, Kind.DAILY_LIMIT),
        (float(LONGEST_SECONDS), Kind.DAILY_LIMIT),
    ],
)
def test_a_hint_of_more_than_a_quarter_of_an_hour_means_the_day(seconds: float, kind: Kind) -> None:
    headers = {"retry-after": str(seconds)}
    assert read_refusal(headers, b"slow down", NOW) == Refusal(kind=kind, wait_seconds=seconds)
    assert read_refusal(headers, b"insufficient_quota", NOW).kind is Kind.BILLING
    concurrency = kind if kind is Kind.DAILY_LIMIT else Kind.CONCURRENCY
    assert read_refusal(headers, b"too many concurrent requests", NOW).kind is concurrency


@pytest.mark.parametrize(
    ("body", "dimension"),
    [
        ('{"error":{"type":"tokens","code":"rate_limit_exceeded"}}', "tokens"),
        ('{"error":{"type": "requests","code":"rate_limit_exceeded"}}', "requests"),
        ("on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.", "tokens"),
        ("on requests per min (RPM): Limit 3, Used 3, Requested 1.", "requests"),
        ("limited by requests per minute and tokens per minute", None),
        ("slow down", None),
    ],
)
def test_the_exhausted_dimension_is_named_where_it_is_told(body: str, dimension: str | None) -> None:
    assert read_refusal({}, body.encode(), NOW).dimension == dimension


@pytest.mark.parametrize(
    "piece", ["try again in ", '"retry_after":"', "9", "1s ", "1s, and ", '"quotaId":"', "monthly a ", '"', "[", "Mon,"]
)
def test_a_body_made_to_be_slow_is_read_quickly(piece: str) -> None:
    text = piece * (8 * LONGEST_BODY // len(piece))
    headers = {"retry-after": text, "x-ratelimit-reset-tokens": text, "ratelimit-policy": text, "date": text}
    began = time.process_time()
    read_refusal(headers, text.encode(), NOW)
    assert time.process_time() - began < 1.0
