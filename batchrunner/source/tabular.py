"""CSV in: a header line, then one row a record; values are texts, quoted ones may hold commas and newlines.

Refuses whole (InputError) a header that can't be read or names a column twice, and columns that are separated by
something else than commas; and, as failed rows, records with more or fewer values than the header has names, with
quotes that are not closed, bytes that are not UTF-8, or a line or value over 16 MiB. Blank lines are passed over. An
empty `id` or `custom_id` counts as none.
"""

import csv
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from batchrunner.errors import InputError
from batchrunner.records import Row
from batchrunner.source.failed import failed_row, reason_of, shown
from batchrunner.source.files import InputFile
from batchrunner.source.ids import SeenIds, id_of
from batchrunner.source.lines import split_lines
from batchrunner.source.packed import Unpacked, chunks_of
from batchrunner.source.scan import BATCH_BYTES, BATCH_ROWS, MAX_VALUE_BYTES, Rows, Skip, Survey

_OTHER_SEPARATORS = (";", "\t", "|")
_TOO_LONG = f"longer than {MAX_VALUE_BYTES // 1024**2} MiB"


class _Record(NamedTuple):
    """A record: the line it begins in (from 1), its values, and why it can't be read."""

    line: int
    values: list[str]
    fault: str | None


class CsvReader:
    """A CSV file. `prefix` stands before the line in what is said of a row."""

    def __init__(self, file: InputFile, prefix: str = "") -> None:
        self._file = file
        self._prefix = prefix

    def survey(self, seen: SeenIds) -> Survey:
        """See Reader.survey."""
        unpacked = Unpacked(self._file)
        lines = _Lines(unpacked.chunks())
        rows = bearing_ids = 0
        for _, columns in self._columns(lines):
            rows += 1
            if isinstance(columns, dict) and (own := _own_id(columns)) is not None:
                seen.add_all([own])
                bearing_ids += 1
        return Survey(rows=rows, blank_lines=lines.blank, bearing_ids=bearing_ids, fingerprint=unpacked.fingerprint)

    def header(self) -> list[str]:
        """See Reader.header."""
        header = next(_records(_Lines(chunks_of(self._file))), None)
        return [] if header is None else self._names(header)

    def ids(self, first: int) -> Iterator[tuple[int, str]]:
        """See Reader.ids."""
        for number, (line, columns) in enumerate(self._columns(_Lines(chunks_of(self._file))), first):
            if isinstance(columns, dict):
                yield line, id_of(_own_id(columns), None, number)

    def rows(self, skip: Skip, first: int, stop: int | None) -> Rows:
        """See Reader.rows."""
        batch: list[Row] = []
        size, number = 0, first
        for line, columns in self._columns(_Lines(chunks_of(self._file))):
            if stop is not None and number >= stop:
                break
            if not skip(number):
                batch.append(self._row(number, line, columns))
                size += sum(map(len, batch[-1].columns.values()))
                if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
            number += 1
        if batch:
            yield batch
        return number

    def _row(self, number: int, line: int, columns: dict[str, str] | str) -> Row:
        if isinstance(columns, str):
            return failed_row(number, f"{self._prefix}line {line}", columns)
        return Row(number=number, id=id_of(_own_id(columns), None, number), columns=columns)

    def _columns(self, lines: "_Lines") -> Iterator[tuple[int, dict[str, str] | str]]:
        """The line of each row, and its columns or why there are none."""
        records = _records(lines)
        header = next(records, None)
        if header is None:
            return
        names = self._names(header)
        for line, values, fault in records:
            if fault is not None:
                yield line, fault
            elif len(values) != len(names):
                yield line, f"{len(values)} values, where the header names {len(names)} columns"
            else:
                yield line, dict(zip(names, values, strict=True))

    def _names(self, header: _Record) -> list[str]:
        name = shown(self._file.name)
        if header.fault is not None:
            raise InputError(f"{name}: its header, line {header.line}, can't be read: {header.fault}")
        if len(header.values) == 1:
            for sign in _OTHER_SEPARATORS:
                if sign in header.values[0]:
                    raise InputError(f"{name}: columns are separated by commas, not by {sign!r}; write it anew so")
        doubled = next((one for one in header.values if header.values.count(one) > 1), None)
        if doubled is not None:
            raise InputError(f"{name}: two columns are named {shown(doubled)!r}; rename one of them")
        return header.values


class _Lines:
    """Lines of text for csv.reader, with what was wrong with those that it has taken for a record."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._lines = chain.from_iterable(split_lines(chunks, MAX_VALUE_BYTES))
        self.fault: str | None = None
        self.blank = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if line is None:
            self.fault = _TOO_LONG
            return "?\n"  # keeps its place as a line
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError as error:
            self.fault = reason_of(error)
            return line.decode(errors="replace") + "\n"


def _records(lines: _Lines) -> Iterator[_Record]:
    csv.field_size_limit(MAX_VALUE_BYTES)  # of the whole process
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        lines.fault = None
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Record(line, [], lines.fault or _words(error, line, reader.line_num))
            continue
        if not values or (len(values) == 1 and values[0].isspace() and reader.line_num == line):
            lines.blank += 1
        else:
            yield _Record(line, values, lines.fault)


def _words(error: csv.Error, first: int, last: int) -> str:
    what = f"not CSV: {reason_of(error)}"
    return what if last == first else f"{what} (a quote that opens there takes in all up to line {last})"


def _own_id(columns: dict[str, str]) -> str | None:
    return columns.get("id") or columns.get("custom_id") or None
