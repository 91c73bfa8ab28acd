"""What every source offers: its fingerprint, one quick pass over the input, then its rows in order.

Two real implementations exist: jsonl and parquet.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from batchrunner.errors import InputError
from batchrunner.records import Row
from batchrunner.source.failed import shown

BATCH_ROWS = 256
BATCH_BYTES = 4 * 1024 * 1024  # a batch ends early rather than grow much past this
MAX_VALUE_BYTES = 16 * 1024 * 1024  # a longer line (JSONL) or value (Parquet) makes a failed row


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass over the input found. `fingerprint` is the SHA-256 of its bytes in hex.

    `columns` are the schema's names for Parquet; for JSONL those of the first 100 rows, in order of appearance.
    """

    rows: int
    blank_lines: int
    fingerprint: str
    columns: tuple[str, ...]


class Source(Protocol):
    """An input that can be read several times. Raises InputError where it can't be read at all."""

    def fingerprint(self) -> str:
        """The SHA-256 of its bytes in hex, with nothing decoded."""
        ...

    def scan(self) -> Scan:
        """Count, fingerprint, and refuse doubled ids with InputError. Bad rows are counted, not judged."""
        ...

    def rows(self, skip: Callable[[int], bool], limit: int | None) -> Iterator[list[Row]]:
        """Batches of rows in input order: of the input's first `limit` rows those that `skip` does not want left out.

        `skip` is asked by row number, from 0. A row that can't be read comes with its `failure`.
        """
        ...


def fingerprint_of(path: Path) -> str:
    """The SHA-256 of a file's bytes in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{shown(str(path))} can't be read: {error.strerror}") from error
