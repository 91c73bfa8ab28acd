"""Parquet in: one row group after another, in batches whose memory is bounded (widths.py says by what).

Page checksums are verified where the file has them. Row groups that are skipped whole are not read. Refuses files
that are no Parquet or damaged, and those in which two columns share a name (InputError); and, as failed rows, those
with a value over 16 MiB, with bytes that are no text, or with an id that is neither text nor a whole number.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchrunner.errors import InputError
from batchrunner.records import Row
from batchrunner.source.failed import failed_row, reason_of, shown
from batchrunner.source.ids import PlacedId, SeenIds, id_of
from batchrunner.source.scan import MAX_VALUE_BYTES, Scan, fingerprint_of
from batchrunner.source.values import plain, plain_columns, plain_type
from batchrunner.source.widths import batch_rows, shared_texts

CHUNK_BYTES = 1024 * 1024
# What pyarrow and `plain` raise for a value without a plain form: no UTF-8, dates beyond year 9999, unknown zones.
_UNFIT = (ValueError, TypeError, OverflowError, LookupError, RecursionError)


class ParquetSource:
    """A Parquet file that exists and stays as it is while the run goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            self._rows = file.metadata.num_rows
            self._columns = tuple(file.schema_arrow.names)
        if len(set(self._columns)) != len(self._columns):
            raise InputError(f"{shown(str(path))}: two columns share a name; rename one of them")

    def fingerprint(self) -> str:
        """See Source.fingerprint."""
        return fingerprint_of(self._path)

    def scan(self) -> Scan:
        """See Source.scan. Of the columns only the ids are read."""
        seen = SeenIds()
        seen.add_all(placed.id for placed in self._ids())
        seen.refuse_doubled(self._ids, "row")
        return Scan(rows=self._rows, blank_lines=0, fingerprint=self.fingerprint(), columns=self._columns)

    def rows(self, skip: Callable[[int], bool], limit: int | None) -> Iterator[list[Row]]:
        """See Source.rows."""
        yield from self._read(None, skip, self._rows if limit is None else min(limit, self._rows))

    def _ids(self) -> Iterator[PlacedId]:
        columns: list[str] = [name for name in ("id", "custom_id") if name in self._columns]
        if not columns:
            return
        for rows in self._read(columns, lambda _: False, self._rows):
            yield from (PlacedId(row.number, row.id) for row in rows if row.failure is None)

    def _read(self, columns: list[str] | None, skip: Callable[[int], bool], stop: int) -> Iterator[list[Row]]:
        for start, batch in self._batches(columns, skip, stop):
            numbers = [n for n in range(start, min(start + batch.num_rows, stop)) if not skip(n)]
            if not numbers:
                continue
            if len(numbers) < batch.num_rows:
                batch = batch.take(pa.array([number - start for number in numbers]))  # noqa: PLW2901 - the rest of it
            yield from _rows(plain_columns(batch), numbers)

    def _batches(
        self, columns: list[str] | None, skip: Callable[[int], bool], stop: int
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches with the number of their first row; none of row groups in which every row is skipped."""
        with self._open() as file, self._open(shared_texts(file.metadata)) as shared:
            first = 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                if not all(skip(number) for number in range(first, min(end, stop))):
                    size = batch_rows(shared, group, columns)
                    yield from _group_batches(file, group, columns, size=size, first=first)
                first = end

    @contextmanager
    def _open(self, read_dictionary: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
        try:
            with pq.ParquetFile(
                self._path,
                read_dictionary=list(read_dictionary),
                page_checksum_verification=True,
                pre_buffer=False,
                buffer_size=CHUNK_BYTES,
                coerce_int96_timestamp_unit="us",
            ) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{shown(str(self._path))} can't be read as Parquet: {reason_of(error)}") from error


def _group_batches(
    file: pq.ParquetFile, group: int, columns: list[str] | None, *, size: int, first: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
        yield first, batch
        first += batch.num_rows


def _rows(batch: pa.RecordBatch, numbers: list[int]) -> Iterator[list[Row]]:
    """The batch in one list, or row by row where it is so large that one value could pass the cap."""
    if batch.nbytes <= MAX_VALUE_BYTES:
        yield _converted(batch, numbers)
    else:
        for at, number in enumerate(numbers):
            yield [_single(batch.slice(at, 1), number)]


def _converted(batch: pa.RecordBatch, numbers: list[int]) -> list[Row]:
    finish = _as_is if all(plain_type(kind) for kind in batch.schema.types) else plain
    try:
        records = batch.to_pylist()
    except _UNFIT:
        return [_single(batch.slice(at, 1), number) for at, number in enumerate(numbers)]
    return [_row(record, number, finish) for record, number in zip(records, numbers, strict=True)]


def _single(batch: pa.RecordBatch, number: int) -> Row:
    """The one row of this batch, told apart from its neighbours because one of them is broken or large."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.nbytes > MAX_VALUE_BYTES:
            reason = f"column {shown(name)} is larger than {MAX_VALUE_BYTES // 1024**2} MiB"
            return failed_row(number, f"row {number}", reason)
    try:
        (record,) = batch.to_pylist()
    except _UNFIT as error:
        return failed_row(number, f"row {number}", reason_of(error))
    return _row(record, number, plain)


def _row(record: dict[str, Any], number: int, finish: Callable[[Any], Any]) -> Row:
    try:
        columns = finish(record)
        row_id = id_of(columns.get("id"), columns.get("custom_id"), number)
    except _UNFIT as error:
        return failed_row(number, f"row {number}", reason_of(error))
    return Row(number=number, id=row_id, columns=columns)


def _as_is(record: dict[str, Any]) -> dict[str, Any]:
    return record
