"""Inputs of several files: which they are, how their rows are numbered, and what is told of them."""

import gzip
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import rows_of, written
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import InputError, UsageError
from batchrunner.records import Row
from batchrunner.source import open_source, takes_in


def lines(*texts: str) -> bytes:
    return "".join(f'{{"q": "{text}"}}\n' for text in texts).encode()


def questions(place: Path | str) -> list[Any]:
    return [row.columns.get("q") for row in rows_of(place)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with two files of data, one in a subfolder, and things that are none."""
    folder = tmp_path / "data"
    (folder / "deeper").mkdir(parents=True)
    written(folder, lines("b1", "b2"), "b.jsonl")
    written(folder, gzip.compress(lines("a1")), "a.jsonl.gz")
    written(folder / "deeper", lines("c1"), "c.ndjson")
    written(folder, b"hello", "README.md")
    written(folder, b"{}", "settings.json")
    written(folder, lines("hidden"), ".hidden.jsonl")
    written(folder, lines("set apart"), "_set_apart.jsonl")
    return folder


def test_a_folder_is_the_data_in_it_in_the_order_of_names(data: Path) -> None:
    assert questions(data) == ["a1", "b1", "b2"]


def test_a_glob_with_two_stars_enters_subfolders(data: Path) -> None:
    assert questions(f"{data}/**/*") == ["a1", "b1", "b2", "c1"]
    assert questions(f"{data}/*.jsonl.gz") == ["a1"]


def test_a_file_whose_name_has_the_signs_of_a_glob_is_that_file(tmp_path: Path) -> None:
    assert questions(written(tmp_path, lines("one"), "part[1].jsonl")) == ["one"]


def test_rows_are_numbered_through_all_files(data: Path) -> None:
    assert [(row.number, row.id) for row in rows_of(data)] == [(0, "0"), (1, "1"), (2, "2")]


@pytest.mark.parametrize("limit", range(5))
def test_a_limit_counts_through_all_files(data: Path, limit: int) -> None:
    assert [row.number for row in rows_of(data, limit)] == list(range(min(limit, 3)))


def test_what_to_skip_is_asked_by_the_number_of_the_whole_input(data: Path) -> None:
    batches = open_source(str(data)).rows(lambda number: number == 1, None)
    assert [row.columns["q"] for batch in batches for row in batch] == ["a1", "b2"]


def test_a_row_that_cant_be_read_names_its_file_and_line(data: Path) -> None:
    written(data, b'\n{"q": 1}\nbroken\n', "b.jsonl")
    assert rows_of(data)[2].failure is not None
    assert "b.jsonl, line 3: not a JSON object" in rows_of(data)[2].failure.message


def test_ids_doubled_across_files_are_refused_with_both_files_and_lines(data: Path) -> None:
    written(data, b'{"id": "x"}\n', "b.jsonl")
    written(data / "deeper", b'\n{"id": "y"}\n{"id": "x"}\n', "c.ndjson")
    with pytest.raises(InputError, match=r"'x' stands twice, in b\.jsonl, line 1 and deeper/c\.ndjson, line 3"):
        open_source(f"{data}/**/*").scan()


def test_an_id_that_is_the_number_of_a_row_in_another_file_is_doubled(data: Path) -> None:
    written(data, b'{"id": 0}\n', "b.jsonl")
    with pytest.raises(InputError, match=r"'0' stands twice, in a\.jsonl\.gz, line 1 and b\.jsonl, line 1"):
        open_source(str(data)).scan()


def test_parquet_files_are_one_input_and_name_their_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"id": ["c", "d"], "more": [1, 2]}), tmp_path / "2.parquet")
    assert [(row.number, row.id) for row in rows_of(tmp_path)] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    pq.write_table(pa.table({"id": ["c", "a"]}), tmp_path / "2.parquet")
    with pytest.raises(InputError, match=r"'a' stands twice, in 1\.parquet, row 0 and 2\.parquet, row 1"):
        open_source(str(tmp_path)).scan()


def test_parquet_rows_without_ids_have_the_numbers_of_the_whole_input(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["a", "b"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "2.parquet")
    with pytest.raises(InputError, match=r"'1' stands twice, in 1\.parquet, row 1 and 2\.parquet, row 0"):
        open_source(str(tmp_path)).scan()


def test_an_input_of_two_formats_is_refused_by_their_names(data: Path) -> None:
    written(data, b"q\n1\n", "c.csv")
    with pytest.raises(InputError, match=r"two formats: a\.jsonl\.gz is JSON Lines, c\.csv is CSV"):
        open_source(str(data))


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    written(tmp_path, b"hello", "README.md")
    (tmp_path / "folder.jsonl").mkdir()
    for place in (tmp_path, f"{tmp_path}/*.jsonl"):
        with pytest.raises(InputError, match="has no data"):
            open_source(str(place))


def test_a_json_file_of_one_document_is_refused_as_what_it_is(tmp_path: Path) -> None:
    assert questions(written(tmp_path, lines("one"), "a.json")) == ["one"]
    for document in (b'[\n{"q": 1}\n]\n', b'\n{\n "q": 1\n}\n'):
        with pytest.raises(InputError, match="one JSON document"):
            open_source(str(written(tmp_path, document, "a.json"))).scan()


def test_packed_parquet_is_no_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inputs are"):
        open_source(str(written(tmp_path, b"", "a.parquet.gz")))


CHANGES = {
    "a file that grows": lambda folder: written(folder, lines("b1", "b2", "b3"), "b.jsonl"),
    "another content of the same size": lambda folder: written(folder, lines("b1", "bX"), "b.jsonl"),
    "a file that comes": lambda folder: written(folder, lines("d"), "d.jsonl"),
    "a file that goes": lambda folder: (folder / "b.jsonl").unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_any_file_is_another_fingerprint_and_version(data: Path, name: str) -> None:
    os.utime(data / "b.jsonl", (1, 1))
    source = open_source(str(data))
    before = (source.fingerprint(), source.version())
    assert source.scan().fingerprint == before[0]
    CHANGES[name](data)
    assert source.fingerprint() != before[0]
    assert source.version() != before[1]


def test_a_file_that_was_touched_is_another_version_with_the_same_fingerprint(data: Path) -> None:
    source = open_source(str(data))
    fingerprint, version = source.fingerprint(), source.version()
    os.utime(data / "b.jsonl", (1, 1))
    assert (source.fingerprint(), source.version() == version) == (fingerprint, False)


def test_an_output_in_the_input_is_seen_before_it_is_there(data: Path) -> None:
    assert takes_in(str(data), data / "out.jsonl")
    assert takes_in(str(data), data / "b.jsonl")
    assert takes_in(f"{data}/*.jsonl", data / "out.jsonl")
    assert takes_in(f"{data}/**/*.jsonl", data / "x" / ".." / "deep" / "out.jsonl")
    assert takes_in(str(data / "b.jsonl"), data / "b.jsonl")
    assert not takes_in(f"{data}/*.jsonl", data / "deep" / "out.jsonl")
    assert not takes_in(f"{data}/*.jsonl", data / "out.parquet")
    assert not takes_in(str(data), data.parent / "out.jsonl")
    assert not takes_in(str(data), data / "deeper" / "out.jsonl")
    assert not takes_in(str(data / "b.jsonl"), data / "out.jsonl")


@given(
    st.lists(st.lists(st.sampled_from(['{"id": "%d"}', "{}", "", "broken", '{"custom_id": %d}']))), st.integers(0, 30)
)
def test_however_lines_are_parted_among_files_the_rows_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]], limit: int
) -> None:
    """Ids are made unique, with numbers that no row has."""
    folder = tmp_path_factory.mktemp("parts")
    numbered = iter(range(1000, 10_000))
    contents = [[line % next(numbered) if "%d" in line else line for line in part] for part in parts]
    for at, content in enumerate(contents):
        written(folder, "".join(f"{line}\n" for line in content).encode(), f"{at:03}.jsonl")
    written(folder, b"", "none.jsonl")
    whole = written(folder, "".join(f"{line}\n" for part in contents for line in part).encode(), "_whole.jsonl")

    def read(place: Path) -> list[tuple[int, str, bool]]:
        rows: list[Row] = rows_of(place, limit)
        return [(row.number, row.id, row.failure is None) for row in rows]

    assert read(folder) == read(whole)
    assert open_source(str(folder)).scan().rows == open_source(str(whole)).scan().rows
