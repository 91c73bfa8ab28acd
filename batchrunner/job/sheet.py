"""A file of settings as it was read: what it says, on which lines, and how errors name them."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from batchrunner.errors import InputError, UsageError
from batchrunner.job.lines import Place, line_at, lines_of
from batchrunner.job.words import at_place, dotted, no_toml, sentence

LARGEST_FILE = 2**20
_IN_SWEEP = (("sweep", "system"), ("sweep", "prompt"))
_TEMPLATES = (("request", "system"), ("request", "prompt"), ("request", "messages"), *_IN_SWEEP)


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """Tables as a job has them. In a profile their places in the file are others: `root` is where it stands there."""

    name: str
    tables: dict[str, Any] = {}
    lines: Mapping[Place, int] = {}
    root: Place = ()

    def spelled(self, place: Place) -> Place:
        """Where the file has what is at this place of a job."""
        return (*self.root, *place[1:]) if self.root and place[:1] == ("gateway",) else (*self.root, *place)

    def error(self, place: Place, words: str) -> UsageError:
        """`nightly.toml:14: ` and the words."""
        return UsageError(sentence(self._at(place, words)))

    def templates(self) -> dict[str, str]:
        """`nightly.toml:14: request.prompt` for every text of a job that is a template, by the text."""
        values = [((table, key), self.tables.get(table, {}).get(key)) for table, key in _TEMPLATES]
        texts = (found for place, value in values for found in _texts(place, value))
        return {text: self._at(place, dotted(place)) for place, text in texts}

    def _at(self, place: Place, words: str) -> str:
        line = line_at(self.lines, self.spelled(place)) if place else None
        return f"{self.name}:{line}: {words}" if line else f"{self.name}: {words}"

    def wrong(self, place: Place, words: str) -> UsageError:
        """`nightly.toml:14: limits.concurrency ` and words that follow the name of the key."""
        return self.error(place, at_place(self.spelled(place), words) if place else words)


def nearest(sheets: Iterable[Sheet], place: Place) -> Sheet:
    """The sheet that says what is at this place; the first where none does."""
    known = list(sheets)
    return next((sheet for sheet in known if sheet.spelled(place) in sheet.lines), known[0])


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file of settings. InputError where it can't be read, UsageError where it is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"The {what} {path} can't be read: {getattr(error, 'strerror', error)}.") from error
    if len(content) > LARGEST_FILE:
        raise UsageError(f"The {what} {path} is larger than {LARGEST_FILE} bytes: is it the right file?")
    return content


def parse_sheet(content: bytes, *, name: str) -> Sheet:
    """What the bytes say. UsageError where they are no TOML."""
    try:
        text = content.decode("utf-8-sig")
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line, words = no_toml(content, error)
        raise UsageError(sentence(f"{name}:{line}: {words}" if line else f"{name}: {words}")) from error
    return Sheet(name=name, tables=tables, lines=_lines(text))


def _texts(place: Place, value: Any) -> Iterator[tuple[Place, str]]:
    """The texts in a value, and where they stand."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts((*place, key), inner)


def _lines(text: str) -> dict[Place, int]:
    """None where lists stand in lists so deep that tomllib could just read them."""
    try:
        return lines_of(text.replace("\r\n", "\n"))
    except RecursionError:
        return {}
