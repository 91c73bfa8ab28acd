"""Records what came: commits it in groups, the next one gathering while the last is written, then clears the marks.

Nobody waits for a commit but the marks. When one fails nothing more is tried until all has come in, as what is in
flight has been paid for; then once more, and what still can't be recorded is named.
"""

from collections.abc import Callable, Iterable, Iterator
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
        self._entries, self._waiting = anyio.create_memory_object_stream[_Marked](waiting)

    async def record(self, entry: Entry, slot: int | None) -> None:
        """Hand over for the next commit: what was received is recorded, whoever is cancelled."""
        marked = _Marked(entry, slot)
        try:
            self._entries.send_nowait(marked)
        except anyio.WouldBlock:
            with anyio.CancelScope(shield=True):
                await self._entries.send(marked)

    def close(self) -> None:
        """Nothing more will come."""
        self._entries.close()

    async def run(self) -> None:
        """Commit until everything that was handed over has been."""
        with self._waiting:
            async for first in self._waiting:
                group = [first, *self._at_hand()]
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
            self.tally.add(entry.tried, entry.outcome)
            if slot is not None:
                self._marks.clear(slot)
        self._committed(ended_unit(entry, entry.outcome) for entry, _ in group if entry.outcome is not None)
        if self._told is not None:
            await self._told([entry.outcome for entry, _ in group if entry.outcome is not None])

    def _at_hand(self) -> Iterator[_Marked]:
        """What waits already, without waiting for more."""
        with suppress(anyio.WouldBlock, anyio.EndOfStream):
            while True:
                yield self._waiting.receive_nowait()
