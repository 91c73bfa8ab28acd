"""What is said while a run goes on, line by line: on stderr or above its bars, and whole in a log file.

A line is text, or a JSON object with --log-format json. Words that are not ours are made safe: a line is one line,
and nothing in it paints. No trouble with a log ends a run: it is told once, and lines are lost.
"""

import os
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any

import msgspec

from batchrunner.cli.terminal import say
from batchrunner.report.safe import safe_json, safe_text

LONGEST = 4000
Say = Callable[[str], object]


class Level(Enum):
    """What a line is about. The file gets all."""

    RECORD = auto()  # for the file alone
    DETAIL = auto()  # with -v: every failed try, every decision of a lane
    PROGRESS = auto()  # a line a minute, where there is no bar
    NOTE = auto()  # errors by class, pauses
    ERROR = auto()  # why a run ends


class Log:
    """`shown`: what is said on stderr; `path`: of the file, which is appended to."""

    def __init__(self, *, shown: Collection[Level], as_json: bool = False, path: Path | None = None) -> None:
        self.as_json = as_json
        self.say: Say = lambda line: say(line, err=True)
        self._shown = shown
        self._path = path
        self._file: int | None = None
        self._has_told_trouble = False
        if path is not None:
            self._open(path)

    @property
    def writes_file(self) -> bool:
        """Whether there is a file to write to."""
        return self._file is not None

    def shows(self, level: Level) -> bool:
        """Whether such lines are said on stderr."""
        return level in self._shown

    def tell(self, level: Level, event: str, words: str, job: str = "", **facts: Any) -> None:
        """One line. `event` tells programs what it is about, `facts` what it says; `job`: of several."""
        if level not in self._shown and self._file is None:
            return
        now, named = time.time(), f"{job}: " if job else ""
        as_object = self._object(now, event, words, job, facts) if self.as_json else ""
        line = safe_text(f"{named}{words}", LONGEST)
        if level in self._shown:
            own = ("" if job else "batchrunner: ") if level is Level.ERROR else time.strftime("%H:%M:%S ")
            self.say(as_object or f"{own}{line}")
        if self._file is not None:
            self._append(self._file, as_object or f"{_instant(now)} {event}: {line}")

    def close(self) -> None:
        """Nothing more will be told."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _object(self, now: float, event: str, words: str, job: str, facts: dict[str, Any]) -> str:
        named = {"job": job} if job else {}
        told = {"at": _instant(now), "event": event, **named, "message": words, **facts}
        return safe_json(msgspec.json.encode(told).decode())

    def _open(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe keeps nobody waiting
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            self._tell_trouble(error)

    def _append(self, file: int, line: str) -> None:
        """In one write, so that the lines of several processes don't mix."""
        try:
            os.write(file, f"{line}\n".encode(errors="backslashreplace"))
        except OSError as error:
            self._tell_trouble(error)

    def _tell_trouble(self, error: OSError) -> None:
        if not self._has_told_trouble:
            self._has_told_trouble = True
            self.say(f"batchrunner: the log {self._path} can't be written ({error.strerror}); the run goes on.")


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
