"""What was written is read back as the same rows, and a part knows its size and its hash before it is seen."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import StorageError
from batchrunner.records import ErrorColumn, Outcome, Usage
from batchrunner.sink import write_output
from batchrunner.sink.formats import read_rows
from batchrunner.sink.parts import Manifest, Part, part_name, sealed_part, suffix_of, write_manifest

SUFFIXES = [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"]
texts = st.text(st.characters(codec="utf-8"), max_size=20)
counts = st.none() | st.integers(0, 2**62)
raws = st.sampled_from(
    [None, b"[]", b'{ "a" : "\\u00e9\\n" }', b'[{"id":"x","function":{"arguments":"{\\"a\\":1.50}"}}]']
)


def raw(content: bytes | None) -> msgspec.Raw | None:
    """JSON as it came."""
    return None if content is None else msgspec.Raw(content)


@st.composite
def instants(draw: st.DrawFn) -> str:
    """RFC 3339 in UTC, to the millisecond or the microsecond, as outcomes have it."""
    instant = draw(st.datetimes(datetime(1678, 1, 1), datetime(2261, 12, 31, 23, 59, 59)))  # noqa: DTZ001 - Z is added
    if draw(st.booleans()):
        return instant.replace(microsecond=instant.microsecond // 1000 * 1000).isoformat(timespec="milliseconds") + "Z"
    return instant.replace(microsecond=instant.microsecond // 10 * 10 + 1).isoformat(timespec="microseconds") + "Z"


outcomes = st.builds(
    Outcome,
    id=texts,
    row=st.just(0),
    status=st.sampled_from(["ok", "failed"]),
    response=st.none() | texts,
    tool_calls=raws.map(raw),
    parsed=raws.map(raw),
    reasoning=st.none() | texts,
    finish_reason=st.none() | texts,
    error=st.none() | st.builds(ErrorColumn, kind=texts, status=st.none() | st.integers(100, 599), message=texts),
    usage=st.none()
    | st.builds(
        Usage,
        prompt_tokens=counts,
        completion_tokens=counts,
        total_tokens=counts,
        cached_tokens=counts,
        reasoning_tokens=counts,
    ),
    cost=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    model=st.none() | texts,
    variant=st.none() | texts,
    sample=st.none() | st.integers(0, 2**31 - 1),
    attempts=st.integers(0, 1000),
    latency_s=st.none() | st.floats(0, 1e6),
    first_token_s=st.none() | st.floats(0, 1e6),
    request_id=st.none() | texts,
    finished_at=st.none() | instants(),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples."""
    return tmp_path_factory.mktemp("parts")


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(rows=st.lists(outcomes, max_size=5))
def test_rows_are_read_back_byte_for_byte(suffix: str, folder: Path, rows: list[Outcome]) -> None:
    encoded = [msgspec.json.encode(msgspec.structs.replace(row, row=number)) for number, row in enumerate(rows)]
    path = folder / f"part{suffix}"
    write_output(path, encoded, replace=True)
    assert list(read_rows(path)) == encoded


def test_json_laid_out_over_lines_is_read_back_from_parquet_as_it_came(tmp_path: Path) -> None:
    row = msgspec.json.encode(Outcome(id="a", row=0, status="ok", tool_calls=msgspec.Raw(b'[ {\r\n  "id": 1} ]')))
    write_output(tmp_path / "out.parquet", [row], replace=False)
    assert list(read_rows(tmp_path / "out.parquet")) == [row]


def many(count: int) -> list[bytes]:
    """So many rows."""
    return [msgspec.json.encode(Outcome(id=f"r{n}", row=n, status="ok", response="x" * 100)) for n in range(count)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_part_is_sealed_before_it_takes_its_place(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / part_name(3, suffix)
    with sealed_part(path, many(20_000), replace=False) as (size, sha256):
        assert not path.exists()
    assert path.name == f"part-00003{suffix}"
    assert path.stat().st_size == size
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    with sealed_part(tmp_path / f"again{suffix}", many(20_000), replace=False) as again:
        pass
    assert again == (size, sha256)


def test_a_part_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), sealed_part(tmp_path / "part.jsonl", many(3), replace=False):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_or_missing_part_is_a_storage_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"part{suffix}"
    with pytest.raises(StorageError, match="can't be read back"):
        list(read_rows(path))
    if suffix != ".jsonl":
        write_output(path, many(1000), replace=False)
        content = path.read_bytes()
        path.write_bytes(content[:200] + b"\0" * 50 + content[250:])
        with pytest.raises(StorageError, match="can't be read back"):
            list(read_rows(path))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *[("out", ".jsonl"), ("out.jsonl", ".jsonl"), ("a.parquet", ".parquet"), ("A.PARQUET", ".parquet")],
        *[("a.jsonl.gz", ".jsonl.gz"), ("a.b.JSONL.ZST", ".jsonl.zst"), ("a.gz", ".jsonl"), (".parquet", ".jsonl")],
    ],
)
def test_the_name_of_a_folder_tells_the_format_of_its_parts(name: str, suffix: str) -> None:
    assert suffix_of(Path(name)) == suffix


def test_a_manifest_that_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    part: dict[str, Any] = {"first_row": 0, "units": 1, "ok": 1, "failed": 0, "bytes": 1, "sha256": ""}
    manifest = Manifest(total_units=1, part_rows=1, complete=True, parts=[Part(name="part-00000.jsonl", **part)])
    write_manifest(tmp_path, manifest)
    before = (tmp_path / "_manifest.json").stat()
    write_manifest(tmp_path, manifest)
    after = (tmp_path / "_manifest.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_manifest(tmp_path, msgspec.structs.replace(manifest, complete=False))
    assert (tmp_path / "_manifest.json").stat().st_ino != before.st_ino
