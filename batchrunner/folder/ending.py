"""How a run ends, as data. Only cli/ makes it the exit code that is named here."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from batchrunner.errors import BatchrunnerError


class End(StrEnum):
    """The ways a run ends that are no bug and no error of batchrunner's own files."""

    ANSWERED = "every unit answered"
    SOME_FAILED = "finished, some failed"
    BROKEN = "reading or writing failed"
    UNREACHABLE = "the gateway can't be reached, or answers nothing but failures"
    TOO_MANY_FAILED = "too many units failed"
    REFUSED = "the gateway refuses the key, the model or the account"
    MISCONFIGURED = "the base URL is wrong"
    PARKED = "parked"
    SPENT = "the budget is used up"
    INTERRUPTED = "SIGINT came"
    TERMINATED = "SIGTERM came"
    LEFT = "the program that ran it stopped it"


CODE_OF_END = {
    End.ANSWERED: 0,
    End.SOME_FAILED: 1,
    End.UNREACHABLE: 69,
    End.TOO_MANY_FAILED: 69,
    End.BROKEN: 74,
    End.PARKED: 75,
    End.SPENT: 75,
    End.REFUSED: 77,
    End.MISCONFIGURED: 78,
    End.INTERRUPTED: 130,
    End.LEFT: 130,
    End.TERMINATED: 143,
}
# Of several lanes' endings the first in this order is the run's, as with the exit codes they become.
_ORDER = (
    End.BROKEN,
    End.MISCONFIGURED,
    End.REFUSED,
    End.UNREACHABLE,
    End.TOO_MANY_FAILED,
    End.TERMINATED,
    End.INTERRUPTED,
    End.LEFT,
    End.SPENT,
    End.PARKED,
)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """Why sending ended before every unit did. `resume_at` is Unix time."""

    end: End
    message: str
    resume_at: float | None = None


class StoppedError(BatchrunnerError):
    """The run was stopped outside of its loop, where nothing is in flight."""

    def __init__(self, ending: Ending, doing: str) -> None:
        super().__init__(f"{ending.message} while {doing or 'nothing had begun'}.")
        self.ending = ending


def first_in_order(endings: Sequence[Ending]) -> Ending | None:
    """The ending of a run whose lanes ended so; among parked ones the first to come back."""
    return min(endings, key=lambda one: (_ORDER.index(one.end), one.resume_at or 0.0), default=None)
