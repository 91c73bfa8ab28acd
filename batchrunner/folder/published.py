"""What a run has published in parts, as its store remembers it; and all its outcomes, from parts and store together.

A part is the only place of its rows, save those whose body is in the store: that one is newer.
"""

import heapq
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Protocol

import msgspec

from batchrunner.errors import StorageError
from batchrunner.sink.formats import read_rows
from batchrunner.sink.parts import Part
from batchrunner.store.database import Store

_LAYOUT = "parts"
_PART = "part "

Numbered = tuple[int, bytes]


class Recorded(Protocol):
    """What is read of a run store: by the run that works in it (Store), or beside it (Reader)."""

    def fact(self, name: str) -> str | None:
        """What the run remembers under this name."""
        ...

    def facts(self, prefix: str) -> dict[str, str]:
        """What it remembers under names that begin so."""
        ...

    def ended(self, first: int, end: int) -> Iterator[int]:
        """The numbers of units that have ended, in order."""
        ...

    def bodies(self, first: int, end: int) -> Iterator[Numbered]:
        """Those of their rows that stand in the store, in order."""
        ...


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How the output is parted: its folder, as seen from the run folder, units in a part, and the parts' suffix."""

    folder: str
    part_rows: int
    suffix: str


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A part, and the stamp of its file: size and time of change (ns)."""

    part: Part
    stamp: tuple[int, int] | None


def layout_in(store: Recorded) -> Layout | None:
    """How the output of this run is parted; None where it never was."""
    fact = store.fact(_LAYOUT)
    return None if fact is None else msgspec.json.decode(fact, type=Layout)


def remember_layout(store: Store, layout: Layout) -> None:
    """From here on the folder is this run's."""
    store.remember(_LAYOUT, msgspec.json.encode(layout).decode())


def folder_of(run_dir: Path, layout: Layout) -> Path:
    """The folder of parts. It is known by its place beside the run folder, so that both can be moved together."""
    return Path(os.path.normpath(run_dir.absolute() / layout.folder))


def published_in(store: Recorded) -> dict[int, Published]:
    """The parts of this run by their number, in order."""
    facts = store.facts(_PART)
    found = {int(name[len(_PART) :]): msgspec.json.decode(fact, type=Published) for name, fact in facts.items()}
    return dict(sorted(found.items()))


def remember_published(store: Store, index: int, published: Published) -> None:
    """A part's file stands in its place."""
    store.remember(f"{_PART}{index:05}", msgspec.json.encode(published).decode())


def forget_published(store: Store, index: int) -> None:
    """There is no such part any more."""
    store.forget(f"{_PART}{index:05}")


def outcomes(store: Recorded, run_dir: Path, total: int) -> Iterator[bytes]:
    """The output rows, as JSON, of all units below `total` that have ended, in order, whatever the output is.

    StorageError where a part is missing or damaged.
    """
    return (row for _, row in numbered_outcomes(store, run_dir, 0, total))


def numbered_outcomes(store: Recorded, run_dir: Path, first: int, end: int) -> Iterator[Numbered]:
    """The same of the units from `first` to below `end`, with their numbers. A part of which any is wanted is read
    from its start."""
    layout = layout_in(store)
    folder, parts = (run_dir, {}) if layout is None else (folder_of(run_dir, layout), published_in(store))
    for part in (published.part for published in parts.values()):
        if part.first_row < end and first < part.end:
            yield from store.bodies(first, part.first_row)
            here = max(first, part.first_row), min(part.end, end)
            yield from _ended_rows(store, folder, part, *here)
            first = here[1]
    yield from store.bodies(first, end)


def outcomes_among(store: Recorded, run_dir: Path, numbers: Iterable[int]) -> Iterator[Numbered]:
    """The output rows of those of these units that have ended, by number. A part is read as far as any is wanted.

    StorageError where one is missing or damaged.
    """
    elsewhere = set()
    for number in numbers:
        bodies = list(store.bodies(number, number + 1))
        yield from bodies
        if not bodies:
            elsewhere.add(number)
    layout = layout_in(store)
    if layout is None or not elsewhere:
        return
    for part in (published.part for published in published_in(store).values()):
        here = {number for number in elsewhere if part.first_row <= number < part.end}
        if here:
            rows = rows_of(folder_of(run_dir, layout) / part.name, part)
            yield from (one for one in islice(rows, max(here) + 1 - part.first_row) if one[0] in here)


def merged(newer: Iterator[Numbered], older: Iterator[Numbered]) -> Iterator[Numbered]:
    """Rows by number, in order: both come so, and where both have one the newer counts."""
    last = -1
    for numbered in heapq.merge(newer, older, key=itemgetter(0)):
        if numbered[0] != last:
            yield numbered
        last = numbered[0]


def rows_of(path: Path, part: Part) -> Iterator[Numbered]:
    """The rows of a part by number, in order. StorageError where there are not as many as there should be."""
    number = part.first_row - 1
    for number, row in enumerate(read_rows(path), part.first_row):
        yield number, row
    if number + 1 < part.end:
        raise StorageError(f"{path} holds {number + 1 - part.first_row} rows, {part.units} were written.")


def _ended_rows(store: Recorded, folder: Path, part: Part, first: int, end: int) -> Iterator[Numbered]:
    """The rows of the part's units from `first` to below `end`, without those that are pending again."""
    ended = store.ended(first, end)
    wanted = next(ended, None)
    for numbered in merged(store.bodies(first, end), rows_of(folder / part.name, part)):
        if numbered[0] == wanted:
            yield numbered
            wanted = next(ended, None)
