"""Carries out what `export` was told, and shows how far it is."""

from functools import partial as partially
from pathlib import Path

import anyio
from anyio import to_thread

from batchrunner.cli.log import Level, Log
from batchrunner.cli.terminal import say
from batchrunner.cli.watching import watching
from batchrunner.folder.ending import CODE_OF_END, End
from batchrunner.job.schema import STANDARD_OUTPUT
from batchrunner.runner.conducting import conduct
from batchrunner.runner.course import Course
from batchrunner.runner.exporting import Exported, export_run
from batchrunner.sink import OutputFormat


def exported_to(path: Path, run_dir: Path, *, partial: bool, overwrite: bool, output_format: OutputFormat) -> int:
    """Write the rows of a run to a file, or standard output, and say how many; the exit code."""
    to_stdout = str(path) == STANDARD_OUTPUT

    async def work(course: Course) -> Exported:
        export = partially(
            export_run, run_dir, path, course, partial=partial, overwrite=overwrite, output_format=output_format
        )
        return await to_thread.run_sync(export)

    with watching("bar", Log(shown={Level.ERROR})) as show:
        exported = anyio.run(conduct, work, partially(show, ""), None)
    if exported.written is not None:
        pending = f" ({exported.pending:,} are pending)" if exported.pending else ""
        where = "on stdout" if to_stdout else f"in {path}"
        say(f"{exported.written:,} rows{pending} {where}", err=to_stdout)
        return 0
    say(
        f"batchrunner: {exported.pending:,} units of {exported.output} are pending: finish the run, or take "
        "what is there with --partial.",
        err=True,
    )
    return CODE_OF_END[End.PARKED]
