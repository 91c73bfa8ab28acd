"""The bytes of a file on their way in and out, packed as its name says: gzip, zstd, or as they are."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from batchrunner.errors import StorageError

_BUFFER_BYTES = 256 * 1024
_LEVEL = 6  # of gzip: what the command takes by itself


@contextmanager
def packed(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    """A file whose bytes go to `file`, packed. The same bytes make the same file: no name or time is in it."""
    if suffix.endswith(".gz"):
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=_LEVEL) as stream,
            io.BufferedWriter(stream, _BUFFER_BYTES) as buffered,
        ):
            yield buffered
    elif suffix.endswith(".zst"):
        import pyarrow as pa  # noqa: PLC0415 - takes 0.25 s and 40 MB

        with (
            pa.CompressedOutputStream(pa.PythonFile(_StaysOpen(file), mode="w"), "zstd") as zstd,
            io.BufferedWriter(_Through(zstd), _BUFFER_BYTES) as buffered,
        ):
            yield buffered
    else:
        yield file


@contextmanager
def unpacked(path: Path, suffix: str) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file that was written so. StorageError where it can't be read, or is damaged."""
    try:
        with path.open("rb") as file:
            if suffix.endswith(".gz"):
                yield io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER_BYTES)
            elif suffix.endswith(".zst"):
                import pyarrow as pa  # noqa: PLC0415 - as above

                stream: Any = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
                yield io.BufferedReader(stream, _BUFFER_BYTES)
            else:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)[:100]
        raise StorageError(f"{path} can't be read back: {reason}") from error


class _Through(io.RawIOBase):
    """A file that writes to another, which takes all it is given."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any) -> int:
        """Write through."""
        self._file.write(content)
        return len(content)


class _StaysOpen(_Through):
    """A file that is still open when whoever writes to it has closed it."""

    def flush(self) -> None:
        """Nothing is held back here."""
