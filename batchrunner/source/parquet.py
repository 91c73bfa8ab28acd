"""Parquet in: one row group after another, in batches whose memory is bounded (widths.py says by what).

Page checksums are verified where the file has them. Row groups that are skipped whole are not read. Refuses files
that are no Parquet or damaged, and those in which two columns share a name (InputError); and, as failed rows, those
with a value over 16 MiB, with bytes that are no text, or with an id that is neither text nor a whole number.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchrunner.errors import InputError
from batchrunner.records import Row
from batchrunner.source.failed import failed_row, reason_of, shown
from batchrunner.source.files import InputFile
from batchrunner.source.ids import SeenIds, bears_id, id_of
from batchrunner.source.packed import fingerprint_of
from batchrunner.source.scan import MAX_VALUE_BYTES, Rows, Skip, Survey
from batchrunner.source.values import plain, plain_columns, plain_type
from batchrunner.source.widths import batch_rows, shared_texts

CHUNK_BYTES = 1024 * 1024
# What pyarrow and `plain` raise for a value without a plain form: no UTF-8, dates beyond year 9999, unknown zones.
_UNFIT = (ValueError, TypeError, OverflowError, LookupError, RecursionError)
_Place = Callable[[int], str]  # where the row of this number stands, for people


class ParquetReader:
    """A Parquet file. `prefix` stands before the row in what is said of it."""

    def __init__(self, file: InputFile, prefix: str = "") -> None:
        self._file = file
        self._prefix = prefix

    def survey(self, seen: SeenIds) -> Survey:
        """See Reader.survey. Of the columns only the ids are read."""
        bearing_ids = 0
        rows, names = self._shape()
        for batch in self._read(_id_columns(names), lambda _: False, 0, rows):
            own = [row.id for row in batch if row.failure is None and _bears(row)]
            seen.add_all(own)
            bearing_ids += len(own)
        return Survey(rows=rows, blank_lines=0, bearing_ids=bearing_ids, fingerprint=fingerprint_of(self._file))

    def header(self) -> list[str]:
        """See Reader.header."""
        return self._shape()[1]

    def ids(self, first: int) -> Iterator[tuple[int, str]]:
        """See Reader.ids."""
        rows, names = self._shape()
        columns = _id_columns(names)
        if not columns:
            yield from ((row, str(first + row)) for row in range(rows))
        for batch in self._read(columns, lambda _: False, first, first + rows):
            yield from ((row.number - first, row.id) for row in batch if row.failure is None)

    def schema(self) -> bytes | None:
        """See Reader.schema."""
        with self._open() as file:
            return file.schema_arrow.remove_metadata().serialize().to_pybytes()

    def rows(self, skip: Skip, first: int, stop: int | None) -> Rows:
        """See Reader.rows."""
        end = first + self._shape()[0]
        stop = end if stop is None else min(stop, end)
        yield from self._read(None, skip, first, stop)
        return stop

    def _shape(self) -> tuple[int, list[str]]:
        """How many rows there are, and the names of the columns."""
        with self._open() as file:
            rows, names = file.metadata.num_rows, file.schema_arrow.names
        if len(set(names)) != len(names):
            raise InputError(f"{shown(self._file.name)}: two columns share a name; rename one of them")
        return rows, names

    def _read(self, columns: list[str] | None, skip: Skip, first: int, stop: int) -> Iterator[list[Row]]:
        if columns == []:
            return
        for start, batch in self._batches(columns, skip, first, stop):
            numbers = [n for n in range(start, min(start + batch.num_rows, stop)) if not skip(n)]
            if not numbers:
                continue
            if len(numbers) < batch.num_rows:
                batch = batch.take(pa.array([number - start for number in numbers]))  # noqa: PLW2901 - the rest of it
            yield from _rows(plain_columns(batch), numbers, lambda number: f"{self._prefix}row {number - first}")

    def _batches(
        self, columns: list[str] | None, skip: Skip, first: int, stop: int
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches with the number of their first row; none of row groups in which every row is skipped."""
        with self._open() as file, self._open(shared_texts(file.metadata)) as shared:
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                if first < stop and not all(skip(number) for number in range(first, min(end, stop))):
                    size = batch_rows(shared, group, columns)
                    yield from _group_batches(file, group, columns, size=size, first=first)
                first = end

    @contextmanager
    def _open(self, read_dictionary: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
        with self._file.opened() as raw:
            try:
                with pq.ParquetFile(
                    pa.PythonFile(raw, mode="r"),
                    read_dictionary=list(read_dictionary),
                    page_checksum_verification=True,
                    pre_buffer=False,
                    buffer_size=CHUNK_BYTES,
                    coerce_int96_timestamp_unit="us",
                ) as file:
                    yield file
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{shown(self._file.name)} can't be read as Parquet: {reason_of(error)}") from error


def _group_batches(
    file: pq.ParquetFile, group: int, columns: list[str] | None, *, size: int, first: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
        yield first, batch
        first += batch.num_rows


def _rows(batch: pa.RecordBatch, numbers: list[int], place: _Place) -> Iterator[list[Row]]:
    """The batch in one list, or row by row where it is so large that one value could pass the cap."""
    if batch.nbytes <= MAX_VALUE_BYTES:
        yield _converted(batch, numbers, place)
    else:
        for at, number in enumerate(numbers):
            yield [_single(batch.slice(at, 1), number, place)]


def _converted(batch: pa.RecordBatch, numbers: list[int], place: _Place) -> list[Row]:
    finish = _as_is if all(plain_type(kind) for kind in batch.schema.types) else plain
    try:
        records = batch.to_pylist()
    except _UNFIT:
        return [_single(batch.slice(at, 1), number, place) for at, number in enumerate(numbers)]
    return [_row(record, number, finish, place) for record, number in zip(records, numbers, strict=True)]


def _single(batch: pa.RecordBatch, number: int, place: _Place) -> Row:
    """The one row of this batch, told apart from its neighbours because one of them is broken or large."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.nbytes > MAX_VALUE_BYTES:
            reason = f"column {shown(name)} is larger than {MAX_VALUE_BYTES // 1024**2} MiB"
            return failed_row(number, place(number), reason)
    try:
        (record,) = batch.to_pylist()
    except _UNFIT as error:
        return failed_row(number, place(number), reason_of(error))
    return _row(record, number, plain, place)


def _row(record: dict[str, Any], number: int, finish: Callable[[Any], Any], place: _Place) -> Row:
    try:
        columns = finish(record)
        row_id = id_of(columns.get("id"), columns.get("custom_id"), number)
    except _UNFIT as error:
        return failed_row(number, place(number), reason_of(error))
    return Row(number=number, id=row_id, columns=columns)


def _id_columns(names: Sequence[str]) -> list[str]:
    return [name for name in ("id", "custom_id") if name in names]


def _bears(row: Row) -> bool:
    return bears_id(row.columns.get("id"), row.columns.get("custom_id"))


def _as_is(record: dict[str, Any]) -> dict[str, Any]:
    return record
