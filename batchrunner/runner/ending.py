"""How a run ends, as data. Only cli/ turns it into an exit code."""

from enum import StrEnum

import msgspec


class End(StrEnum):
    """The ways a run ends that are no bug and no error of batchrunner's own files."""

    ANSWERED = "every unit answered"
    SOME_FAILED = "finished, some failed"
    UNREACHABLE = "the gateway can't be reached, or answers nothing but failures"
    REFUSED = "the gateway refuses the key, the model or the account"
    MISCONFIGURED = "the base URL is wrong"
    PARKED = "parked"
    INTERRUPTED = "SIGINT came"
    TERMINATED = "SIGTERM came"


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """Why sending ended before every unit did. `resume_at` is Unix time."""

    end: End
    message: str
    resume_at: float | None = None
