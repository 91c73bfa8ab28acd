"""One run of one job from end to end: what it opens and closes around the loop, and the output it leaves."""

import os
import time
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread

from batchrunner.errors import InputError, UsageError
from batchrunner.folder.about import About, Ended, about_run, remember_about
from batchrunner.folder.columns import settle_columns
from batchrunner.folder.ending import End, Ending
from batchrunner.folder.live_file import keep_picture
from batchrunner.folder.past import remember_asking, remember_ended
from batchrunner.folder.publishing import GivenUpError, PartedOutput
from batchrunner.job.schema import Job, is_url
from batchrunner.records import Kind
from batchrunner.report.bounds import LaneUse
from batchrunner.report.summary import ThisRun, Variant, this_run, variant_of
from batchrunner.report.tally import Tally
from batchrunner.runner.asking import Patience
from batchrunner.runner.books import open_book
from batchrunner.runner.conducting import Watch, conduct
from batchrunner.runner.course import Course
from batchrunner.runner.deadline import Deadline, deadline_of
from batchrunner.runner.declared import amounts_declared
from batchrunner.runner.engine import check_engine, late_seconds, sending
from batchrunner.runner.finishing import check_beside, check_format, write_run
from batchrunner.runner.gauge import Gauge
from batchrunner.runner.going_on import RunFolder, scanned_before
from batchrunner.runner.lanes import LaneOpener
from batchrunner.runner.loop import Loop, Parts
from batchrunner.runner.opening import choose_units, opened_folder, parted_output, purse_of, until_free
from batchrunner.runner.preparing import Prepared, prepare
from batchrunner.runner.publisher import Publisher
from batchrunner.runner.purse import Purse
from batchrunner.runner.settings import Settings
from batchrunner.runner.signals import Signals
from batchrunner.runner.spooling import keep
from batchrunner.sink import check_output, prepare_output
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.database import Totals
from batchrunner.store.mounts import check_place
from batchrunner.store.room import check_room, no_room
from batchrunner.transport.http import check_base_url
from batchrunner.transport.secret import Secret
from batchrunner.transport.transport import Transport

WAITING_FOR_COMMIT = 1024  # where nobody said how many may be in flight


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended and what stands in its store. `total`: units of the job; `in_doubt`: over all its runs;
    `variants`: those of the sweep; `reopened`: failed units that were to be asked again; `to_stdout`: the output went
    to standard output."""

    ending: Ending
    total: int
    totals: Totals
    in_doubt: int
    this_run: ThisRun
    variants: list[Variant]
    reopened: int = 0
    to_stdout: bool = False


async def run_job(job: Job, settings: Settings, *, key: Secret, watch: Watch, signals: Signals | None = None) -> Result:
    """Run the job to its end. `watch(course)` runs beside it, from its beginning, and is cancelled with it.
    `signals`: who listens to them already, where several jobs run at the same time.

    Raises BatchrunnerError for what stops a run before or beside its rows, StoppedError for a signal outside the loop.
    """
    work = partial(_run, job, settings, key)
    return await conduct(work, watch, signals, listens=settings.hooks.heeds_signals)


async def _run(job: Job, settings: Settings, key: Secret, course: Course) -> Result:
    deadline = deadline_of(job.run)
    check_job(job, settings)
    prepare_output(job.output_path, in_parts=job.output_is_folder)
    wait_until = time.monotonic() + settings.wait_lock_seconds
    await until_free(settings.run_dir, wait_until, course)
    prepared = await to_thread.run_sync(_prepared, job, settings, course)
    for words in prepared.warnings:
        settings.hooks.warn(words)
    with ExitStack() as stack:
        folder = await opened_folder(job, settings, stack, wait_until, course)
        check_beside(folder.output, settings, may_overwrite=folder.may_overwrite)
        check_room(settings.run_dir, job.output_path.parent)
        with course.doing("comparing the rows with those of the earlier run", prepared.source.size()):
            await to_thread.run_sync(folder.begin, prepared, settings.on_drift)
        if settings.spool is not None:
            job = msgspec.structs.replace(job, input=str(keep(settings.spool, folder.path)))
            prepared = prepared.moved_to(job.input, course.count)
        folder.remember_scanned(prepared.scanned)
        with course.doing("looking what is left to ask"):
            output = job.output_path if folder.in_parts else None
            columns = await to_thread.run_sync(settle_columns, folder.store, folder.path, output, prepared.columns)
            reopened = await to_thread.run_sync(choose_units, folder, prepared, settings)
        _remember_about(folder, job, settings, prepared)
        with parted_output(folder, prepared.total, settings, columns) as parts:
            with course.doing("looking at the parts that are there"):
                publisher = None if parts is None else Publisher(parts, await to_thread.run_sync(parts.take_up))
            run = _Run(
                job=job,
                settings=settings,
                prepared=prepared,
                folder=folder,
                publisher=publisher,
                course=course,
                deadline=deadline,
            )
            result = await run.to_its_end(key, parts)
        return msgspec.structs.replace(result, reopened=reopened, to_stdout=settings.to_stdout)


def check_job(job: Job, settings: Settings) -> None:
    """UsageError for what can be told before the input is read. Nothing is made."""
    check_base_url(job.gateway.base_url, allow_insecure_http=settings.allow_insecure_http)
    check_engine(settings)
    in_parts = job.output_is_folder
    if settings.part_rows is not None and not in_parts:
        raise UsageError("--part-rows is for an output in parts: a folder, named with / at its end.")
    if settings.sample is not None and in_parts:
        raise UsageError("--sample makes an output in one file: name one, without / at its end.")
    check_format(job, settings)
    check_output(job.output_path, in_parts=in_parts)
    check_place(settings.run_dir, "--run-dir")
    check_place(settings.state_dir, "--state-dir")


def _prepared(job: Job, settings: Settings, course: Course) -> Prepared:
    return prepare(
        job,
        course=course,
        limit=settings.limit,
        sample=settings.sample,
        base_url=settings.identity_url or job.gateway.base_url,
        known=None if settings.resume == "never" else scanned_before(settings.run_dir),
        make=settings.hooks.request,
        keeps_raw=settings.keeps_raw,
    )


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    """What asking needs, once the run folder is open; `publisher` where the output is in parts."""

    job: Job
    settings: Settings
    prepared: Prepared
    folder: RunFolder
    publisher: Publisher | None
    course: Course
    deadline: Deadline

    async def to_its_end(self, key: Secret, parts: PartedOutput | None) -> Result:
        """Ask, and write the output, or what is left of its parts, once no unit is pending."""
        folder, total, course = self.folder, self.prepared.total, self.course
        began = time.monotonic()
        tally, lanes, ending = await self._ask_pending(key)
        with course.doing("summing up") if ending is None else nullcontext():
            if tally.units and await to_thread.run_sync(self.prepared.is_changed):
                folder.distrust(self.prepared.identity)
            totals = await to_thread.run_sync(folder.store.totals, total, len(self.prepared.arms))
        if totals.ok + totals.failed == self.prepared.asked:
            await self._write(parts)
            ending = Ending(end=End.SOME_FAILED if totals.failed else End.ANSWERED, message="")
        if ending is None:
            raise InputError(f"{self.job.input} changed while it was read; see to it, then run the same command again.")
        did = this_run(tally, time.monotonic() - began, lanes)
        ended = Ended(ending=ending.end.value, message=ending.message, resume_at=ending.resume_at, at=time.time())
        remember_ended(folder.store, did, ended)
        return Result(
            ending=ending,
            total=self.prepared.asked,
            totals=totals,
            in_doubt=folder.in_doubt + totals.failures.get(Kind.WORKER_LOST, 0),
            this_run=did,
            variants=await to_thread.run_sync(self._variants),
        )

    def _variants(self) -> list[Variant]:
        if not self.job.sweep:
            return []
        first = [arm for arm in self.prepared.arms if not arm.sample]
        samples = len(self.prepared.arms) // len(first)
        sums = self.folder.store.by_variant(self.prepared.total, variants=len(first), samples=samples)
        return [variant_of(arm.variant, arm.request.model, one) for arm, one in zip(first, sums, strict=True)]

    async def _write(self, parts: PartedOutput | None) -> None:
        if parts is None:
            with self.course.doing("writing the output", self.prepared.asked):
                await to_thread.run_sync(self._write_file)
            return
        with self.course.doing("writing the last parts", give_up=parts.give_up):
            try:
                await to_thread.run_sync(parts.finish)
            except GivenUpError:
                self.course.count(0)
                raise

    def _write_file(self) -> None:
        """Write the output in one file, or on standard output."""
        prepared = self.prepared
        write_run(self.folder, prepared.total, self.settings, prepared.words_of_sample, self.course)

    async def _ask_pending(self, key: Secret) -> tuple[Tally, list[LaneUse], Ending | None]:
        """Ask for every unit that has not ended; with none left, no connection is opened."""
        with self.course.doing("looking what is left to ask"):
            ended = (await to_thread.run_sync(self.folder.store.count, 0, self.prepared.total))[0]
            if ended == self.prepared.asked:
                return Tally(), [], None
            if passed := self.deadline.passed():
                return Tally(), [], passed
            remember_asking(self.folder.store, amounts_declared(self.job.limits, self.prepared.settings))
            done = await to_thread.run_sync(lambda: self.prepared.unasked(self.folder.store.ended()))
            purse = await to_thread.run_sync(purse_of, self.job, self.folder, self.prepared)
        gateway = self.job.gateway
        with closing(open_book(self.settings.state_dir, self.settings.shared)) as book:
            lanes = LaneOpener(
                book,
                self.job.limits,
                base_url=self.settings.identity_url or gateway.base_url,
                account=gateway.account or key.reveal(),
                ignore_resume_at=self.settings.ignore_resume_at,
                patience_seconds=self.settings.max_outage_seconds,
                late_seconds=late_seconds(self.settings),
            )
            with closing(lanes):
                async with sending(self.job, self.settings, key) as transport:
                    loop = Loop(self._parts(transport, lanes, done, purse))
                    ending = await self.deadline.around(loop, self._watched(loop, ended))
                    return loop.tally, lanes.uses(), ending

    async def _watched(self, loop: Loop, ended: int) -> Ending | None:
        """The loop, with what takes its picture beside it; so many units had ended before."""
        gauge = Gauge(loop, ended, self.prepared.asked, arms=len(self.prepared.arms))
        async with anyio.create_task_group() as beside:
            beside.start_soon(keep_picture, self.folder.path, gauge.live)
            with self.course.asking(loop, gauge):
                ending = await loop.run()
            beside.cancel_scope.cancel()
        return ending

    def _parts(self, transport: Transport, lanes: LaneOpener, done: Bitmap, purse: Purse) -> Parts:
        concurrency = self.job.limits.concurrency
        return Parts(
            store=self.folder.store,
            marks=self.folder.marks,
            transport=transport,
            arms=self.prepared.settings,
            patience=Patience(
                attempts=self.job.retry.attempts,
                invalid_answers=self.job.retry.invalid_answers,
                tells_errors=self.job.retry.tell_errors,
                max_outage_seconds=self.settings.max_outage_seconds,
                waits_for_quota=self.settings.on_daily_limit == "wait",
                answered_before=self.folder.store.holds_answers(),
            ),
            lane_of=lanes.lane_of,
            open_lane=lanes.open,
            rows=lambda skip: self.prepared.units(skip, self.prepared.rows),
            ended=done,
            purse=purse,
            max_failed=self.settings.max_failed,
            no_room=lambda: no_room(self.settings.run_dir, self.job.output_path.parent),
            grace_seconds=self.settings.grace_seconds,
            publisher=self.publisher,
            accept=self.settings.hooks.accept,
            told=self.settings.hooks.told,
            waiting_for_commit=WAITING_FOR_COMMIT if concurrency == "auto" else concurrency,
        )


def _remember_about(folder: RunFolder, job: Job, settings: Settings, prepared: Prepared) -> None:
    earlier, now = about_run(folder.store.fact), time.time()
    about = About(
        arguments=settings.arguments,
        folder=os.getcwd(),  # noqa: PTH109 - the same, as text
        input=job.input if is_url(job.input) else str(Path(job.input).absolute()),
        output=str(job.output_path.absolute()),
        total=prepared.total,
        arms=len(prepared.arms),
        began_at=now if earlier is None else earlier.began_at,
        started_at=now,
        sample=settings.sample,
    )
    remember_about(about, folder.store.remember)
