"""The formats of an output file, told by its suffix: native rows out, and back in."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from batchrunner.sink.jsonl import read_jsonl, write_jsonl


def write_rows(file: BinaryIO, rows: Iterable[bytes], *, suffix: str) -> None:
    """Write native rows, each one JSON object, in the order they come."""
    if suffix == ".parquet":
        from batchrunner.sink.parquet import write_parquet  # noqa: PLC0415 - pyarrow takes 0.25 s and 40 MB

        write_parquet(file, rows)
    else:
        write_jsonl(file, rows)


def read_rows(path: Path) -> Iterator[bytes]:
    """The native rows of a file that was written here, in order; StorageError where it can't be read."""
    if path.suffix.lower() == ".parquet":
        from batchrunner.sink.parquet import read_parquet  # noqa: PLC0415 - as above

        return read_parquet(path)
    return read_jsonl(path)
