"""How the gateway says no: the bodies of errors, and the headers that tell a client when to come back.

By default it says as little as the real gateway is documented to: no hint at all, and a daily 429 looks like
any other.
"""

from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from typing import assert_never

import msgspec

from batchrunner.simulator.meter import Dimension, Instant, Level, Refusal
from batchrunner.simulator.window import SECOND_NS

JSON = "application/json"
BAD_KEY = b'{"error":"please check the api-key you provided"}'
HTML = b"<!doctype html><html><head><title>Simulated gateway</title></head><body>Welcome</body></html>"

_RATE_LIMITED = b'{"error":"Rate limit exceeded"}'
_CONCURRENCY = b'{"error":"Concurrency limit exceeded"}'
_PHRASES = {
    500: "Internal server error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}


class HeaderDialect(StrEnum):
    """Which hints a 429 carries; `openai` tells the state of the limits on every reply."""

    NONE = "none"
    RETRY_AFTER = "retry-after"
    RETRY_AFTER_DATE = "retry-after-date"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is written to the wire."""

    status: int = 200
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def rate_limited(dialect: HeaderDialect, refusal: Refusal, levels: list[Level], now: Instant) -> Answer:
    """The 429 of a limit."""
    body = _openai_429(refusal) if dialect is HeaderDialect.OPENAI else _RATE_LIMITED
    headers = _wait_headers(dialect, refusal.wait_ns, now) | level_headers(dialect, levels)
    return Answer(status=429, body=body, headers=headers)


def too_many_at_once(dialect: HeaderDialect) -> Answer:
    """The 429 of concurrency. It names no time: nobody knows when one of the others will be done."""
    if dialect is not HeaderDialect.OPENAI:
        return Answer(status=429, body=_CONCURRENCY)
    return openai_error(429, "Concurrency limit exceeded", "requests", "concurrency_limit_exceeded")


def plain_error(status: int) -> Answer:
    """An error without details: {"error": "..."}; redirects get somewhere to point to."""
    if status == 429:  # noqa: PLR2004 (HTTP)
        return Answer(status=status, body=_RATE_LIMITED)
    phrase = _PHRASES.get(status, f"Simulated status {status}")
    headers = {"Location": "/v1/elsewhere"} if status < 400 else {}  # noqa: PLR2004 (HTTP)
    return Answer(status=status, body=msgspec.json.encode({"error": phrase}), headers=headers)


def openai_error(status: int, message: str, kind: str, code: str | None = None) -> Answer:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Answer(status=status, body=msgspec.json.encode({"error": error}))


def level_headers(dialect: HeaderDialect, levels: list[Level]) -> dict[str, str]:
    """x-ratelimit-*: for each dimension its limit per minute, else per second, else per day."""
    if dialect is not HeaderDialect.OPENAI:
        return {}
    headers: dict[str, str] = {}
    for dimension in Dimension:
        mine = [level for level in levels if level.limit.dimension is dimension]
        if mine:
            headers |= _levels_of(max(mine, key=lambda level: (not level.limit.daily, level.limit.window_seconds)))
    return headers


def go_duration(duration_ns: int) -> str:
    """A duration as Go prints it: 120ms, 1.5s, 6m0s, 23h59m59s. Rounded up to a millisecond."""
    milliseconds = -(-max(0, duration_ns) // 1_000_000)
    if 0 < milliseconds < 1000:  # noqa: PLR2004 (a second)
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _levels_of(level: Level) -> dict[str, str]:
    name, limit = level.limit.dimension.value, level.limit.amount
    return {
        f"x-ratelimit-limit-{name}": str(limit),
        f"x-ratelimit-remaining-{name}": str(max(0, limit - level.used)),
        f"x-ratelimit-reset-{name}": go_duration(level.reset_ns),
    }


def _wait_headers(dialect: HeaderDialect, wait_ns: int, now: Instant) -> dict[str, str]:
    seconds = str(-(-wait_ns // SECOND_NS))
    match dialect:
        case HeaderDialect.NONE:
            return {}
        case HeaderDialect.RETRY_AFTER:
            return {"Retry-After": seconds}
        case HeaderDialect.RETRY_AFTER_DATE:
            return {"Retry-After": formatdate(-(-(now.wall_ns + wait_ns) // SECOND_NS), usegmt=True)}
        case HeaderDialect.OPENAI:
            return {"Retry-After": seconds, "retry-after-ms": str(-(-wait_ns // 1_000_000))}
        case _:
            assert_never(dialect)


def _openai_429(refusal: Refusal) -> bytes:
    limit = refusal.limit
    window = {1: "second", 60: "minute"}.get(limit.window_seconds, "day")
    which = "daily usage limit" if limit.daily else "rate limit"
    message = f"You exceeded the {which} of {limit.amount} {limit.dimension} per {window}. Try again in "
    message += f"{go_duration(refusal.wait_ns)}."
    return openai_error(429, message, limit.dimension.value, "rate_limit_exceeded").body
