"""Rows out: JSON Lines and Parquet say the same, and a file appears whole or not at all."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from batchrunner.records import ErrorColumn, Outcome, Usage
from batchrunner.sink import write_output
from batchrunner.sink.parquet import GROUP_ROWS, SCHEMA

FORMATS = ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet"]


def encoded(number: int, **columns: Any) -> bytes:
    return msgspec.json.encode(Outcome(id=f"r{number}", row=number, status="ok", **columns))


FULL = encoded(
    0,
    response="é\n\u2028 \x1b[0m \N{GRINNING FACE}",
    tool_calls=msgspec.Raw(b'[ {\n  "id": "a\\nb"\r\n} ]'),
    parsed=msgspec.Raw(b'{"a": [1, null]}'),
    reasoning="",
    finish_reason="stop",
    error=ErrorColumn(kind="rejected", status=400, message="no"),
    usage=Usage(prompt_tokens=1, completion_tokens=2**62, total_tokens=None, cached_tokens=0),
    cost=0.1,
    model="org/m",
    variant="v",
    sample=3,
    attempts=2,
    latency_s=1.5,
    first_token_s=0.25,
    request_id="q",
    finished_at="2026-01-02T03:04:05.678901Z",
)
ROWS = [
    FULL,
    encoded(1),
    encoded(2, error=ErrorColumn(kind="reset", status=None, message="")),
    encoded(3, usage=Usage()),
]


def from_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows as the JSON of the native row: JSON text parsed, the instant as text."""
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        for name in ("tool_calls", "parsed"):
            assert row[name] != "null"
            row[name] = None if row[name] is None else msgspec.json.decode(row[name])
        row["finished_at"] = row["finished_at"] and row["finished_at"].isoformat().replace("+00:00", "Z")
    return rows


def test_both_formats_hold_the_same_rows(tmp_path: Path) -> None:
    lines, table = tmp_path / "out.jsonl", tmp_path / "out.parquet"
    write_output(lines, ROWS, replace=False)
    write_output(table, ROWS, replace=False)
    expected = [msgspec.json.decode(row) for row in ROWS]
    assert b"\r" not in lines.read_bytes()
    assert [msgspec.json.decode(line) for line in lines.read_bytes().split(b"\n")[:-1]] == expected
    assert from_parquet(table) == expected


def test_the_parquet_columns_are_those_of_the_native_row(tmp_path: Path) -> None:
    write_output(tmp_path / "out.parquet", ROWS, replace=False)
    file = pq.ParquetFile(tmp_path / "out.parquet", page_checksum_verification=True)
    assert file.schema_arrow.equals(SCHEMA)
    assert (*SCHEMA.names, "raw", "kept") == Outcome.__struct_fields__
    assert [field.name for field in SCHEMA.field("usage").type] == list(Usage.__struct_fields__)
    assert [field.name for field in SCHEMA.field("error").type] == list(ErrorColumn.__struct_fields__)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.read().num_rows == len(ROWS)


def test_pages_of_the_parquet_output_bear_checksums(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    write_output(path, [encoded(number) for number in range(1000)], replace=False)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[chunk.dictionary_page_offset + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(path, page_checksum_verification=True).read(["id"])


def test_an_output_of_several_row_groups_keeps_the_order(tmp_path: Path) -> None:
    write_output(tmp_path / "out.parquet", (encoded(n) for n in range(GROUP_ROWS + 5)), replace=False)
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [GROUP_ROWS, 5]
    assert file.read(["row"])["row"].to_pylist() == list(range(GROUP_ROWS + 5))


def test_long_rows_make_smaller_row_groups(tmp_path: Path) -> None:
    write_output(tmp_path / "out.parquet", (encoded(n, response="x" * 2**21) for n in range(9)), replace=False)
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 3


@pytest.mark.parametrize("name", FORMATS)
def test_an_output_of_no_rows_is_a_file_all_the_same(name: str, tmp_path: Path) -> None:
    write_output(tmp_path / name, [], replace=False)
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - names alone
    assert not name.endswith("parquet") or pq.read_table(tmp_path / name).num_rows == 0
