"""Carries out what `export` was told, and shows how far it is."""

from functools import partial as partially
from pathlib import Path

import anyio
from anyio import to_thread

from batchrunner.cli.log import Level, Log
from batchrunner.cli.terminal import say
from batchrunner.cli.watching import watching
from batchrunner.runner.conducting import conduct
from batchrunner.runner.course import Course
from batchrunner.runner.ending import CODE_OF_END, End
from batchrunner.runner.exporting import Exported, export_run


def exported_to(path: Path, run_dir: Path, *, partial: bool, overwrite: bool) -> int:
    """Write the rows of a run to a file, and say how many; the exit code."""

    async def work(course: Course) -> Exported:
        export = partially(export_run, run_dir, path, course, partial=partial, overwrite=overwrite)
        return await to_thread.run_sync(export)

    with watching("bar", Log(shown={Level.ERROR})) as show:
        exported = anyio.run(conduct, work, partially(show, ""), None)
    if exported.written is not None:
        pending = f" ({exported.pending:,} are pending)" if exported.pending else ""
        say(f"{exported.written:,} rows{pending} in {path}")
        return 0
    say(
        f"batchrunner: {exported.pending:,} units of {exported.output} are pending: finish the run, or take "
        "what is there with --partial.",
        err=True,
    )
    return CODE_OF_END[End.PARKED]
