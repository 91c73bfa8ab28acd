"""Records what came: commits it in groups, the next one gathering while the last is written, then clears the marks.

Nobody waits for a commit but the marks. When one fails nothing more is tried until all has come in, as what is in
flight has been paid for; then once more, and what still can't be recorded is named.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

import anyio
from anyio import to_thread

from batchrunner.errors import StorageError
from batchrunner.report.tally import Tally
from batchrunner.runner.hooks import Tell
from batchrunner.store.database import Store
from batchrunner.store.marks import Marks
from batchrunner.store.rows import Entry, ended_unit

_NAMED = 20
_ENOUGH = 128  # entries: a commit costs as much as the whole way of a row
_GATHER_SECONDS = 0.02  # where they come more slowly


class _Marked(NamedTuple):
    """An entry, and the mark that its commit clears."""

    entry: Entry
    slot: int | None


class Recorder:
    """The one task that writes to the run store. `waiting`: how many entries may wait for the disk before senders do.

    `broken` is told of the first commit that fails, and of too little room for many more (`no_room`, in words);
    `committed` of the units whose outcomes are durable, `told` of these outcomes: it may take its time, and so hold up
    those who send.
    """

    def __init__(
        self,
        store: Store,
        marks: Marks,
        *,
        waiting: int,
        no_room: Callable[[], str | None],
        broken: Callable[[StorageError], None],
        committed: Callable[[Iterable[int]], None],
        told: Tell | None = None,
    ) -> None:
        self.tally = Tally()
        self._store = store
        self._marks = marks
        self._no_room = no_room
        self._broken = broken
        self._committed = committed
        self._told = told
        self._failing = False
        self._held: list[_Marked] = []
        self._most_waiting = waiting
        self._enough = max(1, min(_ENOUGH, waiting // 4))
        self._waiting: list[_Marked] = []
        self._closed = False
        self._come, self._taken = anyio.Event(), anyio.Event()

    async def record(self, entry: Entry, slot: int | None) -> None:
        """Hand over for the next commit, and wait while too many do. Who is cancelled meanwhile has handed over."""
        self._waiting.append(_Marked(entry, slot))
        if len(self._waiting) in (1, self._enough):
            self._come.set()
        while len(self._waiting) > self._most_waiting:
            await self._taken.wait()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._come.set()

    async def run(self) -> None:
        """Commit until everything that was handed over has been."""
        while await self._gathered():
            group, self._waiting = self._waiting, []
            self._taken.set()
            self._taken = anyio.Event()
            if self._failing:
                self._held += group
                continue
            await self._commit_or_hold(group)
        if self._held:
            with suppress(StorageError):  # told already
                await self._commit(self._held)
                self._held = []

    def words_of_unrecorded(self) -> str:
        """For people: what was received and is lost; empty when nothing is."""
        rows = sorted({one.entry.outcome.row for one in self._held if one.entry.outcome is not None})
        if not rows:
            return ""
        named = ", ".join(map(str, rows[:_NAMED])) + (", ..." if len(rows) > _NAMED else "")
        return f" The answers of {len(rows):,} rows could not be recorded and will be asked again: {named}."

    async def _gathered(self) -> bool:
        """Wait for the first, then a moment for others, until there are enough; False when no more will come."""
        while not self._waiting and not self._closed:
            await self._next()
        with anyio.move_on_after(_GATHER_SECONDS):
            while len(self._waiting) < self._enough and not self._closed:
                await self._next()
        return bool(self._waiting)

    async def _next(self) -> None:
        self._come = anyio.Event()
        await self._come.wait()

    async def _commit_or_hold(self, group: list[_Marked]) -> None:
        try:
            await self._commit(group)
        except StorageError as error:
            self._failing, self._held = True, group
            self._broken(error)
            return
        words = self._no_room()
        if words is not None:
            self._broken(StorageError(words))

    async def _commit(self, group: list[_Marked]) -> None:
        await to_thread.run_sync(self._store.commit, [one.entry for one in group])
        for entry, slot in group:
            self.tally.add(entry.tried, entry.outcome, entry.unit)
            if slot is not None:
                self._marks.clear(slot)
        self._committed(ended_unit(entry, entry.outcome) for entry, _ in group if entry.outcome is not None)
        if self._told is not None:
            await self._told([entry.outcome for entry, _ in group if entry.outcome is not None])
