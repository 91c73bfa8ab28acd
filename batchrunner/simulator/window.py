"""One limit of one lane, counted exactly, in the three ways in which gateways forget.

Instants and durations are whole nanoseconds, so that no rounding blurs the edge of a window.
"""

from collections import deque
from enum import StrEnum
from typing import Protocol, assert_never

SECOND_NS = 1_000_000_000


class WindowKind(StrEnum):
    """How a gateway forgets: (t - W, t]; from one multiple of W to the next; by steady refill."""

    ROLLING = "rolling"
    FIXED = "fixed"
    BUCKET = "bucket"


class Window(Protocol):
    """One limit of one lane. A `wait_ns` of 0 means that the amount fits now."""

    def wait_ns(self, now_ns: int, amount: int) -> int: ...
    def add(self, now_ns: int, amount: int) -> None: ...
    def used(self, now_ns: int) -> int: ...
    def reset_ns(self, now_ns: int) -> int: ...


class RollingWindow:
    """Everything admitted in (now - W, now], one by one. What never fits is told to wait a whole window."""

    def __init__(self, limit: int, window_ns: int) -> None:
        self._limit = limit
        self._window_ns = window_ns
        self._log: deque[tuple[int, int]] = deque()
        self._sum = 0

    def wait_ns(self, now_ns: int, amount: int) -> int:
        excess = self.used(now_ns) + amount - self._limit
        if excess <= 0:
            return 0
        for instant_ns, taken in self._log:
            excess -= taken
            if excess <= 0:
                return instant_ns + self._window_ns - now_ns
        return self._window_ns

    def add(self, now_ns: int, amount: int) -> None:
        self._log.append((now_ns, amount))
        self._sum += amount

    def used(self, now_ns: int) -> int:
        log, horizon = self._log, now_ns - self._window_ns
        while log and log[0][0] <= horizon:
            self._sum -= log.popleft()[1]
        return self._sum

    def reset_ns(self, now_ns: int) -> int:
        return self._log[-1][0] + self._window_ns - now_ns if self.used(now_ns) else 0


class FixedWindow:
    """Everything since the last multiple of W; with a day as W, and on the wall clock: since 00:00 UTC."""

    def __init__(self, limit: int, window_ns: int) -> None:
        self._limit = limit
        self._window_ns = window_ns
        self._number = 0
        self._sum = 0

    def wait_ns(self, now_ns: int, amount: int) -> int:
        return 0 if self.used(now_ns) + amount <= self._limit else self.reset_ns(now_ns)

    def add(self, now_ns: int, amount: int) -> None:
        self._sum = self.used(now_ns) + amount

    def used(self, now_ns: int) -> int:
        number = now_ns // self._window_ns
        if number != self._number:
            self._number, self._sum = number, 0
        return self._sum

    def reset_ns(self, now_ns: int) -> int:
        return self._window_ns - now_ns % self._window_ns


class BucketWindow:
    """A bucket as large as the limit that refills evenly over W. Counted in amount x nanoseconds: exact."""

    def __init__(self, limit: int, window_ns: int) -> None:
        self._limit = limit
        self._window_ns = window_ns
        self._level = limit * window_ns
        self._at_ns = 0

    def wait_ns(self, now_ns: int, amount: int) -> int:
        missing = amount * self._window_ns - self._refill(now_ns)
        if missing <= 0:
            return 0
        return -(-missing // self._limit) if amount <= self._limit else self._window_ns

    def add(self, now_ns: int, amount: int) -> None:
        self._level = self._refill(now_ns) - amount * self._window_ns

    def used(self, now_ns: int) -> int:
        return self._limit - self._refill(now_ns) // self._window_ns

    def reset_ns(self, now_ns: int) -> int:
        return -(-(self._limit * self._window_ns - self._refill(now_ns)) // self._limit)

    def _refill(self, now_ns: int) -> int:
        gained = (now_ns - self._at_ns) * self._limit
        self._level = min(self._limit * self._window_ns, self._level + gained)
        self._at_ns = now_ns
        return self._level


def make_window(kind: WindowKind, limit: int, window_ns: int) -> Window:
    match kind:
        case WindowKind.ROLLING:
            return RollingWindow(limit, window_ns)
        case WindowKind.FIXED:
            return FixedWindow(limit, window_ns)
        case WindowKind.BUCKET:
            return BucketWindow(limit, window_ns)
        case _:
            assert_never(kind)
