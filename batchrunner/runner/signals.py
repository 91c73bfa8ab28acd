"""SIGINT and SIGTERM, heard once for every loop of this process: each stops them all."""

import signal

import anyio

from batchrunner.runner.ending import End, Ending
from batchrunner.runner.loop import Loop

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
