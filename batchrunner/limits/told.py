"""What the headers of a reply tell of its gateway's limits, whatever the dialect. Pure; never raises.

Read are the families `x-ratelimit-*` (OpenAI, Azure, Groq, Together, Fireworks, OpenRouter, Mistral, Cerebras and
others), `anthropic-ratelimit-*`, `RateLimit` with `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11, and
Hugging Face's irregular form) and the older `RateLimit-Limit`, `-Remaining`, `-Reset`. Other names are ignored.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal

import msgspec

from batchrunner.limits.spans import LONGEST_TEXT, gateway_time, number, smallest, until_reset

Dimension = Literal["requests", "tokens"]
MONTH_SECONDS = 30 * 86400.0
_LONGEST_NAME = 80
_WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": MONTH_SECONDS}
_GROQ_WINDOWS = {"requests": 86400.0, "tokens": 60.0}  # OpenAI's names, but requests are always counted by the day
_UNITS: dict[str, Literal["requests", "tokens", "concurrency"]] = {
    "requests": "requests",
    "tokens": "tokens",
    "concurrent-requests": "concurrency",
}
_NAME = re.compile(
    r"((?:x-)?(?:rate|token)limit|anthropic-ratelimit(?:-[a-z-]+)?)-(limit|remaining|reset)(-[a-z0-9-]+)?"
)
_SUBJECT = re.compile(
    r"(?:anthropic-|x-)?(?:rate|(?P<bare>token))limit(?:-project)?"
    r"(?:-(?:req|requests)|-(?P<side>(?:input|output)-)?(?P<tokens>tokens)(?P<rate>(?:-cache-adjusted)?-prompt|-generated)?)?"
    r"(?:(?:-(?P<count>[0-9]{1,3}))?-(?P<unit>second|minute|hour|day|month))?"
)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One limit as headers tell it: `amount` in each window, whose length is None where they do not say."""

    dimension: Dimension
    amount: float
    window_seconds: float | None
    remaining: float | None
    reset_seconds: float | None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What headers tell of one limit, of which any may be missing. A part is one of input or output tokens alone."""

    of: Literal["requests", "tokens", "concurrency"]
    amount: float | None = None
    window_seconds: float | None = None
    remaining: float | None = None
    reset_seconds: float | None = None
    is_part: bool = False
    policy: str | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether it is said that nothing is left."""
        return self.remaining == 0


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of a header says of its limit. `name` is what its limit, remaining and reset have in common."""

    name: str
    dimension: Dimension
    window_seconds: float | None
    is_part: bool


def told_limits(headers: Mapping[str, str], now: float) -> tuple[Told, ...]:
    """The limits that a reply tells of. `headers` by lower-case name; `now` is Unix time.

    Of limits on parts of the tokens only the smallest is told, and only where none on all tokens is.
    """
    told = [state for state in states(headers, now) if state.amount]
    plain = [state for state in told if not state.is_part]
    if not any(state.of == "tokens" for state in plain):
        plain += sorted((state for state in told if state.is_part), key=lambda part: part.amount or 0)[:1]
    return tuple(
        Told(
            dimension=state.of,
            amount=state.amount,
            window_seconds=state.window_seconds,
            remaining=state.remaining,
            reset_seconds=state.reset_seconds,
        )
        for state in plain
        if state.of != "concurrency" and state.amount
    )


def states(headers: Mapping[str, str], now: float) -> list[State]:
    """All that the headers tell of limits."""
    if not any("limit" in name for name in headers):
        return []
    now = gateway_time(headers, now)
    return [*_named(headers, now), *_structured(headers, now)]


def _named(headers: Mapping[str, str], now: float) -> Iterator[State]:
    """Limits whose headers are named limit, remaining and reset."""
    is_groq = any(name.startswith("x-groq-") for name in headers)
    texts: dict[_Subject, dict[str, str]] = {}
    for name, text in headers.items():
        subject, field = _read_name(name) if "limit" in name and len(name) <= _LONGEST_NAME else (None, "")
        if subject is not None:
            texts.setdefault(subject, {})[field] = text
    for subject, text_of in texts.items():
        yield State(
            of=subject.dimension,
            amount=smallest(text_of.get("limit"), _count),
            window_seconds=subject.window_seconds or (_GROQ_WINDOWS[subject.dimension] if is_groq else None),
            remaining=smallest(text_of.get("remaining"), _count),
            reset_seconds=smallest(text_of.get("reset"), lambda text: until_reset(text, now)),
            is_part=subject.is_part,
        )


@lru_cache(maxsize=512)  # every reply brings the same ones
def _read_name(name: str) -> tuple[_Subject | None, str]:
    """What a header is about, and which of limit, remaining and reset it tells."""
    found = _NAME.fullmatch(name)
    words = _SUBJECT.fullmatch(found[1] + (found[3] or "")) if found else None
    if found is None or words is None:
        return None, ""
    subject = _Subject(
        name=words[0],
        dimension="tokens" if words["tokens"] or words["bare"] else "requests",
        window_seconds=_window_in(words),
        is_part=bool(words["side"] or words["rate"]),
    )
    return subject, found[2]


def _window_in(words: re.Match[str]) -> float | None:
    """The window that a name carries; Fireworks tells the rate of a second without saying so."""
    if words["unit"]:
        return _WINDOWS[words["unit"]] * int(words["count"] or 1) or None
    return 1.0 if words["rate"] else None


def _count(text: str) -> float | None:
    """A number, without the parameters that older drafts append to it."""
    return number(text.partition(";")[0])


def _structured(headers: Mapping[str, str], now: float) -> Iterator[State]:
    """Limits of `RateLimit` and `RateLimit-Policy`, joined by the names of their policies."""
    policies = list(_items(headers.get("ratelimit-policy", "")))
    levels = list(_items(headers.get("ratelimit", "")))
    for name, policy in policies:
        level = next((level for named, level in levels if named == name), {})
        yield from _state(name, {**policy, **level}, now)
    known = {name for name, _ in policies}
    for name, level in levels:
        if name not in known:
            yield from _state(name, level, now)


def _state(name: str, parameters: Mapping[str, str], now: float) -> Iterator[State]:
    unit = _UNITS.get(parameters.get("qu", "requests"))
    if unit is not None:
        yield State(
            of=unit,
            amount=number(parameters.get("q", "")),
            window_seconds=number(parameters.get("w", "")) or None,
            remaining=number(parameters.get("r", "")),
            reset_seconds=until_reset(parameters.get("t", ""), now),
            policy=name,
        )


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The name and the parameters of each item of a list. Of several names (Hugging Face) the last one counts."""
    for item in text[:LONGEST_TEXT].split(","):
        parts = [part.strip().partition("=") for part in item.split(";")]
        names = [name.strip('" ') for name, sign, _ in parts if name and not sign]
        if names:
            yield names[-1], {name.strip().lower(): value.strip('" ') for name, sign, value in parts if sign}
