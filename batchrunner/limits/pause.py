"""When a lane is silent after a refusal, and how it comes back: pauses that double, then one probe at a time.

An episode is what tries in flight together are told together: refusals of tries that were sent before the
present pause began lengthen it at most to their own hint, and never double it.
"""

from dataclasses import dataclass

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 70.0  # longer than any rolling window: a probe after it is not refused for our own rate
_UPWARD_JITTER = 0.1
_PROBE_FROM_STEP = 2


@dataclass(slots=True)
class Pause:
    """`until` and `began` are instants of the lane's clock; `step` counts pauses without an answer between."""

    until: float = float("-inf")
    began: float = float("-inf")
    step: int = 0
    silent_steps: int = 0
    probing: bool = False

    def ready_at(self, now: float, in_flight: int) -> float:
        """The first instant at which the pause allows a try; infinity while a probe is out."""
        if self.probing and in_flight:
            return float("inf")
        return max(now, self.until)

    def extend(self, sent_at: float, now: float, *, hint: float | None, jitter: float) -> None:
        """A try sent at `sent_at` was refused. `hint`: seconds the gateway asks for; `jitter`: 0 to 1."""
        if sent_at < self.began:
            if hint is not None:
                self.until = max(self.until, now + hint)
            return
        own = min(LONGEST_SECONDS, FIRST_SECONDS * 2**self.step)
        self.silent_steps += hint is None and own >= LONGEST_SECONDS
        self.step += 1
        self.probing = self.probing or self.step >= _PROBE_FROM_STEP
        self.began = now
        wait = own if hint is None else hint
        self.until = max(self.until, now + wait * (1 + _UPWARD_JITTER * jitter))

    def lift(self, sent_at: float) -> None:
        """A try sent at `sent_at` was answered: the trouble is over unless it began after that."""
        if sent_at >= self.began:
            self.step = 0
            self.silent_steps = 0
            self.probing = False
