"""SIGINT and SIGTERM, heard once for every loop of this process: each stops them all."""

import signal
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from batchrunner.runner.ending import End, Ending
from batchrunner.runner.loop import Loop

Show = Coroutine[Any, Any, None]
_ENDS = {signal.SIGINT: End.INTERRUPTED, signal.SIGTERM: End.TERMINATED}


class Signals:
    """The loops that are to be stopped. One that comes after a signal is stopped at once."""

    def __init__(self) -> None:
        self._loops: list[Loop] = []
        self._came: list[Ending] = []

    def will_stop(self, loop: Loop) -> None:
        """From here on."""
        self._loops.append(loop)
        for ending in self._came:
            loop.stop(ending)

    def forget(self, loop: Loop) -> None:
        """It has ended."""
        self._loops.remove(loop)

    async def listen(self) -> None:
        """Until cancelled."""
        with anyio.open_signal_receiver(*_ENDS) as signals:
            async for number in signals:
                end = _ENDS[number]
                self._came.append(Ending(end=end, message=end.value))
                for loop in self._loops:
                    loop.stop(self._came[-1])


async def watched(loop: Loop, watch: Callable[[], Show], heard: Signals | None, *, listens: bool) -> Ending | None:
    """The loop, with what shows its progress and what hears signals beside it."""
    signals = heard or Signals()
    async with anyio.create_task_group() as beside:
        beside.start_soon(watch)
        if heard is None and listens:
            beside.start_soon(signals.listen)
        signals.will_stop(loop)
        try:
            ending = await loop.run()
        finally:
            signals.forget(loop)
        beside.cancel_scope.cancel()
    return ending
