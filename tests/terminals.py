"""A pseudo-terminal in which the real command line runs, and what stands on its screen: for tests of what is shown."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Callable

from conftest import BATCHRUNNER, Bench

_CODE = re.compile(r"\x1b\[(\d*)([A-Za-z])")


class Terminal:
    """`batchrunner ARGUMENTS` in a terminal of so many columns. `raw` is all that it wrote."""

    def __init__(self, bench: Bench, *arguments: object, columns: int, rows: int = 24, **environment: str) -> None:
        self.raw = ""
        self._ours, theirs = pty.openpty()
        self.resize(columns, rows)
        said = {name: text for name, text in bench.environment.items() if name not in ("COLUMNS", "NO_COLOR")}
        self.process = subprocess.Popen(
            [*BATCHRUNNER, *map(str, arguments)],
            cwd=bench.folder,
            env=said | {"TERM": "xterm"} | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that ^C makes a signal
        )
        os.close(theirs)

    def resize(self, columns: int, rows: int = 24) -> None:
        """Make it so large."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        """As if by hand."""
        os.write(self._ours, keys.encode())

    def until(self, condition: Callable[[str], bool], seconds: float = 40.0) -> str:
        """Read until what was written meets the condition; all of it."""
        end = time.monotonic() + seconds
        while not condition(self.raw):
            assert time.monotonic() < end, self.raw[-2000:]
            self._read()
        return self.raw

    def to_its_end(self) -> int:
        """Read until the process has ended; its exit code."""
        while self._read():
            pass
        code = self.process.wait(timeout=30)
        os.close(self._ours)
        return code

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.2)[0]:
            return self.process.poll() is None
        try:
            self.raw += os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # the other end is closed
            return False
        return True


def screen_of(raw: str) -> list[str]:
    """The lines that stand on a screen to which this was written, without those that a resize wraps."""
    lines, row, column = [""], 0, 0
    for piece in re.split(r"(\x1b\[\d*[A-Za-z]|[\r\n])", raw):
        code = _CODE.fullmatch(piece)
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif code is not None and code[2] == "A":
            row = max(0, row - int(code[1] or 1))  # a line that a resize has wrapped is one here
        elif code is not None:
            assert code[2] == "K", piece
            lines[row] = lines[row][:column]
        else:
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
            column += len(piece)
    return [line.rstrip() for line in lines]


def columns_of(line: str) -> int:
    """Columns that a line takes."""
    return sum(1 + (unicodedata.east_asian_width(sign) in "WF") for sign in line)
