"""The loop: rows in, outcomes recorded. Three kinds of long-lived task, joined by bounded streams:

feed (1, and one for each lane that falls behind others) composes requests and hands them to their lanes;
work (N a lane) asks for one unit at a time; a worker is added when all others are busy, so there are as many
as requests in flight and one to wait at the turnstile;
record (1) commits what came in groups, the next group gathering while the last is written, then clears marks.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from batchrunner.chat.request import RequestSettings, compose, model_of
from batchrunner.chat.verdict import ALIKE_FAILURES
from batchrunner.limits.limiter import SendingStoppedError
from batchrunner.records import Outcome, Request, Row, Try
from batchrunner.report.tally import Tally
from batchrunner.runner.asking import Asker, Patience
from batchrunner.runner.ending import End, Ending, first_in_order
from batchrunner.runner.lanes import OpenLane
from batchrunner.runner.outcome import failed
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.database import Store
from batchrunner.store.marks import Marks
from batchrunner.transport.http import HttpTransport

LOOK_AHEAD = 64

_Item = TypeVar("_Item")
_Recorded = tuple[Try | None, Outcome | None, int | None]


@dataclass(slots=True, kw_only=True)
class Parts:
    """What the loop works with. `lane_of` names a model's lane, `open_lane` opens it and keeps it in the group;
    `waiting_for_commit`: how many answers may wait for the disk before senders do; `answered_before`: whether an
    earlier run of this output was answered; `rows` reads the input without the numbers that its argument wants left
    out; `ended`: the units that ended in earlier runs."""

    store: Store
    marks: Marks
    transport: HttpTransport
    settings: RequestSettings
    patience: Patience
    lane_of: Callable[[str], str]
    open_lane: Callable[[str, TaskGroup], OpenLane]
    waiting_for_commit: int
    answered_before: bool
    rows: Callable[[Callable[[int], bool]], Iterator[list[Row]]]
    ended: Bitmap


class _LaneAtWork:
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


class Loop:
    """One run over one input. `tally` and `lanes` may be read while it goes on."""

    def __init__(self, parts: Parts) -> None:
        self.tally = Tally()
        self.ending: Ending | None = None
        self._parts = parts
        self._lanes: dict[str, _LaneAtWork] = {}
        self._feeding = anyio.CancelScope()
        self._sending = anyio.CancelScope()
        self._failed_alike: list[int] = []
        self._entries: MemoryObjectSendStream[_Recorded]
        self._keepers: TaskGroup
        self._workers: TaskGroup

    @property
    def askers(self) -> list[Asker]:
        """The lanes at work."""
        return [lane.asker for lane in self._lanes.values()]

    async def run(self) -> Ending | None:
        """Ask for every row. None when all have ended, else why sending stopped."""
        async with anyio.create_task_group() as recording:
            self._entries, entries = anyio.create_memory_object_stream[_Recorded](self._parts.waiting_for_commit)
            recording.start_soon(self._record_all, entries)
            with self._entries, self._sending:
                await self._send_all()
        self._parts.store.reopen(self._failed_alike)
        return self.ending or first_in_order([asker.stopped for asker in self.askers if asker.stopped])

    def stop(self, ending: Ending, *, grace_seconds: float = math.inf) -> None:
        """Send nothing more; what is in flight may finish for so long. A second stop ends it at once."""
        if self.ending is not None:
            self._sending.cancel()
            return
        self.ending = ending
        self._feeding.cancel()
        self._sending.deadline = anyio.current_time() + grace_seconds
        for asker in self.askers:
            asker.stop(ending)

    async def _send_all(self) -> None:
        async with anyio.create_task_group() as self._keepers:
            async with anyio.create_task_group() as self._workers:
                with self._feeding:
                    async with anyio.create_task_group() as readers:
                        await self._feed(readers)
                for lane in self._lanes.values():
                    lane.requests.close()
            self._keepers.cancel_scope.cancel()

    async def _feed(self, readers: TaskGroup) -> None:
        """Hand each row to its lane. One that is full while there are others gets a reader of its own from there
        on, so that its trouble is not theirs."""
        async for row in self._read(0):
            lane = self._lane_of(row)
            if lane is not None and (lane.asker.stopped is not None or lane.has_reader):
                continue
            request = await self._compose(row)
            if request is None:
                continue
            lane = self._lanes.get(self._parts.lane_of(request.model)) or self._open_lane(request.model)
            try:
                lane.requests.send_nowait(request)
            except anyio.WouldBlock:
                if len(self._lanes) == 1:
                    await lane.requests.send(request)
                else:
                    lane.has_reader = True
                    readers.start_soon(self._feed_one_lane, lane, row.number)

    async def _feed_one_lane(self, lane: _LaneAtWork, first: int) -> None:
        async for row in self._read(first):
            if lane.asker.stopped is not None:
                return
            if self._lane_of(row) is lane:
                request = await self._compose(row)
                if request is not None:
                    await lane.requests.send(request)

    async def _read(self, first: int) -> AsyncIterator[Row]:
        """The rows from number `first` on that have not ended."""
        batches = self._parts.rows(lambda number: number < first or number in self._parts.ended)
        while batch := await to_thread.run_sync(next, batches, None):
            for row in batch:
                yield row

    def _lane_of(self, row: Row) -> _LaneAtWork | None:
        """The row's lane, if it has been opened."""
        model = model_of(row, self._parts.settings)
        return None if model is None else self._lanes.get(self._parts.lane_of(model))

    async def _compose(self, row: Row) -> Request | None:
        """The row's request; where there is none, that is recorded."""
        request = compose(row, self._parts.settings)
        if isinstance(request, Request):
            return request
        await self._record(None, failed(row.number, row.id, request, now=time.time()), None)
        return None

    def _open_lane(self, model: str) -> _LaneAtWork:
        asker = Asker(
            self._parts.open_lane(model, self._keepers),
            transport=self._parts.transport,
            marks=self._parts.marks,
            patience=self._parts.patience,
            record=self._record,
            admitted=lambda: self._add_worker(lane),
        )
        lane = self._lanes[self._parts.lane_of(model)] = _LaneAtWork(asker)
        self._add_worker(lane)
        return lane

    def _add_worker(self, lane: _LaneAtWork) -> None:
        if lane.wants_worker:
            lane.workers += 1
            self._workers.start_soon(self._work, lane)

    async def _work(self, lane: _LaneAtWork) -> None:
        with suppress(anyio.EndOfStream):
            while not lane.lets_worker_go():
                request = await _take_over(lane.waiting)
                with suppress(SendingStoppedError):
                    await lane.asker.ask(request)

    async def _record(self, tried: Try | None, outcome: Outcome | None, slot: int | None) -> None:
        with anyio.CancelScope(shield=True):  # what was received is recorded, whoever is cancelled
            await _hand_over(self._entries, (tried, outcome, slot))

    async def _record_all(self, entries: MemoryObjectReceiveStream[_Recorded]) -> None:
        with entries:
            async for first in entries:
                group = [first, *_at_hand(entries)]
                await to_thread.run_sync(self._parts.store.commit, [(tried, outcome) for tried, outcome, _ in group])
                for tried, outcome, slot in group:
                    self.tally.add(tried, outcome)
                    if slot is not None:
                        self._parts.marks.clear(slot)
                self._stop_when_nothing_works()

    def _stop_when_nothing_works(self) -> None:
        """The first units all failing alike tell of the gateway, not of the units."""
        kinds = self.tally.asked_and_failed
        if self._parts.answered_before or self.tally.ok or len(kinds) != 1 or self.ending is not None:
            return
        if kinds.total() >= ALIKE_FAILURES:
            self._failed_alike = self.tally.failed_numbers
            message = f"the first {kinds.total()} units all failed alike: {next(iter(kinds))}"
            self.stop(Ending(end=End.UNREACHABLE, message=message))


async def _hand_over(stream: MemoryObjectSendStream[_Item], item: _Item) -> None:
    """Send without a round of the event loop where there is room."""
    try:
        stream.send_nowait(item)
    except anyio.WouldBlock:
        await stream.send(item)


async def _take_over(stream: MemoryObjectReceiveStream[_Item]) -> _Item:
    """Receive without a round of the event loop where something waits."""
    try:
        return stream.receive_nowait()
    except anyio.WouldBlock:
        return await stream.receive()


def _at_hand(entries: MemoryObjectReceiveStream[_Recorded]) -> Iterator[_Recorded]:
    """What waits already, without waiting for more."""
    with suppress(anyio.WouldBlock, anyio.EndOfStream):
        while True:
            yield entries.receive_nowait()
