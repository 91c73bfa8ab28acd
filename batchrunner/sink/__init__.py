"""Rows out: the outcomes of a run become a file, in a format told by its suffix, whole or not at all.

Refuses names without a known suffix, folders, and folders that can't be written:
ask prepare_output before anything is sent.
"""

from collections.abc import Iterable
from pathlib import Path

from batchrunner.errors import UsageError
from batchrunner.sink.atomic import prepare_folder, whole_file
from batchrunner.sink.jsonl import write_jsonl

__all__ = ["prepare_output", "write_output", "write_summary"]

SUFFIXES = (".jsonl", ".parquet")
MAX_NAME_BYTES = 200  # file systems take 255; the summary and temporary names beside it are longer than the output's


def prepare_output(path: Path) -> None:
    """Make the output's folder. UsageError for a name that can't be an output, StorageError for a folder that can't
    be made or written."""
    _check_name(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it")
    prepare_folder(path)


def write_output(path: Path, outcomes: Iterable[bytes], *, replace: bool) -> None:
    """Write native rows, each one JSON object, in the order they come; `replace` allows to overwrite.

    UsageError for a wrong name; StorageError where writing fails: then no file is new and an old one is untouched.
    """
    _check_name(path)
    with whole_file(path, replace=replace) as file:
        if path.suffix.lower() == ".parquet":
            from batchrunner.sink.parquet import write_parquet  # noqa: PLC0415 - pyarrow takes 0.25 s and 40 MB

            write_parquet(file, outcomes)
        else:
            write_jsonl(file, outcomes)


def write_summary(path: Path, body: bytes) -> None:
    """Write the summary beside an output, over an earlier one: whole or not at all."""
    with whole_file(path, replace=True) as file:
        file.write(body)


def _check_name(path: Path) -> None:
    if not str(path).isprintable():
        raise UsageError(f"the output's path {str(path)!a} holds characters that can't be printed")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: outputs are {' or '.join(SUFFIXES)} files, told by their suffix")
    if len(path.name.encode()) > MAX_NAME_BYTES:
        raise UsageError(f"the output's name is longer than {MAX_NAME_BYTES} bytes: {path.name[:50]}…")
