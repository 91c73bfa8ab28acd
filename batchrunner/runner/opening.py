"""Opens what a run works in, once no other run does: its folder, and the folder of parts."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import anyio

from batchrunner.errors import LockedError
from batchrunner.job.schema import Job
from batchrunner.runner.course import Course
from batchrunner.runner.folder import RunFolder, open_run_folder
from batchrunner.runner.preparing import Prepared
from batchrunner.runner.publishing import PartedOutput
from batchrunner.runner.settings import Settings
from batchrunner.store.lock import holder_of, locked_by

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
        opened = open_run_folder(
            settings.run_dir,
            output=job.output_path,
            in_parts=job.output_is_folder,
            resume=settings.resume,
            overwrite=settings.overwrite,
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
def parted_output(folder: RunFolder, total: int, settings: Settings) -> Iterator[PartedOutput | None]:
    """The output, where it is a folder of parts."""
    if not folder.in_parts:
        yield None
        return
    parts = PartedOutput(
        folder.path, folder.output, total=total, part_rows=settings.part_rows, overwrite=settings.overwrite
    )
    with closing(parts):
        yield parts
