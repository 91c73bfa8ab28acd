"""Rows out: the outcomes of a run become a file, in a format told by its suffix, whole or not at all; or a folder of
such files (see parts).

Refuses names without a known suffix, and folders that can't be written: ask prepare_output before anything is sent.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from batchrunner.errors import StorageError, UsageError
from batchrunner.sink.atomic import BUFFER_BYTES, prepare_folder, reason, whole_file
from batchrunner.sink.columns import NATIVE, Columns
from batchrunner.sink.formats import SUFFIXES, suffix_in, write_rows
from batchrunner.sink.jsonl import write_jsonl
from batchrunner.sink.openai_batch import batch_lines

__all__ = [
    "OutputFormat",
    "check_output",
    "prepare_output",
    "standard_output",
    "write_lines",
    "write_output",
    "write_summary",
]

OutputFormat = Literal["native", "openai-batch"]
_STDOUT = 1
_KNOWN = ", ".join(SUFFIXES[:-1]) + " or " + SUFFIXES[-1]
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
    _suffix(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it")


def write_output(path: Path, outcomes: Iterable[bytes], *, replace: bool, columns: Columns = NATIVE) -> None:
    """Write native rows, each one JSON object, in the order they come; `replace` allows to overwrite, `columns` are
    those that a table has.

    UsageError for a wrong name; StorageError where writing fails: then no file is new and an old one is untouched.
    """
    _check_name(path)
    suffix = _suffix(path)
    with whole_file(path, replace=replace) as file:
        write_rows(file, outcomes, suffix=suffix, columns=columns)


def write_lines(file: BinaryIO, outcomes: Iterable[bytes], *, as_batch: bool) -> None:
    """Write the rows as JSON lines; `as_batch`: as lines of the OpenAI Batch API, those of failed rows among them."""
    if as_batch:
        file.writelines(line.text for line in batch_lines(outcomes))
    else:
        write_jsonl(file, outcomes)


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output, to write to. StorageError where nobody takes it."""
    try:
        with os.fdopen(os.dup(_STDOUT), "wb", buffering=BUFFER_BYTES) as file:
            yield file
    except OSError as error:
        raise StorageError(f"standard output can't be written: {reason(error)}; the answers are recorded") from error


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


def _suffix(path: Path) -> str:
    suffix = suffix_in(path.name)
    if suffix is None:
        raise UsageError(f"{path}: outputs are {_KNOWN} files, told by their suffix, or folders, DIR/")
    return suffix
