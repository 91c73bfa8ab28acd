"""A server's clock, as a process with a clock of its own knows it from answers that took their time. Pure.

Instants that several machines share are the server's. An answer tells one that lies between question and reply, so half
of what they took is how much the two clocks may be off; the quickest answers tell best. Other processes' instants are
taken to be as late as they may be, so that what they hold is never thought to have ended before it has.
"""

from dataclasses import dataclass
from math import inf

STEPPED_SECONDS = 70.0  # longer than what is sent can weigh, but for limits by the hour
_DRIFT = 5e-4  # seconds a second: as fast as clocks are corrected


@dataclass(slots=True)
class ServerClock:
    """`offset`: the server's clock less ours, give or take `error`. Times are seconds."""

    offset: float = 0.0
    error: float = inf
    _heard_at: float = 0.0
    _before: float = inf  # the offset before the server's clock was put forward
    _before_until: float = -inf

    def hear(self, sent: float, told: float, received: float) -> None:
        """Asked at `sent`, the server told its time, which we knew at `received` (both of our clock)."""
        offset, error = told - (sent + received) / 2, (received - sent) / 2
        allowed = self.error + _DRIFT * (received - self._heard_at)
        if self.error < inf and abs(offset - self.offset) > error + allowed:  # somebody set one of the clocks
            if offset > self.offset:
                self._before = min(self.offset, self._before) if received < self._before_until else self.offset
                self._before_until = received + STEPPED_SECONDS
        elif error > allowed:
            return
        self.offset, self.error, self._heard_at = offset, error, received

    def late(self, now: float) -> float:
        """How much later than `offset` says an instant that another process wrote may be on our clock."""
        stepped = self.offset - self._before if now < self._before_until else 0.0
        return self.error + max(0.0, stepped)
