"""batchrunner retry: failed units are asked again; nothing else ever does that."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import Manual
from batchrunner.cli.options import shown_options
from batchrunner.cli.run import run
from batchrunner.errors import InputError
from batchrunner.folder.about import About, about_known_run
from batchrunner.folder.finding import find_run
from batchrunner.folder.retrying import parse_condition
from batchrunner.store.reading import read_store

EXAMPLES = """\b
Examples:
  batchrunner retry questions.results.jsonl
  batchrunner retry answers.parquet --where error.kind=timeout
  batchrunner retry nightly.toml --where error.status=503 --where model!=a/b

It goes on as `run` would with the arguments that the run had, and ends with the same exit codes. Pending units are
asked, too. What a unit had cost before stays counted.
"""


@click.command(cls=Manual, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.argument("of", metavar="RUN", type=click.Path(path_type=Path, readable=False))
@click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only failed rows like this, or != . Repeatable.")
@shown_options
def retry(of: Path, where: tuple[str, ...], **shown: Any) -> None:
    """Ask the failed units of RUN again: all, or those whose output row matches every --where.

    RUN is the output's path, the run folder or the job file.
    """
    with errors_as_exit_codes():
        from batchrunner.cli.carrying import Retry, carry_out  # noqa: PLC0415 - heavy, and --help needs none of it

        conditions = tuple(map(parse_condition, where))
        run_dir = find_run(of)
        about = read_store(run_dir, lambda store: about_known_run(store.fact))
        _go_to(about)
        chosen = run.make_context("run", list(about.arguments[1:])).params | shown
        sys.exit(carry_out(chosen, about.arguments, Retry(run_dir=run_dir, conditions=conditions)))


def _go_to(about: About) -> None:
    """The folder in which the arguments mean what they meant."""
    if about.arguments[:1] != ("run",):
        raise InputError("This run did not come from a command line: run it again as it was begun.")
    try:
        os.chdir(about.folder)
    except OSError as error:
        raise InputError(
            f"The folder {about.folder}, where the run was begun, is not there: {error.strerror}."
        ) from error
