"""Carries out what `export` was told, and shows how far it is."""

from functools import partial as partially
from pathlib import Path

from batchrunner.cli.attending import attended
from batchrunner.cli.terminal import say
from batchrunner.folder.ending import CODE_OF_END, End
from batchrunner.job.schema import STANDARD_OUTPUT
from batchrunner.runner.exporting import export_run
from batchrunner.sink import OutputFormat


def exported_to(path: Path, run_dir: Path, *, partial: bool, overwrite: bool, output_format: OutputFormat) -> int:
    """Write the rows of a run to a file, or standard output, and say how many; the exit code."""
    to_stdout = str(path) == STANDARD_OUTPUT

    export = partially(export_run, run_dir, path, partial=partial, overwrite=overwrite, output_format=output_format)
    exported = attended(lambda course: export(course=course))
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
