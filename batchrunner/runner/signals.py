"""SIGINT and SIGTERM, heard once for every run of this process: each stops them all."""

import signal
from collections.abc import Coroutine
from typing import Any

import anyio

from batchrunner.folder.ending import End, Ending
from batchrunner.runner.course import Course

Show = Coroutine[Any, Any, None]
_ENDS = {signal.SIGINT: End.INTERRUPTED, signal.SIGTERM: End.TERMINATED}


class Signals:
    """The runs that are to be stopped. One that begins after a signal is stopped at once."""

    def __init__(self) -> None:
        self._courses: list[Course] = []
        self._came: Ending | None = None

    def will_stop(self, course: Course) -> None:
        """From here on."""
        self._courses.append(course)
        if self._came is not None:
            course.stop(self._came)

    def forget(self, course: Course) -> None:
        """It has ended."""
        self._courses.remove(course)

    async def listen(self) -> None:
        """Until cancelled. Where a second signal finds a run that has not heeded the first one, in a long statement of
        SQLite's or in code of others, the process dies of it, as it may at any time."""
        with anyio.open_signal_receiver(*_ENDS) as signals:
            async for number in signals:
                end = _ENDS[number]
                self._came = Ending(end=end, message=end.value)
                heeded = [course.stop(self._came) for course in self._courses]
                if not all(heeded):
                    signal.signal(number, signal.SIG_DFL)
                    signal.raise_signal(number)
