"""What is read of an input: its files, each by a reader of its format, and what one pass over them finds.

Three readers exist: jsonl, tabular (CSV) and parquet.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol

import msgspec

from batchrunner.records import Row
from batchrunner.source.ids import SeenIds

BATCH_ROWS = 256
BATCH_BYTES = 4 * 1024 * 1024  # a batch ends early rather than grow much past this
MAX_VALUE_BYTES = 16 * 1024 * 1024  # a longer line (JSONL, CSV) or value (Parquet) makes a failed row
NAMED_ROWS = 100  # the first rows name the columns

Rows = Generator[list[Row], None, int]
Skip = Callable[[int], bool]


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass over a file found. `bearing_ids`: how many of its rows bear an id of their own."""

    rows: int
    blank_lines: int
    bearing_ids: int
    fingerprint: str


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass over the input found. `fingerprint` is the SHA-256 of its bytes in hex; where it is several files,
    of their fingerprints; where its store tells contents apart by itself, of what that says.

    `columns` are those of the first 100 rows, in order of appearance.
    """

    rows: int
    blank_lines: int
    fingerprint: str
    columns: tuple[str, ...]


class Reader(Protocol):
    """One file of an input, which can be read several times. Raises InputError where it can't be read at all."""

    def survey(self, seen: SeenIds) -> Survey:
        """Count its rows, take its fingerprint, and put the ids that rows bear among those seen. Bad rows are counted,
        not judged."""
        ...

    def header(self) -> Sequence[str] | None:
        """The names of its columns, where the format tells them before the rows; None where each row has its own."""
        ...

    def ids(self, first: int) -> Iterator[tuple[int, str]]:
        """The line (Parquet: row, from 0) and the id of every row that can be read; the first row's number is `first`,
        and a row that bears no id has its number."""
        ...

    def rows(self, skip: Skip, first: int, stop: int | None) -> Rows:
        """Batches of rows in order, numbered from `first` to below `stop`, but those that `skip` wants left out.

        Returns the number behind its last row, or `stop`. A row that can't be read comes with its `failure`.
        """
        ...
