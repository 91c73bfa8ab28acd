"""The rows of a run that have some words in them: found in one pass over answers and input, remembered as a bit each.

A pass goes on in a thread while pages show what it has found; another one looks only at what has ended since. Memory is
three bits a unit.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from batchrunner.errors import BatchrunnerError, StorageError
from batchrunner.folder.published import layout_in, numbered_outcomes, published_in
from batchrunner.records import Row
from batchrunner.runner.recalling import Recall
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.heeding import Heed
from batchrunner.store.reading import Reader, read_store
from batchrunner.viewer.kept import SHARE
from batchrunner.viewer.question import Shape

_Found = TypeVar("_Found")
AT_ONCE = 5_000  # units, between which the store is let go


class _Error(msgspec.Struct):
    message: str = ""


class _Answer(msgspec.Struct):
    """All of an output row that is searched."""

    id: str = ""
    response: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"")
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class Search:
    """The search for some words, whatever their case. `looked_at`: units so far, `troubles`: what could not be read."""

    def __init__(self, words: str, run_dir: Path, shape: Shape, recall: Recall, heed: Heed) -> None:
        self._words = words.casefold()
        self._run_dir = run_dir
        self.shape = shape
        self.recall = recall
        self._heed = heed
        self._found = Bitmap(shape.total)
        self._seen = Bitmap(shape.total)
        self._asked = Bitmap(-(-shape.total // shape.arms))
        self._input: Iterator[list[Row]] | None = None
        self._read_to = 0
        self._rests_until = 0.0
        self.stopped = False
        self.done = False
        self.looked_at = 0
        self.troubles: dict[str, None] = {}

    @property
    def is_due(self) -> bool:
        """Whether to look again, as a pass may take no more than a small share of the time."""
        return not self.done or time.monotonic() >= self._rests_until

    def __contains__(self, number: int) -> bool:
        return number in self._found

    def look(self) -> None:
        """Look at what has ended and was not looked at yet, until `stopped`."""
        self.done, began = False, time.monotonic()
        first = 0
        while first < self.shape.total and not self.stopped:
            end = self._read(partial(self._end_of, first=first))
            self._look_at_input(-(-end // self.shape.arms))
            self._look_at(first, end)
            first = end
        self.done, ended = not self.stopped, time.monotonic()
        self._rests_until = ended + SHARE * (ended - began)

    def _look_at(self, first: int, end: int) -> None:
        try:
            looked, found = self._read(partial(self._fold, first=first, end=end))
        except StorageError as error:  # a part that was moved away
            self.troubles[str(error)] = None
            return
        for number in found:
            self._found.add(number)
        for number in looked:
            self._seen.add(number)
        self.looked_at = len(self._seen)

    def _read(self, fold: Callable[[Reader], _Found]) -> _Found:
        return read_store(self._run_dir, fold, heed=self._heed)

    def _end_of(self, store: Reader, first: int) -> int:
        """Where a piece ends that begins there: with its part, or after some units."""
        parts = [] if layout_in(store) is None else [one.part for one in published_in(store).values()]
        inside = next((part.end for part in parts if part.first_row <= first < part.end), None)
        nearest = min((part.first_row for part in parts if part.first_row > first), default=self.shape.total)
        return min(inside or min(first + AT_ONCE, nearest), self.shape.total)

    def _fold(self, store: Reader, first: int, end: int) -> tuple[list[int], list[int]]:
        if all(number in self._seen for number in store.ended(first, end)):
            return [], []
        looked, found = [], []
        for number, body in numbered_outcomes(store, self._run_dir, first, end):
            looked.append(number)
            if number // self.shape.arms in self._asked or self._has_words(body):
                found.append(number)
        return looked, found

    def _has_words(self, body: bytes) -> bool:
        answer = _decode(body)
        texts = (answer.response, answer.id, answer.error and answer.error.message)
        words = self._words
        return any(text and words in text.casefold() for text in texts) or words in _text(answer.tool_calls).casefold()

    def _look_at_input(self, end: int) -> None:
        """Take note of the rows up to there whose own words these are."""
        try:
            if self._input is None:
                self._input = self.recall.rows()
            while self._read_to < end and (batch := next(self._input, None)) is not None:
                for row in batch:
                    if has_words(row.columns, self._words):
                        self._asked.add(row.number)
                self._read_to = batch[-1].number + 1
        except BatchrunnerError as error:
            self._input = iter(())
            self.troubles[f"Prompts are not searched. {error}"] = None


def has_words(value: Any, words: str) -> bool:
    """Whether any text in it has these words, which are case-folded."""
    match value:
        case str():
            return words in value.casefold()
        case Mapping():
            return _any_has(value.values(), words)
        case Sequence() if not isinstance(value, bytes):
            return _any_has(value, words)
        case _:
            return False


def _any_has(values: Iterable[Any], words: str) -> bool:
    return any(has_words(value, words) for value in values)


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="replace")
