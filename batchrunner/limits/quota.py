"""Daily quota: when a gateway's day begins and ends, and what time it is there. All pure: instants are arguments."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import inf
from zoneinfo import ZoneInfo

FORGET_AFTER_SECONDS = 600.0
LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
_AROUND = range(-2, 3)  # days: zones are up to 14 hours from UTC


@dataclass(frozen=True, slots=True)
class Reset:
    """When a gateway's day ends: a time of day in a zone (of the IANA database).

    There is one reset for each date, so days have 23 to 25 hours: a time that the clocks show twice is taken the first
    time, one that they skip by the offset before the gap (RFC 5545, 3.3.5). A date that a zone left out is no day.
    """

    hour: int
    minute: int
    zone: str

    def day(self, unix: float) -> str:
        """The day to which this instant belongs, by the local date on which it began: "2026-11-24"."""
        return max(day for day in _days_around(unix) if self.begins(day) <= unix)

    def next(self, unix: float) -> float:
        """Unix time of the first reset after this instant, never this instant itself."""
        return min(begin for begin in map(self.begins, _days_around(unix)) if begin > unix)

    def begins(self, day: str) -> float:
        """Unix time at which this day begins."""
        at = time(self.hour, self.minute, tzinfo=ZoneInfo(self.zone))
        return datetime.combine(date.fromisoformat(day), at).timestamp()


class GatewayClock:
    """The gateway's wall clock as the Date headers of its replies tell it; the local clock only before the first.

    A Date header is cut to whole seconds and ages while its reply is under way, so it is never ahead of the clock it
    was read from. Hence the rule: of the headers heard in the last ten to twenty minutes the one furthest ahead
    holds. A reply that was overtaken moves nothing; a header that was ahead by mistake is forgotten when ten minutes
    of replies have not borne it out.
    """

    def __init__(self) -> None:
        self._offset = -inf  # of this period: Unix time less monotonic instant
        self._offset_before = -inf  # of the period before
        self._began = -inf

    @property
    def heard(self) -> bool:
        """Whether the gateway has told the time."""
        return self._offset > -inf

    def hear(self, date: float, mono: float) -> None:
        """Take the Date header (Unix time) of a reply that came at this monotonic instant. An absurd one is ignored."""
        if not 0 <= date <= LATEST:
            return
        if mono - self._began >= FORGET_AFTER_SECONDS:
            self._offset_before, self._offset, self._began = self._offset, -inf, mono
        self._offset = max(self._offset, date - mono)

    def now(self, mono: float, wall: float) -> float:
        """Unix time. Once the gateway was heard it follows the monotonic clock: a `wall` that jumps moves nothing."""
        return mono + max(self._offset, self._offset_before) if self.heard else wall


def _days_around(unix: float) -> list[str]:
    utc = datetime.fromtimestamp(unix, UTC).date()
    return [(utc + timedelta(days=days)).isoformat() for days in _AROUND]
