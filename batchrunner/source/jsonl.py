"""JSON Lines in: one object a line, read in bounded chunks.

Blank lines are skipped but counted, so that every message names the line an editor shows; rows are numbered without
them. Refuses, as failed rows, what is no JSON object of valid UTF-8, is nested too deep, is longer than 16 MiB, or
bears an id that is neither text nor a whole number; the run goes on. Whole numbers of any size pass: chat.request
judges those.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from batchrunner.errors import InputError
from batchrunner.records import Row
from batchrunner.source.failed import failed_row, reason_of, shown
from batchrunner.source.ids import PlacedId, SeenIds, id_of
from batchrunner.source.lines import split_lines
from batchrunner.source.scan import BATCH_BYTES, BATCH_ROWS, MAX_VALUE_BYTES, Scan, fingerprint_of

CHUNK_BYTES = 1024 * 1024
NAMED_ROWS = 100  # the first rows name the columns


class _IdColumns(msgspec.Struct):
    """All that a scan decodes of a row."""

    id: Any = None
    custom_id: Any = None


_decode_ids = msgspec.json.Decoder(_IdColumns).decode


class _Line(NamedTuple):
    """The number of the row (from 0), of the line (from 1), and its bytes: None where too long, empty where blank."""

    row: int
    line: int
    text: bytes | None


class JsonlSource:
    """A JSON Lines file that exists and stays as it is while the run goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fingerprint(self) -> str:
        """See Source.fingerprint."""
        return fingerprint_of(self._path)

    def scan(self) -> Scan:
        """See Source.scan. Of lines that may bear an id only that is decoded, of others nothing."""
        digest, seen = hashlib.sha256(), SeenIds()
        lines = blank_lines = bearing_ids = 0
        for batch in split_lines(self._chunks(digest.update), MAX_VALUE_BYTES):
            lines += len(batch)
            blank_lines += sum(not text or text.isspace() for text in batch if text is not None)
            bearing = [text for text in batch if text is not None and (b'id"' in text or b"\\u" in text)]
            own = [row_id for row_id in map(_own_id, bearing) if row_id is not None]
            seen.add_all(own)
            bearing_ids += len(own)
        if bearing_ids < lines - blank_lines and seen.may_be_numbers:
            seen = self._seen_with_numbers()
        seen.refuse_doubled(self._ids, "line")
        return Scan(
            rows=lines - blank_lines,
            blank_lines=blank_lines,
            fingerprint=digest.hexdigest(),
            columns=self._columns(),
        )

    def rows(self, skip: Callable[[int], bool], limit: int | None) -> Iterator[list[Row]]:
        """See Source.rows."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        batch: list[Row] = []
        size = 0
        for line in self._lines():
            if limit is not None and line.row >= limit:
                break
            if line.text == b"" or skip(line.row):
                continue
            batch.append(_row(decode, line))
            size += len(line.text or b"")
            if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _seen_with_numbers(self) -> SeenIds:
        """Every row's id, also the numbers of those that bear none: an id may be another row's number."""
        seen = SeenIds()
        seen.add_all([placed.id for placed in self._ids()])
        return seen

    def _ids(self) -> Iterator[PlacedId]:
        decode = msgspec.json.Decoder(_IdColumns).decode
        for line in self._lines():
            if (row_id := _quick_id(decode, line)) is not None:
                yield PlacedId(line.line, row_id)

    def _columns(self) -> tuple[str, ...]:
        batches = self.rows(lambda _: False, NAMED_ROWS)
        return tuple(dict.fromkeys(name for batch in batches for row in batch for name in row.columns))

    def _lines(self) -> Iterator[_Line]:
        row = 0
        lines = chain.from_iterable(split_lines(self._chunks(), MAX_VALUE_BYTES))
        for number, text in enumerate(lines, start=1):
            if text is not None and (not text or text.isspace()):
                yield _Line(row, number, b"")
            else:
                yield _Line(row, number, text)
                row += 1

    def _chunks(self, on_chunk: Callable[[bytes], object] | None = None) -> Iterator[bytes]:
        try:
            with self._path.open("rb", buffering=0) as file:
                while chunk := file.read(CHUNK_BYTES):
                    if on_chunk is not None:
                        on_chunk(chunk)
                    yield chunk
        except OSError as error:
            raise InputError(f"{shown(str(self._path))} can't be read: {error.strerror}") from error


def _own_id(text: bytes) -> str | None:
    """The id that a line bears itself, if it can be read."""
    try:
        found = _decode_ids(text)
        return None if found.id is None and found.custom_id is None else id_of(found.id, found.custom_id, 0)
    except (msgspec.DecodeError, ValueError, RecursionError, TypeError):
        return None


def _quick_id(decode: Callable[[bytes], _IdColumns], line: _Line) -> str | None:
    """The id of a line; None where there is none to compare: blank, too long or broken lines."""
    if not line.text:
        return None
    try:
        found = decode(line.text)
        return id_of(found.id, found.custom_id, line.row)
    except (msgspec.DecodeError, ValueError, RecursionError, TypeError):
        return None


def _row(decode: Callable[[bytes], dict[str, Any]], line: _Line) -> Row:
    place = f"line {line.line}"
    if line.text is None:
        return failed_row(line.row, place, f"longer than {MAX_VALUE_BYTES // 1024**2} MiB")
    try:
        columns = decode(line.text)
        row_id = id_of(columns.get("id"), columns.get("custom_id"), line.row)
    except TypeError as error:
        return failed_row(line.row, place, reason_of(error))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return failed_row(line.row, place, f"not a JSON object: {reason_of(error)}")
    return Row(number=line.row, id=row_id, columns=columns)
