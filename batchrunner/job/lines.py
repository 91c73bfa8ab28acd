"""On which line of a TOML file each key stands: tomllib says what is written, and not where.

Only for a text that tomllib has read, so nothing is checked here. https://toml.io/en/v1.0.0
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

Place = tuple[str | int, ...]  # keys from the top, and numbers of elements from 0

_BLANK = re.compile(r"(?:[\s,]|#[^\n]*)*")
_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+)[ \t]*(\.?)""", re.ASCII)
_VALUE = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?!")|' + r"'''.*?'''(?!')|" + r""""(?:[^"\\]|\\.)*"|'[^']*'|[^,\]}#\n]+""", re.DOTALL
)


def lines_of(text: str) -> dict[Place, int]:
    """The line, counted from 1, of every table, key and element."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.found


def line_at(lines: Mapping[Place, int], place: Place) -> int | None:
    """The line of the place, or of the nearest thing that holds it."""
    return next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), None)


class _Scanner:
    """Goes through a text once; `found` holds the lines."""

    def __init__(self, text: str) -> None:
        self.found: dict[Place, int] = {}
        self._text = text
        self._at = 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._elements: dict[Place, int] = {}  # how many an array of tables has

    def scan(self) -> None:
        table: Place = ()
        while sign := self._next():
            if sign == "[":
                table = self._header()
            else:
                self._pair(table)

    def _next(self) -> str:
        """Pass over blanks, commas and comments; the sign that follows."""
        self._pass(_BLANK)
        return self._text[self._at : self._at + 1]

    def _pass(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"no {pattern.pattern} at {self._at}")
        self._at = found.end()
        return found

    def _line(self) -> int:
        return bisect_left(self._ends, self._at) + 1

    def _header(self) -> Place:
        """`[a.b]` or `[[a.b]]`; the place that it names."""
        line = self._line()
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        *outer, last = self._keys()
        self._at = self._text.index("]", self._at) + brackets
        place: Place = ()
        for key in outer:
            place = self._newest((*place, key))
            self.found.setdefault(place, line)
        place = (*place, last)
        self.found.setdefault(place, line)
        if brackets == 2:  # noqa: PLR2004
            self._elements[place] = self._elements.get(place, 0) + 1
            place = self._newest(place)
        self.found.setdefault(place, line)
        return place

    def _newest(self, place: Place) -> Place:
        """The place itself or, where that is an array of tables, its last element."""
        return (*place, self._elements[place] - 1) if place in self._elements else place

    def _pair(self, table: Place) -> None:
        """`a.b = value`."""
        line, place = self._line(), table
        for key in self._keys():
            place = (*place, key)
            self.found.setdefault(place, line)
        self._at = self._text.index("=", self._at) + 1
        self._value(place)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            key, dot = self._pass(_KEY).groups()
            keys.append(tomllib.loads(f"key = {key}")["key"] if key[0] in "\"'" else key)
            if not dot:
                return keys

    def _value(self, place: Place) -> None:
        match self._next():
            case "[":
                self._array(place)
            case "{":
                self._at += 1
                while self._next() != "}":
                    self._pair(place)
                self._at += 1
            case _:
                self._pass(_VALUE)

    def _array(self, place: Place) -> None:
        self._at += 1
        number = 0
        while self._next() != "]":
            self.found[*place, number] = self._line()
            self._value((*place, number))
            number += 1
        self._at += 1
