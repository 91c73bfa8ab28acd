"""batchrunner export: a run's rows as another file."""

import sys
from functools import partial as partially
from pathlib import Path

import anyio
import click
from anyio import to_thread

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.log import Level, Log
from batchrunner.cli.manual import Manual
from batchrunner.cli.terminal import say
from batchrunner.cli.watching import watching
from batchrunner.runner.conducting import conduct
from batchrunner.runner.course import Course
from batchrunner.runner.ending import CODE_OF_END, End
from batchrunner.runner.exporting import Exported, export_run
from batchrunner.runner.finding import find_run

EXAMPLES = """\b
Examples:
  batchrunner export questions.results.jsonl -o answers.parquet
  batchrunner export nightly.toml -o so-far.jsonl --partial
"""


@click.command(cls=Manual, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.argument("of", metavar="RUN", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="PATH", help="*.jsonl, *.parquet"
)
@click.option("--partial", is_flag=True, help="Also of an unfinished run: the rows that have ended.")
@click.option("--overwrite", is_flag=True, help="Replace a file that stands there.")
def export(of: Path, output: Path, *, partial: bool, overwrite: bool) -> None:
    """Write the rows of RUN to PATH, in order, also while it goes on.

    RUN is the output's path, the run folder or the job file. Nothing is sent and the run is not disturbed.
    """
    with errors_as_exit_codes():
        run_dir = find_run(of)

        async def work(course: Course) -> Exported:
            export = partially(export_run, run_dir, output, course, partial=partial, overwrite=overwrite)
            return await to_thread.run_sync(export)

        with watching("bar", Log(shown={Level.ERROR})) as show:
            exported = anyio.run(conduct, work, partially(show, ""), None)
        if exported.written is None:
            say(
                f"batchrunner: {exported.pending:,} units of {exported.output} are pending: finish the run, or take "
                "what is there with --partial.",
                err=True,
            )
            sys.exit(CODE_OF_END[End.PARKED])
        say(_words(exported, output))


def _words(exported: Exported, path: Path) -> str:
    pending = f" ({exported.pending:,} are pending)" if exported.pending else ""
    return f"{exported.written:,} rows{pending} in {path}"
