"""Tries sent from other processes, here or on other machines: actors of Ray, each with an http transport of its own.

The driver admits a request and hands it to the worker that has the least to do, together with what others were admitted
in the same moment; answers come back as they finish. A worker that dies is replaced. What it had been handed is told as
a Failure of its own kind: nobody knows whether it was sent.
"""

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import msgspec
import ray
from anyio.abc import TaskStatus
from ray.exceptions import RayError, RayTaskError

from batchrunner import __version__
from batchrunner.errors import NoKeyError, UsageError
from batchrunner.records import Failure, Kind, Request
from batchrunner.transport.handed import Batch, Begun, Handed, Taken
from batchrunner.transport.sender import Make, Sender
from batchrunner.transport.transport import Brought, TimeLeft

_GATHER_SECONDS = 0.01
_MOST_GATHER_SECONDS = 0.04
_LARGEST_BATCH = 8 * 2**20
_SILENT_SECONDS = 60.0  # a worker says something every third of a second
_BEGIN_SECONDS = 120.0
_WITHOUT_WORKER_SECONDS = 1.0
_LOOKS = 10
_WORKERS_GONE_SECONDS = 30.0
_REST_SECONDS = (0.0, 1.0, 2.0, 4.0, 8.0)  # before a worker is replaced that did not live long
_LONG_SECONDS = 30.0
_LOST = Failure(kind=Kind.WORKER_LOST, message="the worker died that had been handed the request: it may be paid")


class _Sent:
    """A request on its way, and what it brought."""

    __slots__ = ("body", "brought", "done", "number", "time_left")

    def __init__(self, number: int, body: bytes, time_left: TimeLeft) -> None:
        self.number, self.body, self.time_left = number, body, time_left
        self.brought: Brought | None = None
        self.done = anyio.Event()

    def settle(self, brought: Brought | None) -> None:
        self.brought = brought
        self.done.set()


class RayTransport:
    """Sends requests from workers. See `ray_transport`."""

    def __init__(self, workers: "list[_Worker]") -> None:
        self._workers = workers
        self._all_gone_at: float | None = None

    async def send(self, request: Request, *, time_left: TimeLeft) -> Brought | None:
        """As Transport has it. A Failure, too, where no worker has been there for long."""
        worker = await self._least_busy()
        if worker is not None:
            self._all_gone_at = None
            return await worker.send(request.body, time_left)
        now = time.monotonic()
        self._all_gone_at = self._all_gone_at or now
        if now - self._all_gone_at < _WORKERS_GONE_SECONDS:
            return None
        words = next((worker.trouble for worker in self._workers if worker.trouble), "they died")
        return Failure(kind=Kind.UNREACHABLE, message=f"no worker of Ray is there: {words}")

    async def _least_busy(self) -> "_Worker | None":
        """The worker to hand it to; one that is being replaced is waited for, but not for long."""
        for _ in range(_LOOKS):
            if up := [worker for worker in self._workers if worker.is_up]:
                return min(up, key=lambda worker: worker.load)
            await anyio.sleep(_WITHOUT_WORKER_SECONDS / _LOOKS)
        return None


class _Worker:
    """One of the workers as the driver sees it, whichever actor it is just now. `trouble`: why it is not up."""

    _numbers = itertools.count()

    def __init__(self, make: Make, told: bytes, gather_seconds: float) -> None:
        self._gather_seconds = gather_seconds
        self.is_up = False
        self.trouble = ""
        self._new_actor = partial(_new_actor, make, told)
        self._actor: Any = None
        self._out: dict[int, _Sent] = {}
        self._outbox: list[_Sent] = []
        self._given_up: list[int] = []
        self._wake = anyio.Event()
        self._heard = (0.0, 0.0)  # its clock, and when that was by ours

    @property
    def load(self) -> int:
        """Requests that it has."""
        return len(self._out) + len(self._outbox)

    async def send(self, body: bytes, time_left: TimeLeft) -> Brought | None:
        """Have it sent, and wait for what it brings."""
        sent = _Sent(next(self._numbers), body, time_left)
        self._outbox.append(sent)
        self._wake.set()
        try:
            await sent.done.wait()
        except BaseException:
            self._give_up(sent)
            raise
        return sent.brought

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Be up, again and again. BatchrunnerError where it can't be the first time."""
        await self._begin()
        task_status.started()
        short_lives = 0
        while True:
            began = time.monotonic()
            await self._work()
            short_lives = 0 if time.monotonic() - began > _LONG_SECONDS else short_lives + 1
            while not self.is_up:
                await anyio.sleep(_REST_SECONDS[min(short_lives, len(_REST_SECONDS) - 1)])
                short_lives += 1
                with suppress(NoKeyError, UsageError):
                    await self._begin()

    def leave(self) -> None:
        """End its process."""
        self.is_up = False
        if self._actor is not None:
            with suppress(Exception):  # it may be dead already, and Ray with it
                ray.kill(self._actor, no_restart=True)

    async def _begin(self) -> None:
        self._actor = self._new_actor()
        try:
            with anyio.fail_after(_BEGIN_SECONDS):
                begun = msgspec.msgpack.decode(await self._actor.begin.remote(), type=Begun)
        except TimeoutError as error:
            self.leave()
            raise self._error(f"none was there within {_BEGIN_SECONDS:.0f} s: has the cluster room?") from error
        except RayError as error:
            self.leave()
            words = str(error).strip().rpartition("\n")[2]
            raise self._error(
                f"it died: {words}; batchrunner[ray] {__version__} has to be installed on every node"
            ) from error
        if begun.version != __version__:
            self.leave()
            raise self._error(f"it has batchrunner {begun.version}, and this is {__version__}: install the same")
        if begun.trouble is not None:
            self.leave()
            raise self._error(begun.trouble, NoKeyError if begun.lacks_key else UsageError)
        self._hear(begun.at)
        self.is_up, self.trouble = True, ""

    def _error(self, words: str, kind: type[UsageError | NoKeyError] = UsageError) -> UsageError | NoKeyError:
        self.trouble = words
        return kind(f"A worker of Ray can't begin: {words}")

    async def _work(self) -> None:
        """Hand over and take back until the actor is lost."""
        try:
            async with anyio.create_task_group() as alive:
                for part in (self._actor.work.remote, self._hand_all, self._take_all):
                    alive.start_soon(self._until_lost, part, alive.cancel_scope)
        finally:
            self.leave()
            lost, waiting = list(self._out.values()), self._outbox
            self._out, self._outbox, self._given_up = {}, [], []
            for sent in lost:
                sent.settle(_LOST)
            for sent in waiting:
                sent.settle(None)

    async def _until_lost(self, part: Callable[[], Awaitable[None]], alive: anyio.CancelScope) -> None:
        try:
            await part()
        except RayTaskError:  # a bug of ours
            raise
        except (RayError, TimeoutError) as error:
            self.trouble = str(error).strip().partition("\n")[0] or f"nothing came for {_SILENT_SECONDS:.0f} s"
        alive.cancel()

    async def _hand_all(self) -> None:
        while True:
            if not self._outbox and not self._given_up:
                self._wake = anyio.Event()
                await self._wake.wait()
            batch = self._next_batch()
            self._hear(await self._actor.hand.remote(msgspec.msgpack.encode(batch)))
            await anyio.sleep(self._gather_seconds)

    def _next_batch(self) -> Batch:
        """What waits to be handed over, as far as it fits and has time left."""
        handed, size, taken = [], 0, 0
        for sent in self._outbox:
            if size and size + len(sent.body) > _LARGEST_BATCH:
                break
            taken += 1
            left_s = sent.time_left()
            if left_s <= 0:
                sent.settle(None)
                continue
            size += len(sent.body)
            self._out[sent.number] = sent
            handed.append(Handed(sent.number, left_s, sent.body))
        self._outbox = self._outbox[taken:]
        given_up, self._given_up = self._given_up, []
        at, when = self._heard
        return Batch(at, time.monotonic() - when, handed, given_up)

    async def _take_all(self) -> None:
        while True:
            with anyio.fail_after(_SILENT_SECONDS):
                taken = msgspec.msgpack.decode(await self._actor.take.remote(), type=Taken)
            self._hear(taken.at)
            for finished in taken.finished:
                sent = self._out.pop(finished.number, None)
                if sent is not None:
                    sent.settle(finished.brought)

    def _hear(self, at: float) -> None:
        self._heard = (at, time.monotonic())

    def _give_up(self, sent: _Sent) -> None:
        if self._out.pop(sent.number, None) is not None:
            self._given_up.append(sent.number)
            self._wake.set()
        elif sent in self._outbox:
            self._outbox.remove(sent)


@asynccontextmanager
async def ray_transport(make: Make, told: bytes, *, workers: int) -> AsyncIterator[RayTransport]:
    """Workers, of the Ray that is connected, which send with the transport that `make` makes of what is `told`. They
    end with the block, however it ends. UsageError or NoKeyError where they can't begin."""
    gather_seconds = min(_MOST_GATHER_SECONDS, _GATHER_SECONDS * workers)  # a call costs as much as ten requests
    ours = [_Worker(make, told, gather_seconds) for _ in range(workers)]
    try:
        async with anyio.create_task_group() as running:
            async with anyio.create_task_group() as beginning:
                for worker in ours:
                    beginning.start_soon(running.start, worker.run)
            yield RayTransport(ours)
            running.cancel_scope.cancel()
    finally:
        for worker in ours:
            worker.leave()


def _new_actor(make: Make, told: bytes) -> Any:
    return ray.remote(Sender).options(num_cpus=0, scheduling_strategy="SPREAD").remote(make, told)
