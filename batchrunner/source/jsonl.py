"""JSON Lines in: one object a line, read in bounded chunks.

Blank lines are skipped but counted, so that every message names the line an editor shows; rows are numbered without
them. Refuses, as failed rows, what is no JSON object of valid UTF-8, is nested too deep, is longer than 16 MiB, or
bears an id that is neither text nor a whole number; the run goes on. Whole numbers of any size pass: chat.request
judges those. Refused whole: a `.json` file that holds one document laid out over its lines.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from batchrunner.errors import InputError
from batchrunner.records import Row
from batchrunner.source.failed import failed_row, reason_of, shown
from batchrunner.source.files import InputFile
from batchrunner.source.formats import unpacked_name
from batchrunner.source.ids import SeenIds, bears_id, id_of
from batchrunner.source.lines import split_lines
from batchrunner.source.packed import Unpacked, chunks_of
from batchrunner.source.scan import BATCH_BYTES, BATCH_ROWS, MAX_VALUE_BYTES, Rows, Skip, Survey

_FIRST_BYTE = itemgetter(0)
_OBJECT_BEGINS = {ord("{")}
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError, TypeError)


class _IdColumns(msgspec.Struct, gc=False):
    """All that a survey decodes of a row."""

    id: Any = None
    custom_id: Any = None


_id_decoder = msgspec.json.Decoder(_IdColumns)


class _Line(NamedTuple):
    """The number of the row, of the line (from 1), and its bytes: None where too long, empty where blank."""

    row: int
    line: int
    text: bytes | None


class JsonlReader:
    """A file of JSON Lines. `prefix` stands before the line in what is said of a row."""

    def __init__(self, file: InputFile, prefix: str = "") -> None:
        self._file = file
        self._prefix = prefix

    def survey(self, seen: SeenIds) -> Survey:
        """See Reader.survey. Of lines that may bear an id only that is decoded, of others nothing."""
        if unpacked_name(self._file.name).lower().endswith(".json"):
            self._refuse_one_document()
        unpacked = Unpacked(self._file)
        lines = blank_lines = bearing_ids = 0
        for batch in split_lines(unpacked.chunks(), MAX_VALUE_BYTES):
            short = [text for text in batch if text is not None] if None in batch else batch
            filled = _filled(short)  # type: ignore[arg-type]  # None is not in it
            own = _own_ids(filled)
            seen.add_all(own)
            lines += len(batch)
            blank_lines += len(short) - len(filled)
            bearing_ids += len(own)
        return Survey(
            rows=lines - blank_lines,
            blank_lines=blank_lines,
            bearing_ids=bearing_ids,
            fingerprint=unpacked.fingerprint,
        )

    def header(self) -> None:
        """See Reader.header."""

    def ids(self, first: int) -> Iterator[tuple[int, str]]:
        """See Reader.ids."""
        decode = _id_decoder.decode
        for line in self._lines(first):
            if line.text and (row_id := _id_in(decode, line.text, line.row)) is not None:
                yield line.line, row_id

    def schema(self) -> bytes | None:
        """See Reader.schema."""
        return None

    def rows(self, skip: Skip, first: int, stop: int | None) -> Rows:
        """See Reader.rows."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        batch: list[Row] = []
        size, end = 0, first
        for line in self._lines(first):
            if stop is not None and line.row >= stop:
                break
            if line.text == b"":
                continue
            end = line.row + 1
            if skip(line.row):
                continue
            batch.append(self._row(decode, line))
            size += len(line.text or b"")
            if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch
        return end

    def _lines(self, first: int) -> Iterator[_Line]:
        row = first
        lines = chain.from_iterable(split_lines(chunks_of(self._file), MAX_VALUE_BYTES))
        for number, text in enumerate(lines, start=1):
            if text is not None and (not text or text.isspace()):
                yield _Line(row, number, b"")
            else:
                yield _Line(row, number, text)
                row += 1

    def _row(self, decode: Callable[[bytes], dict[str, Any]], line: _Line) -> Row:
        place = f"{self._prefix}line {line.line}"
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

    def _refuse_one_document(self) -> None:
        text = next((line.text for line in self._lines(0) if line.text != b""), None) or b"{}"
        if text.lstrip().startswith(b"[") or text.strip() == b"{":
            raise InputError(
                f"{shown(self._file.name)} holds one JSON document: write one object a line, and call it .jsonl"
            )


def _filled(lines: list[bytes]) -> list[bytes]:
    """The lines that are not blank; quick where every line begins as an object does."""
    try:
        if set(map(_FIRST_BYTE, lines)) <= _OBJECT_BEGINS:
            return lines
    except IndexError:  # an empty line
        pass
    return [text for text in lines if text and not text.isspace()]


def _own_ids(lines: list[bytes]) -> list[str]:
    """The ids that these lines bear themselves, of those that can be read."""
    joined = b"\n".join(lines)
    if b'id"' not in joined and (b"\\" not in joined or b"\\u" not in joined):
        return []
    try:
        found = _id_decoder.decode_lines(joined)
        if len(found) == len(lines):
            own = [one.id for one in found if type(one.id) is str]
            if len(own) == len(lines) and "" not in own:
                return own
            return [id_of(one.id, one.custom_id, 0) for one in found if bears_id(one.id, one.custom_id)]
    except _UNREADABLE:
        pass  # one of them can't be read
    decode = _id_decoder.decode
    return [row_id for text in lines if (row_id := _id_in(decode, text, None)) is not None]


def _id_in(decode: Callable[[bytes], _IdColumns], text: bytes, number: int | None) -> str | None:
    """The id of a line, where it bears none its number; None where it can't be read, or bears none and has none."""
    try:
        found = decode(text)
        if number is None and not bears_id(found.id, found.custom_id):
            return None
        return id_of(found.id, found.custom_id, number or 0)
    except _UNREADABLE:
        return None
