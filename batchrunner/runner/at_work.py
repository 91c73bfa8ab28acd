"""A lane at work: the requests that wait for it, and how many workers it needs."""

import anyio

from batchrunner.records import Request
from batchrunner.runner.asking import Asker

LOOK_AHEAD = 64


class LaneAtWork:
    """A lane's asker, the requests that wait for it, and its workers."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.requests, self.waiting = anyio.create_memory_object_stream[Request](LOOK_AHEAD)
        self.workers = 0
        self.has_reader = False

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
            return self.waiting.receive_nowait()
        except anyio.WouldBlock:
            return await self.waiting.receive()
