"""The task that publishes parts beside the loop: it is told what was committed, and works in a thread."""

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress

import anyio
from anyio import to_thread

from batchrunner.folder.publishing import GivenUpError, PartedOutput


class Waiting:
    """Parts that are to be written, each with the number of its units that are pending; in order. Pure."""

    def __init__(self, part_rows: int, pending: Mapping[int, int]) -> None:
        self._part_rows = part_rows
        self._pending = dict(pending)
        self._order = deque(sorted(pending))

    def take(self, numbers: Iterable[int]) -> None:
        """These units have ended."""
        for number in numbers:
            self._pending[number // self._part_rows] -= 1

    @property
    def first_ready(self) -> int | None:
        """The first of the parts, if none of its units is pending: none is written before those in front of it."""
        first = self._order[0] if self._order else None
        return None if first is None or self._pending[first] else first

    def drop_first(self) -> None:
        """The first part has been written."""
        del self._pending[self._order.popleft()]


class Publisher:
    """Publishes the parts of a run as soon as all units of them, and all parts before them, are done."""

    def __init__(self, output: PartedOutput, pending: Mapping[int, int]) -> None:
        self._output = output
        self._waiting = Waiting(output.part_rows, pending)
        self._news = anyio.Event()
        self._closed = False

    def committed(self, numbers: Iterable[int]) -> None:
        """The outcomes of these units are durable."""
        self._waiting.take(numbers)
        if self._waiting.first_ready is not None:
            self._news.set()

    def close(self) -> None:
        """Nothing more will be committed."""
        self._closed = True
        self._news.set()

    def give_up(self) -> None:
        """Publish nothing more, not even the part that is being written."""
        self._output.give_up()

    async def run(self) -> None:
        """Publish until everything that was committed has been, where its turn had come. Raises StorageError."""
        with suppress(GivenUpError):
            while True:
                await self._publish_ready()
                if self._closed:
                    return
                self._news = anyio.Event()
                await self._news.wait()

    async def _publish_ready(self) -> None:
        while (index := self._waiting.first_ready) is not None:
            if self._output.given_up:
                raise GivenUpError
            await to_thread.run_sync(self._output.publish, index)
            self._waiting.drop_first()
