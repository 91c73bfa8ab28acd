"""The lines of the OpenAI Batch API: those of its output file for rows that were answered, those of its error file for
rows that failed.

A failed row that the gateway replied to has its reply, whatever the status; `error` says what is wrong where the status
does not, and why a row without a reply has none. Refuses (UsageError) rows whose reply was not recorded.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from batchrunner.errors import StorageError, UsageError
from batchrunner.records import ErrorColumn
from batchrunner.sink.atomic import remove_file, whole_file
from batchrunner.sink.formats import PARQUET, suffix_in
from batchrunner.sink.packed import packed

_NOT_RECORDED = msgspec.Raw(b"")
_NULL = msgspec.Raw(b"null")
_LEAST_ERROR = 400


class BatchLine(NamedTuple):
    """A line, with its newline."""

    failed: bool
    text: bytes


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the line needs of a native row."""

    id: str
    row: int
    status: str
    error: ErrorColumn | None = None
    request_id: str | None = None
    raw: msgspec.Raw = _NOT_RECORDED


class _Response(msgspec.Struct, frozen=True, kw_only=True):
    status_code: int
    request_id: str | None
    body: msgspec.Raw


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    custom_id: str
    response: _Response | None
    error: _Error | None


def errors_beside(path: Path) -> Path:
    """Where the failures of an output go."""
    return path.with_name(f"{path.name}.errors.jsonl")


def check_batch_output(path: Path) -> None:
    """UsageError where these lines can't go to such a file."""
    if suffix_in(path.name) == PARQUET:
        raise UsageError(f"{path}: --output-format openai-batch is JSON lines: name a .jsonl file, also .gz or .zst")


def write_batch(path: Path, rows: Iterable[bytes], *, replace: bool) -> None:
    """Write the answered rows to `path`, the failed ones beside it: each file whole or not at all, and no file beside
    it where none failed. Otherwise as write_output."""
    beside = errors_beside(path)
    with ExitStack() as stack:
        output = stack.enter_context(whole_file(path, replace=replace))
        answered = stack.enter_context(packed(output, suffix_in(path.name) or ""))
        failed: BinaryIO | None = None
        for line in batch_lines(rows):
            if line.failed and failed is None:
                failed = stack.enter_context(whole_file(beside, replace=replace))
            (failed if line.failed and failed else answered).write(line.text)
        if failed is None and replace:
            remove_file(beside)


def batch_lines(rows: Iterable[bytes]) -> Iterator[BatchLine]:
    """The lines of native rows, in order."""
    decode, encode = msgspec.json.Decoder(_Row).decode, msgspec.json.Encoder().encode
    for row in rows:
        try:
            known = decode(row)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise StorageError(f"an outcome in the run store is damaged: {str(error)[:100]}") from error
        line = encode(_line(known)).replace(b"\n", b" ").replace(b"\r", b" ")
        yield BatchLine(known.status != "ok", line + b"\n")


def _line(row: _Row) -> _Line:
    if row.raw == _NOT_RECORDED:
        raise UsageError(
            f'The gateway\'s reply to row {row.row} (id "{row.id}") was not recorded, and a line of openai-batch is '
            "that: run with --raw or --output-format openai-batch from the beginning, or take the native format."
        )
    status = 200 if row.error is None else row.error.status
    replied = status is not None and row.raw != _NULL
    tells = row.error is not None and not (replied and status is not None and status >= _LEAST_ERROR)
    return _Line(
        id=f"batch_req_{row.row}",
        custom_id=row.id,
        response=_Response(status_code=status, request_id=row.request_id, body=row.raw)
        if replied and status is not None
        else None,
        error=_Error(code=row.error.kind, message=row.error.message) if tells and row.error is not None else None,
    )
