"""The dialects of 429s: what each provider sends, as recorded or documented, and what is to be understood of it."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.limits.hints import LONGEST_SECONDS, Refusal, read_refusal, retry_after_seconds
from batchrunner.limits.told import MONTH_SECONDS, Dimension, Told, told_limits
from batchrunner.records import Kind

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp()
DATE = "Mon, 23 Nov 2026 12:00:00 GMT"
MINUTE, DAY = 60.0, 86400.0
GEMINI_RATE = (
    "You exceeded your current quota, please check your plan and billing details. * Quota exceeded for metric: "
    "generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 15. Please retry in 34.07s."
)


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A 429 as a provider sends it, and what is to be understood of it."""

    headers: dict[str, str]
    body: str
    refusal: Refusal
    told: tuple[Told, ...] = ()


def told(
    dimension: Dimension,
    amount: float,
    window_seconds: float | None = None,
    *,
    remaining: float | None = None,
    reset: float | None = None,
) -> Told:
    """One limit as headers tell it."""
    return Told(
        dimension=dimension,
        amount=amount,
        window_seconds=window_seconds,
        remaining=remaining,
        reset_seconds=None if reset is None else pytest.approx(reset),
    )


def gemini(*, quota_id: str, delay: str) -> str:
    """The body of Google's RESOURCE_EXHAUSTED; the OpenAI-compatible surface puts it into a list."""
    violation = {"quotaMetric": "generativelanguage.googleapis.com/requests", "quotaId": quota_id}
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    error = {"code": 429, "message": GEMINI_RATE, "status": "RESOURCE_EXHAUSTED", "details": details}
    return json.dumps([{"error": error}])


ANTHROPIC_BODY = '{"type":"error","error":{"type":"rate_limit_error","message":"%s"},"request_id":"req_1"}'
PROBLEM = (
    '{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded",'
    '"title":"Request can not be satisfied as assigned quota has been exceeded","violated-policies":["%s"]}'
)

RECORDED: dict[str, Recorded] = {
    "Baseten, the gateway": Recorded(
        headers={"date": DATE, "content-type": "application/json", "x-baseten-accepted-at": "1795435200000"},
        body='{"error":"Rate limit exceeded","error_code":"rate_limited","detail":""}',
        refusal=Refusal(kind=Kind.RATE_LIMITED),
    ),
    "Baseten, management": Recorded(
        headers={"date": DATE, "content-type": "application/json"},
        body='{"error":"Rate limit exceeded. Please try again later.","retry_after":37}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=37.0),
    ),
    "Baseten, model APIs": Recorded(
        headers={
            "x-ratelimit-limit-requests": "120",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-limit-tokens": "500000",
            "x-ratelimit-remaining-tokens": "412000",
        },
        body='{"error":"Too many requests"}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, dimension="requests"),
        told=(told("requests", 120, remaining=0), told("tokens", 500000, remaining=412000)),
    ),
    "OpenAI, tokens": Recorded(
        headers={
            "date": DATE,
            "retry-after-ms": "1200",
            "retry-after": "2",
            "x-should-retry": "true",
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-remaining-tokens": "612",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-reset-tokens": "58.776s",
            "x-ratelimit-limit-input-images": "50",
            "x-ratelimit-limit-tokens_usage_based": "1000",
        },
        body='{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit '
        '30000, Used 29388, Requested 1212. Please try again in 1.2s.","type":"tokens","param":null,'
        '"code":"rate_limit_exceeded"}}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=1.2, dimension="tokens"),
        told=(told("requests", 500, remaining=499, reset=0.12), told("tokens", 30000, remaining=612, reset=58.776)),
    ),
    "OpenAI, a project's tokens": Recorded(
        headers={
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-tokens": "20000",
            "x-ratelimit-reset-tokens": "20s",
            "x-ratelimit-limit-project-tokens": "10000",
            "x-ratelimit-remaining-project-tokens": "0",
            "x-ratelimit-reset-project-tokens": "1m0s",
        },
        body='{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=60.0, dimension="tokens"),
        told=(
            told("tokens", 30000, remaining=20000, reset=20.0),
            told("tokens", 10000, remaining=0, reset=60.0),
        ),
    ),
    "OpenAI, no money": Recorded(
        headers={"date": DATE, "retry-after": "1"},
        body='{"error":{"message":"You exceeded your current quota, please check your plan and billing details.",'
        '"type":"insufficient_quota","code":"credit_balance_exhausted"}}',
        refusal=Refusal(kind=Kind.BILLING, wait_seconds=1.0),
    ),
    "Azure": Recorded(
        headers={
            "retry-after": "26",
            "retry-after-ms": "25400",
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "54",
            "x-ratelimit-limit-tokens": "10000",
            "x-ratelimit-remaining-tokens": "-1",
            "x-ratelimit-reset-tokens": "26",
        },
        body='{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded token '
        'rate limit of your current pricing tier. Please retry after 26 seconds."}}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=25.4, dimension="tokens"),
        told=(told("requests", 60, remaining=54), told("tokens", 10000, reset=26.0)),
    ),
    "Anthropic, all tokens": Recorded(
        headers={
            "date": DATE,
            "retry-after": "17",
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "42",
            "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:09Z",
            "anthropic-ratelimit-tokens-limit": "48000",
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": "2026-11-23T12:00:17Z",
            "anthropic-ratelimit-input-tokens-limit": "40000",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-priority-input-tokens-limit": "10",
        },
        body=ANTHROPIC_BODY % "This request would exceed your organization's rate limit of 48,000 tokens per minute.",
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=17.0, dimension="tokens"),
        told=(told("requests", 50, remaining=42, reset=9.0), told("tokens", 48000, remaining=0, reset=17.0)),
    ),
    "Anthropic, output tokens": Recorded(
        headers={
            "date": "Mon, 23 Nov 2026 11:59:50 GMT",
            "anthropic-ratelimit-input-tokens-limit": "40000",
            "anthropic-ratelimit-input-tokens-remaining": "39000",
            "anthropic-ratelimit-input-tokens-reset": "2026-11-23T12:00:01Z",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-remaining": "0",
            "anthropic-ratelimit-output-tokens-reset": "2026-11-23T12:00:17Z",
        },
        body=ANTHROPIC_BODY % "Number of output tokens has exceeded your rate limit.",
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=27.0, dimension="tokens"),
        told=(told("tokens", 8000, remaining=0, reset=27.0),),
    ),
    "Anthropic, concurrency": Recorded(
        headers={"date": DATE},
        body=ANTHROPIC_BODY % "Number of concurrent connections has exceeded your rate limit. Please try again later.",
        refusal=Refusal(kind=Kind.CONCURRENCY),
    ),
    "Anthropic, the spend cap": Recorded(
        headers={"date": DATE},
        body='{"type":"error","error":{"type":"rate_limit_error","code":"enforced_spend_limit_reached","message":""}}',
        refusal=Refusal(kind=Kind.BILLING),
    ),
    "Groq, tokens": Recorded(
        headers={
            "x-groq-region": "fra",
            "retry-after": "8",
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-remaining-requests": "14370",
            "x-ratelimit-reset-requests": "2m59.56s",
            "x-ratelimit-limit-tokens": "18000",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "7.66s",
        },
        body='{"error":{"message":"Rate limit reached for model `llama` in organization `org_x` on tokens per minute '
        '(TPM): Limit 18000, Used 18000, Requested 900. Please try again in 7.66s.","type":"tokens",'
        '"code":"rate_limit_exceeded"}}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=8.0, dimension="tokens"),
        told=(
            told("requests", 14400, DAY, remaining=14370, reset=179.56),
            told("tokens", 18000, MINUTE, remaining=0, reset=7.66),
        ),
    ),
    "Groq, the day's requests": Recorded(
        headers={
            "x-groq-region": "fra",
            "retry-after": "86",
            "x-ratelimit-limit-requests": "1000",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1m26.4s",
        },
        body='{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}',
        refusal=Refusal(kind=Kind.DAILY_LIMIT, wait_seconds=86.0, dimension="requests"),
        told=(told("requests", 1000, DAY, remaining=0, reset=86.4),),
    ),
    "Groq, the day's tokens, of which no header tells": Recorded(
        headers={"x-ratelimit-limit-tokens": "6000", "x-ratelimit-remaining-tokens": "5900"},
        body='{"error":{"message":"Rate limit reached for model `llama` on tokens per day (TPD): Limit 500000, Used '
        '499900, Requested 400. Please try again in 51m50s.","type":"tokens","code":"rate_limit_exceeded"}}',
        refusal=Refusal(kind=Kind.DAILY_LIMIT, wait_seconds=3110.0, dimension="tokens"),
        told=(told("tokens", 6000, remaining=5900),),
    ),
    "Together": Recorded(
        headers={"x-ratelimit-reset": "3"},
        body='{"error":{"message":"You have reached the dynamic limit","error_type":"dynamic_token_limited"}}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=3.0, dimension="tokens"),
    ),
    "Together, older": Recorded(
        headers={
            "x-ratelimit-limit": "10",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": "1",
            "x-tokenlimit-limit": "3000",
            "x-tokenlimit-remaining": "2100",
        },
        body='{"error":{"message":"Too many","error_type":"dynamic_request_limited"}}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=1.0, dimension="requests"),
        told=(told("requests", 10, remaining=0, reset=1.0), told("tokens", 3000, remaining=2100)),
    ),
    "Fireworks": Recorded(
        headers={
            "x-ratelimit-limit-tokens-prompt": "1000",
            "x-ratelimit-remaining-tokens-prompt": "400",
            "x-ratelimit-limit-tokens-cache-adjusted-prompt": "500",
            "x-ratelimit-limit-tokens-generated": "200",
            "x-ratelimit-remaining-tokens-generated": "0",
            "x-ratelimit-over-limit": "yes",
        },
        body='{"error":{"object":"error","type":"invalid_request_error","message":"rate limit exceeded"}}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, dimension="tokens"),
        told=(told("tokens", 200, 1.0, remaining=0),),
    ),
    "Fireworks, older": Recorded(
        headers={"x-ratelimit-limit-requests": "6000", "x-ratelimit-remaining-requests": "5999"},
        body="",
        refusal=Refusal(kind=Kind.RATE_LIMITED),
        told=(told("requests", 6000, remaining=5999),),
    ),
    "Gemini, the minute": Recorded(
        headers={"date": DATE, "server": "scaffolding on HTTPServer2"},
        body=gemini(quota_id="GenerateRequestsPerMinutePerProjectPerModel-FreeTier", delay="34s"),
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=34.0, dimension="requests"),
    ),
    "Gemini, the minute's tokens": Recorded(
        headers={"date": DATE},
        body=gemini(quota_id="GenerateContentInputTokensPerModelPerMinute-FreeTier", delay="34.074824224s"),
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=34.074824224, dimension="tokens"),
    ),
    "Gemini, the day, whose short delay means nothing": Recorded(
        headers={"date": DATE},
        body=gemini(quota_id="GenerateRequestsPerDayPerProjectPerModel-FreeTier", delay="34s"),
        refusal=Refusal(kind=Kind.DAILY_LIMIT, dimension="requests"),
    ),
    "Gemini, the day, with a delay that reaches its end": Recorded(
        headers={"date": DATE},
        body=gemini(quota_id="GenerateRequestsPerDayPerProjectPerModel-FreeTier", delay="72000s"),
        refusal=Refusal(kind=Kind.DAILY_LIMIT, wait_seconds=72000.0, dimension="requests"),
    ),
    "OpenRouter, the minute": Recorded(
        headers={
            "x-ratelimit-limit": "20",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(int(NOW + 42) * 1000),
        },
        body='{"error":{"message":"Rate limit exceeded: free-models-per-min.","code":429}}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=42.0, dimension="requests"),
        told=(told("requests", 20, remaining=0, reset=42.0),),
    ),
    "OpenRouter, the day": Recorded(
        headers={
            "x-ratelimit-limit": "50",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(int(NOW + 12 * 3600) * 1000),
        },
        body='{"error":{"message":"Rate limit exceeded","code":429}}',
        refusal=Refusal(kind=Kind.DAILY_LIMIT, wait_seconds=12 * 3600.0, dimension="requests"),
        told=(told("requests", 50, remaining=0, reset=12 * 3600.0),),
    ),
    "OpenRouter, what a provider behind it said": Recorded(
        headers={"retry-after": "9"},
        body='{"error":{"message":"Provider returned error","code":429,"metadata":{"provider_name":"Google",'
        '"raw":"{\\"error\\":{\\"quotaId\\": \\"GenerateRequestsPerDayPerProject\\"}}"}}}',
        refusal=Refusal(kind=Kind.DAILY_LIMIT, dimension="requests"),
    ),
    "Mistral": Recorded(
        headers={
            "x-ratelimit-limit-req-60-second": "60",
            "x-ratelimit-remaining-req-60-second": "0",
            "x-ratelimit-limit-tokens-5-minute": "2500000",
            "x-ratelimit-remaining-tokens-5-minute": "2499000",
            "x-ratelimit-limit-tokens-minute": "500000",
            "x-ratelimit-remaining-tokens-minute": "499000",
            "x-ratelimit-limit-tokens-month": "1000000000",
            "x-ratelimit-remaining-tokens-month": "999000000",
            "x-ratelimit-tokens-query-cost": "123",
        },
        body='{"object":"error","message":"Rate limit exceeded","type":"rate_limited","code":"1300"}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, dimension="requests"),
        told=(
            told("requests", 60, MINUTE, remaining=0),
            told("tokens", 2500000, 5 * MINUTE, remaining=2499000),
            told("tokens", 500000, MINUTE, remaining=499000),
            told("tokens", 1e9, MONTH_SECONDS, remaining=999e6),
        ),
    ),
    "Mistral, the month": Recorded(
        headers={"x-ratelimit-limit-tokens-month": "1000000000", "x-ratelimit-remaining-tokens-month": "0"},
        body='{"message":"Rate limit exceeded"}',
        refusal=Refusal(kind=Kind.BILLING, dimension="tokens"),
        told=(told("tokens", 1e9, MONTH_SECONDS, remaining=0),),
    ),
    "Cerebras, the minute": Recorded(
        headers={
            "x-ratelimit-limit-requests-minute": "30",
            "x-ratelimit-remaining-requests-minute": "29",
            "x-ratelimit-reset-requests-minute": "37.26",
            "x-ratelimit-limit-tokens-minute": "60000",
            "x-ratelimit-remaining-tokens-minute": "0",
            "x-ratelimit-reset-tokens-minute": "37.26",
            "x-ratelimit-limit-requests-hour": "900",
            "x-ratelimit-remaining-requests-hour": "800",
            "x-ratelimit-reset-requests-hour": "2437.26",
            "x-ratelimit-limit-tokens-day": "1000000",
            "x-ratelimit-remaining-tokens-day": "400000",
            "x-ratelimit-reset-tokens-day": "33037.26",
        },
        body='{"message":"Tokens limit exceeded","type":"too_many_tokens_error","code":"token_quota_exceeded"}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=37.26, dimension="tokens"),
        told=(
            told("requests", 30, MINUTE, remaining=29, reset=37.26),
            told("tokens", 60000, MINUTE, remaining=0, reset=37.26),
            told("requests", 900, 3600.0, remaining=800, reset=2437.26),
            told("tokens", 1e6, DAY, remaining=400000, reset=33037.26),
        ),
    ),
    "Cerebras, the day": Recorded(
        headers={
            "retry-after": "60",
            "x-ratelimit-limit-requests-day": "14400",
            "x-ratelimit-remaining-requests-day": "0",
            "x-ratelimit-reset-requests-day": "500.5",
        },
        body="",
        refusal=Refusal(kind=Kind.DAILY_LIMIT, wait_seconds=60.0, dimension="requests"),
        told=(told("requests", 14400, DAY, remaining=0, reset=500.5),),
    ),
    "Nebius, with a header that came twice": Recorded(
        headers={
            "x-ratelimit-limit-requests": "600",
            "x-ratelimit-remaining-requests": "599",
            "x-ratelimit-limit-tokens": "400000, 33333.33",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "4s",
            "x-ratelimit-dynamic-limit-tokens": "800000",
            "x-ratelimit-over-limit": "no",
        },
        body='{"detail":"Rate limit exceeded"}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=4.0, dimension="tokens"),
        told=(told("requests", 600, remaining=599), told("tokens", 33333.33, remaining=0, reset=4.0)),
    ),
    "Cloudflare": Recorded(
        headers={"ratelimit": '"default";r=0;t=11', "ratelimit-policy": '"default";q=1200;w=300'},
        body='{"success":false,"errors":[{"code":10429,"message":"Rate limited"}]}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=11.0, dimension="requests"),
        told=(told("requests", 1200, 300.0, remaining=0, reset=11.0),),
    ),
    "Hugging Face": Recorded(
        headers={"ratelimit": '"api";r=0;t=123', "ratelimit-policy": '"fixed window";"api";q=1000;w=300'},
        body='{"error":"You have reached your rate limit"}',
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=123.0, dimension="requests"),
        told=(told("requests", 1000, 300.0, remaining=0, reset=123.0),),
    ),
    "DeepSeek": Recorded(
        headers={"date": DATE},
        body='{"error":{"message":"Concurrency limit of the account reached","type":"rate_limit_error"}}',
        refusal=Refusal(kind=Kind.CONCURRENCY),
    ),
    "the RateLimit draft, a burst": Recorded(
        headers={
            "retry-after": "7",
            "ratelimit": '"burst";r=0;t=30, "daily";r=900;t=43200',
            "ratelimit-policy": '"burst";q=100;w=60,"daily";q=1000;w=86400',
        },
        body=PROBLEM % "burst",
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=7.0, dimension="requests"),
        told=(
            told("requests", 100, MINUTE, remaining=0, reset=30.0),
            told("requests", 1000, DAY, remaining=900, reset=43200.0),
        ),
    ),
    "the RateLimit draft, the day": Recorded(
        headers={"ratelimit": '"p2";r=0;t=300', "ratelimit-policy": '"p1";q=100;w=60,"p2";q=1000;w=86400'},
        body="",
        refusal=Refusal(kind=Kind.DAILY_LIMIT, wait_seconds=300.0, dimension="requests"),
        told=(told("requests", 100, MINUTE), told("requests", 1000, DAY, remaining=0, reset=300.0)),
    ),
    "the RateLimit draft, a problem that names the day's policy": Recorded(
        headers={"ratelimit-policy": '"p1";q=100;w=60, "p2";q=1000;w=86400'},
        body=PROBLEM % "p2",
        refusal=Refusal(kind=Kind.DAILY_LIMIT, dimension="requests"),
        told=(told("requests", 100, MINUTE), told("requests", 1000, DAY)),
    ),
    "the RateLimit draft, requests in flight": Recorded(
        headers={
            "ratelimit": '"p1";r=80;t=30, "p2";r=0',
            "ratelimit-policy": '"p1";q=100;w=60, "p2";q=8;qu="concurrent-requests", "p3";q=9;w=9;qu=content-bytes',
        },
        body="",
        refusal=Refusal(kind=Kind.CONCURRENCY),
        told=(told("requests", 100, MINUTE, remaining=80, reset=30.0),),
    ),
    "the RateLimit draft, a level without its policy": Recorded(
        headers={"ratelimit": '"default";r=0;t=30'},
        body="",
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=30.0, dimension="requests"),
    ),
    "older drafts of RateLimit": Recorded(
        headers={"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "0", "ratelimit-reset": "30"},
        body="",
        refusal=Refusal(kind=Kind.RATE_LIMITED, wait_seconds=30.0, dimension="requests"),
        told=(told("requests", 100, remaining=0, reset=30.0),),
    ),
}
EACH = pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)


@EACH
def test_a_429_of_every_provider_is_understood(recorded: Recorded) -> None:
    assert read_refusal(recorded.headers, recorded.body.encode(), NOW) == recorded.refusal


@EACH
def test_the_limits_that_a_provider_tells_of_are_read(recorded: Recorded) -> None:
    assert told_limits(recorded.headers, NOW) == recorded.told


@EACH
def test_the_wait_is_the_same_whether_a_429_or_another_failure_asks_for_it(recorded: Recorded) -> None:
    if "PerDay" not in recorded.body:
        assert retry_after_seconds(recorded.headers, recorded.body.encode(), NOW) == recorded.refusal.wait_seconds


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-limit-requests": "-1"},
        {"x-ratelimit-limit-requests": "0"},
        {"x-ratelimit-limit-requests": "inf"},
        {"x-ratelimit-limit-requests": "nan"},
        {"x-ratelimit-limit-requests": "many"},
        {"x-ratelimit-limit-images": "5"},
        {"x-ratelimit-limit-requests-fortnight": "5"},
        {"x-ratelimit-remaining-requests": "5"},
        {"ratelimit-policy": '"p";q=-1;w=60, "q";w=60, ;;=;, q=5'},
        {"ratelimit-policy": '"p";q=5;qu="content-bytes"'},
    ],
)
def test_what_is_no_limit_of_requests_or_tokens_is_told_to_nobody(headers: dict[str, str]) -> None:
    assert told_limits(headers, NOW) == ()


NAMES = st.sampled_from(sorted({name for recorded in RECORDED.values() for name in recorded.headers}))
VALUES = st.sampled_from(sorted({text for recorded in RECORDED.values() for text in recorded.headers.values()}))
JUNK = st.text(alphabet='";=,rtqw059.eE+-msh \x00é', max_size=40)


@given(
    st.dictionaries(NAMES | st.text(max_size=20), VALUES | JUNK, max_size=8),
    st.binary(max_size=100) | st.sampled_from([recorded.body.encode() for recorded in RECORDED.values()]),
    st.floats(0, 4e9),
)
def test_no_429_raises_and_what_is_understood_can_be_acted_on(headers: dict[str, str], body: bytes, now: float) -> None:
    refusal = read_refusal(headers, body, now)
    assert refusal.kind in (Kind.RATE_LIMITED, Kind.CONCURRENCY, Kind.DAILY_LIMIT, Kind.BILLING)
    assert refusal.wait_seconds is None or 0 <= refusal.wait_seconds <= LONGEST_SECONDS
    for limit in told_limits(headers, now):
        assert 0 < limit.amount < float("inf")
        assert limit.window_seconds is None or 0 < limit.window_seconds < float("inf")
        assert limit.remaining is None or 0 <= limit.remaining < float("inf")
        assert limit.reset_seconds is None or 0 <= limit.reset_seconds <= LONGEST_SECONDS
