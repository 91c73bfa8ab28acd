"""Work that takes a while, with what is beside it: how far it is, on a terminal, and the signals that end it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread

from batchrunner.cli.log import Level, Log
from batchrunner.cli.watching import watching
from batchrunner.runner.conducting import conduct
from batchrunner.runner.course import Course

_Done = TypeVar("_Done")


def attended(work: Callable[[Course], _Done], *, quiet: bool = False) -> _Done:
    """What the work makes. It tells its course how far it is, and is stopped by it (StoppedError)."""

    async def beside(course: Course) -> _Done:
        return await to_thread.run_sync(work, course)

    with watching("none" if quiet else "bar", Log(shown={Level.ERROR})) as show:
        return anyio.run(conduct, beside, partial(show, ""), None)
