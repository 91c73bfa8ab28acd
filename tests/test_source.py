"""Rows in: what every line of a hostile input becomes, and what stops a run before it starts."""

import gzip
import os
import tracemalloc
from itertools import chain, pairwise
from pathlib import Path

import pytest
from conftest import rows_of, written
from hypothesis import assume, example, given
from hypothesis import strategies as st

from batchrunner.errors import InputError, UsageError
from batchrunner.records import Kind, Row
from batchrunner.source import open_source
from batchrunner.source.lines import split_lines
from batchrunner.source.packed import encoding_of

MIB = 1024 * 1024


def failure_of(row: Row) -> str:
    assert row.failure is not None
    assert row.failure.kind is Kind.INVALID_ROW
    assert row.columns == {}
    assert row.id == str(row.number)
    assert row.failure.message.isprintable()
    return row.failure.message


BROKEN = {
    "cut off": (b'{"a": "secret', "truncated"),
    "no JSON": (b"hello", "not a JSON object"),
    "NaN": (b'{"a": NaN}', "not a JSON object"),
    "Infinity": (b'{"a": -Infinity}', "not a JSON object"),
    "1e999": (b'{"a": 1e999}', "out of range"),
    "bad UTF-8": (b'{"a": "\xff"}', "not UTF-8"),
    "bad UTF-8 in a name": (b'{"\xff": 1}', "not UTF-8"),
    "a surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
    "lone high surrogate": (b'{"a": "\\ud800"}', "not a JSON object"),
    "lone low surrogate": (b'{"a": "\\udc00"}', "surrogate"),
    "a byte order mark on a later line": (b'\xef\xbb\xbf{"a": 1}', "not a JSON object"),
    "deep and closed": (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deep"),
    "deep and open": (b'{"a": ' + b"[" * 500_000, "nested too deep"),
    "deep in the id": (b'{"id": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deep"),
    "a number of 5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "out of range"),
    "a list": (b"[1]", "got `array`"),
    "a text": (b'"x"', "got `str`"),
    "null": (b"null", "got `null`"),
    "two objects": (b'{"a": 1} {"a": 2}', "trailing"),
    "a raw control character": (b'{"a": "\x01"}', "not a JSON object"),
    "NUL bytes": (b"\x00\x00\x00", "not a JSON object"),
    "an id that is a float": (b'{"id": 1.5}', "id must be text or a whole number, not float"),
    "an id that is a boolean": (b'{"id": true}', "id must be text or a whole number, not bool"),
    "an id that is a list": (b'{"id": []}', "id must be text or a whole number, not list"),
    "a custom_id that is an object": (b'{"custom_id": {}}', "custom_id must be text"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_one_failed_row_and_the_run_goes_on(name: str, tmp_path: Path) -> None:
    line, reason = BROKEN[name]
    path = written(tmp_path, b'{"a": 0}\n\n' + line + b'\n{"a": 2}\n')
    first, broken, last = rows_of(path)
    assert (first.columns, last.columns) == ({"a": 0}, {"a": 2})
    assert reason in failure_of(broken)
    assert failure_of(broken).startswith("line 3: ")
    assert "secret" not in failure_of(broken)
    assert open_source(str(path)).scan().rows == 3


GOOD = {
    "a byte order mark on line 1": (b'\xef\xbb\xbf{"a": 1}\n', [{"a": 1}]),
    "carriage returns": (b'{"a": 1}\r\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}]),
    "no newline at the end": (b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}]),
    "blank lines": (b'\n \t\r\n{"a": 1}\n\n\n{"a": 2}\n\n', [{"a": 1}, {"a": 2}]),
    "a byte order mark before a blank line": (b'\xef\xbb\xbf\n{"a": 1}', [{"a": 1}]),
    "doubled keys, of which the last wins": (b'{"a": 1, "a": 2}', [{"a": 2}]),
    "whole numbers of any size": (b'{"a": 18446744073709551616}', [{"a": 2**64}]),
    "paired surrogates": (b'{"a": "\\ud83d\\ude00"}', [{"a": "\N{GRINNING FACE}"}]),
    "nesting of 900": (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", None),
    "an empty file": (b"", []),
    "nothing but blank lines": (b"\n\n\r\n", []),
    "nothing but a byte order mark": (b"\xef\xbb\xbf", []),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_allowed_in_json_lines_is_read(name: str, tmp_path: Path) -> None:
    content, expected = GOOD[name]
    rows = rows_of(written(tmp_path, content))
    assert all(row.failure is None for row in rows)
    assert expected is None or [row.columns for row in rows] == expected
    assert [row.number for row in rows] == list(range(len(rows)))


def test_a_line_over_16_mib_is_a_failed_row(tmp_path: Path) -> None:
    exact = b'{"a": "' + b"x" * (16 * MIB - 9) + b'"}'
    path = written(tmp_path, b"{}\n" + exact + b"\n" + exact[:-2] + b'x"}\n{}')
    _, longest, too_long, last = rows_of(path)
    assert longest.failure is None
    assert failure_of(too_long) == "line 3: longer than 16 MiB"
    assert last.failure is None
    assert open_source(str(path)).scan().rows == 4


def test_a_line_that_never_ends_is_not_held() -> None:
    chunks = (b"x" * 10_000 for _ in range(1000))
    tracemalloc.start()
    try:
        assert list(chain(*split_lines(chunks, 100_000))) == [None]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_rows_come_in_order_in_batches_without_those_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, b"".join(b'{"id": "r%d"}\n' % number for number in range(1000)))
    batches = list(open_source(str(path)).rows(lambda number: number % 3 == 0, None))
    assert max(map(len, batches)) <= 256
    assert [row.number for batch in batches for row in batch] == [n for n in range(1000) if n % 3]
    assert all(row.id == f"r{row.number}" for batch in batches for row in batch)


def test_a_skipped_row_is_not_even_decoded(tmp_path: Path) -> None:
    path = written(tmp_path, b"broken\n{}\n")
    (batch,) = open_source(str(path)).rows(lambda number: number == 0, None)
    assert [(row.number, row.failure) for row in batch] == [(1, None)]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 99])
def test_a_limit_counts_the_rows_of_the_input_not_those_wanted(limit: int, tmp_path: Path) -> None:
    path = written(tmp_path, b"{}\n\n{}\n{}\n")
    batches = open_source(str(path)).rows(lambda number: number == 1, limit)
    assert [row.number for batch in batches for row in batch] == [n for n in (0, 2) if n < limit]


def test_a_batch_of_long_rows_ends_early(tmp_path: Path) -> None:
    line = b'{"a": "' + b"x" * MIB + b'"}\n'
    batches = list(open_source(str(written(tmp_path, line * 9))).rows(lambda _: False, None))
    assert [len(batch) for batch in batches] == [4, 4, 1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "in.csv"])
def test_a_text_of_another_encoding_is_told_once_and_as_what_it_is(name: str, encoding: str, tmp_path: Path) -> None:
    whole = ('{"a": 1}\n' if "json" in name else "a,b\n1,2\n").encode(encoding)
    path = written(tmp_path, gzip.compress(whole) if name.endswith(".gz") else whole, name)
    with pytest.raises(InputError, match=rf"{name} is {encoding[:6].upper()}.*has to be UTF-8.*iconv"):
        open_source(str(path)).scan()


def test_a_suffix_that_is_unknown_is_refused_with_those_that_are_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.jsonl, \.ndjson or \.csv files, .*, or \.parquet"):
        open_source(str(written(tmp_path, b"{}", "in.txt")))


def test_suffixes_are_told_whatever_their_case(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, b"{}", "IN.JSONL"))
    assert rows_of(written(tmp_path, b"{}", "in.ndjson"))


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.parquet", "nul\0.jsonl", "file.jsonl/in.jsonl"])
def test_an_input_that_is_not_there_is_told_before_anything_starts(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.jsonl").touch()
    with pytest.raises(InputError):
        open_source(str(tmp_path / name))


def test_a_pipe_is_no_input_but_by_a_name_of_its_own(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.jsonl")
    with pytest.raises(InputError, match=r"no regular file.*`-`"):
        open_source(str(tmp_path / "in.jsonl"))


def test_an_input_that_goes_away_is_an_input_error(tmp_path: Path) -> None:
    path = written(tmp_path, b"{}")
    source = open_source(str(path))
    path.unlink()
    with pytest.raises(InputError, match=r"in\.jsonl doesn't exist"):
        source.scan()


line_pieces = st.sampled_from([b"\n", b"\r\n", b"\xef\xbb\xbf", b'{"a":1}', b" ", b'"', b"{", b"x" * 7, b"\xff"])
content = st.one_of(st.binary(), st.lists(line_pieces).map(b"".join))


@given(content, st.lists(st.integers(0, 200)))
@example(b"a\n" + b"x" * 12 + b"\n" + b"x" * 13 + b"\nb", [])
@example(b"a\n" + b"x" * 13 + b"\nb", [4, 9])
def test_however_the_bytes_are_cut_the_lines_are_the_same(whole: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(whole)]
    chunks = [whole[start:end] for start, end in pairwise(places)]
    cap = 12
    lines = whole.split(b"\n")
    expected = [line if len(line) <= cap else None for line in (lines if lines[-1] else lines[:-1])]
    if expected and expected[0] is not None:
        expected[0] = expected[0].removeprefix(b"\xef\xbb\xbf")
    assert list(chain(*split_lines(chunks, cap))) == expected


@given(content)
def test_no_bytes_stop_the_reading(tmp_path_factory: pytest.TempPathFactory, whole: bytes) -> None:
    assume(encoding_of(whole) is None)
    path = written(tmp_path_factory.getbasetemp(), whole, "any.jsonl")
    rows = rows_of(path)
    assert [row.number for row in rows] == list(range(len(rows)))
    assert all((row.failure is None) or row.failure.message.isprintable() for row in rows)
    assert open_source(str(path)).scan().rows == len(rows)
