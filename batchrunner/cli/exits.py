"""The one place where endings and errors become exit codes and words on stderr."""

import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

from batchrunner.cli.log import Level, Log
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
from batchrunner.folder.ending import CODE_OF_END, End, StoppedError

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


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM came where nobody listens for it: as if it were SIGINT, but for the code."""


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Around a command: every error becomes its words and its code, a bug a traceback without local values."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the border: nothing is swallowed, all is told
        sys.exit(tell_error(error, Log(shown={Level.ERROR})))


def tell_error(error: BaseException, log: Log, *, job: str = "", command: str = "") -> int:
    """Say what happened; the exit code for it. `job`: to which of several; `command`: what goes on where it stopped."""
    error = first_of(error)
    code, words = _code_of(error), str(error) or "stopped."
    if code == BUG:
        say("".join(traceback.format_exception(error)).rstrip(), err=True)
        words = "this is a bug in batchrunner; nothing that was recorded is lost."
    if command and code in (CODE_OF_END[End.PARKED], CODE_OF_END[End.INTERRUPTED], CODE_OF_END[End.TERMINATED]):
        words = f"{words} Go on with: {command}"
    log.tell(Level.ERROR, "error", words, job, exit_code=code)
    return code


def _code_of(error: BaseException) -> int:
    match error:
        case _TerminatedError():
            return CODE_OF_END[End.TERMINATED]
        case KeyboardInterrupt():
            return CODE_OF_END[End.INTERRUPTED]
        case StoppedError():
            return CODE_OF_END[error.ending.end]
        case _:
            return next((code for kind, code in CODE_OF_ERROR.items() if type(error) is kind), BUG)


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's own signature
    raise _TerminatedError
