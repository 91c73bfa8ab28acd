"""Opens what a run works in, once no other run does: its folder, an earlier run set aside where that is wanted, the
folder of parts, and its purse."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import anyio

from batchrunner.chat.request import compose
from batchrunner.errors import LockedError, StorageError
from batchrunner.folder.owning import Resume, check_absent, check_begin
from batchrunner.folder.publishing import PartedOutput
from batchrunner.job.schema import Job
from batchrunner.records import Request
from batchrunner.runner.budget import gate_of
from batchrunner.runner.course import Course
from batchrunner.runner.going_on import RunFolder
from batchrunner.runner.money import finder_of
from batchrunner.runner.preparing import Prepared
from batchrunner.runner.purse import Purse
from batchrunner.runner.settings import Settings
from batchrunner.sink.atomic import sync_folder
from batchrunner.sink.columns import Columns
from batchrunner.store.heeding import Heed
from batchrunner.store.lock import RunLock, holder_of, locked_by
from batchrunner.store.private import refuse_foreign

_LOOK_AT_LOCK_SECONDS = 0.2


async def until_free(run_dir: Path, wait_until: float, course: Course) -> None:
    """Before anything is read: wait as long as another run works there. LockedError when that takes too long."""
    with course.doing("waiting for another run of this output"):
        while (holder := holder_of(run_dir)) is not None:
            if time.monotonic() >= wait_until:
                raise locked_by(holder)
            await anyio.sleep(_LOOK_AT_LOCK_SECONDS)
            course.count(0)


async def opened_folder(job: Job, settings: Settings, stack: ExitStack, wait_until: float, course: Course) -> RunFolder:
    """The run folder, once no other run holds it."""
    while True:
        opened = _open_run_folder(
            settings.run_dir,
            output=job.output_path,
            in_parts=job.output_is_folder,
            resume=settings.resume,
            overwrite=settings.replaces,
            heed=course.heed,
        )
        try:
            return stack.enter_context(opened)
        except LockedError:
            if time.monotonic() >= wait_until:
                raise
        await until_free(settings.run_dir, wait_until, course)


def choose_units(folder: RunFolder, prepared: Prepared, settings: Settings) -> int:
    """Settle which units are asked; how many failed ones are asked again."""
    if prepared.chosen is not None:
        folder.choose(prepared.chosen, len(prepared.arms))
    return 0 if settings.retry is None else folder.reopen_failed(prepared.total, settings.retry)


@contextmanager
def parted_output(folder: RunFolder, total: int, settings: Settings, columns: Columns) -> Iterator[PartedOutput | None]:
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


def purse_of(job: Job, folder: RunFolder, prepared: Prepared) -> Purse:
    """The purse of a run. Where it has a budget, what earlier runs took of that is read from the store; units that they
    left in doubt count with the worst that they can have cost."""
    price_of, gate = finder_of(job.prices), None
    if job.run.has_budget:
        gate = gate_of(job.run, folder.store.spending(), price_of)
        for request, times in _doubted(folder, prepared):
            for _ in range(times):
                gate.lose(request)
    return Purse(price_of=price_of, paid=folder.store.paid_for_pending(), gate=gate)


@contextmanager
def _open_run_folder(
    path: Path, *, output: Path, in_parts: bool, resume: Resume, overwrite: bool, heed: Heed
) -> Iterator[RunFolder]:
    """Lock and open a run folder. LockedError where another run holds it.

    UsageError where --resume must finds no earlier run, or the output is a file that batchrunner did not write, or
    a folder (`in_parts`) with anything in it.
    """
    check_begin(path, output, resume=resume, overwrite=overwrite)
    locks = [_lock(path)]
    try:
        folder = RunFolder(path, output=output, in_parts=in_parts, heed=heed)
        ours = folder.owns_output
        if resume == "never" and folder.has_begun:
            folder.close()
            _set_aside(*([output] if in_parts and ours else []), path)
            locks.append(_lock(path))
            folder = RunFolder(path, output=output, in_parts=in_parts, heed=heed)
            if ours and not in_parts:
                folder.inherit_output()
        try:
            folder.may_overwrite = ours or overwrite
            if not folder.may_overwrite:
                check_absent(output)
            yield folder
        finally:
            folder.close()
    finally:
        for lock in locks:
            lock.release()


def _lock(path: Path) -> RunLock:
    try:
        if not path.exists():
            path.mkdir(mode=0o700, parents=True)
            sync_folder(path.parent)
    except FileExistsError:
        pass  # another run was quicker
    except OSError as error:
        raise StorageError(f"The run folder {path} can't be made: {error.strerror}; see --run-dir.") from error
    refuse_foreign(path, "--run-dir")
    return RunLock(path)


def _set_aside(*paths: Path) -> None:
    """Rename the run folder, and before it the parts that hold its answers, to the first free `NAME.1`, `NAME.2`."""
    number = 1
    while any(_aside(path, number).exists() for path in paths):
        number += 1
    for path in paths:
        try:
            path.rename(_aside(path, number))
        except FileNotFoundError:  # no part has been published yet
            continue
        except OSError as error:
            raise StorageError(f"The run folder {path} can't be set aside: {error.strerror}.") from error


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _doubted(folder: RunFolder, prepared: Prepared) -> Iterator[tuple[Request, int]]:
    """What was asked of the units in doubt, and how often each was left so."""
    doubted = Counter(folder.doubted)
    if not doubted:
        return
    for batch in prepared.units(lambda number: number not in doubted, prepared.rows):
        for row in batch:
            request = compose(row, prepared.settings[row.arm])
            if isinstance(request, Request):
                yield request, doubted[row.number]
