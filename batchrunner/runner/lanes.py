"""Opens lanes: their limits from the job, their seat at this machine's book, and what keeps the two in step."""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from batchrunner.errors import StorageError
from batchrunner.job.schema import LimitsTable
from batchrunner.limits.account import Book
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
    it comes back, when the day's quota is found to be used up; `broken` when the book can't be used."""

    name: str
    label: str
    limiter: Limiter
    seat: Seat
    table: LimitsTable
    quota_gone: Callable[[float], None] | None = None
    broken: Callable[[StorageError], None] | None = None


class LaneOpener:
    """Makes the lane of a model, and keeps its seat in the book ahead of its admissions."""

    def __init__(
        self,
        book: Book,
        limits: LimitsTable,
        *,
        base_url: str,
        account: str,
        ignore_resume_at: bool = False,
        late_seconds: float = 0.0,
    ) -> None:
        self._book = book
        self._limits = limits
        self._base_url = base_url
        self._account = account
        self._ignore_resume_at = ignore_resume_at
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
            self._meet(opened.name, opened.seat.notes(now, time.time(), ending=True), now)

    async def _keep(self, opened: OpenLane) -> None:
        try:
            await self._keep_in_step(opened)
        except StorageError as error:
            if opened.broken is None:
                raise
            opened.broken(error)

    async def _keep_in_step(self, opened: OpenLane) -> None:
        while True:
            opened.limiter.starving = anyio.Event()
            await self._look(opened)
            opened.limiter.wake()
            await anyio.sleep(_SHORTEST_BEAT_SECONDS)
            with anyio.move_on_after(BEAT_SECONDS - _SHORTEST_BEAT_SECONDS):
                await opened.limiter.starving.wait()

    async def _look(self, opened: OpenLane) -> None:
        """Meet the others in the book, in a thread; what the lane may do until then it has promised."""
        seat = opened.seat
        async with self._writing:
            now, wall = time.monotonic(), time.time()
            notes = seat.notes(now, wall)
            with anyio.CancelScope(shield=True):  # what was noted is written, whoever is cancelled
                decision = await to_thread.run_sync(self._meet, opened.name, notes, now)
        now, wall = time.monotonic(), time.time()
        seat.apply(decision, now, wall)
        back_at = seat.quota_back_at(now, wall)
        if back_at is not None and opened.quota_gone is not None:
            opened.quota_gone(back_at)

    def _meet(self, name: str, notes: Notes, now: float) -> Decision:
        with self._book.meeting(name, self._me) as meeting:
            decision = decide(notes, meeting.page, now)
            meeting.entry = decision.entry
        return decision
