"""Publishing an output in parts while the run goes on: which parts are to be written, and how one is.

A part is written whole, then the manifest names it, then the bodies of its units leave the run store; before its file
takes its place the store remembers what it will be. Killed between any two of these steps, the next run puts it right.
A part whose units were made pending again, or that was short and is to grow, is written anew, from its own rows and
the newer ones in the store, when none of its units is pending; until then it stays as it is.

Refused: parts of an earlier run that were taken away or changed, for they hold the only copy of their rows.
"""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import msgspec

from batchrunner.errors import StorageError, UsageError
from batchrunner.folder.published import (
    Layout,
    Numbered,
    Published,
    forget_published,
    layout_in,
    merged,
    published_in,
    remember_layout,
    remember_published,
    rows_of,
)
from batchrunner.sink.atomic import make_folder, remove_file
from batchrunner.sink.columns import NATIVE, Columns
from batchrunner.sink.parts import (
    Manifest,
    Part,
    is_intact,
    part_name,
    sealed_part,
    stamp_of,
    suffix_of,
    write_manifest,
)
from batchrunner.store.parted import PartedStore

PART_ROWS = 100_000
MOST_PARTS = 100_000  # their names sort as their numbers do
_AT_ONCE = 2_000  # bodies in one commit: other commits wait for it
_BEGUN = "parts begun"


class GivenUpError(Exception):
    """The run ends at once; the part that was being written is left to the next one."""


class PartedOutput:
    """The folder of parts of a run that works in `run_dir`, over a connection of its own; `columns` are those that its
    tables have. Used by one thread at a time, after `take_up`. `given_up` may be set by any: what is being written is
    dropped then. `overwrite` allows to replace files of the parts' names that are not ours. `taken_back`: it is not
    whole, though nothing is to be written."""

    def __init__(
        self,
        run_dir: Path,
        folder: Path,
        *,
        total: int,
        part_rows: int | None,
        overwrite: bool,
        columns: Columns = NATIVE,
    ) -> None:
        self.given_up = False
        self.taken_back = False
        self.part_rows = part_rows or PART_ROWS
        self._asked_rows = part_rows
        self._run_dir = run_dir
        self._folder = folder
        self._total = total
        self._overwrite = overwrite
        self._columns = columns
        self._store = PartedStore(run_dir)
        self._published = published_in(self._store)
        self._suffix = suffix_of(folder)
        self._to_write: set[int] = set()

    def take_up(self) -> dict[int, int]:
        """Put right what a kill or another total has left; the parts that are to be written, each with the number of
        its units that have not ended.

        UsageError where an earlier run has published parts of another size.
        """
        self._settle_layout()
        self._adopt_begun()
        self._check_in_place()
        gone = self._cut()
        pending = dict(self._pending())
        self._to_write = set(pending)
        make_folder(self._folder)
        self._write_manifest()
        for index, part in gone.items():
            remove_file(self._folder / part.name)
            forget_published(self._store, index)
        return pending

    def publish(self, index: int) -> None:
        """Write a part none of whose units is pending. GivenUpError where that is no longer wanted."""
        first, end = self._range(index)
        path = self._folder / part_name(index, self._suffix)
        if index in self._published:
            self._write_manifest(without=index)
        may_replace = index in self._published or self._overwrite
        rows = self._rows(index)
        with sealed_part(path, rows, replace=may_replace, columns=self._columns) as (size, sha256):
            part = self._part(path.name, first, end, size, sha256)
            self._store.remember(_BEGUN, msgspec.json.encode(part).decode())
        self._keep(index, part)
        self._to_write.discard(index)
        self._write_manifest()
        self._let_go(first, end)

    def finish(self) -> None:
        """Publish what is left, once every unit has ended."""
        self.given_up = False
        for index in sorted(self._to_write):
            self.publish(index)

    def give_up(self) -> None:
        """Drop what is being written."""
        self.given_up = True

    @property
    def has_published(self) -> bool:
        """Whether there is any part."""
        return bool(self._published)

    def close(self) -> None:
        """Close the connection."""
        self._store.close()

    def _settle_layout(self) -> None:
        earlier = layout_in(self._store)
        if earlier is not None and self._published:
            if self._asked_rows not in (None, earlier.part_rows):
                raise UsageError(
                    f"{self._folder} has parts of {earlier.part_rows} rows: leave out --part-rows, name another "
                    "--output, or start anew with --resume never."
                )
            self._suffix = earlier.suffix
        if earlier is not None and self._asked_rows is None:
            self.part_rows = earlier.part_rows
        if self._total > MOST_PARTS * self.part_rows:
            raise UsageError(f"{self._total:,} rows would make more than {MOST_PARTS:,} parts: raise --part-rows.")
        folder = os.path.relpath(self._folder.absolute(), self._run_dir.absolute())
        remember_layout(self._store, Layout(folder=folder, part_rows=self.part_rows, suffix=self._suffix))

    def _adopt_begun(self) -> None:
        """A part whose file took its place before the store could say so. Any other file there is not ours."""
        fact = self._store.fact(_BEGUN)
        if fact is None:
            return
        begun = msgspec.json.decode(fact, type=Part)
        index = begun.first_row // self.part_rows
        known = self._published.get(index)
        if (known is None or known.part != begun) and is_intact(self._folder / begun.name, begun):
            self._keep(index, begun)
        self._store.forget(_BEGUN)

    def _check_in_place(self) -> None:
        """StorageError where a part was taken away or changed, unless all of its rows are in the store as well."""
        for index, published in list(self._published.items()):
            part, path = published.part, self._folder / published.part.name
            if stamp_of(path) == published.stamp:
                continue
            if is_intact(path, part):
                self._keep(index, part)
            elif self._store.holds_all_bodies(part.first_row, part.end):
                forget_published(self._store, index)
                del self._published[index]
            else:
                raise _lost(path)

    def _cut(self) -> dict[int, Part]:
        """Bring rows that are now beyond the total back into the store; the parts that go for it."""
        for published in self._published.values():
            if published.part.end > self._total:
                rows = (one for one in self._rows_of(published.part) if one[0] >= self._total)
                while chunk := list(islice(rows, _AT_ONCE)):
                    self._store.put_back(chunk)
        gone = [index for index in self._published if self._range(index)[0] >= self._total]
        return {index: self._published.pop(index).part for index in gone}

    def _pending(self) -> Iterator[tuple[int, int]]:
        ended = self._store.ended_by_part(self.part_rows, self._total)
        for index in range(-(-self._total // self.part_rows)):
            first, end = self._range(index)
            published = self._published.get(index)
            whole = published is not None and published.part.units == end - first
            pending = end - first - ended.get(index, 0)
            if pending or not whole or self._store.holds_body(first, end):
                yield index, pending

    def _range(self, index: int) -> tuple[int, int]:
        return index * self.part_rows, min((index + 1) * self.part_rows, self._total)

    def _rows(self, index: int) -> Iterator[bytes]:
        first, end = self._range(index)
        earlier = self._published.get(index)
        alone = earlier is None or self._store.holds_all_bodies(first, end)
        older = iter(()) if earlier is None or alone else self._rows_of(earlier.part)
        count = 0
        for number, row in merged(self._store.bodies(first, end), older):
            if self.given_up:
                raise GivenUpError
            if number < end:
                count += 1
                yield row
        if count != end - first:
            raise StorageError(f"The run store lacks {end - first - count} of the rows {first} to {end - 1}.")

    def _rows_of(self, part: Part) -> Iterator[Numbered]:
        """The rows of a part, once it has been found to be as it was written."""
        path = self._folder / part.name
        if not is_intact(path, part):
            raise _lost(path)
        return rows_of(path, part)

    def _part(self, name: str, first: int, end: int, size: int, sha256: str) -> Part:
        units, ok = self._store.count(first, end)
        return Part(name=name, first_row=first, units=units, ok=ok, failed=units - ok, bytes=size, sha256=sha256)

    def _keep(self, index: int, part: Part) -> None:
        published = Published(part=part, stamp=stamp_of(self._folder / part.name))
        remember_published(self._store, index, published)
        self._published[index] = published

    def _write_manifest(self, *, without: int | None = None) -> None:
        parts = [self._published[index].part for index in sorted(self._published) if index != without]
        complete = not (self._to_write or self.taken_back)
        manifest = Manifest(total_units=self._total, part_rows=self.part_rows, complete=complete, parts=parts)
        write_manifest(self._folder, manifest)

    def _let_go(self, first: int, end: int) -> None:
        """Delete bodies piece by piece, leaving the store to others for as long as each took."""
        for start in range(first, end, _AT_ONCE):
            began = time.monotonic()
            self._store.let_go(start, min(start + _AT_ONCE, end))
            time.sleep(time.monotonic() - began)


def take_parts_back(run_dir: Path, folder: Path) -> None:
    """Bring the rows of all parts back into the run store, and take the parts away: their units are to get other
    numbers. Whoever is killed in the middle of it leaves parts that are whole."""
    with closing(PartedOutput(run_dir, folder, total=0, part_rows=None, overwrite=False)) as parts:
        if parts.has_published:
            parts.taken_back = True
            parts.take_up()


def _lost(path: Path) -> StorageError:
    return StorageError(
        f"{path} was taken away or changed, and holds answers that stand nowhere else: put it back, or start anew "
        "with --resume never."
    )
