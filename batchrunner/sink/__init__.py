"""Rows out: the outcomes of a run become a file, in a format told by its suffix, whole or not at all; or a folder of
such files (see parts).

Refuses names without a known suffix, and folders that can't be written: ask prepare_output before anything is sent.
"""

from collections.abc import Iterable
from pathlib import Path

from batchrunner.errors import UsageError
from batchrunner.sink.atomic import prepare_folder, whole_file
from batchrunner.sink.formats import write_rows

__all__ = ["check_output", "prepare_output", "write_output", "write_summary"]

SUFFIXES = (".jsonl", ".parquet")
MAX_NAME_BYTES = 200  # file systems take 255; the summary and temporary names beside it are longer than the output's


def prepare_output(path: Path, *, in_parts: bool = False) -> None:
    """Make the folder that the output will stand in. UsageError for a name that can't be an output (`in_parts`: a
    folder's), StorageError for a folder that can't be made or written."""
    check_output(path, in_parts=in_parts)
    prepare_folder(path / "part" if in_parts and path.exists() else path)


def check_output(path: Path, *, in_parts: bool = False) -> None:
    """UsageError for a name that can't be an output (`in_parts`: a folder's). Nothing is made."""
    _check_name(path)
    if in_parts:
        _check_parts(path)
        return
    _check_suffix(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it")


def write_output(path: Path, outcomes: Iterable[bytes], *, replace: bool) -> None:
    """Write native rows, each one JSON object, in the order they come; `replace` allows to overwrite.

    UsageError for a wrong name; StorageError where writing fails: then no file is new and an old one is untouched.
    """
    _check_name(path)
    _check_suffix(path)
    with whole_file(path, replace=replace) as file:
        write_rows(file, outcomes, suffix=path.suffix.lower())


def write_summary(path: Path, body: bytes) -> None:
    """Write the summary beside an output, over an earlier one: whole or not at all."""
    with whole_file(path, replace=True) as file:
        file.write(body)


def _check_parts(path: Path) -> None:
    if path.name in ("", ".."):
        raise UsageError(f"{path}/ has no name to call the run folder after: name the folder of parts")
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file: a name with / at its end is a folder for parts")


def _check_name(path: Path) -> None:
    if not str(path).isprintable():
        raise UsageError(f"the output's path {str(path)!a} holds characters that can't be printed")
    if len(path.name.encode()) > MAX_NAME_BYTES:
        raise UsageError(f"the output's name is longer than {MAX_NAME_BYTES} bytes: {path.name[:50]}…")


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: outputs are {' or '.join(SUFFIXES)} files, told by their suffix, or folders, DIR/")
