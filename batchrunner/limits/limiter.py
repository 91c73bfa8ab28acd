"""The turnstile: first in, first out, around one Lane. The only place where a try waits for its limits.

The waiter at the head of the line sleeps until the lane is ready for it; the others sleep until they are the
head. Whatever changes the lane wakes the head to ask again. A waiter that is cancelled has taken nothing.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from batchrunner.limits.estimate import Estimate
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.lane import FOREVER, IN_FLIGHT, Lane

_LONGEST_NAP_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class _Waiter:
    """A try in the line; `turn` is set when it is the head, or has got its lease."""

    estimate: Estimate
    turn: anyio.Event
    lease: Lease | None = None


class SendingStoppedError(Exception):
    """The lane is closed: nothing more is sent on it in this run."""


class Limiter:
    """Admits tries to one lane. `clock` is monotonic seconds, those of the event loop.

    `starving` is set when the head of the line waits for something that only the book of this machine can give.
    """

    def __init__(self, lane: Lane, clock: Callable[[], float] = anyio.current_time) -> None:
        self.lane = lane
        self.clock = clock
        self.starving = anyio.Event()
        self._line: deque[_Waiter] = deque()
        self._changed = anyio.Event()
        self._closed = anyio.Event()
        self._full_since: float | None = None  # with nobody in the line: as many senders as may be in flight

    @property
    def waiting(self) -> int:
        """Tries in the line."""
        return len(self._line)

    async def admit(self, estimate: Estimate) -> Lease:
        """Wait for leave to send a try. Raises SendingStoppedError once closed."""
        if not self._line and not self._closed.is_set():
            now = self.clock()
            if self.lane.ready_at(estimate, now) <= now:
                return self._take(estimate, now)
        self._count_full(waits=True)
        return await self._admit_in_turn(estimate)

    def time_left(self, lease: Lease) -> float:
        """Asked immediately before the request is written: seconds for which the lease is fresh."""
        return self.lane.fresh_for(lease, self.clock())

    def give_back(self, lease: Lease) -> None:
        """Nothing was written with this lease, and nothing will be."""
        self.lane.cancel(lease)
        self.wake()

    def wake(self) -> None:
        """The lane has changed: let the head of the line ask it again."""
        self._count_full()
        if self._line:
            self._changed.set()

    def close(self) -> None:
        """Admit nothing more; everybody who waits, here or in `nap`, gets SendingStoppedError."""
        self._closed.set()
        self._changed.set()

    async def nap(self, seconds: float) -> None:
        """Wait outside the line, as between two tries of one unit. Raises SendingStoppedError once closed."""
        with anyio.move_on_after(seconds):
            await self._closed.wait()
        self._refuse_when_closed()

    async def _admit_in_turn(self, estimate: Estimate) -> Lease:
        waiter = _Waiter(estimate, anyio.Event())
        self._line.append(waiter)
        try:
            if self._line[0] is not waiter:
                await waiter.turn.wait()
            if waiter.lease is None:
                waiter.lease = await self._wait_at_head(estimate)
                self._line.popleft()
                self._let_in()
        except BaseException:
            self._leave(waiter)
            raise
        return waiter.lease

    def _leave(self, waiter: _Waiter) -> None:
        """It waits no longer. One that was cancelled before it was let in, but not yet knows of either, gives back."""
        if waiter.lease is not None:
            self.lane.cancel(waiter.lease)
            self.wake()
            return
        was_head = self._line[0] is waiter
        self._line.remove(waiter)
        if was_head:
            self.lane.head = None
            self._let_in()

    def _let_in(self) -> None:
        """Whoever is next in the line may go at once, if the lane is ready for him, and so on; else he is the head.

        For a head that leaves the line: who has been let in by it may find another head behind him, asleep.
        """
        now = self.clock()
        while self._line:
            waiter = self._line[0]
            waiter.turn.set()
            if self._closed.is_set() or self.lane.ready_at(waiter.estimate, now) > now:
                return
            waiter.lease = self._take(waiter.estimate, now)
            self._line.popleft()

    async def _wait_at_head(self, estimate: Estimate) -> Lease:
        lane = self.lane
        while True:
            self._refuse_when_closed()
            now = self.clock()
            ready = lane.ready_at(estimate, now)
            if ready <= now:
                return self._take(estimate, now)
            if ready == FOREVER:
                self.starving.set()
            self._changed = anyio.Event()
            why = lane.bound_by
            with anyio.move_on_after(min(ready - now, _LONGEST_NAP_SECONDS)):
                await self._changed.wait()
            lane.sums.bound[why] += self.clock() - now

    def _take(self, estimate: Estimate, now: float) -> Lease:
        lease = self.lane.take(estimate, now)
        if len(self._line) <= 1 and self.lane.in_flight >= self.lane.cap(now):
            self._full_since = now
        return lease

    def _count_full(self, *, waits: bool = False) -> None:
        """The time with all room in flight used and nobody in the line ends: it counts as if somebody had waited."""
        if self._full_since is None:
            return
        now = self.clock()
        if waits or self.lane.in_flight < self.lane.cap(now):
            self.lane.sums.bound[IN_FLIGHT] += now - self._full_since
            self._full_since = None

    def _refuse_when_closed(self) -> None:
        if self._closed.is_set():
            raise SendingStoppedError
