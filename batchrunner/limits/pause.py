"""When a lane is silent after a refusal, and how it comes back: pauses that double, then one probe at a time.

An episode is what tries in flight together are told together: refusals of tries that were sent before the
present pause began lengthen it at most to their own hint, and never double it.
"""

from dataclasses import dataclass

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 70.0  # longer than any rolling window: a probe after it is not refused for our own rate
LONGEST_IN_OUTAGE_SECONDS = 60.0
_UPWARD_JITTER = 0.1
_PROBE_FROM_STEP = 2


@dataclass(slots=True)
class Pause:
    """`until` and `began` are instants of the lane's clock; `step` counts pauses without an answer between,
    `own` is what the last one of them would have been without a hint.

    While `probing`, one try sent since the pause began may be out at a time; `in_outage`: only its answer ends that,
    else that it was not refused at once does. `silent_steps` counts refusals after silences that outlast every
    rolling window.
    """

    until: float = float("-inf")
    began: float = float("-inf")
    step: int = 0
    own: float = FIRST_SECONDS
    silent_steps: int = 0
    probing: bool = False
    in_outage: bool = False

    def limited(
        self, sent_at: float, now: float, *, hint: float | None, jitter: float, first: float = FIRST_SECONDS
    ) -> bool:
        """A try sent at `sent_at` met a limit: whether that begins another pause.

        `hint`: seconds the gateway asks for; `first`: of the first pause without one; `jitter`: 0 to 1.
        """
        own = min(LONGEST_SECONDS, 2 * self.own if self.step else first)
        begins = self._extend(sent_at, now, own if hint is None else hint, jitter)
        if begins:
            self.own = own
            self.silent_steps += hint is None and own >= LONGEST_SECONDS
            self.probing = self.probing or self.step >= _PROBE_FROM_STEP
            self.in_outage = False
        elif hint is not None:
            self.until = max(self.until, now + hint)
        return begins

    def unavailable(self, sent_at: float, now: float, *, hint: float | None, jitter: float) -> None:
        """A try sent at `sent_at` found no gateway: one probe after each pause, and no word of a quota."""
        own = min(LONGEST_IN_OUTAGE_SECONDS, FIRST_SECONDS * 2**self.step)
        self._extend(sent_at, now, max(own, hint or 0.0), jitter)
        self.probing = self.in_outage = True
        self.silent_steps = 0

    def lift(self, sent_at: float) -> bool:
        """A try sent at `sent_at` was taken: the trouble is over unless it began after that. Whether it was one."""
        if sent_at < self.began or not self.step:
            return False
        self.step = 0
        self.silent_steps = 0
        self.probing = self.in_outage = False
        return True

    def _extend(self, sent_at: float, now: float, wait: float, jitter: float) -> bool:
        """Begin the next pause, unless the try was sent before the present one: whether it did."""
        if sent_at < self.began:
            return False
        self.step = min(self.step + 1, 64)
        self.began = now
        self.until = max(self.until, now + wait * (1 + _UPWARD_JITTER * jitter))
        return True
