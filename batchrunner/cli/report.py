"""batchrunner report: a run as one page."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import Manual
from batchrunner.cli.terminal import say
from batchrunner.errors import StorageError, UsageError

if TYPE_CHECKING:
    from batchrunner.report.facts import Facts
    from batchrunner.runner.course import Course

EXAMPLES = """\b
Examples:
  batchrunner report questions.results.jsonl
  batchrunner report nightly.toml -o ~/public/nightly.html
"""
SUFFIX = ".report.html"
_SIGN = b'content="batchrunner report"'
_HEAD_BYTES = 1000


@click.command(cls=Manual, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.argument("of", metavar="RUN", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Where it goes, - for stdout [the run's output with .report.html]",
)
def report(of: Path, output: Path | None) -> None:
    """Write RUN as one HTML page: how it stands, what bound it, what failed and why, rates, latencies, tokens.

    RUN is the output's path, the run folder or the job file; it may go on. The page needs no network and has no
    script; an earlier report in the file is replaced. Prompts and answers are not in it, messages of errors are.
    """
    from batchrunner.cli.attending import attended  # noqa: PLC0415 - likewise
    from batchrunner.folder.finding import find_run  # noqa: PLC0415 - likewise
    from batchrunner.report.page import page_of  # noqa: PLC0415 - what draws takes a while to load
    from batchrunner.sink.atomic import whole_file  # noqa: PLC0415 - likewise

    with errors_as_exit_codes():
        facts = attended(partial(_facts, find_run(of)))
        page = page_of(facts)
        if str(output) == "-":
            if not say(page):
                raise StorageError("The page can't be written to stdout.")
            return
        path = output or Path(facts.output + SUFFIX)
        _check_free(path)
        with whole_file(path, replace=True) as file:
            file.write(page.encode())
        say(str(path))


def _facts(run_dir: Path, course: "Course") -> "Facts":
    from batchrunner.folder.looking import tries_in  # noqa: PLC0415 - as above
    from batchrunner.folder.reporting import facts_of  # noqa: PLC0415 - as above

    with course.doing("reading the run", 2 * tries_in(run_dir)):
        return facts_of(run_dir, course.count)


def _check_free(path: Path) -> None:
    """Refuse to replace what is no report."""
    try:
        with path.open("rb") as file:
            begins = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}; name another --output.") from error
    if _SIGN not in begins:
        raise UsageError(f"{path} exists and is no report of batchrunner; name another --output.")
