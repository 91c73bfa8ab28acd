"""Opens lanes: their limits from the job, their seat at this machine's book, and what keeps the two in step."""

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from batchrunner.errors import StorageError
from batchrunner.job.schema import LimitsTable
from batchrunner.limits.book import Book, OutOfReachError
from batchrunner.limits.decide import Decision, Notes, decide
from batchrunner.limits.lane import FOREVER, Lane
from batchrunner.limits.limiter import Limiter
from batchrunner.limits.quota import GatewayClock, Reset
from batchrunner.limits.seat import BEAT_SECONDS, Seat
from batchrunner.report.bounds import LaneUse, use_of
from batchrunner.runner.declared import declared

_SHORTEST_BEAT_SECONDS = 0.02


@dataclass(slots=True, kw_only=True)
class OpenLane:
    """A lane with its turnstile, its seat and its table of limits. `quota_gone` is told, with the Unix time at which
    it comes back, when the day's quota is found to be used up; `broken` when the book can't be used. `out_of_reach`:
    why nothing is sent for now, where the book can't be reached."""

    name: str
    label: str
    limiter: Limiter
    seat: Seat
    table: LimitsTable
    quota_gone: Callable[[float], None] | None = None
    broken: Callable[[StorageError], None] | None = None
    out_of_reach: str | None = None


class LaneOpener:
    """Makes the lane of a model, and keeps its seat in the book ahead of its admissions. A book that is out of reach
    is waited for so long."""

    def __init__(
        self,
        book: Book,
        limits: LimitsTable,
        *,
        base_url: str,
        account: str,
        ignore_resume_at: bool = False,
        patience_seconds: float = FOREVER,
        late_seconds: float = 0.0,
    ) -> None:
        self._book = book
        self._limits = limits
        self._base_url = base_url
        self._account = account
        self._ignore_resume_at = ignore_resume_at
        self._patience_seconds = patience_seconds
        self._late_seconds = late_seconds
        self._me = f"{os.getpid()} {secrets.token_hex(8)}"
        self._clock = GatewayClock()
        self._writing = anyio.Lock()
        self.lanes: dict[str, OpenLane] = {}

    def lane_of(self, model: str) -> str:
        """The models that share limits share this name."""
        return "" if self._limits.scope == "account" else model

    def open(self, model: str, keepers: TaskGroup) -> OpenLane:
        """The lane of a model; it admits nothing before its seat stands in the book."""
        table = self._limits.for_model(model)
        lane = Lane(declared(table), now=time.monotonic(), late_seconds=self._late_seconds)
        lane.leased_until = -FOREVER
        name = self._book.lane_name(self._base_url, self._account, self.lane_of(model))
        seat = Seat(lane, reset=Reset(*table.reset), clock=self._clock)
        if self._ignore_resume_at:
            seat.gone(0.0)
            lane.probe_first(time.monotonic())
        limiter = Limiter(lane, time.monotonic)  # asyncio's own clock, at a tenth of the cost
        opened = OpenLane(name=name, label=self.lane_of(model) or "account", limiter=limiter, seat=seat, table=table)
        self.lanes[name] = opened
        keepers.start_soon(self._keep, opened)
        return opened

    def uses(self) -> list[LaneUse]:
        """What bound each lane."""
        now = time.monotonic()
        return [use_of(opened.label, opened.limiter.lane, now) for opened in self.lanes.values()]

    def close(self) -> None:
        """Nothing more is admitted: give back what is held and not used."""
        for opened in self.lanes.values():
            now = time.monotonic()
            with suppress(OutOfReachError):  # what is on lease counts as spent
                self._meet(opened.name, opened.seat.notes(now, time.time(), ending=True), now)

    async def _keep(self, opened: OpenLane) -> None:
        try:
            await self._keep_in_step(opened)
        except StorageError as error:
            if opened.broken is None:
                raise
            opened.broken(error)

    async def _keep_in_step(self, opened: OpenLane) -> None:
        reached_at = time.monotonic()
        while True:
            opened.limiter.starving, began = anyio.Event(), time.monotonic()
            try:
                await self._look(opened)
            except OutOfReachError as error:
                opened.out_of_reach = str(error)
                if time.monotonic() - reached_at > self._patience_seconds:
                    raise StorageError(f"The shared book of limits is out of reach: {error}.") from error
                await anyio.sleep(BEAT_SECONDS)
                continue
            opened.out_of_reach, reached_at = None, time.monotonic()
            opened.limiter.wake()
            took = reached_at - began if self._book.is_far else 0.0
            rest = min(max(_SHORTEST_BEAT_SECONDS, took), BEAT_SECONDS)  # others want their turn, too
            await anyio.sleep(rest)
            with anyio.move_on_after(BEAT_SECONDS - rest):
                await opened.limiter.starving.wait()

    async def _look(self, opened: OpenLane) -> None:
        """Meet the others in the book, in a thread; what the lane may do until then it has promised. Where the book is
        out of reach, the promise stands until the lease ends."""
        seat = opened.seat
        async with self._writing:
            now, wall = time.monotonic(), time.time()
            notes = seat.notes(now, wall)
            try:
                with anyio.CancelScope(shield=True):  # what was noted is written, whoever is cancelled
                    decision = await to_thread.run_sync(self._meet, opened.name, notes, now)
            except OutOfReachError:
                seat.take_back(notes)
                raise
        began, now, wall = now, time.monotonic(), time.time()
        if self._book.is_far:
            seat.book_took(now - began)
        seat.apply(decision, now, wall)
        back_at = seat.quota_back_at(now, wall)
        if back_at is not None and opened.quota_gone is not None:
            opened.quota_gone(back_at)

    def _meet(self, name: str, notes: Notes, now: float) -> Decision:
        with self._book.meeting(name, self._me) as meeting:
            decision = decide(notes, meeting.page, now)
            meeting.entry = decision.entry
        return decision
