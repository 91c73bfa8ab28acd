"""One limit's window: an exact log of what was admitted, and a pace that spreads it evenly.

The log is the law. What was admitted within any window and its guard never sums up to more than the allotment:
the whole limit where this process is alone, its part of it where others share the lane. So gateways that count
by rolling windows, by fixed ones or by buckets see no more than the limit. The guard absorbs what the network
does to the spacing of arrivals.

The pace is a bucket that refills at allotment / (window + guard). It may go into debt for a large amount, as the
log protects the limit; its burst, a small part of the limit, is what may follow at once after a late wake-up.
It keeps the start from being a whole window's burst followed by an idle one.

Amounts may be corrected later: what a try really used replaces what was reserved for it, at its own instant.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

GUARD_SECONDS = 0.05
CURVE_POINTS = 32
_BURST_SHARE, _LOOSE_BURST_SHARE = 0.005, 0.15
_BURST_SECONDS = 0.1
_SLOTS = 1000
_ROUNDING = 1e-6

Dimension = Literal["requests", "tokens"]
Key = tuple[Dimension, float]
_NAMES = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `amount` (requests or tokens) in any `window_seconds`."""

    dimension: Dimension
    amount: float
    window_seconds: float
    guard_seconds: float = GUARD_SECONDS

    @property
    def key(self) -> Key:
        """What tells a lane's limits apart."""
        return (self.dimension, self.window_seconds)

    @property
    def span(self) -> float:
        """Seconds for which an admission weighs: the window and its guard."""
        return self.window_seconds + self.guard_seconds


def name_of(key: Key) -> str:
    """tokens/minute, say."""
    dimension, seconds = key
    return f"{dimension}/{_NAMES.get(int(seconds), f'{seconds:g} s')}"


class Slot:
    """What was admitted within a moment that is short beside the window. It expires as its last admission does."""

    __slots__ = ("alive", "amount", "began", "expires")

    def __init__(self, amount: float, began: float, expires: float) -> None:
        self.amount = amount
        self.began = began
        self.expires = expires
        self.alive = True


class Window:
    """One limit's log and pace. Instants are seconds of any one monotonic clock; `now` never goes back.

    `allotment`: how much of the limit is this process's; `share`: the part of the limit's rate it may pace at; `rate`:
    what that is in amount per second; `burst`: what may be admitted at once after a silence.
    """

    __slots__ = (
        "_level",
        "_moment",
        "_slots",
        "_sum",
        "_updated",
        "allotment",
        "burst",
        "limit",
        "loose",
        "rate",
        "share",
    )

    def __init__(self, limit: Limit, *, now: float) -> None:
        self.limit = limit
        self.allotment = limit.amount
        self.share = 1.0
        self.loose = False
        self._set_pace()
        self._slots: deque[Slot] = deque()
        self._sum = 0.0
        self._moment = limit.window_seconds / _SLOTS
        self._updated = now
        self._level = 1.0 if limit.dimension == "requests" else self.burst

    def used(self, now: float) -> float:
        """What was admitted within the window and guard that end now."""
        slots = self._slots
        while slots and slots[0].expires <= now:
            gone = slots.popleft()
            gone.alive = False
            self._sum -= gone.amount
        if not slots:
            self._sum = 0.0
        return self._sum

    def used_since(self, instant: float) -> float:
        """What was admitted after an instant, to the precision of a slot."""
        span = self.limit.span
        return sum(slot.amount for slot in self._slots if slot.expires - span > instant)

    def ready_at(self, amount: float, now: float, margin: float = 0.0, paced: float | None = None) -> float:
        """The first instant at which `amount` may be taken; infinity where the allotment has to grow first.

        `margin` is kept free for what estimates are off; never so much that the amount would not fit at all. `paced` is
        what it counts for the pace, where that is less than for the log.
        """
        excess = self.used(now) + amount + min(margin, max(0.0, self.allotment - amount)) - self.allotment
        ready = now if excess <= _ROUNDING else self._when_expired(excess)
        paced = amount if paced is None else paced
        missing = min(paced, self.burst) - self._level_at(now, paced)
        return ready if missing <= _ROUNDING else max(ready, now + missing / self.rate)

    def take(self, amount: float, now: float, paced: float | None = None) -> Slot:
        """Take what `ready_at` allows at `now`; the slot is for `settle`."""
        paced = amount if paced is None else paced
        self._level = self._level_at(now, paced) - paced
        self._updated = now
        return self._log(amount, now)

    def settle(self, slot: Slot, change: float) -> None:
        """What was taken into this slot was more, or less, than was said."""
        slot.amount += change
        if slot.alive:
            self._sum += change
        self._level -= change

    def change(self, limit: Limit, now: float) -> None:
        """The limit has another amount from now on; a process alone has all of it."""
        alone = self.allotment == self.limit.amount
        self.allotment = limit.amount if alone else min(self.allotment, limit.amount)
        self._level = self._level_at(now)
        self._updated = now
        self.limit = limit
        self._set_pace()
        self._level = min(self._level, self.burst)

    @property
    def possible_rate(self) -> float:
        """What the pace may come to, in amount per second. A loose window's part of the limit says little of that: it
        grows when something waits for it, and nothing does before it is all used."""
        return self.limit.amount / self.limit.span if self.loose else self.rate

    def loosen(self, loose: bool) -> None:  # noqa: FBT001 - it is all that is said
        """Whether what follows one another is spread by another window's pace: then this one needs hardly any."""
        if loose != self.loose:
            self.loose = loose
            self._set_pace()

    def divide(self, held: float, share: float, now: float) -> None:
        """From now on this process has so much of the limit, and such a share of its rate."""
        self._level = self._level_at(now)
        self._updated = now
        self.allotment, self.share = held, share
        self._set_pace()

    def seed(self, other: "Window", now: float) -> None:
        """Take over what another window of the same dimension has logged."""
        span = other.limit.span
        for slot in other._slots:  # noqa: SLF001 - of the same class
            at = slot.expires - span
            if at + self.limit.span > now:
                self._log(slot.amount, at)
        self._level = 0.0

    def curve(self, now: float) -> list[float]:
        """What will still weigh at now, now + span / 32, and so on to the end of the span."""
        step = self.limit.span / CURVE_POINTS
        self.used(now)
        alive = [0.0] * CURVE_POINTS
        for slot in self._slots:
            last = min(CURVE_POINTS - 1, int((slot.expires - now) / step))
            alive[last] += slot.amount
        for point in range(CURVE_POINTS - 2, -1, -1):
            alive[point] += alive[point + 1]
        return alive

    def _set_pace(self) -> None:
        """Amount per second in steady state, and what may be admitted at once after a silence."""
        amount = self.limit.amount * self.share
        share = _LOOSE_BURST_SHARE if self.loose else _BURST_SHARE
        self.rate = amount / self.limit.span
        self.burst = max(1.0, amount * share, self.rate * _BURST_SECONDS)

    def _log(self, amount: float, at: float) -> Slot:
        expires = at + self.limit.span
        if self._slots and at - self._slots[-1].began < self._moment:
            slot = self._slots[-1]
            slot.amount += amount
            slot.expires = expires
        else:
            slot = Slot(amount, at, expires)
            self._slots.append(slot)
        self._sum += amount
        return slot

    def _when_expired(self, excess: float) -> float:
        for slot in self._slots:
            excess -= slot.amount
            if excess <= _ROUNDING:
                return slot.expires
        return float("inf")

    def _level_at(self, now: float, amount: float = 0.0) -> float:
        """What the pace allows: the burst at most, or what a large amount has waited for in the log meanwhile."""
        return min(max(self.burst, amount), self._level + (now - self._updated) * self.rate)
