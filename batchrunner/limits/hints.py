"""What a gateway says of waiting: Retry-After and its kin, read as a number of seconds. Never raises.

A hint is a minimum. Negative, endless and absurd ones are ignored; one of more than 15 minutes means that a
daily quota is gone. The dialects are those of RFC 9110 section 10.2.3 and of the OpenAI and Azure gateways.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from batchrunner.records import Kind

DAILY_SECONDS = 15 * 60
LONGEST_SECONDS = 26 * 3600
# The one table of codes and phrases that tells 429s apart; the first that is found decides.
PHRASES: tuple[tuple[Kind, re.Pattern[bytes]], ...] = (
    # Codes only: the words "billing details" stand in messages about rates too.
    (
        Kind.BILLING,
        re.compile(rb"insufficient_quota|credit_balance|spend_limit|billing_|organization_usage_limit", re.IGNORECASE),
    ),
    (Kind.DAILY_LIMIT, re.compile(rb"daily|per[ _-]?day|usage[ _-]limit", re.IGNORECASE)),
)
_IN_TEXT = re.compile(rb"(?:try again|retry) (?:in|after) (\d+(?:\.\d+)?) ?(ms|s)", re.IGNORECASE)


def retry_after_seconds(headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """Seconds to wait as the gateway says, or None. `headers` by lower-case name; `now` is Unix time."""
    for name, scale in (("retry-after-ms", 1e-3), ("x-ms-retry-after-ms", 1e-3), ("retry-after", 1.0)):
        seconds = _bounded(_number(headers.get(name)), scale)
        if seconds is not None:
            return seconds
    return _bounded(_until_date(headers.get("retry-after"), now)) or _bounded(_in_body(body))


def class_of_429(seconds: float | None, body: bytes) -> Kind:
    """Rate, daily quota or money: from the hinted seconds and the table above."""
    for kind, pattern in PHRASES:
        if pattern.search(body[:4096]):
            return kind
    return Kind.DAILY_LIMIT if seconds is not None and seconds > DAILY_SECONDS else Kind.RATE_LIMITED


def _bounded(value: float | None, scale: float = 1.0) -> float | None:
    if value is None or not 0 <= value * scale <= LONGEST_SECONDS:
        return None
    return value * scale


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _until_date(text: str | None, now: float) -> float | None:
    try:
        instant = parsedate_to_datetime(text) if text else None
    except (ValueError, IndexError, OverflowError):
        return None
    if instant is None:
        return None
    return max(0.0, instant.replace(tzinfo=instant.tzinfo or UTC).timestamp() - now)


def _in_body(body: bytes) -> float | None:
    try:
        content = msgspec.json.decode(body[:65536])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    hint = content.get("retry_after") if isinstance(content, dict) else None
    if isinstance(hint, int | float) and 0 <= hint <= LONGEST_SECONDS:
        return float(hint)
    found = _IN_TEXT.search(body[:4096])
    return None if found is None else float(found[1]) * (1e-3 if found[2].lower() == b"ms" else 1.0)
