"""The formats of an output file, told by its name: native rows out, and back in."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from batchrunner.sink.columns import NATIVE, Columns
from batchrunner.sink.jsonl import read_jsonl, write_jsonl
from batchrunner.sink.packed import packed

PARQUET = ".parquet"
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", PARQUET)


def suffix_in(name: str) -> str | None:
    """The format of a file, or of a folder of parts, by its name; None where that tells none."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix) and len(name) > len(suffix)), None)


def write_rows(file: BinaryIO, rows: Iterable[bytes], *, suffix: str, columns: Columns = NATIVE) -> None:
    """Write native rows, each one JSON object, in the order they come. `columns`: what a table is to have of them."""
    if suffix == PARQUET:
        from batchrunner.sink.parquet import write_parquet  # noqa: PLC0415 - pyarrow takes 0.25 s and 40 MB

        write_parquet(file, rows, columns)
        return
    with packed(file, suffix) as stream:
        write_jsonl(stream, rows)


def read_rows(path: Path) -> Iterator[bytes]:
    """The native rows of a file that was written here, in order; StorageError where it can't be read."""
    suffix = suffix_in(path.name) or ""
    if suffix == PARQUET:
        from batchrunner.sink.parquet import read_parquet  # noqa: PLC0415 - as above

        return read_parquet(path)
    return read_jsonl(path, suffix)
