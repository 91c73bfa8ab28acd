"""One job at work for a program: begun, stopped, summed up."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec
from anyio import to_thread

from batchrunner.api.options import Options, SomeJob, job_of, path_of, settings_of
from batchrunner.folder.ending import End, Ending
from batchrunner.folder.finding import find_run
from batchrunner.folder.retrying import parse_condition
from batchrunner.report.summary import Summary
from batchrunner.runner.cautions import cautions
from batchrunner.runner.course import Course
from batchrunner.runner.hooks import Tell
from batchrunner.runner.keys import secrets_of
from batchrunner.runner.open_files import check_open_files
from batchrunner.runner.session import run_job
from batchrunner.runner.simulated import gateway_of
from batchrunner.runner.summing import kept_summary


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. `output`: where the answers are, unless units are pending; `summary`: as in the file beside it,
    with the exit code that the command would have had: 0 where every unit was answered."""

    output: Path
    summary: Summary


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is. `total`: units of the job; `ended`: of these, in earlier runs, too; of this run alone `failed`
    units, `tries` and the `tokens` that they used; `in_flight`: requests that are out now."""

    total: int
    ended: int
    failed: int
    in_flight: int
    tries: int
    tokens: int


class Work:
    """A job and how it is to be run, all of which is known to be right before anything is done. With `retry` failed
    units are asked again: those that meet all of these conditions."""

    def __init__(self, job: SomeJob, options: Options, *, retry: Iterable[str] | None = None) -> None:
        self._simulate = options.get("simulate", False)
        self._job = job_of(job, options)
        check_open_files(self._job.limits)
        key_file = path_of(options.get("api_key_file"))
        self._key, headers = secrets_of(self._job.gateway, key_file, simulate=self._simulate)
        self._settings = msgspec.structs.replace(settings_of(self._job, options), headers=headers)
        for words in cautions(self._job, key_file, simulate=self._simulate):
            self._settings.hooks.warn(words)
        if retry is not None:
            find_run(self._settings.run_dir)
            conditions = tuple(map(parse_condition, retry))
            self._settings = msgspec.structs.replace(self._settings, retry=conditions, resume="must")
        self._course: Course | None = None
        self._is_stopped = False

    async def to_its_end(self, told: Tell | None = None) -> Finished:
        """Run it; `told` hears of the outcomes."""
        hooks = msgspec.structs.replace(self._settings.hooks, told=told)
        settings = msgspec.structs.replace(self._settings, hooks=hooks)
        with ExitStack() as stack:
            gateway = gateway_of(self._job, simulate=self._simulate)
            asked = await to_thread.run_sync(stack.enter_context, gateway)
            result = await run_job(asked, settings, key=self._key, watch=self._watch)
        summary = await to_thread.run_sync(kept_summary, self._job, result)
        return Finished(output=self._job.output_path, summary=summary)

    @property
    def progress(self) -> Progress | None:
        """How far it is; None before anything could be sent."""
        gauge = None if self._course is None else self._course.gauge
        if gauge is None:
            return None
        tally = gauge.loop.tally
        return Progress(
            total=gauge.total,
            ended=gauge.done,
            failed=tally.failed,
            in_flight=sum(asker.limiter.lane.in_flight for asker in gauge.loop.askers),
            tries=tally.tries,
            tokens=tally.tokens,
        )

    async def stop(self) -> None:
        """Send nothing more; the second time, don't wait for what is in flight either."""
        self._is_stopped = True
        if self._course is not None:
            self._course.stop(Ending(end=End.LEFT, message=End.LEFT.value))

    async def _watch(self, course: Course) -> None:
        self._course = course
        if self._is_stopped:
            await self.stop()
