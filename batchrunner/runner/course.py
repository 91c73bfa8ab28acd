"""What a run is doing: one phase after another, or its loop; for those who watch, and for those who stop it.

A phase reads, compares or writes in a thread. It counts what it has done as it goes, and learns at each count that it
is to stop: everything it makes is whole or not at all, so that the same command goes on.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from batchrunner.folder.ending import Ending, StoppedError

if TYPE_CHECKING:  # what asks is slow to load, and `status` asks nothing
    from batchrunner.runner.gauge import Gauge
    from batchrunner.runner.loop import Loop


class Phase(msgspec.Struct, kw_only=True):
    """`what` is done, in words that follow "while"; how much of it, `of` how much if that is known; since when
    (monotonic)."""

    what: str
    since: float
    done: int = 0
    of: int | None = None

    def words(self) -> str:
        """reading the input: 45 %."""
        return f"{self.what}: {min(1.0, self.done / self.of):.0%}".replace("%", " %") if self.of else self.what


class Course:
    """One run, from its first look at the input to its output. Read and told by one thread, counted by others."""

    def __init__(self) -> None:
        self.phase: Phase | None = None
        self.gauge: Gauge | None = None
        self.loop: Loop | None = None
        self._stopped: Ending | None = None
        self._give_up: Callable[[], None] | None = None

    @contextmanager
    def doing(self, what: str, of: int | None = None, *, give_up: Callable[[], None] | None = None) -> Iterator[None]:
        """A phase. `give_up` is called when it is to stop, where it does not count. Raises StoppedError."""
        self.phase, before = Phase(what=what, since=time.monotonic(), of=of), self.phase
        self._give_up = give_up
        try:
            self.count(0)
            yield
        finally:
            self.phase, self._give_up = before, None

    def count(self, more: int) -> None:
        """So much more of it is done. Raises StoppedError where it is to stop."""
        phase = self.phase
        if phase is not None:
            phase.done += more
        if self._stopped is not None:
            raise StoppedError(self._stopped, "" if phase is None else phase.what)

    def heed(self, _: int) -> None:
        """What is done is not counted, but whether it is to stop is heeded. Raises StoppedError."""
        self.count(0)

    def counted(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """The same rows, each one counted."""
        for row in rows:
            yield row
            self.count(1)

    @contextmanager
    def asking(self, loop: "Loop", gauge: "Gauge") -> Iterator[None]:
        """The loop is what is stopped now."""
        self.count(0)
        self.loop, self.gauge = loop, gauge
        try:
            yield
        finally:
            self.loop = None

    def stop(self, ending: Ending) -> bool:
        """Stop in order: the loop drains, a phase ends at its next count. False where that was asked for already."""
        if self.loop is not None:
            self.loop.stop(ending)
            return True
        first = self._stopped is None
        self._stopped = self._stopped or ending
        if self._give_up is not None:
            self._give_up()
        return first
