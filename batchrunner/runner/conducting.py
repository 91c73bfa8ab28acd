"""Long work with what is beside it: who watches its course, and who hears the signals that stop it."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio

from batchrunner.errors import first_of
from batchrunner.runner.course import Course
from batchrunner.runner.signals import Signals

Done = TypeVar("Done")
Watch = Callable[[Course], Coroutine[Any, Any, None]]


async def conduct(
    work: Callable[[Course], Awaitable[Done]], watch: Watch, heard: Signals | None, *, listens: bool = True
) -> Done:
    """Do the work. `watch` runs beside it and is cancelled with it; `heard`: who listens to signals already, else it is
    listened to them here, unless told otherwise."""
    course, signals = Course(), heard or Signals()
    try:
        async with anyio.create_task_group() as beside:
            beside.start_soon(watch, course)
            if heard is None and listens:
                beside.start_soon(signals.listen)
            signals.will_stop(course)
            try:
                done = await work(course)
            finally:
                signals.forget(course)
            beside.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_of(group) from group
    return done
