"""What a refusal says: how long to wait at least, and which class of 429 it is. Pure; never raises.

A hint is a minimum. Negative, endless and absurd ones are ignored; one of more than 15 minutes means that a
daily quota is gone. The first that is found counts: `retry-after-ms` and Azure's name for it, `Retry-After`
(RFC 9110 section 10.2.3), the body, the reset of what the headers call exhausted.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from batchrunner.limits.spans import (
    DURATION,
    LONGEST_SECONDS,
    duration,
    gateway_time,
    number,
    sensible,
    smallest,
    until_date,
)
from batchrunner.limits.told import MONTH_SECONDS, Dimension, State, states
from batchrunner.records import Kind

__all__ = ["DAILY_SECONDS", "LONGEST_SECONDS", "PHRASES", "Refusal", "read_refusal", "retry_after_seconds"]

DAILY_SECONDS = 15 * 60
LONGEST_BODY = 65536
_DAY_SECONDS = 86400
# The one table of codes and phrases that tells 429s apart; the first that is found decides.
PHRASES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    # Codes and monthly limits only: "billing details" and "$20 per month" stand in messages about rates too.
    (
        Kind.BILLING,
        re.compile(
            r"insufficient_quota|credit_balance|spend_limit|billing_|organization_usage_limit"
            r"|monthly[ _-](?:[a-z]{1,20}[ _-]){0,2}(?:quota|limit|budget|usage|spend)"
            r"|(?:requests?|tokens?|calls?)[ _-]?per[ _-]?month",
            re.IGNORECASE,
        ),
    ),
    (Kind.CONCURRENCY, re.compile(r"concurren(?:t|cy)", re.IGNORECASE)),
    (Kind.DAILY_LIMIT, re.compile(r"daily|per[ _-]?day|usage[ _-]limit", re.IGNORECASE)),
)
_DIMENSIONS: tuple[tuple[Dimension, re.Pattern[str]], ...] = (
    (
        "requests",
        re.compile(
            r'"type\\*": ?\\*"requests|(?:call|request) rate limit|requests? ?per|request_limited', re.IGNORECASE
        ),
    ),
    (
        "tokens",
        re.compile(r'"type\\*": ?\\*"tokens|token rate limit|tokens? ?per|tokensper|token_limited', re.IGNORECASE),
    ),
)
# JSON within a text of JSON has its quotes escaped, where a gateway passes on what another one said.
_IN_BODY = (
    re.compile(r'"retry_after\\*"\s*:\s*(?:\\*")?([0-9][0-9.eE+-]{0,400})(?![0-9.eE+-])'),
    re.compile(r'"retryDelay\\*"\s*:\s*\\*"([0-9.]{1,30}s)\\*"'),
    re.compile(rf"(?:try again|retry(?:ing)?) (?:in|after) ({DURATION})", re.IGNORECASE),
)
_DAY_OF_GEMINI = re.compile(r'"quotaId\\*"\s*:\s*\\*"[A-Za-z-]{0,100}PerDay')
_QUOTED = re.compile(r'"([^"]{1,100})"')
_VIOLATED = re.compile(r'"violated-policies"\s*:\s*\[([^\]]{0,500})\]')


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What a 429 says: its class, how long to wait at least, and which dimension is exhausted, where it says so."""

    kind: Kind
    wait_seconds: float | None = None
    dimension: Dimension | None = None


def retry_after_seconds(headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """Seconds to wait as the gateway says, or None. `headers` by lower-case name; `now` is Unix time."""
    return _wait_seconds(headers, _text(body), states(headers, now), gateway_time(headers, now))


def read_refusal(headers: Mapping[str, str], body: bytes, now: float) -> Refusal:
    """What a 429 says. `headers` by lower-case name; `now` is Unix time."""
    text, told = _text(body), states(headers, now)
    wait_seconds = _wait_seconds(headers, text, told, gateway_time(headers, now))
    exhausted = _exhausted(told, text)
    kind = _kind(exhausted, text, wait_seconds)
    if _DAY_OF_GEMINI.search(text) and (wait_seconds or 0) <= DAILY_SECONDS:
        wait_seconds = None  # the delay of any 429 stands there, also where the day is used up
    return Refusal(kind=kind, wait_seconds=wait_seconds, dimension=_dimension(exhausted, text))


def _text(body: bytes) -> str:
    return body[:LONGEST_BODY].decode("latin-1")


def _wait_seconds(headers: Mapping[str, str], text: str, told: Iterable[State], now: float) -> float | None:
    candidates = (
        smallest(headers.get("retry-after-ms"), _milliseconds),
        smallest(headers.get("x-ms-retry-after-ms"), _milliseconds),
        smallest(headers.get("retry-after"), lambda value: _seconds_or_date(value, now)),
        _in_body(text),
        _until_resets(told),
    )
    return next((seconds for seconds in candidates if seconds is not None), None)


def _milliseconds(text: str) -> float | None:
    value = number(text)
    return None if value is None else sensible(value / 1000)


def _seconds(text: str) -> float | None:
    value = number(text)
    return sensible(duration(text) if value is None else value)


def _seconds_or_date(text: str, now: float) -> float | None:
    seconds = _seconds(text)
    return sensible(until_date(text, now)) if seconds is None else seconds


def _in_body(text: str) -> float | None:
    for pattern in _IN_BODY:
        for found in pattern.finditer(text):
            seconds = _seconds(found[1])
            if seconds is not None:
                return seconds
    return None


def _until_resets(told: Iterable[State]) -> float | None:
    """The longest reset of an exhausted limit. One told of without its limit (Together) is a suggestion to wait."""
    asking = [state for state in told if state.is_exhausted or (state.amount is None and state.remaining is None)]
    return max((state.reset_seconds for state in asking if state.reset_seconds is not None), default=None)


def _exhausted(told: Iterable[State], text: str) -> list[State]:
    """The limits of which nothing is left, or which a problem of the RateLimit draft names as violated."""
    named = _VIOLATED.search(text)
    violated = _QUOTED.findall(named[1]) if named else []
    return [state for state in told if state.is_exhausted or state.policy in violated]


def _kind(exhausted: Iterable[State], text: str, wait_seconds: float | None) -> Kind:
    in_text = {kind for kind, pattern in PHRASES if pattern.search(text)}
    in_headers = {_kind_of_exhausted(state) for state in exhausted}
    if Kind.BILLING in in_text | in_headers:
        return Kind.BILLING
    if Kind.DAILY_LIMIT in in_headers or (wait_seconds or 0) > DAILY_SECONDS:
        return Kind.DAILY_LIMIT
    return next((kind for kind, _ in PHRASES if kind in in_text | in_headers), Kind.RATE_LIMITED)


def _kind_of_exhausted(state: State) -> Kind:
    window_seconds = state.window_seconds or 0
    if state.of == "concurrency":
        return Kind.CONCURRENCY
    if window_seconds >= MONTH_SECONDS:
        return Kind.BILLING
    is_daily = window_seconds >= _DAY_SECONDS or (state.reset_seconds or 0) > DAILY_SECONDS
    return Kind.DAILY_LIMIT if is_daily else Kind.RATE_LIMITED


def _dimension(exhausted: Iterable[State], text: str) -> Dimension | None:
    """The one that the body names, else the only one that the headers call exhausted."""
    in_text = [dimension for dimension, pattern in _DIMENSIONS if pattern.search(text)]
    if len(in_text) == 1:
        return in_text[0]
    in_headers: set[Dimension] = {state.of for state in exhausted if state.of != "concurrency"}
    return in_headers.pop() if len(in_headers) == 1 else None
