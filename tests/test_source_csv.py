"""CSV in: what every record becomes, and which files are refused whole."""

import csv
import io
from pathlib import Path

import pytest
from conftest import rows_of, written
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import InputError
from batchrunner.source import open_source

MIB = 1024 * 1024

GOOD = {
    "plain": (b"a,b\n1,2\n", [{"a": "1", "b": "2"}]),
    "a byte order mark and CRLF": (b"\xef\xbb\xbfa,b\r\n1,2\r\n", [{"a": "1", "b": "2"}]),
    "quoted commas, quotes and newlines": (b'a,b\n"x,""y""","1\n2\r\n3"\n', [{"a": 'x,"y"', "b": "1\n2\r\n3"}]),
    "no newline at the end": (b"a\n1", [{"a": "1"}]),
    "blank lines": (b"a,b\n\n1,2\n\r\n3,4\n\n", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
    "numbers, empty values and spaces stay texts": (b"a,b\n 007,\n", [{"a": " 007", "b": ""}]),
    "NUL": (b"a\nx\x00y\n", [{"a": "x\x00y"}]),
    "names that are empty or spaced": (b",a b\n0,1\n", [{"": "0", "a b": "1"}]),
    "other alphabets": ("ü\nß\n".encode(), [{"ü": "ß"}]),
    "a header alone": (b"a,b\n", []),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_csv_allows_is_read(name: str, tmp_path: Path) -> None:
    content, expected = GOOD[name]
    path = written(tmp_path, content, "in.csv")
    assert [row.columns for row in rows_of(path)] == expected
    assert open_source(str(path)).scan().rows == len(expected)


BROKEN = {
    "too few values": (b"1", "line 4: 1 values, where the header names 2 columns"),
    "too many values": (b"1,2,3", "line 4: 3 values, where the header names 2 columns"),
    "bytes that are not UTF-8": (b"1,\xff", "line 4: not UTF-8"),
    "something behind a closing quote": (b'1,"2"3', "line 4: not CSV"),
    "a lone carriage return": (b"1\r2,3", "line 4: not CSV"),
    "a line over 16 MiB": (b"1," + b"x" * (16 * MIB), "line 4: longer than 16 MiB"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_one_failed_row_and_the_run_goes_on(name: str, tmp_path: Path) -> None:
    line, reason = BROKEN[name]
    path = written(tmp_path, b"a,b\n0,0\n\n" + line + b"\n9,9\n", "in.csv")
    first, broken, *_, last = rows_of(path)
    assert (first.columns, last.columns) == ({"a": "0", "b": "0"}, {"a": "9", "b": "9"})
    assert broken.failure is not None
    assert broken.failure.message.startswith(reason)
    assert open_source(path.__str__()).scan().rows == last.number + 1


def test_a_value_over_16_mib_of_many_lines_is_not_held(tmp_path: Path) -> None:
    path = written(tmp_path, b'a,b\n0,0\n1,"' + b"xxxxxxx\n" * (2 * MIB + 1), "in.csv")
    good, broken, *_ = rows_of(path)
    assert good.failure is None
    assert broken.failure is not None
    assert broken.failure.message.startswith("line 3: not CSV: field larger")


def test_a_quote_that_never_closes_fails_one_row_that_says_how_far_it_went(tmp_path: Path) -> None:
    path = written(tmp_path, b'a,b\n1,2\n3,"4\n5,6\n7,8\n', "in.csv")
    good, broken = rows_of(path)
    assert good.failure is None
    assert broken.failure is not None
    assert broken.failure.message.startswith("line 3: not CSV")
    assert "up to line 5" in broken.failure.message


REFUSED = {
    "columns named twice": (b"a,b,a\n1,2,3\n", "two columns are named 'a'"),
    "semicolons": (b"a;b\n1;2\n", "not by ';'"),
    "tabs": (b"a\tb\n1\t2\n", r"not by '\\t'"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "is UTF-16, and has to be UTF-8"),
    "lines that end in carriage returns alone": (b"a,b\r1,2\r", "header, line 1, can't be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_to_be_read_is_refused_whole(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        open_source(str(written(tmp_path, content, "in.csv"))).scan()


def test_ids_are_texts_and_an_empty_one_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, b"id,custom_id\nx,y\n,z\n,\n", "in.csv")
    assert [row.id for row in rows_of(path)] == ["x", "z", "2"]
    assert open_source(str(path)).scan().rows == 3


def test_doubled_ids_are_refused_with_the_lines_they_begin_in(tmp_path: Path) -> None:
    path = written(tmp_path, b'q,id\n"1\n2",x\n\n3,x\n', "in.csv")
    with pytest.raises(InputError, match="'x' stands twice, in lines 2 and 5"):
        open_source(str(path)).scan()


def test_rows_come_in_batches_without_those_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, b"a\n" + b"".join(b"%d\n" % number for number in range(1000)), "in.csv")
    batches = list(open_source(str(path)).rows(lambda number: number % 3 == 0, 700))
    assert max(map(len, batches)) <= 256
    assert [int(row.columns["a"]) for batch in batches for row in batch] == [n for n in range(700) if n % 3]


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(texts, texts)))
def test_what_python_writes_as_csv_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    path = written(tmp_path_factory.getbasetemp(), buffer.getvalue().encode(), "any.csv")
    assert [(row.columns["a"], row.columns["b"]) for row in rows_of(path)] == rows


@given(st.one_of(st.binary(), st.lists(st.sampled_from([b",", b'"', b"\n", b"\r", b"x", b"\xff", b" "])).map(b"".join)))
def test_no_bytes_stop_the_reading_behind_a_header(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = written(tmp_path_factory.getbasetemp(), b"a,b\n" + content, "any.csv")
    rows = rows_of(path)
    assert [row.number for row in rows] == list(range(len(rows)))
    assert open_source(str(path)).scan().rows == len(rows)
