"""The loop: rows in, outcomes recorded. Three kinds of long-lived task, joined by bounded streams:

feed (1, and one for each lane that falls behind others) composes requests and hands them to their lanes;
work (N a lane) asks for one unit at a time; a worker is added when all others are busy, so there are as many
as requests in flight and one to wait at the turnstile;
record (1) commits what came; see recording.

Where the output is a folder of parts, one more publishes them; see publisher.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from batchrunner.chat.request import RequestSettings, compose, digest_of, model_of
from batchrunner.errors import BatchrunnerError, InputError, StorageError
from batchrunner.folder.ending import End, Ending, first_in_order
from batchrunner.limits.limiter import SendingStoppedError
from batchrunner.records import Request, Row
from batchrunner.report.tally import Tally
from batchrunner.runner.asking import Asker, Patience
from batchrunner.runner.at_work import LaneAtWork
from batchrunner.runner.hooks import Accept, Tell, judged
from batchrunner.runner.lanes import OpenLane
from batchrunner.runner.outcome import failed
from batchrunner.runner.publisher import Publisher
from batchrunner.runner.purse import Purse
from batchrunner.runner.recording import Recorder
from batchrunner.runner.stopping import MaxFailed, Stopping
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.database import Store
from batchrunner.store.marks import Marks
from batchrunner.store.rows import Entry, ended_unit
from batchrunner.transport.transport import Transport


@dataclass(slots=True, kw_only=True)
class Parts:
    """What the loop works with.

    `arms` is how each row is asked. `rows` reads the input, as units, without the numbers that its argument wants left
    out, `ended` are the units that ended in earlier runs. `lane_of` names a model's
    lane, `open_lane` opens it and keeps it in the group. `waiting_for_commit`: how many answers may wait for the disk
    before senders do; `no_room`: why it is too full to go on; `grace_seconds`: for what is in flight when sending
    stops; `publisher`: of an output in parts; `accept` judges answers, `told` hears of outcomes; `purse`: what units
    pay from.
    """

    store: Store
    marks: Marks
    transport: Transport
    arms: Sequence[RequestSettings]
    patience: Patience
    lane_of: Callable[[str], str]
    open_lane: Callable[[str, TaskGroup], OpenLane]
    waiting_for_commit: int
    purse: Purse
    max_failed: MaxFailed
    no_room: Callable[[], str | None]
    grace_seconds: float
    rows: Callable[[Callable[[int], bool]], Iterator[list[Row]]]
    ended: Bitmap
    publisher: Publisher | None
    accept: Accept | None = None
    told: Tell | None = None


class Loop:
    """One run over one input. `tally` and `lanes` may be read while it goes on."""

    def __init__(self, parts: Parts) -> None:
        self.ending: Ending | None = None
        self._parts = parts
        self._recorder = Recorder(
            parts.store,
            parts.marks,
            waiting=parts.waiting_for_commit,
            no_room=parts.no_room,
            broken=self._break,
            told=parts.told,
            committed=parts.publisher.committed if parts.publisher else lambda _: None,
        )
        self._stopping = Stopping(parts.max_failed, answered_before=parts.patience.answered_before)
        self._gate = parts.purse.gate
        if self._gate is not None:
            self._gate.used_up = self._stop_by_itself
        self._broken: BatchrunnerError | None = None
        self._lanes: dict[str, LaneAtWork] = {}
        self._feeding = anyio.CancelScope()
        self._sending = anyio.CancelScope()
        self._keepers: TaskGroup
        self._workers: TaskGroup

    @property
    def tally(self) -> Tally:
        """What has been recorded so far."""
        return self._recorder.tally

    @property
    def askers(self) -> list[Asker]:
        """The lanes at work."""
        return [lane.asker for lane in self._lanes.values()]

    @property
    def drains_until(self) -> float:
        """Until when (the event loop's clock) what is in flight may take, once sending stops."""
        return self._sending.deadline

    async def run(self) -> Ending | None:
        """Ask for every row. None when all have ended, else why sending stopped.

        What breaks the run (InputError, StorageError) is raised when what was in flight has been recorded.
        """
        async with anyio.create_task_group() as recording:
            recording.start_soon(self._record_all)
            if self._parts.publisher is not None:
                recording.start_soon(self._guarded, self._parts.publisher.run)
            with self._sending:
                await self._send_all()
            self._close_lanes()
            self._recorder.close()
        if self._broken is not None:
            raise type(self._broken)(f"{self._broken}{self._recorder.words_of_unrecorded()}") from self._broken
        self._parts.store.reopen(self._stopping.not_to_blame)
        return self.ending or first_in_order([asker.stopped for asker in self.askers if asker.stopped])

    def stop(self, ending: Ending) -> None:
        """Send nothing more; what is in flight may finish within the grace. A second stop ends it at once."""
        if self.ending is not None:
            self._sending.cancel()
            self._give_up_publishing()
            return
        self.ending = ending
        self._feeding.cancel()
        self._sending.deadline = anyio.current_time() + self._parts.grace_seconds
        if self._gate is not None:
            self._gate.close()
        for asker in self.askers:
            asker.stop(ending)

    def _stop_by_itself(self, ending: Ending | None) -> None:
        if ending is not None and self.ending is None:
            self.stop(ending)

    def _break(self, error: BatchrunnerError) -> None:
        """The run can't go on; what is in flight is paid for and recorded first, if it can be."""
        self._broken = self._broken or error
        self._give_up_publishing()
        self._stop_by_itself(Ending(end=End.BROKEN, message=str(error)))

    def _give_up_publishing(self) -> None:
        if self._parts.publisher is not None:
            self._parts.publisher.give_up()

    async def _record_all(self) -> None:
        await self._recorder.run()
        if self._parts.publisher is not None:
            self._parts.publisher.close()

    async def _send_all(self) -> None:
        async with anyio.create_task_group() as self._keepers:
            async with anyio.create_task_group() as self._workers:
                with self._feeding:
                    async with anyio.create_task_group() as readers:
                        await self._guarded(self._feed, readers)
                for lane in self._lanes.values():
                    lane.requests.close()
            self._keepers.cancel_scope.cancel()

    def _close_lanes(self) -> None:
        """What waits for a lane that has ended will never be asked."""
        for lane in self._lanes.values():
            lane.requests.close()
            lane.waiting.close()

    async def _guarded(self, task: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """A task that reads the input or writes our files: its trouble is no reason to drop what is in flight."""
        try:
            await task(*arguments)
        except (InputError, StorageError) as error:
            self._break(error)

    async def _feed(self, readers: TaskGroup) -> None:
        """Hand each row to its lane. One that is full while there are others gets a reader of its own from there
        on, so that its trouble is not theirs."""
        self._open_lanes_of_sweep()
        async for row in self._read(0):
            lane = self._lane_of(row)
            if lane is not None and (lane.asker.stopped is not None or lane.has_reader):
                continue
            request = await self._compose(row)
            if request is None:
                continue
            lane = self._lanes.get(self._parts.lane_of(request.model)) or self._open_lane(request.model)
            if lane.offer(request):
                continue
            if len(self._lanes) == 1:
                await lane.hand(request)
            else:
                lane.has_reader = True
                readers.start_soon(self._guarded, self._feed_one_lane, lane, row.number)

    async def _feed_one_lane(self, lane: LaneAtWork, first: int) -> None:
        async for row in self._read(first):
            if lane.asker.stopped is not None:
                return
            if self._lane_of(row) is lane:
                request = await self._compose(row)
                if request is not None:
                    await lane.hand(request)

    async def _read(self, first: int) -> AsyncIterator[Row]:
        """The units from number `first` on that have not ended, each as its row."""
        batches = self._parts.rows(lambda number: number < first or number in self._parts.ended)
        while batch := await to_thread.run_sync(next, batches, None):
            for row in batch:
                yield row

    def _lane_of(self, row: Row) -> LaneAtWork | None:
        """The row's lane, if it has been opened."""
        model = model_of(row, self._parts.arms[row.arm])
        return None if model is None else self._lanes.get(self._parts.lane_of(model))

    async def _compose(self, row: Row) -> Request | None:
        """The row's request; where there is none, that is recorded."""
        arm = self._parts.arms[row.arm]
        if arm.read_file is None:
            request = compose(row, arm)
        else:  # it waits for the disk, maybe for long
            request = await to_thread.run_sync(compose, row, arm)
        if isinstance(request, Request):
            return request if self._parts.accept is None else judged(request, row, self._parts.accept)
        outcome = failed(row, request, arm, now=time.time())
        await self._record(Entry(outcome=outcome, digest=digest_of(row, request, arm), unit=row.number), None)
        return None

    def _open_lanes_of_sweep(self) -> None:
        """Those of several models at once, so that none waits for a unit that comes behind a full lane's."""
        models = {self._parts.lane_of(arm.model): arm.model for arm in self._parts.arms if arm.model is not None}
        if len(models) > 1:
            for model in models.values():
                self._open_lane(model)

    def _open_lane(self, model: str) -> LaneAtWork:
        opened = self._parts.open_lane(model, self._keepers)
        opened.broken = self._break
        asker = Asker(
            opened,
            transport=self._parts.transport,
            marks=self._parts.marks,
            patience=self._parts.patience,
            record=self._record,
            admitted=lambda: self._add_worker(lane),
            others_wait=lambda: lane.waiting.statistics().current_buffer_used > 0,
            purse=self._parts.purse,
        )
        lane = self._lanes[self._parts.lane_of(model)] = LaneAtWork(asker, among=self._lanes)
        self._add_worker(lane)
        return lane

    def _add_worker(self, lane: LaneAtWork) -> None:
        if lane.wants_worker:
            lane.workers += 1
            self._workers.start_soon(self._work, lane)

    async def _work(self, lane: LaneAtWork) -> None:
        with suppress(anyio.EndOfStream):
            while not lane.lets_worker_go():
                request = await lane.next_request()
                with suppress(SendingStoppedError):
                    await self._guarded(lane.asker.ask, request)

    async def _record(self, entry: Entry, slot: int | None) -> None:
        if entry.outcome is not None:
            number = ended_unit(entry, entry.outcome)
            self._stop_by_itself(self._stopping.take(number, entry.outcome, asked=entry.tried is not None))
            if self._stopping.not_to_blame:  # they will be pending again
                self._give_up_publishing()
        await self._recorder.record(entry, slot)
