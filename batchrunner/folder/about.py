"""What a run folder remembers of its run beside its units, so that others can read it and go on with it.

No key is in it: none can be among the arguments.
"""

from collections.abc import Callable

import msgspec

from batchrunner.errors import InputError
from batchrunner.folder.sampling import Sample

_ABOUT = "about"
_ENDED = "ended"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The command and its folder, absolute paths, units in all, so many `arms` of each row, and the sample of rows that
    is asked; when the first process began and when the last (Unix time). `arguments` are those of `run` without what is
    meant for once; `input` may be a URL."""

    arguments: tuple[str, ...]
    folder: str
    input: str
    output: str
    total: int
    began_at: float
    started_at: float
    sample: Sample | None = None
    arms: int = 1

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.total // self.arms

    @property
    def units(self) -> int:
        """Units that are asked."""
        return self.total if self.sample is None else min(self.rows, self.sample.rows) * self.arms


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How the last process ended, in the words of its summary, and when (Unix time)."""

    ending: str
    message: str
    resume_at: float | None
    at: float


Fact = Callable[[str], str | None]
Remember = Callable[[str, str], None]


def about_run(fact: Fact) -> About | None:
    """What is remembered; None before a run has begun to ask."""
    known = fact(_ABOUT)
    return None if known is None else msgspec.json.decode(known, type=About)


def about_known_run(fact: Fact) -> About:
    """The same. InputError where an older batchrunner remembered nothing."""
    about = about_run(fact)
    if about is None:
        raise InputError("This run has not begun yet, or an older batchrunner made it: run the same command again.")
    return about


def last_ending(fact: Fact) -> Ended | None:
    """How the last process ended; None while it is at work, and when it was cut off."""
    known = fact(_ENDED) or "null"
    return msgspec.json.decode(known, type=Ended | None)


def remember_about(about: About, remember: Remember) -> None:
    """A process begins."""
    remember(_ENDED, "null")
    for name, value in fact_of_about(about).items():
        remember(name, value)


def fact_of_about(about: About) -> dict[str, str]:
    """Under which name it is remembered, and how."""
    return {_ABOUT: msgspec.json.encode(about).decode()}


def remember_ending(ended: Ended, remember: Remember) -> None:
    """A process ends."""
    remember(_ENDED, msgspec.json.encode(ended).decode())
