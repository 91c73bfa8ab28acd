"""The last lines of a terminal, drawn again and again, with what is said meanwhile above them.

No colours. Two codes only: up, and clear to the end of the line. With NO_COLOR none: one line is written over again.
Lines that the terminal has wrapped, as it was made narrower, are counted as the rows that they take.
"""

import os
import sys
import unicodedata
from collections.abc import Sequence

from batchrunner.cli.terminal import silence

_FALLBACK_COLUMNS = 80
_UP = "\x1b[{}A"
_CLEAR_LINE = "\x1b[K"


def can_draw() -> bool:
    """Whether stderr is a terminal that can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Screen:
    """Lines at the end of stderr. Where nothing can be written any more, nothing is."""

    def __init__(self) -> None:
        self._plain = bool(os.environ.get("NO_COLOR"))
        self._drawn: list[str] = []
        self._gone = False

    @property
    def columns(self) -> int:
        """Signs in a line; the last column stays free, as some terminals wrap there."""
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
        except OSError:
            columns = 0
        said = os.environ.get("COLUMNS", "")
        return max(20, (columns or (int(said) if said.isdecimal() else 0) or _FALLBACK_COLUMNS) - 1)

    def draw(self, lines: Sequence[str]) -> None:
        """These lines in the place of those drawn before."""
        self._replace([], [cut(line, self.columns) for line in (lines[:1] if self._plain else lines)])

    def say(self, line: str) -> None:
        """A line that stays, above those that are drawn."""
        self._replace([line], self._drawn)

    def leave(self) -> None:
        """What was drawn last stays, and what comes goes below it."""
        if self._drawn:
            self._write("\n")
        self._drawn = []

    def _replace(self, said: Sequence[str], drawn: Sequence[str]) -> None:
        """Line by line over what stands there: a screen that is cleared would flicker, and go into the history."""
        end = "" if self._plain else _CLEAR_LINE
        rows = 1 if self._plain else self._rows()
        text = "\n".join(f"{line}{end}" for line in (*said, *(drawn or [""])))
        left = rows - len(said) - max(1, len(drawn))
        if left > 0:
            text += f"\n{_CLEAR_LINE}" * left + _UP.format(left)
        self._write(self._to_start(rows) + text)
        self._drawn = list(drawn)

    def _rows(self) -> int:
        """Rows that the drawn lines take by now; at least the one that the cursor is in."""
        columns = self.columns + 1
        return max(1, sum(max(1, -(-width(line) // columns)) for line in self._drawn))

    def _to_start(self, rows: int) -> str:
        """To where the first of the drawn lines begins."""
        if self._plain:
            return f"\r{' ' * width(self._drawn[0])}\r" if self._drawn else ""
        return f"\r{_UP.format(rows - 1)}" if rows > 1 else "\r"

    def _write(self, text: str) -> None:
        if self._gone or not text:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._gone = True
            silence(err=True)


def cut(line: str, columns: int) -> str:
    """As much of the line as fits."""
    if width(line) <= columns:
        return line
    kept, room = [], columns - 1
    for sign in line:
        room -= width(sign)
        if room < 0:
            break
        kept.append(sign)
    return "".join(kept) + "…"


def width(text: str) -> int:
    """Columns that a text takes: East Asian signs take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )
