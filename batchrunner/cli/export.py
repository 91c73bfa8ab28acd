"""batchrunner export: a run's rows as another file."""

import sys
from pathlib import Path

import click

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import Manual
from batchrunner.cli.options import OUTPUT_FORMAT
from batchrunner.folder.finding import find_run
from batchrunner.sink import OutputFormat

EXAMPLES = """\b
Examples:
  batchrunner export questions.results.jsonl -o answers.parquet
  batchrunner export nightly.toml -o so-far.jsonl.gz --partial
  batchrunner export nightly.toml -o - | head
"""


@click.command(cls=Manual, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.argument("of", metavar="RUN", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="PATH",
    help="*.jsonl, *.jsonl.gz, *.jsonl.zst, *.parquet, or - for JSON lines on stdout",
)
@OUTPUT_FORMAT
@click.option("--partial", is_flag=True, help="Also of an unfinished run: the rows that have ended.")
@click.option("--overwrite", is_flag=True, help="Replace a file that stands there.")
def export(of: Path, output: Path, *, partial: bool, overwrite: bool, output_format: OutputFormat) -> None:
    """Write the rows of RUN to PATH, in order, also while it goes on.

    RUN is the output's path, the run folder or the job file. Nothing is sent and the run is not disturbed.
    """
    with errors_as_exit_codes():
        from batchrunner.cli.exporting import exported_to  # noqa: PLC0415 - heavy, and --help needs none of it

        code = exported_to(output, find_run(of), partial=partial, overwrite=overwrite, output_format=output_format)
        sys.exit(code)
