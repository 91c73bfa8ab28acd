"""One run of one job from end to end: what it opens and closes around the loop, and the output it leaves."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import msgspec
from anyio import to_thread

from batchrunner.chat.stream import Fold
from batchrunner.errors import InputError, UsageError
from batchrunner.job.schema import Job, is_url
from batchrunner.limits.account import Book
from batchrunner.report.bounds import LaneUse
from batchrunner.report.summary import ThisRun, Variant, this_run, variant_of
from batchrunner.report.tally import Tally
from batchrunner.runner.about import About, Ended, about_run, remember_about
from batchrunner.runner.asking import Patience
from batchrunner.runner.columns import settle_columns
from batchrunner.runner.deadline import Deadline, deadline_of
from batchrunner.runner.ending import End, Ending
from batchrunner.runner.finishing import check_errors_file, check_format, write_run
from batchrunner.runner.folder import RunFolder, scanned_before
from batchrunner.runner.lanes import LaneOpener
from batchrunner.runner.loop import Loop, Parts
from batchrunner.runner.opening import open_run_folder
from batchrunner.runner.past import remember_asking, remember_ended
from batchrunner.runner.preparing import Prepared, prepare
from batchrunner.runner.publisher import Publisher
from batchrunner.runner.publishing import PartedOutput
from batchrunner.runner.purse import Purse, purse_of
from batchrunner.runner.settings import Settings
from batchrunner.runner.signals import Show, Signals, watched
from batchrunner.runner.spooling import keep
from batchrunner.sink import check_output, prepare_output
from batchrunner.sink.columns import Columns
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.database import Totals
from batchrunner.store.mounts import refuse_network
from batchrunner.store.room import check_room, no_room
from batchrunner.transport.http import HttpTransport, check_base_url
from batchrunner.transport.secret import Secret
from batchrunner.transport.streaming import StreamingTransport

WAITING_FOR_COMMIT = 1024  # where nobody said how many may be in flight

Watch = Callable[[Loop, int, int], Show]


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
    """Run the job to its end. `watch(loop, done before, total)` runs beside the loop and is cancelled with it.
    `signals`: who listens to them already, where several jobs run at the same time.

    Raises BatchrunnerError for what stops a run before or beside its rows.
    """
    deadline = deadline_of(job.run)
    check_job(job, settings)
    prepare_output(job.output_path, in_parts=job.output_is_folder)
    prepared = await to_thread.run_sync(_prepared, job, settings)
    if (warn := settings.hooks.warn) is not None:
        for words in prepared.warnings:
            warn(words)
    opened = open_run_folder(
        settings.run_dir,
        output=job.output_path,
        in_parts=job.output_is_folder,
        resume=settings.resume,
        overwrite=settings.replaces,
    )
    with opened as folder:
        check_errors_file(folder.output, settings, may_overwrite=folder.may_overwrite)
        check_room(settings.run_dir, job.output_path.parent)
        await to_thread.run_sync(folder.begin, prepared, settings.on_drift)
        if settings.spool is not None:
            job = msgspec.structs.replace(job, input=str(keep(settings.spool, folder.path)))
            prepared = prepared.moved_to(job.input)
        folder.remember_scanned(prepared.scanned)
        columns = await to_thread.run_sync(
            settle_columns, folder.store, folder.path, job.output_path if folder.in_parts else None, prepared.columns
        )
        if prepared.chosen is not None:
            folder.choose(prepared.chosen, len(prepared.arms))
        _remember_about(folder, job, settings, prepared)
        reopened = 0 if settings.retry is None else folder.reopen_failed(prepared.total, settings.retry)
        with _parted(folder, prepared.total, settings, columns) as parts:
            publisher = None if parts is None else Publisher(parts, await to_thread.run_sync(parts.take_up))
            run = _Run(
                job=job,
                settings=settings,
                prepared=prepared,
                folder=folder,
                publisher=publisher,
                signals=signals,
                deadline=deadline,
            )
            result = await run.to_its_end(key, watch, write=parts.finish if parts else run.write_file)
        return msgspec.structs.replace(result, reopened=reopened, to_stdout=settings.to_stdout)


def check_job(job: Job, settings: Settings) -> None:
    """UsageError for what can be told before the input is read. Nothing is made."""
    check_base_url(job.gateway.base_url, allow_insecure_http=settings.allow_insecure_http)
    in_parts = job.output_is_folder
    if settings.part_rows is not None and not in_parts:
        raise UsageError("--part-rows is for an output in parts: a folder, named with / at its end.")
    if settings.sample is not None and in_parts:
        raise UsageError("--sample makes an output in one file: name one, without / at its end.")
    check_format(job, settings)
    check_output(job.output_path, in_parts=in_parts)
    refuse_network(settings.run_dir, "--run-dir")
    refuse_network(settings.state_dir, "--state-dir")


def _prepared(job: Job, settings: Settings) -> Prepared:
    return prepare(
        job,
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
    signals: Signals | None
    deadline: Deadline

    async def to_its_end(self, key: Secret, watch: Watch, *, write: Callable[[], None]) -> Result:
        """Ask, and `write` the output, or what is left of it, once no unit is pending."""
        folder, total = self.folder, self.prepared.total
        began = time.monotonic()
        tally, lanes, ending = await self._ask_pending(key, watch)
        if tally.units and await to_thread.run_sync(self.prepared.is_changed):
            folder.distrust(self.prepared.identity)
        totals = await to_thread.run_sync(folder.store.totals, total, len(self.prepared.arms))
        if totals.ok + totals.failed == self.prepared.asked:
            await to_thread.run_sync(write)
            ending = Ending(end=End.SOME_FAILED if totals.failed else End.ANSWERED, message="")
        if ending is None:
            raise InputError(f"{self.job.input} changed while it was read; see to it, then run the same command again.")
        did, ended = this_run(tally, time.monotonic() - began, lanes), _ended(ending)
        remember_ended(folder.store, did, ended)
        return Result(
            ending=ending,
            total=self.prepared.asked,
            totals=totals,
            in_doubt=folder.in_doubt,
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

    def write_file(self) -> None:
        """Write the output where it is not in parts."""
        write_run(self.folder, self.prepared.total, self.settings, self.prepared.words_of_sample)

    async def _ask_pending(self, key: Secret, watch: Watch) -> tuple[Tally, list[LaneUse], Ending | None]:
        """Ask for every unit that has not ended; with none left, no connection is opened."""
        ended = self.folder.store.count(0, self.prepared.total)[0]
        if ended == self.prepared.asked:
            return Tally(), [], None
        if passed := self.deadline.passed():
            return Tally(), [], passed
        remember_asking(self.folder.store, self.job.limits, (one.model for one in self.prepared.settings))
        done = self.prepared.unasked(self.folder.store.ended())
        purse = await to_thread.run_sync(purse_of, self.job, self.folder, self.prepared)
        gateway = self.job.gateway
        with closing(Book(self.settings.state_dir)) as book:
            lanes = LaneOpener(
                book,
                self.job.limits,
                base_url=self.settings.identity_url or gateway.base_url,
                account=gateway.account or key.reveal(),
                ignore_resume_at=self.settings.ignore_resume_at,
            )
            transport_class = partial(StreamingTransport, new_fold=Fold) if self.job.request.stream else HttpTransport
            transport = transport_class(
                gateway.base_url,
                key=key,
                auth_scheme=gateway.auth_scheme,
                timeout_seconds=self.job.retry.timeout,
                ca_bundle=self.settings.ca_bundle,
                more_headers=self.settings.headers,
            )
            with closing(lanes):
                async with transport:
                    loop = Loop(self._parts(transport, lanes, done, purse))
                    show = partial(watch, loop, ended, self.prepared.asked)
                    listens = self.settings.hooks.heeds_signals
                    running = watched(loop, show, self.signals, listens=listens)
                    ending = await self.deadline.around(loop, running)
                    return loop.tally, lanes.uses(), ending

    def _parts(self, transport: HttpTransport, lanes: LaneOpener, done: Bitmap, purse: Purse) -> Parts:
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


@contextmanager
def _parted(folder: RunFolder, total: int, settings: Settings, columns: Columns) -> Iterator[PartedOutput | None]:
    """The output, where it is a folder of parts."""
    if not folder.in_parts:
        yield None
        return
    parts = PartedOutput(
        folder.path,
        folder.output,
        total=total,
        part_rows=settings.part_rows,
        overwrite=settings.overwrite,
        columns=columns,
    )
    with closing(parts):
        yield parts


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


def _ended(ending: Ending) -> Ended:
    return Ended(ending=ending.end.value, message=ending.message, resume_at=ending.resume_at, at=time.time())
