"""Ids of rows: where they come from, and doubled ones are refused with both lines."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import rows_of, written
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import InputError
from batchrunner.source import open_source
from batchrunner.source.failed import shown
from batchrunner.source.ids import PlacedId, SeenIds


def test_the_id_is_id_then_custom_id_then_the_number(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        b'{"id": "x", "custom_id": "y"}\n{"custom_id": "z"}\n{}\n{"id": null}\n{"id": 17}\n'
        b'{"id": null, "custom_id": 18}',
    )
    assert [row.id for row in rows_of(path)] == ["x", "z", "2", "3", "17", "18"]


def test_an_empty_id_is_none_in_every_format(tmp_path: Path) -> None:
    lines = written(tmp_path, b'{"id": "", "custom_id": "z"}\n{"custom_id": ""}\n{"id": ""}\n{"id": "a"}\n')
    commas = written(tmp_path, b"id,custom_id\n,z\n,\n,\na,\n", "in.csv")
    table = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": ["", "", "", "a"], "custom_id": ["z", "", None, ""]}), table)
    for path in (lines, commas, table):
        assert [row.id for row in rows_of(path)] == ["z", "1", "2", "a"]
        assert open_source(str(path)).scan().rows == 4


def test_a_scan_counts_fingerprints_and_names_columns(tmp_path: Path) -> None:
    content = b'\n{"b": 1, "a": 2}\nbroken\n\n{"c": 1, "a": 2}\n\n'
    scan = open_source(str(written(tmp_path, content))).scan()
    assert (scan.rows, scan.blank_lines, scan.columns) == (3, 3, ("b", "a", "c"))
    assert scan.fingerprint == hashlib.sha256(content).hexdigest()


DOUBLED = {
    "texts": (b'{"id": "a"}\n\n{"id": "b"}\n{"id": "a"}\n', "a", "lines 1 and 4"),
    "custom ids": (b'{"custom_id": "a"}\n{"custom_id": "a"}', "a", "lines 1 and 2"),
    "the number 7 and the text 7": (b'{"id": 7}\n{"id": "7"}', "7", "lines 1 and 2"),
    "an id and a custom id": (b'{"id": "a"}\n{"custom_id": "a"}', "a", "lines 1 and 2"),
    "an id that is the number of a row whose own is empty": (b'{"id": "1"}\n{"id": ""}', "1", "lines 1 and 2"),
    "an id that is another row's number": (b'{"id": "1"}\n{"a": 1}', "1", "lines 1 and 2"),
    "an id whose key is written in escapes": (b'{"\\u0069d": "a"}\n{"id": "a"}', "a", "lines 1 and 2"),
    "an id that is the number of a row further on": (b'{"id": 2}\n\n{"a": 1}\n{"a": 2}', "2", "lines 1 and 4"),
    "the first of several": (b'{"id": "a"}\n{"id": "b"}\n{"id": "b"}\n{"id": "a"}', "b", "lines 2 and 3"),
}


@pytest.mark.parametrize("name", DOUBLED)
def test_doubled_ids_are_refused_with_both_lines(name: str, tmp_path: Path) -> None:
    content, doubled, lines = DOUBLED[name]
    with pytest.raises(InputError, match=rf"the id '{doubled}' stands twice, in {lines}\b"):
        open_source(str(written(tmp_path, content))).scan()


def test_a_broken_row_is_no_double_of_the_row_that_bears_its_number(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"id": 1}\nbroken\n{"id": [], "a": 1}\n{"id": 2}\n')
    assert open_source(str(path)).scan().rows == 4


def test_an_id_in_a_message_is_short_and_printable(tmp_path: Path) -> None:
    line = msgspec.json.encode({"id": "\x1b]0;evil\x07\u202e" + "x" * 500})
    with pytest.raises(InputError) as raised:
        open_source(str(written(tmp_path, line + b"\n" + line))).scan()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 250


@given(st.text())
def test_what_is_shown_is_printable_and_short(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 100


def test_a_mere_collision_of_hashes_is_no_doubled_id() -> None:
    ids = [PlacedId("line 1", "a"), PlacedId("line 2", "b"), PlacedId("line 3", "c")]
    seen = SeenIds(hash_of=lambda _: 7)
    seen.add_all(placed.id for placed in ids)
    seen.refuse_doubled(lambda: ids)
    with pytest.raises(InputError, match="lines 2 and 4"):
        seen.refuse_doubled(lambda: [*ids, PlacedId("line 4", "b")])


def test_the_input_is_read_again_only_where_hashes_are_alike() -> None:
    seen = SeenIds()
    seen.add_all(map(str, range(10_000)))

    def read_again() -> Iterator[PlacedId]:
        raise AssertionError("read again")
        yield

    seen.refuse_doubled(read_again)


def test_doubled_ids_are_found_anywhere_in_a_long_file(tmp_path: Path) -> None:
    lines = [b'{"id": "row-%d"}' % number for number in range(20_000)]
    lines[19_998] = lines[3]
    with pytest.raises(InputError, match="lines 4 and 19999"):
        open_source(str(written(tmp_path, b"\n".join(lines)))).scan()
