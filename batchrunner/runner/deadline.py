"""Deadlines: when sending stops, whatever is left to ask."""

import time
from collections.abc import Awaitable
from datetime import datetime

import anyio
import msgspec

from batchrunner.folder.ending import End, Ending
from batchrunner.job.schema import RunTable
from batchrunner.job.times import parse_until
from batchrunner.runner.loop import Loop

NEVER = float("inf")
_LOOK_EVERY_SECONDS = 1.0  # clocks are set, and machines sleep


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """`until` is Unix time; `ends_at` is monotonic, so that no clock that is set makes a run longer."""

    until: float = NEVER
    ends_at: float = NEVER

    def seconds_left(self, wall: float, now: float) -> float:
        """Until sending stops, by the wall's clock and the monotonic one."""
        return min(self.until - wall, self.ends_at - now)

    def passed(self) -> Ending | None:
        """How a run ends at it, once it has passed."""
        wall, now = time.time(), time.monotonic()
        if self.seconds_left(wall, now) > 0:
            return None
        which = "--until" if self.until <= wall else "--max-duration"
        return Ending(end=End.PARKED, message=f"{End.PARKED}: the deadline of {which} has come")

    async def around(self, loop: Loop, run: Awaitable[Ending | None]) -> Ending | None:
        """Run to its end, and stop the loop when the deadline comes."""
        async with anyio.create_task_group() as beside:
            if min(self.until, self.ends_at) < NEVER:
                beside.start_soon(self._stop, loop)
            ending = await run
            beside.cancel_scope.cancel()
        return ending

    async def _stop(self, loop: Loop) -> None:
        while (ending := self.passed()) is None:
            left = self.seconds_left(time.time(), time.monotonic())
            await anyio.sleep(min(max(left, 0.0), _LOOK_EVERY_SECONDS))
        if loop.ending is None:
            loop.stop(ending)


def deadline_of(run: RunTable) -> Deadline:
    """The deadline of a run that begins now."""
    until = None if run.until is None else parse_until(run.until, datetime.now()).timestamp()  # noqa: DTZ005 - local
    seconds = run.max_seconds
    return Deadline(
        until=NEVER if until is None else until,
        ends_at=NEVER if seconds is None else time.monotonic() + seconds,
    )
