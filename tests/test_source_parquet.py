"""Parquet in: the same rows as from JSON Lines, hostile files and all."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchrunner.errors import InputError
from batchrunner.records import Kind, Row
from batchrunner.source import open_source

MIB = 1024 * 1024


def written(folder: Path, table: pa.Table | dict[str, Any], **options: Any) -> Path:
    path = folder / "in.parquet"
    pq.write_table(pa.table(table) if isinstance(table, dict) else table, path, write_page_checksum=True, **options)
    return path


def read(path: Path) -> list[Row]:
    return [row for batch in open_source(str(path)).rows(lambda _: False, None) for row in batch]


def test_rows_come_in_order_whatever_the_row_groups(tmp_path: Path) -> None:
    ids = [f"r{number}" for number in range(5000)]
    path = written(tmp_path, {"id": ids, "k": list(range(5000))}, row_group_size=700)
    batches = list(open_source(str(path)).rows(lambda _: False, None))
    rows = [row for batch in batches for row in batch]
    assert max(map(len, batches)) <= 256
    assert [row.id for row in rows] == ids
    assert [(row.number, row.columns["k"]) for row in rows] == [(number, number) for number in range(5000)]


def test_a_scan_counts_and_names_every_column(tmp_path: Path) -> None:
    scan = open_source(str(written(tmp_path, {"q": ["x", "y"], "id": [1, 2]}))).scan()
    assert (scan.rows, scan.blank_lines, scan.columns) == (2, 0, ("q", "id"))
    assert len(scan.fingerprint) == 64


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    path = written(tmp_path, {"q": pa.array([], pa.string())})
    assert open_source(str(path)).scan().rows == 0
    assert read(path) == []


def test_values_become_what_json_can_hold(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    table = pa.table(
        {
            "text": ["é"],
            "bytes": [b"abc"],
            "none": pa.array([None], pa.string()),
            "yes": [True],
            "nan": [float("nan")],
            "moment": [moment],
            "nanos": pa.array([1_000_000_001_999], pa.timestamp("ns")),
            "day": [date(2026, 1, 2)],
            "clock": [time(1, 2, 3)],
            "span": [timedelta(days=1)],
            "money": [Decimal("1.50")],
            "few": pa.array(["a"]).dictionary_encode(),
            "nested": [[{"role": "user", "at": moment, "raw": b"x"}]],
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        }
    )
    (row,) = read(written(tmp_path, table))
    columns = dict(row.columns)
    assert isnan(columns.pop("nan"))
    assert columns == {
        "text": "é",
        "bytes": "abc",
        "none": None,
        "yes": True,
        "moment": "2026-01-02T03:04:05.000006+00:00",
        "nanos": "1970-01-01T00:16:40.000001",
        "day": "2026-01-02",
        "clock": "01:02:03",
        "span": "1 day, 0:00:00",
        "money": "1.50",
        "few": "a",
        "nested": [{"role": "user", "at": "2026-01-02T03:04:05.000006+00:00", "raw": "x"}],
        "map": [["k", 1]],
    }


UNFIT = {
    "bytes that are no text": {"q": pa.array([b"a", b"\xff", b"c"])},
    "text that is not UTF-8": {"q": pa.StringArray.from_buffers(3, *pa.array([b"a", b"\xff", b"c"]).buffers()[1:])},
    "a date after the year 9999": {"q": pa.array([0, 2**60, 0], pa.timestamp("us"))},
    "an unfit value deep inside": {"q": pa.array([[b"a"], [b"\xff"], []])},
    "an id that is a float": {"id": pa.array([None, 1.5, None])},
    "a value over 16 MiB": {"q": pa.array(["a", "x" * (16 * MIB + 1), "c"])},
    "bytes over 16 MiB inside a list": {"q": pa.array([[], ["x" * 9 * MIB, "y" * 9 * MIB], []])},
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_value_is_one_failed_row_and_the_run_goes_on(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, UNFIT[name])
    first, broken, last = read(path)
    assert first.failure is None
    assert last.failure is None
    assert broken.failure is not None
    assert broken.failure.kind is Kind.INVALID_ROW
    assert broken.failure.message.startswith("row 1: ")
    assert broken.failure.message.isprintable()
    assert len(broken.failure.message) < 150
    assert (broken.id, broken.columns) == ("1", {})
    assert open_source(str(path)).scan().rows == 3


@pytest.mark.parametrize("column", ["id", "custom_id"])
def test_doubled_ids_are_refused_with_both_rows(column: str, tmp_path: Path) -> None:
    ids = [f"r{number}" for number in range(3000)]
    ids[2999] = "r17"
    path = written(tmp_path, {column: ids}, row_group_size=1000)
    with pytest.raises(InputError, match="the id 'r17' stands twice, in rows 17 and 2999"):
        open_source(str(path)).scan()


def test_a_broken_row_is_no_double_of_the_row_that_bears_its_number(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": pa.array([b"1", b"\xff"])})
    assert open_source(str(path)).scan().rows == 2
    assert [row.id for row in read(path)] == ["1", "1"]


def test_rows_without_ids_take_their_number(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": pa.array(["a", None, None]), "custom_id": pa.array(["x", "b", None])})
    assert [row.id for row in read(path)] == ["a", "b", "2"]


@pytest.mark.parametrize("limit", [None, 0, 1, 99, 100, 101, 5000])
def test_skipped_rows_and_those_past_the_limit_are_left_out(limit: int | None, tmp_path: Path) -> None:
    path = written(tmp_path, {"k": list(range(1000))}, row_group_size=100)
    batches = open_source(str(path)).rows(lambda number: number % 3 == 0, limit)
    found = [(row.number, row.columns["k"]) for batch in batches for row in batch]
    assert found == [(n, n) for n in range(1000) if n % 3 and (limit is None or n < limit)]


def damaged(path: Path, table: dict[str, Any]) -> Path:
    """The file with one byte of the first row group's data changed."""
    pq.write_table(
        pa.table(table), path, row_group_size=100, write_page_checksum=True, use_dictionary=False, compression="none"
    )
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    return path


def test_a_damaged_page_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    path = damaged(tmp_path / "in.parquet", {"k": list(range(300))})
    with pytest.raises(InputError, match="can't be read as Parquet"):
        read(path)


def test_a_row_group_that_is_skipped_whole_is_not_read(tmp_path: Path) -> None:
    path = damaged(tmp_path / "in.parquet", {"k": list(range(300))})
    batches = open_source(str(path)).rows(lambda number: number < 100, None)
    assert [row.number for batch in batches for row in batch] == list(range(100, 300))


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_told_at_once(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="can't be read as Parquet"):
        next(open_source(str(path)).rows(lambda _: False, None))


def test_columns_that_share_a_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["q", "q"])
    with pytest.raises(InputError, match="share a name"):
        open_source(str(written(tmp_path, table))).scan()


READ_ALL = """
import sys
import pyarrow
from batchrunner.source import open_source
source = open_source(sys.argv[1])
rows = sum(len(batch) for batch in source.rows(lambda _: False, None))
print(rows, pyarrow.default_memory_pool().max_memory() // 1024**2)
"""


@pytest.mark.parametrize("nested", [False, True])
def test_a_small_file_that_holds_gigabytes_takes_little_memory(nested: bool, tmp_path: Path) -> None:  # noqa: FBT001
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1024, pa.int32()), pa.array(["x" * 2 * MIB]))
    if nested:
        texts = pa.ListArray.from_arrays(pa.array(range(1025), pa.int32()), texts)
    path = written(
        tmp_path, pa.table({"q": texts}), dictionary_pagesize_limit=1 << 30, store_schema=False, compression="zstd"
    )
    assert path.stat().st_size < 10_000
    found = subprocess.run([sys.executable, "-c", READ_ALL, path], capture_output=True, check=True, text=True)
    rows, peak_mib = map(int, found.stdout.split())
    assert rows == 1024
    assert peak_mib < 100
