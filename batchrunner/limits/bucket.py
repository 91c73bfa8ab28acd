"""A token bucket that never lets more than its limit into any window.

What goes in within an interval of T seconds is at most `burst + rate * T`. With

    rate = (limit + 1 - burst) / (window + guard)

that stays below `limit + 1` for every T shorter than `window + guard`: amounts are whole numbers, so
`limit + 1` of them always span the window and its guard. The guard absorbs what the network does to the
spacing of arrivals. The burst is what may follow at once after a late wake-up: half a per cent of the limit
costs half a per cent of the rate and keeps the rest from being lost to the scheduler.

An amount larger than the burst waits until the bucket holds it, and pays its excess over the burst twice:
the first time protects the windows that end with it, the second time those that begin with it.

That holds for what is taken. What `settle` gives back of an earlier window's take may be taken again in this
one, so the sum of a window may pass the limit by what was given back in it.
"""

from dataclasses import dataclass

BURST_SHARE = 0.005
LARGEST_BURST_SHARE = 0.05
GUARD_SECONDS = 0.05
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `amount` (requests or tokens) in any `window_seconds`."""

    amount: int
    window_seconds: float
    guard_seconds: float = GUARD_SECONDS


class Bucket:
    """One limit's bucket. Instants are seconds of any one monotonic clock; `now` never goes back."""

    __slots__ = ("_burst", "_level", "_limit", "_rate", "_updated")

    def __init__(self, limit: Limit, *, now: float, empty: bool = False) -> None:
        """Full at `now`, or empty: after an earlier run whose admissions may reach up to `now`."""
        self._limit = limit
        self._burst = 1 + limit.amount * BURST_SHARE
        self._rate = self._rate_of(self._burst)
        self._level = 0.0 if empty else self._burst
        self._updated = now

    @property
    def rate(self) -> float:
        """Amount per second in steady state."""
        return self._rate

    def fits(self, amount: float) -> bool:
        """Whether this amount can ever be taken."""
        return amount <= self._limit.amount

    def ready_at(self, amount: float, now: float) -> float:
        """The first instant at which `amount` may be taken; `now` itself when it may at once."""
        self._widen(amount, now)
        missing = amount - self._level_for(amount, now)
        return now if missing <= _ROUNDING else now + missing / self._rate

    def take(self, amount: float, now: float) -> None:
        """Take what `ready_at` allows at `now`."""
        self._level = self._level_for(amount, now) - self._cost(amount)
        self._updated = now

    def settle(self, taken: float, used: float) -> None:
        """Of what was taken so much was used: the rest goes back, or more is taken, into debt."""
        self._level += self._cost(taken) - self._cost(used)

    def in_debt_until(self, now: float) -> float:
        """From when on nothing that was taken weighs on what follows; `now` itself mostly."""
        return now + max(0.0, -self._level_for(0.0, now)) / self._rate

    def _cost(self, amount: float) -> float:
        return amount + max(0.0, amount - self._burst)

    def _level_for(self, amount: float, now: float) -> float:
        """What may be used for `amount`: the burst at most, or as much as a larger amount has waited for."""
        grown = self._level + (now - self._updated) * self._rate
        return min(grown, max(self._burst, amount))

    def _widen(self, amount: float, now: float) -> None:
        """Let the burst grow to the largest amount met, within bounds: it is cheaper than paying twice."""
        burst = min(amount, self._limit.amount * LARGEST_BURST_SHARE)
        if burst <= self._burst:
            return
        self._level = self._level_for(amount, now)
        self._updated = now
        self._burst = burst
        self._rate = self._rate_of(burst)

    def _rate_of(self, burst: float) -> float:
        return (self._limit.amount + 1 - burst) / (self._limit.window_seconds + self._limit.guard_seconds)
