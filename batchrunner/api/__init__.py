"""batchrunner from Python: `run` a job to its end, or go through its outcomes as they are recorded with a `Runner`.

    result = batchrunner.run("questions.jsonl", model="acme/llama-3-70b", rpm=3000)

    async with batchrunner.Runner("job.toml") as runner:
        async for outcome in runner:
            print(outcome.id, outcome.response)

Files, promises and what an interrupted run leaves are those of the command line: the same call goes on where it
stopped. Signals are not touched. What stops a run before or beside its rows is a BatchrunnerError.
"""

from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Self, Unpack

import anyio
from anyio.from_thread import start_blocking_portal
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from batchrunner.api.options import Options, SomeJob
from batchrunner.api.work import Finished, Progress, Work
from batchrunner.errors import first_of
from batchrunner.folder.ending import StoppedError
from batchrunner.records import Outcome
from batchrunner.runner.hooks import Accept, Answer, MakeRequest

__all__ = [
    "Accept",
    "Answer",
    "Finished",
    "MakeRequest",
    "Options",
    "Outcome",
    "Progress",
    "Runner",
    "SomeJob",
    "retry",
    "run",
]

_AHEAD = 256  # outcomes that wait for whoever goes through them, before the run does


def run(job: SomeJob, **options: Unpack[Options]) -> Finished:
    """Run a job to its end: a job file, a data file, a Job, or a mapping of the shape of a job file.

    It works in a thread of its own, so also where an event loop is running, as in a notebook. Ctrl-C stops sending,
    records what is in flight within `grace` and then raises KeyboardInterrupt; a second one does not wait for it.
    """
    return _to_its_end(Work(job, options))


def retry(job: SomeJob, *, where: str | Iterable[str] = (), **options: Unpack[Options]) -> Finished:
    """`run` of a job that was run before, with its failed units asked again: all, or those whose output row meets every
    condition of `where`, such as "error.kind=timeout" or "model!=acme/small". InputError where it was not run before.
    """
    return _to_its_end(Work(job, options, retry=(where,) if isinstance(where, str) else where))


class Runner:
    """A job's outcomes as they are recorded, those of this run only. Leaving early stops sending, and records what is
    in flight within `grace`.

    It belongs to asyncio's event loop, which other work may use meanwhile but should not block. Whoever is slow in
    going through the outcomes slows down the run.
    """

    def __init__(self, job: SomeJob, **options: Unpack[Options]) -> None:
        self._work = Work(job, options)
        self._finished: Finished | None = None
        self._error: BaseException | None = None
        self._has_ended = anyio.Event()
        self._sender: MemoryObjectSendStream[Outcome]
        self._outcomes: MemoryObjectReceiveStream[Outcome]
        self._tasks = anyio.create_task_group()

    @property
    def finished(self) -> Finished | None:
        """How the run ended, once it has."""
        return self._finished

    @property
    def progress(self) -> Progress | None:
        """How far it is, while it goes on and after it; None before anything could be sent."""
        return self._work.progress

    async def finish(self) -> Finished:
        """Let it go on to its end, whatever the outcomes; those not gone through yet are passed over."""
        async for _ in self:
            pass
        assert self._finished is not None  # noqa: S101 - it has ended, and without an error
        return self._finished

    async def __aenter__(self) -> Self:
        self._sender, self._outcomes = anyio.create_memory_object_stream[Outcome](_AHEAD)
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._go)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._outcomes.close()
        with anyio.CancelScope(shield=True):
            if self._finished is None and self._error is None:
                await self._work.stop()
            await self._has_ended.wait()
        await self._tasks.__aexit__(None, None, None)
        if kind is None:
            self._raise()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        try:
            return await self._outcomes.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._raise()
            raise StopAsyncIteration from None

    async def _go(self) -> None:
        try:
            with anyio.CancelScope(shield=True):  # whoever is cancelled leaves, and that stops it in order
                self._finished = await self._work.to_its_end(told=self._tell)
        except Exception as error:  # noqa: BLE001 - told to whoever goes through the outcomes, or leaves
            first = first_of(error)
            self._error = None if isinstance(first, StoppedError) else first  # who left needs not be told
        finally:
            self._sender.close()
            self._has_ended.set()

    async def _tell(self, outcomes: list[Outcome]) -> None:
        try:
            for outcome in outcomes:
                await self._sender.send(outcome)
        except anyio.BrokenResourceError:  # nobody listens any more
            pass

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


def _to_its_end(work: Work) -> Finished:
    with start_blocking_portal() as portal:
        going = portal.start_task_soon(work.to_its_end)
        interrupts = 0
        while True:
            try:
                return _result(going, interrupted=interrupts > 0)
            except KeyboardInterrupt:
                if going.done():
                    raise
                interrupts += 1
                portal.start_task_soon(work.stop)


def _result(going: "Future[Finished]", *, interrupted: bool) -> Finished:
    try:
        finished = going.result()
    except StoppedError as error:
        raise KeyboardInterrupt(str(error)) from error
    except Exception as error:
        raise first_of(error) from error
    if interrupted:
        units = finished.summary.units
        raise KeyboardInterrupt(f"{units.pending:,} of {units.total:,} units are pending; the same call goes on")
    return finished
