"""The turnstile: first in, first out, around one Lane. The only place where a try waits for its limits.

The waiter at the head of the line sleeps until the lane is ready for it; the others sleep until they are the
head. Whatever changes the lane wakes the head to ask again. A waiter that is cancelled has taken nothing.
"""

from collections import deque
from collections.abc import Callable

import anyio

from batchrunner.limits.lane import Lane, Lease


class SendingStoppedError(Exception):
    """The lane is closed: nothing more is sent on it in this run."""


class Limiter:
    """Admits tries to one lane. `clock` is monotonic seconds, those of the event loop."""

    def __init__(self, lane: Lane, clock: Callable[[], float] = anyio.current_time) -> None:
        self.lane = lane
        self.clock = clock
        self._line: deque[anyio.Event] = deque()
        self._changed = anyio.Event()
        self._closed = anyio.Event()

    @property
    def waiting(self) -> int:
        """Tries in the line."""
        return len(self._line)

    async def admit(self, tokens: int) -> Lease:
        """Wait for leave to send a try of so many tokens. Raises SendingStoppedError once closed."""
        if not self._line and not self._closed.is_set():
            now = self.clock()
            if self.lane.ready_at(tokens, now) <= now:
                return self.lane.take(tokens, now)
        return await self._admit_in_turn(tokens)

    def leave(self, lease: Lease) -> None:
        """The try is over."""
        self.lane.leave(lease)
        self.wake()

    def wake(self) -> None:
        """The lane has changed: let the head of the line ask it again."""
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

    async def _admit_in_turn(self, tokens: int) -> Lease:
        turn = anyio.Event()
        self._line.append(turn)
        try:
            if self._line[0] is not turn:
                await turn.wait()
            return await self._wait_at_head(tokens)
        finally:
            self._line.remove(turn)
            if self._line:
                self._line[0].set()

    async def _wait_at_head(self, tokens: int) -> Lease:
        while True:
            self._refuse_when_closed()
            now = self.clock()
            ready = self.lane.ready_at(tokens, now)
            if ready <= now:
                return self.lane.take(tokens, now)
            self._changed = anyio.Event()
            with anyio.move_on_after(ready - now):
                await self._changed.wait()

    def _refuse_when_closed(self) -> None:
        if self._closed.is_set():
            raise SendingStoppedError
