"""Lengths of time and instants, as people write them: 90s, 15m, 8h; 06:00, 2026-01-31T06:00."""

import re
from datetime import datetime, timedelta

_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)([smhd]?)")
_SECONDS_IN = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d.*")


def parse_duration(text: str) -> float:
    """Seconds. ValueError says what to write."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no length of time: write 90s, 15m, 2h or 1d")
    return float(found[1]) * _SECONDS_IN[found[2]]


def parse_until(text: str, now: datetime) -> datetime:
    """The instant, after `now` where the text is a time of day: then it is the next such one. Local, where it names no
    zone; `now` is local time without a zone. ValueError says what to write."""
    written = text.strip()
    of_day = _TIME.fullmatch(written)
    if of_day is not None:
        hour, minute, second = (int(part or 0) for part in of_day.groups())
        today = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (today if today > now else today + timedelta(days=1)).astimezone()
    try:
        if _INSTANT.fullmatch(written):
            return datetime.fromisoformat(written).astimezone()
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text!r} is no time: write 06:00, or 2026-01-31T06:00, which may have a zone: 2026-01-31T06:00Z")
