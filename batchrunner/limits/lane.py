"""One lane, (base URL, account, model): its buckets, its pause and its room in flight as one question.

Pure: `now` is an argument, instants of any one monotonic clock. Nothing here waits; see limiter.
"""

from dataclasses import dataclass

from batchrunner.limits.bucket import Bucket, Limit
from batchrunner.limits.pace import FoundPace, GivenPace, KnownPace, Pace
from batchrunner.limits.pause import Pause

QUOTA_AFTER_SILENT_STEPS = 3
_TOKENS_WEIGHT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What was declared for a lane. `concurrency` None is `auto`."""

    requests: tuple[Limit, ...] = ()
    tokens: tuple[Limit, ...] = ()
    concurrency: int | None = None


@dataclass(slots=True, eq=False)
class Lease:
    """Leave to send one try, from the instant it was taken until `Lane.leave`."""

    taken_at: float
    tokens: int


class Lane:
    """Decides when the next try may be sent. Leases out are the requests in flight."""

    def __init__(self, limits: Limits, *, now: float, empty: bool = False) -> None:
        """With `empty` buckets where an earlier run may have used its limits up to `now`."""
        self._requests = [Bucket(limit, now=now, empty=empty) for limit in limits.requests]
        self._tokens = [Bucket(limit, now=now, empty=empty) for limit in limits.tokens]
        self._mean_tokens = 0.0
        self._leases: set[Lease] = set()
        self._taken_at_sum = 0.0
        self.pause = Pause()
        self.pace = _pace_for(limits)
        self.leased_until = float("inf")

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        return len(self._leases)

    @property
    def seems_out_of_quota(self) -> bool:
        """Whether refusals went on through silences that outlast every rolling window."""
        return self.pause.silent_steps >= QUOTA_AFTER_SILENT_STEPS

    def cap(self, now: float) -> int:
        """Requests in flight at most, as things stand."""
        return self.pace.cap(self._rate(), self._mean_age(now))

    def fits(self, tokens: int) -> bool:
        """Whether a try of so many tokens can ever be sent."""
        return all(bucket.fits(tokens) for bucket in self._tokens)

    def ready_at(self, tokens: int, now: float) -> float:
        """The first instant at which a try may be sent; infinity where something has to happen first."""
        if now > self.leased_until:
            return float("inf")
        ready = self.pause.ready_at(now, probe_out=self.pause.probing and self._probe_out())
        if len(self._leases) >= self.cap(now):
            ready = max(ready, now + self.pace.room_in(len(self._leases), self._rate(), self._mean_age(now)))
        for bucket in self._requests:
            ready = max(ready, bucket.ready_at(1, now))
        for bucket in self._tokens:
            ready = max(ready, bucket.ready_at(tokens, now))
        return ready

    def take(self, tokens: int, now: float) -> Lease:
        """Take what `ready_at` allows at `now`."""
        for bucket in self._requests:
            bucket.take(1, now)
        for bucket in self._tokens:
            bucket.take(tokens, now)
        self._mean_tokens += _TOKENS_WEIGHT * (tokens - self._mean_tokens) if self._mean_tokens else tokens
        lease = Lease(taken_at=now, tokens=tokens)
        self._leases.add(lease)
        self._taken_at_sum += now
        return lease

    def leave(self, lease: Lease) -> None:
        """The try is over."""
        self._leases.remove(lease)
        self._taken_at_sum = self._taken_at_sum - lease.taken_at if self._leases else 0.0

    def settle(self, *, reserved: int, used: int) -> None:
        """Of the tokens reserved for a try the gateway counted so many."""
        for bucket in self._tokens:
            bucket.settle(reserved, used)

    def answered(self, lease: Lease, latency_seconds: float) -> None:
        """The gateway answered: pauses that began before this try are over."""
        self.pause.lift(lease.taken_at)
        self.pace.answered(latency_seconds)

    def limited(self, lease: Lease, now: float, *, hint: float | None, jitter: float) -> None:
        """The gateway refused for its limits."""
        if lease.taken_at >= self.pause.began:
            self.pace.limited()
        self.pause.limited(lease.taken_at, now, hint=hint, jitter=jitter)

    def unavailable(self, lease: Lease, now: float, *, hint: float | None, jitter: float) -> None:
        """The gateway has been answering nothing at all."""
        self.pause.unavailable(lease.taken_at, now, hint=hint, jitter=jitter)

    def in_debt_until(self, now: float) -> float:
        """From when on what was taken weighs on no later try."""
        return max((bucket.in_debt_until(now) for bucket in self._tokens), default=now)

    def _probe_out(self) -> bool:
        """Whether a try sent since the pause began is out; older ones tell nothing of how things are now."""
        return any(lease.taken_at >= self.pause.began for lease in self._leases)

    def _mean_age(self, now: float) -> float:
        """Seconds for which those in flight have been out, in the mean."""
        return now - self._taken_at_sum / len(self._leases) if self._leases else 0.0

    def _rate(self) -> float:
        """Tries per second that the declared limits allow."""
        rates = [bucket.rate for bucket in self._requests]
        rates += [bucket.rate / max(1.0, self._mean_tokens) for bucket in self._tokens]
        return min(rates, default=float("inf"))


def _pace_for(limits: Limits) -> Pace:
    if limits.concurrency is not None:
        return GivenPace(limits.concurrency)
    return KnownPace() if limits.requests or limits.tokens else FoundPace()
