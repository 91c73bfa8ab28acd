"""A worker, in a process of its own on this machine or another: it sends what the driver hands it, and decides nothing.

It has a transport of its own, made here from what it was told, so that the key is read where it is used. A request is
written within the seconds that the driver's admission has left, the way here taken off, or not at all: so nothing is
written any more a moment after the driver has gone. Where nothing was heard of it for long, the worker ends.
"""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import anyio
import msgspec
from anyio.abc import TaskGroup

from batchrunner import __version__
from batchrunner.errors import BatchrunnerError, NoKeyError
from batchrunner.records import Request
from batchrunner.transport.handed import Batch, Begun, Finished, Handed, Taken, encoded, finished
from batchrunner.transport.transport import Transport

_LONGEST_POLL_SECONDS = 0.3
_GATHER_SECONDS = 0.02
_GONE_SECONDS = 30.0

Make = Callable[[bytes], AbstractAsyncContextManager[Transport]]


class Sender:
    """The worker. Its methods are called from afar: `begin`, then `work`, and meanwhile `hand` and `take`."""

    def __init__(self, make: Make, told: bytes) -> None:
        """`make` turns what was told into a transport."""
        self._make = make
        self._told = told
        self._made: AbstractAsyncContextManager[Transport]
        self._transport: Transport
        self._tasks: TaskGroup
        self._out: dict[int, anyio.CancelScope] = {}
        self._finished: list[Finished] = []
        self._heard_at = time.monotonic()

    async def begin(self) -> bytes:
        """Make the transport: a Begun."""
        self._at_work, self._news = anyio.Event(), anyio.Event()
        begun = Begun(__version__, time.monotonic())
        try:
            self._made = self._make(self._told)
        except BatchrunnerError as error:
            trouble = {"trouble": str(error), "lacks_key": isinstance(error, NoKeyError)}
            begun = msgspec.structs.replace(begun, **trouble)
        return msgspec.msgpack.encode(begun)

    async def work(self) -> None:
        """Send what is handed, until nothing is heard of the driver any more."""
        async with self._made as self._transport, anyio.create_task_group() as self._tasks:
            self._at_work.set()
            left = _GONE_SECONDS
            while left > 0:
                await anyio.sleep(left)
                left = _seconds_to(self._heard_at + _GONE_SECONDS)
            self._tasks.cancel_scope.cancel()

    async def hand(self, batch: bytes) -> float:
        """Take over a Batch; the clock here."""
        handed = msgspec.msgpack.decode(batch, type=Batch)
        self._heard_at = now = time.monotonic()
        await self._at_work.wait()
        for number in handed.given_up:
            if number in self._out:
                self._out[number].cancel()
        for one in handed.requests:
            self._tasks.start_soon(self._send, one, now - handed.age(now) + one.left_s)
        return time.monotonic()

    async def take(self) -> bytes:
        """What is over, as a Taken: as soon as something is, and a moment later what ended with it."""
        self._heard_at = time.monotonic()
        if not self._finished:
            self._news = anyio.Event()
            with anyio.move_on_after(_LONGEST_POLL_SECONDS):
                await self._news.wait()
                await anyio.sleep(_GATHER_SECONDS)
        taken, self._finished = self._finished, []
        return encoded(Taken(time.monotonic(), taken))

    async def _send(self, handed: Handed, until: float) -> None:
        request = Request(number=handed.number, id="", model="", body=handed.body, prompt_chars=0)
        with anyio.CancelScope() as self._out[handed.number]:
            brought = await self._transport.send(request, time_left=partial(_seconds_to, until))
            self._finished.append(finished(handed.number, brought))
            self._news.set()
        del self._out[handed.number]


def _seconds_to(instant: float) -> float:
    return instant - time.monotonic()
