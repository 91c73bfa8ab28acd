"""An output in parts: a folder of part-00000.jsonl, part-00001.jsonl, ... and a manifest that names the whole ones.

Each file appears whole. What the manifest does not name is harmless: a part that is being written, or replaced. The
name of the folder tells the format of the parts: .jsonl.gz, .jsonl.zst or .parquet, which can be read as one table, as
Spark writes them; the manifest's name begins with an underscore so that such readers pass it over.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from batchrunner.errors import StorageError
from batchrunner.sink.atomic import BUFFER_BYTES, reason, whole_file
from batchrunner.sink.columns import NATIVE, Columns
from batchrunner.sink.formats import suffix_in, write_rows

MANIFEST = "_manifest.json"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is whole: the units from `first_row` on, its size and its SHA-256 in hex."""

    name: str
    first_row: int
    units: int
    ok: int
    failed: int
    bytes: int
    sha256: str

    @property
    def end(self) -> int:
        """The number behind its last unit."""
        return self.first_row + self.units


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the manifest. `complete`: the parts hold every unit of the job, and are to stay as they are."""

    version: int = 1
    total_units: int
    part_rows: int
    complete: bool
    parts: list[Part]


def suffix_of(folder: Path) -> str:
    """The format of a part, or of those in a folder, told by its name."""
    return suffix_in(folder.name) or ".jsonl"


def part_name(index: int, suffix: str) -> str:
    """The name of a part."""
    return f"part-{index:05}{suffix}"


@contextmanager
def sealed_part(
    path: Path, rows: Iterable[bytes], *, replace: bool, columns: Columns = NATIVE
) -> Iterator[tuple[int, str]]:
    """Write a part, whole or not at all: it takes its place when the block, which gets its size in bytes and its
    SHA-256, ends well."""
    with whole_file(path, replace=replace) as file:
        hashed = _Hashed(file)
        with io.BufferedWriter(hashed, BUFFER_BYTES) as buffered:
            write_rows(buffered, rows, suffix=suffix_of(path), columns=columns)
        yield hashed.size, hashed.sha256


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Size and time of change (ns) of a file, by which it is told from others; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def is_intact(path: Path, part: Part) -> bool:
    """Whether the file holds the bytes of the part: all of them are read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == part.sha256
    except OSError:
        return False


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all, where it does not stand there already."""
    content = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    path = folder / MANIFEST
    try:
        if path.exists() and path.read_bytes() == content:
            return
    except OSError as error:
        raise StorageError(f"{path} can't be read: {reason(error)}") from error
    with whole_file(path, replace=True) as file:
        file.write(content)


class _Hashed(io.RawIOBase):
    """A file that is written to, with the size and the SHA-256 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.size = 0
        self._file = file
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """In hex."""
        return self._digest.hexdigest()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any) -> int:
        """Write through."""
        self._digest.update(content)
        self.size += len(content)
        return self._file.write(content)
