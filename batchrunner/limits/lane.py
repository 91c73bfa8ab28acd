"""One lane, (base URL, account, model): its limits, its pauses and its room in flight as one question.

Pure: `now` is an argument, instants of any one monotonic clock. Nothing here waits; see limiter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from batchrunner.limits.cap import MINUTE, Refused
from batchrunner.limits.day import Day
from batchrunner.limits.estimate import Estimate
from batchrunner.limits.hints import Refusal
from batchrunner.limits.in_flight import InFlight, Lease
from batchrunner.limits.in_force import InForce
from batchrunner.limits.pace import Pace
from batchrunner.limits.pause import FIRST_SECONDS, Pause
from batchrunner.limits.sums import Sums
from batchrunner.limits.window import Key, Limit, Window, name_of
from batchrunner.records import Kind

QUOTA_AFTER_SILENT_STEPS = 3
STALE_SECONDS = 0.02
SIGMAS = 3.0
LARGEST_MARGIN = 0.5
_TOKENS_WEIGHT = 0.1
_PASSED_AFTER = 3.0  # times what a refusal takes
_PASSED_AT_LEAST_SECONDS = 0.25
_FIRST_PAUSE_SHARE = 0.03
FOREVER = float("inf")
IN_FLIGHT = "requests in flight"
OF_THE_BOOK = "its share in the book"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What was declared for a lane. `concurrency` None is `auto`, `most_concurrency` bounds that."""

    windows: tuple[Limit, ...] = ()
    requests_per_day: float = FOREVER
    tokens_per_day: float = FOREVER
    concurrency: int | None = None
    most_concurrency: int | None = None

    @property
    def most_tokens(self) -> float:
        """What one try may have at most."""
        return min([self.tokens_per_day, *(limit.amount for limit in self.windows if limit.dimension == "tokens")])


class Lane:
    """Decides when the next try may be sent. Leases out are requests in flight, some written `late_seconds` late."""

    def __init__(self, limits: Limits, *, now: float, late_seconds: float = 0.0) -> None:
        self.limits = limits
        self._stale_seconds = STALE_SECONDS + late_seconds
        self.pause = Pause()
        self.pace = Pace(given=limits.concurrency, most=limits.most_concurrency)
        self.day = Day(limits.requests_per_day, limits.tokens_per_day)
        self.force = InForce(limits.windows, now=now, late_seconds=late_seconds)
        self.sums = Sums()
        self.most_tokens = limits.most_tokens
        self.leased_until = FOREVER
        self.gone_until = -FOREVER  # as the gateway told of its daily quota
        self.bound_by = ""
        self.largest_margin = 0.0  # tokens
        self.head: tuple[float, float] | None = None  # tokens of the try that waits, and since when
        self.hungry: dict[Key, float] = {}
        self.promised = False  # between what was told to the book and its answer the parts are small
        self.out = InFlight()
        self.mean_tokens = 0.0  # of a try
        self._was_full = False
        self._refusal_seconds = 0.0

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        return len(self.out)

    @property
    def seems_out_of_quota(self) -> bool:
        """Whether refusals went on through silences that outlast every rolling window."""
        return self.pause.silent_steps >= QUOTA_AFTER_SILENT_STEPS

    def cap(self, now: float) -> int:
        """Requests in flight at most, as things stand."""
        if self.limits.concurrency is not None:
            return self.limits.concurrency
        return self.pace.cap(self.rate(), self.out.mean_age(now), found=not self.limits.windows)

    def rate(self) -> float:
        """Tries per second that the limits allow, declared and found."""
        return self.force.rate(self.mean_tokens)

    def ready_at(self, estimate: Estimate, now: float) -> float:
        """The first instant at which a try may be sent; infinity where something has to happen first.

        `bound_by` says afterwards what was in the way.
        """
        ready, why = (now, "") if now <= self.leased_until else (FOREVER, OF_THE_BOOK)
        for at, what in self._in_the_way(estimate, now):
            if at > ready:
                ready, why = at, what
        self.bound_by = why
        if ready > now and self.head is None:
            self.head = (estimate.tokens, now)
        return ready

    def _in_the_way(self, estimate: Estimate, now: float) -> Iterator[tuple[float, str]]:
        """What a try may have to wait for: until when, and what it is."""
        if now >= self.force.finder.doubts.due_at:
            self._doubt(now)
        if self.pause.step or self.pause.until > now:
            yield self._paused_until(now), "pause"
        in_flight, rate, found = len(self.out), self.rate(), not self.limits.windows
        if in_flight >= self.pace.cap(rate, self.out.mean_age(now), found=found):
            self._was_full = True
            yield now + self.pace.room_in(in_flight, rate, self.out.mean_age(now), found=found), IN_FLIGHT
        for window in self.force.limited:
            at = self._window_ready_at(window, estimate, now)
            if at > now:
                if not self.promised:
                    self.hungry[window.limit.key] = now
                yield at, name_of(window.limit.key)
        yield max(self.day.ready_at(estimate.tokens, now), self.gone_until), "the daily limit"

    def take(self, estimate: Estimate, now: float) -> Lease:
        """Take what `ready_at` allows at `now`."""
        if self.pause.step and not self.pause.in_outage and self._probe_passed_at() <= now:
            self._lift(self.out.first_since(self.pause.began), now)
        tokens = estimate.tokens
        entries = [
            (w, w.take(1.0, now) if w.limit.dimension == "requests" else w.take(tokens, now, estimate.likely))
            for w in self.force.windows.values()
        ]
        lease = Lease(now, estimate, entries, self.day.take(tokens))
        self.out.add(lease)
        self.mean_tokens = self.mean_tokens or estimate.likely or tokens
        self.force.finder.passed(1.0, tokens)
        self.head = None
        self.sums.took(tokens, now)
        return lease

    def fresh_for(self, lease: Lease, now: float) -> float:
        """Seconds in which its try may still be written; later it would arrive where it was not counted."""
        return min(lease.taken_at + self._stale_seconds, self.leased_until) - now

    def cancel(self, lease: Lease) -> None:
        """Nothing was sent on this lease: it is as if it had never been taken."""
        self.over(lease, counted=0.0, refused=True)
        for window, slot in lease.entries:
            if window.limit.dimension == "requests" and self.force.is_declared(window.limit.key):
                window.settle(slot, -1.0)

    def over(self, lease: Lease, *, counted: float | None, refused: bool = False, answered: bool = False) -> None:
        """The try is over and the gateway counted so many tokens for it; None where nobody knows: the estimate stays.

        Requests that it refused stay counted under declared limits, as some gateways count them.
        """
        self.out.remove(lease)
        tokens = lease.estimate.tokens
        change = 0.0 if counted is None else counted - tokens
        for window, slot in lease.entries:
            if window.limit.dimension == "tokens":
                if change:
                    window.settle(slot, change)
            elif refused and not self.force.is_declared(window.limit.key):
                window.settle(slot, -1.0)
        self.day.over(lease.day, tokens + change, change=change, refused=refused)
        self.sums.tokens += change
        if refused:
            self.force.finder.passed(-1.0, -tokens)
            self.sums.requests -= 1
        elif change:
            self.force.finder.passed(0.0, change)
        if answered:
            lease.counted = tokens + change
            self.mean_tokens += _TOKENS_WEIGHT * (tokens + change - self.mean_tokens)
        if answered and lease.estimate.variance:
            self.sums.reserved += tokens
            self.sums.counted += tokens + change

    def answered(self, lease: Lease, now: float) -> None:
        """The gateway answered: pauses that began before this try are over."""
        self._lift(lease.taken_at, now)
        self.force.answered(lease.counted, now)
        searching = not self.force.limited and self.limits.concurrency is None
        full = self._was_full or len(self.out) + 1 >= self.cap(now)  # with the one that has just come back
        self.pace.answered(now - lease.taken_at, now, full=full, searching=searching)
        self._was_full = False
        self.force.crowd.answered(len(self.out))
        self.force.look(now, may_raise=not self.pause.step)

    def limited_by(self, lease: Lease, now: float, refusal: Refusal, *, jitter: float) -> None:
        """The gateway refused a try, that is over, for its limits."""
        self._refusal_seconds = now - lease.taken_at
        begins = lease.taken_at >= self.pause.began
        room = len(self.out) if refusal.kind is Kind.CONCURRENCY else None
        if begins and room is None:
            room = self._crowded(lease, now, refusal)
        if room is not None:
            self.pace.refused_for_concurrency(room)
            self.pause.limited(lease.taken_at, now, hint=refusal.wait_seconds, jitter=jitter, first=_FIRST_PAUSE_SHARE)
            return
        if begins:
            self._learn(lease, now, refusal)
        else:
            self.force.also_refused(lease.estimate.tokens, now)
        self.pause.limited(lease.taken_at, now, hint=refusal.wait_seconds, jitter=jitter, first=self._first_pause())
        self.pause.probing = self.pause.probing or self.force.finder.suspects

    def quota_gone(self, sent_at: float, now: float, *, back_at: float) -> None:
        """A daily quota is used up until then; after that one probe goes first. Its refusals told of no other limit."""
        self.gone_until = max(self.gone_until, back_at)
        self.force.forget_series(now)
        if sent_at >= self.pause.began:
            self.probe_first(now)

    def probe_first(self, now: float) -> None:
        """One try is to find out how things are before others follow."""
        self.pause = Pause(began=now, step=1, probing=True)

    def waits_until(self, now: float) -> float | None:
        """Until when nothing can be sent because of a pause or a daily quota; None where something can."""
        day = self.day.ends_at if self.day.gone else -FOREVER
        until = max(self.pause.until, self.gone_until, day)
        return until if until > now else None

    def unavailable(self, lease: Lease, now: float, *, hint: float | None, jitter: float) -> None:
        """The gateway has been answering nothing at all."""
        self.pause.unavailable(lease.taken_at, now, hint=hint, jitter=jitter)

    def _doubt(self, now: float) -> None:
        """Let one probe tell whether a limit by the minute is one."""
        self.force.doubt(now)
        self.pause.began, self.pause.step, self.pause.probing = now, max(1, self.pause.step), True

    def _learn(self, lease: Lease, now: float, refusal: Refusal) -> None:
        began = lease.taken_at if self.sums.first_at is None else self.sums.first_at
        refused = Refused(
            sent_at=lease.taken_at,
            now=now,
            used=self.force.full(lease.taken_at, lease.estimate.tokens),
            ran=lease.taken_at - began,
            hint=refusal.wait_seconds,
            dimension=refusal.dimension,
            again=self.pause.step > 0,
            answered=self.force.answered_until(lease.taken_at),
            latency=self.pace.latency_seconds or 0.0,
        )
        self.force.refused(refused, first=self.pause.step == 0)

    def _crowded(self, lease: Lease, now: float, refusal: Refusal) -> int | None:
        """In flight at most, where a refusal that tells no reason is taken for one of too many there."""
        told = refusal.dimension is not None or (refusal.wait_seconds or 0.0) > FIRST_SECONDS
        if told or self.limits.windows or (self.pause.step > 0 and self.force.crowd.limit is None):
            return None
        was_so = self.force.crowd.limit is not None
        limit = self.force.crowded(self.out.before(lease.taken_at), now)
        self.pace.ceiling = FOREVER if was_so and limit is None else self.pace.ceiling
        return limit

    def _first_pause(self) -> float:
        """A tenth of the shortest window that may have refused; a second where that is not known yet."""
        shortest = min((window.limit.window_seconds for window in self.force.limited), default=MINUTE)
        return FIRST_SECONDS if self.force.finder.suspects else min(FIRST_SECONDS, _FIRST_PAUSE_SHARE * shortest)

    def _window_ready_at(self, window: Window, estimate: Estimate, now: float) -> float:
        key = window.limit.key
        if key[0] == "requests":
            return min(window.ready_at(1.0, now), self.force.doubt_at(key))
        tokens = min(estimate.tokens, window.limit.amount)  # one that seems larger has a whole window to itself
        if not self.force.is_declared(key):
            return min(window.ready_at(tokens, now, 0.0, estimate.likely), self.force.doubt_at(key))
        error = self.out.error(estimate, window.limit.amount / max(1.0, self.mean_tokens))
        margin = min(SIGMAS * error, LARGEST_MARGIN * window.limit.amount)
        self.largest_margin = max(self.largest_margin, margin)
        return window.ready_at(tokens, now, margin, estimate.likely)

    def _paused_until(self, now: float) -> float:
        pause = self.pause
        until = max(now, pause.until)
        if not pause.probing:
            return until
        passed_at = self._probe_passed_at()
        if passed_at == FOREVER:  # none is out
            return until
        return FOREVER if pause.in_outage else max(until, passed_at)

    def _probe_passed_at(self) -> float:
        """When a try that is out since the pause began would have been refused by now; infinity where none is out."""
        first = self.out.first_since(self.pause.began)
        return first + max(_PASSED_AT_LEAST_SECONDS, _PASSED_AFTER * self._refusal_seconds)

    def _lift(self, sent_at: float, now: float) -> None:
        if self.pause.lift(sent_at):
            self.force.probe_passed(sent_at, now)
