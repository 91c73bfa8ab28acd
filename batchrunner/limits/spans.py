"""Spans of time as gateways write them, read as seconds from now. Never raises; refuses what nobody could wait for.

A header that came twice arrives as one text with ", " between: the smallest of its values counts.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import isfinite

LONGEST_SECONDS = 26 * 3600
LONGEST_TEXT = 2048
# Go's durations (2m59.56s, 120ms) and plain words (5 minutes). A unit ends where its letters do: `ms` is no `m`.
_PART = (
    r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
)
DURATION = rf"(?:{_PART}(?:,? and |,? )?)+"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EACH_PART = re.compile(_PART, re.IGNORECASE)
_WHOLE = re.compile(DURATION, re.IGNORECASE)
_WEEKDAY = re.compile(r"\b(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,", re.IGNORECASE)


def gateway_time(headers: Mapping[str, str], now: float) -> float:
    """Unix time as the reply's `Date` tells it; `now` where it has none that can be read."""
    date = _http_date(headers.get("date", "")[:LONGEST_TEXT])
    return now if date is None else date


def smallest(text: str | None, read: Callable[[str], float | None]) -> float | None:
    """The smallest value that `read` finds in a header, which may have come several times."""
    if text is None:
        return None
    texts = _WEEKDAY.sub("", text[:LONGEST_TEXT]).split(", ") if "," in text else [text[:LONGEST_TEXT]]
    return min((value for value in map(read, texts) if value is not None), default=None)


def sensible(seconds: float | None) -> float | None:
    """The seconds, if one can wait for so long: not negative, not endless, not beyond 26 hours."""
    return seconds if seconds is not None and 0 <= seconds <= LONGEST_SECONDS else None


def number(text: str) -> float | None:
    """A finite number that is not negative."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None


def duration(text: str) -> float | None:
    """Seconds of `2m59.56s`, `120ms`, `5 minutes`."""
    if not _WHOLE.fullmatch(text.strip()):
        return None
    return sum(float(count) * _unit_seconds(unit.lower()) for count, unit in _EACH_PART.findall(text))


def until_date(text: str, now: float) -> float | None:
    """Seconds until an HTTP date (RFC 9110 section 5.6.7), 0 for one that has passed."""
    date = _http_date(text)
    return None if date is None else max(0.0, date - now)


def until_reset(text: str, now: float) -> float | None:
    """Seconds until a reset: a duration, a bare number (seconds or an instant, by its size), or an RFC 3339 instant."""
    value = number(text)
    if value is None:
        seconds = duration(text)
        return sensible(seconds if seconds is not None else _until(_rfc_3339(text), now))
    if value < 1e6:  # noqa: PLR2004 - the sizes that tell seconds, Unix time and its milliseconds apart
        return sensible(value)
    if 1e9 <= value <= 1e11:  # noqa: PLR2004
        return sensible(_until(value, now))
    return sensible(_until(value / 1000, now)) if value > 1e12 else None  # noqa: PLR2004


def _until(instant: float | None, now: float) -> float | None:
    return None if instant is None else max(0.0, instant - now)


def _unit_seconds(unit: str) -> float:
    return 1e-3 if unit.startswith(("ms", "milli")) else _UNITS[unit[0]]


@lru_cache(maxsize=64)  # every reply of a second brings the same one
def _http_date(text: str) -> float | None:
    try:
        instant = parsedate_to_datetime(text)
        return instant.replace(tzinfo=instant.tzinfo or UTC).timestamp()
    except (ValueError, IndexError, OverflowError):
        return None


def _rfc_3339(text: str) -> float | None:
    try:
        instant = datetime.fromisoformat(text.strip())
        return instant.replace(tzinfo=instant.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
