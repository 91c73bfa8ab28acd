"""Parquet out: the columns of the native row in a fixed schema, then those that the run has beside; zstd, with page
checksums.

Row groups are bounded by rows and by bytes, so memory does not grow with the output. `tool_calls`, `raw` and, where
its fields are not known, `parsed` are JSON text. Refuses (StorageError) outcomes that are no native rows: the run store
they come from is damaged. What was written is read back as the same JSON, byte for byte; but a whole number in a kept
column of fractions comes back as a fraction, and a kept column that a row did not have as null.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batchrunner.errors import StorageError
from batchrunner.records import ErrorColumn, Outcome, Usage
from batchrunner.sink.arrow import array_of, arrow_type, field_of, fitted, is_kept, json_of, text_of
from batchrunner.sink.columns import NATIVE, Columns

GROUP_ROWS = 10_000
READ_ROWS = 1_000
GROUP_BYTES = 8 * 1024 * 1024  # of JSON; measured peak of the process 165 MB, with 32 MiB it was 490

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("response", pa.string()),
    pa.field("tool_calls", pa.string()),
    pa.field("parsed", pa.string()),
    pa.field("reasoning", pa.string()),
    pa.field("finish_reason", pa.string()),
    pa.field("error", pa.struct([("kind", pa.string()), ("status", pa.int32()), ("message", pa.string())])),
    pa.field("usage", pa.struct([(name, pa.int64()) for name in _COUNTS])),
    pa.field("cost", pa.float64()),
    pa.field("model", pa.string()),
    pa.field("variant", pa.string()),
    pa.field("sample", pa.int32()),
    pa.field("attempts", pa.int32(), nullable=False),
    pa.field("latency_s", pa.float64()),
    pa.field("first_token_s", pa.float64()),
    pa.field("request_id", pa.string()),
    pa.field("finished_at", pa.timestamp("us", tz="UTC")),
]
SCHEMA = pa.schema(_FIELDS)
_NULL = msgspec.Raw(b"null")


class _Columns(msgspec.Struct, frozen=True, kw_only=True):
    """records.Outcome as it is read back: JSON that stays text is Raw, which can't be optional when decoding."""

    id: str
    row: int
    status: str
    response: str | None = None
    tool_calls: msgspec.Raw = _NULL
    parsed: msgspec.Raw = _NULL
    reasoning: str | None = None
    finish_reason: str | None = None
    error: ErrorColumn | None = None
    usage: Usage | None = None
    cost: float | None = None
    model: str | None = None
    variant: str | None = None
    sample: int | None = None
    attempts: int = 0
    latency_s: float | None = None
    first_token_s: float | None = None
    request_id: str | None = None
    finished_at: datetime | None = None


class _Row(NamedTuple):
    """A row as it is read back: what every row has, and all of it as JSON by name, where the table has more columns."""

    native: _Columns
    beside: dict[str, msgspec.Raw]


def write_parquet(file: BinaryIO, outcomes: Iterable[bytes], columns: Columns = NATIVE) -> None:
    """Write the rows in order; without any, a file with the schema and no rows."""
    schema = schema_of(columns)
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for group in _groups(outcomes, schema):
            writer.write_batch(_batch(group, schema, columns.parsed), row_group_size=GROUP_ROWS)


def schema_of(columns: Columns) -> pa.Schema:
    """The schema of a table with these columns beside the native ones, whose `kept` have been found."""
    schema = SCHEMA
    if columns.parsed:
        fields = [(name, arrow_type(word)) for name, word in columns.parsed.items()]
        schema = schema.set(schema.get_field_index("parsed"), pa.field("parsed", pa.struct(fields)))
    if columns.raw:
        schema = schema.append(pa.field("raw", pa.string()))
    for name, kinds in (columns.kept or {}).items():
        schema = schema.append(field_of(name, kinds))
    return schema


def read_parquet(path: Path) -> Iterator[bytes]:
    """The native rows of a file that write_parquet wrote. StorageError where it can't be read."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            kept = [field for field in file.schema_arrow if is_kept(field)]
            for batch in file.iter_batches(batch_size=READ_ROWS):
                for row in batch.to_pylist():
                    yield _outcome(row, kept).as_row()
    except (pa.ArrowException, OSError, TypeError) as error:
        raise StorageError(f"{path} can't be read back: {str(error)[:100]}") from error


def _outcome(row: dict[str, Any], kept: "list[pa.Field[Any]]") -> Outcome:
    """The native row of a row of the table."""
    if kept:
        columns = {field.name: json_of(row.pop(field.name), field) for field in kept}
        row["kept"] = msgspec.Raw(msgspec.json.encode(columns))
    if "raw" in row:
        row["raw"] = msgspec.Raw(b"null" if row["raw"] is None else row["raw"].encode())
    row["parsed"] = _parsed_again(row["parsed"], row["response"])
    row["tool_calls"] = None if row["tool_calls"] is None else msgspec.Raw(row["tool_calls"].encode())
    row["error"] = None if row["error"] is None else ErrorColumn(**row["error"])
    row["usage"] = None if row["usage"] is None else Usage(**row["usage"])
    row["finished_at"] = None if row["finished_at"] is None else _timestamp(row["finished_at"])
    return Outcome(**row)


def _parsed_again(parsed: Any, response: str | None) -> msgspec.Raw | None:
    """The answer's JSON: where the table has it as fields, all of it stands in the answer's text."""
    if parsed is None:
        return None
    if isinstance(parsed, str):
        return msgspec.Raw(parsed.encode())
    return msgspec.Raw(msgspec.json.format((response or "null").encode(), indent=-1))


def _timestamp(instant: datetime) -> str:
    """As it was written: to the millisecond, or finer where it was."""
    unit = "microseconds" if instant.microsecond % 1000 else "milliseconds"
    return instant.isoformat(timespec=unit).replace("+00:00", "Z")


def _groups(outcomes: Iterable[bytes], schema: pa.Schema) -> Iterator[list[_Row]]:
    decode = msgspec.json.Decoder(_Columns).decode
    decode_all = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode if len(schema) > len(SCHEMA) else None
    group: list[_Row] = []
    size = 0
    for outcome in outcomes:
        try:
            group.append(_Row(decode(outcome), decode_all(outcome) if decode_all is not None else {}))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise StorageError(f"an outcome in the run store is damaged: {str(error)[:100]}") from error
        size += len(outcome)
        if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _batch(group: list[_Row], schema: pa.Schema, parsed: dict[str, str]) -> pa.RecordBatch:
    try:
        columns = [
            _native(group, field, parsed) if place < len(SCHEMA) else _beside(group, field)
            for place, field in enumerate(schema)
        ]
    except (pa.ArrowException, OverflowError) as error:
        raise StorageError(f"an outcome doesn't fit the columns of Parquet: {str(error)[:100]}") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _native(group: list[_Row], field: "pa.Field[Any]", parsed: dict[str, str]) -> Any:
    if field.name == "parsed" and parsed:
        return pa.array([_fields_of(row.native.parsed, parsed) for row in group], field.type)
    return pa.array([_plain(getattr(row.native, field.name)) for row in group], field.type)


def _beside(group: list[_Row], field: "pa.Field[Any]") -> Any:
    values = [row.beside.get(field.name, _NULL) for row in group]
    return array_of(values, field) if is_kept(field) else pa.array([text_of(value) for value in values], field.type)


def _fields_of(answer: msgspec.Raw, words: dict[str, str]) -> dict[str, Any] | None:
    """The fields of an answer's JSON. What it has beside them, or of another type, stands in its text only."""
    value = msgspec.json.decode(answer)
    if value is None:
        return None
    known = value if isinstance(value, dict) else {}
    return {name: fitted(known.get(name), word) for name, word in words.items()}


def _plain(value: Any) -> Any:
    match value:
        case msgspec.Raw():
            return text_of(value)
        case msgspec.Struct():
            return msgspec.structs.asdict(value)
        case _:
            return value
