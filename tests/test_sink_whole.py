"""A file appears whole or not at all, whatever happens while it is written."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchrunner.errors import StorageError, UsageError
from batchrunner.records import Outcome
from batchrunner.sink import atomic, prepare_output, write_output, write_summary
from batchrunner.sink.parquet import GROUP_ROWS

FORMATS = ["out.jsonl", "out.parquet"]


def encoded(number: int, **columns: Any) -> bytes:
    return msgspec.json.encode(Outcome(id=f"r{number}", row=number, status="ok", **columns))


ROWS = [encoded(number) for number in range(3)]


def stopped(error: BaseException) -> Iterator[bytes]:
    """More rows than any buffer holds, then an error."""
    for number in range(GROUP_ROWS + 1):
        yield encoded(number, response="x" * 200)
    raise error


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), OSError(errno.EIO, "I/O error")])
@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_rows_that_break_off_leave_nothing_behind(
    name: str, *, replace: bool, error: BaseException, tmp_path: Path
) -> None:
    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        write_output(tmp_path / name, stopped(error), replace=replace)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_rows_that_break_off_leave_an_old_output_as_it_was(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(ValueError, match="bug"):
        write_output(tmp_path / name, stopped(ValueError("bug")), replace=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"old"}


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_seen_of_an_output_before_it_is_whole(name: str, tmp_path: Path) -> None:
    def rows() -> Iterator[bytes]:
        yield from stopped_after_group()
        assert not (tmp_path / name).exists()

    def stopped_after_group() -> Iterator[bytes]:
        yield from (encoded(number) for number in range(GROUP_ROWS + 1))

    write_output(tmp_path / name, rows(), replace=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_existing_file_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"precious")
    with pytest.raises(StorageError, match=r"exists already.*--overwrite"):
        write_output(path, ROWS, replace=False)
    assert path.read_bytes() == b"precious"
    write_output(path, [b"{}"], replace=True)
    assert path.read_bytes() == b"{}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_file_that_appears_while_writing_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    def rows() -> Iterator[bytes]:
        yield b"{}"
        path.write_bytes(b"precious")

    with pytest.raises(StorageError, match="exists already"):
        write_output(path, rows(), replace=False)
    assert path.read_bytes() == b"precious"


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "target")
    write_output(tmp_path / "out.jsonl", [b"{}"], replace=True)
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "out.jsonl").is_symlink()


def test_an_output_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_output(tmp_path / "out.jsonl", ROWS, replace=False)
    assert (tmp_path / "out.jsonl").stat().st_mode == (tmp_path / "plain").stat().st_mode


WRITE_AND_HANG = """
import sys, time
from pathlib import Path
from batchrunner.sink import write_output
def rows():
    yield b"{}"
    print("writing", flush=True)
    time.sleep(60)
write_output(Path(sys.argv[1]), rows(), replace=True)
"""


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    (tmp_path / ".out.jsonl.1.x.tmp").touch()
    (tmp_path / ".other.jsonl.1.00000000.tmp").touch()
    with subprocess.Popen([sys.executable, "-c", WRITE_AND_HANG, path], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            write_output(path, ROWS, replace=True)
            assert len(list(tmp_path.glob(f".out.jsonl.{writer.pid}.*.tmp"))) == 1
        finally:
            writer.send_signal(signal.SIGKILL)
    write_output(path, ROWS, replace=True)
    left = {found.name for found in tmp_path.iterdir()}
    assert left == {"out.jsonl", ".out.jsonl.1.x.tmp", ".other.jsonl.1.00000000.tmp"}


def test_a_file_that_can_grow_no_further_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        for name in FORMATS:
            with pytest.raises(StorageError, match="larger than the file system or ulimit allows"):
                write_output(
                    tmp_path / name, (encoded(0, response=os.urandom(2**18).hex()) for _ in range(99)), replace=False
                )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_plain_words() -> None:
    assert "disk is full" in atomic.reason(OSError(errno.ENOSPC, "No space left on device"))
    assert atomic.reason(OSError(errno.EIO, "Input/output error")) == "Input/output error"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b'{"id": 1}',
        b'{"id": "a", "row": 0}',
        b'{"id": "\xff", "row": 0, "status": "ok"}',
        encoded(2**70),
        encoded(0, sample=2**40),
        encoded(0, finished_at="today"),
    ],
)
def test_a_damaged_outcome_is_a_storage_error_and_leaves_nothing(damaged: bytes, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_output(tmp_path / "out.parquet", [*ROWS, damaged], replace=False)
    assert list(tmp_path.iterdir()) == []


WRONG_NAMES = [
    "out",
    "out.csv",
    "out.csv.gz",
    ".jsonl",
    "..",
    "nul\0.jsonl",
    "esc\x1b.jsonl",
    "line\n.jsonl",
    "x" * 220 + ".jsonl",
]


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_wrong_name_is_refused_before_anything_is_sent(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        prepare_output(tmp_path / name)
    assert str(raised.value).isprintable()
    with pytest.raises(UsageError):
        write_output(tmp_path / name, ROWS, replace=True)


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        prepare_output(tmp_path / "out.jsonl")


def test_the_folder_of_the_output_is_made(tmp_path: Path) -> None:
    prepare_output(tmp_path / "a" / "b" / "out.jsonl")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "told"), [("file", "no folder"), ("file/below", "no folder"), ("/proc", "can't be written")]
)
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_sent(
    folder: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / folder / "out.jsonl"
    with pytest.raises(StorageError, match=told):
        prepare_output(path)
    with pytest.raises(StorageError, match=told):
        write_output(path, ROWS, replace=True)


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    for name in [*FORMATS, "OUT.JSONL"]:
        prepare_output(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_output_goes_into_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare_output(Path("out.jsonl"))
    write_output(Path("out.jsonl"), [b"{}"], replace=False)
    assert (tmp_path / "out.jsonl").read_bytes() == b"{}\n"


def test_a_summary_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.summary.json"
    write_summary(path, b"{}")
    write_summary(path, b'{"a":1}')
    assert path.read_bytes() == b'{"a":1}'
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
