"""The one place where endings and errors become exit codes and words on stderr."""

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import click

from batchrunner.cli.terminal import say
from batchrunner.errors import (
    BatchrunnerError,
    InputError,
    LockedError,
    NoKeyError,
    StorageError,
    UsageError,
    first_of,
)
from batchrunner.report.safe import safe_text
from batchrunner.runner.ending import CODE_OF_END, End

BUG = 70

CODE_OF_ERROR: dict[type[BatchrunnerError], int] = {
    InputError: 65,
    StorageError: 74,
    LockedError: 75,
    NoKeyError: 77,
    UsageError: 78,
}


_FIRST_OF_SEVERAL = (BUG, 74, 78, 65, 77, 69, 143, 130, 75, 1, 0)


def code_of_several(codes: Iterable[int]) -> int:
    """The exit code of a process that ran several jobs, which ended with these."""
    return min(codes, key=_FIRST_OF_SEVERAL.index)


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Around a command: every error becomes its words and its code, a bug a traceback without local values."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the border: nothing is swallowed, all is told
        sys.exit(tell_error(error))


def tell_error(error: BaseException, name: str = "batchrunner") -> int:
    """Say what happened; the exit code for it. `name`: to whom."""
    error = first_of(error)
    match error:
        case KeyboardInterrupt():
            say("batchrunner: stopped", err=True)
            return CODE_OF_END[End.INTERRUPTED]
        case BatchrunnerError():
            say(f"{name}: {safe_text(str(error), 2000)}", err=True)
            return CODE_OF_ERROR[type(error)]
        case _:
            traceback.print_exception(error, file=sys.stderr)
            say("batchrunner: this is a bug in batchrunner; nothing that was recorded is lost.", err=True)
            return BUG
