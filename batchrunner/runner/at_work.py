"""A lane at work: the requests that wait for it, and how many workers it needs."""

from collections.abc import Sized

import anyio

from batchrunner.records import Request
from batchrunner.runner.asking import Asker

LOOK_AHEAD = 64
LOOK_AHEAD_BYTES = 32 * 1024 * 1024  # of the bodies that wait, in all lanes together


class LaneAtWork:
    """A lane's asker, the requests that wait for it, and its workers. `among`: all lanes, this one included."""

    def __init__(self, asker: Asker, among: Sized) -> None:
        self.asker = asker
        self.requests, self.waiting = anyio.create_memory_object_stream[Request](LOOK_AHEAD)
        self.workers = 0
        self.has_reader = False
        self._among = among
        self._bytes = 0
        self._room: anyio.Event | None = None

    def offer(self, request: Request) -> bool:
        """Let a request wait here, if there is room. For one there is, however large it is."""
        size = len(request.body)
        if self._bytes and self._bytes + size > LOOK_AHEAD_BYTES // len(self._among):
            return False
        try:
            self.requests.send_nowait(request)
        except anyio.WouldBlock:
            return False
        self._bytes += size
        return True

    async def hand(self, request: Request) -> None:
        """Let a request wait here, as soon as there is room. For one caller at a time."""
        while not self.offer(request):
            self._room = anyio.Event()
            await self._room.wait()

    @property
    def wants_worker(self) -> bool:
        """Whether every worker is busy, nobody waits at the turnstile, and one more would be let through it.

        After a refusal one more is wanted in any case, so that another unit can be the probe.
        """
        limiter, lane = self.asker.limiter, self.asker.limiter.lane
        if limiter.waiting or self.workers - len(self.asker.napping) > lane.in_flight:
            return False
        return lane.pause.step > 0 or lane.in_flight < lane.cap(limiter.clock())

    def lets_worker_go(self) -> bool:
        """Whether the worker that asks is one more than may be in flight; it is struck off then."""
        limiter, lane = self.asker.limiter, self.asker.limiter.lane
        spare = self.workers - len(self.asker.napping) > lane.cap(limiter.clock()) and lane.pause.step == 0
        self.workers -= spare
        return spare

    async def next_request(self) -> Request:
        """The next that waits, without a round of the event loop where one does. EndOfStream when none will come."""
        try:
            request = self.waiting.receive_nowait()
        except anyio.WouldBlock:
            request = await self.waiting.receive()
        self._bytes -= len(request.body)
        if self._room is not None:
            self._room.set()
            self._room = None
        return request
