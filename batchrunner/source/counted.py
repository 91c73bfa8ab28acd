"""A file of which every read is told: how far a long reading is, and whether it is to go on."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from batchrunner.source.files import InputFile

Told = Callable[[int], object]


class CountedFile:
    """A file of an input that tells how many bytes each read brought; what `told` raises ends the reading."""

    def __init__(self, file: InputFile, told: Told) -> None:
        self._file = file
        self._told = told

    @property
    def name(self) -> str:
        """See InputFile."""
        return self._file.name

    def size(self) -> int:
        """See InputFile."""
        return self._file.size()

    def version(self) -> str:
        """See InputFile."""
        return self._file.version()

    def known_fingerprint(self) -> str | None:
        """See InputFile."""
        return self._file.known_fingerprint()

    @contextmanager
    def opened(self) -> Iterator[io.RawIOBase]:
        """See InputFile."""
        with self._file.opened() as raw:
            yield _Counted(raw, self._told)


class _Counted(io.RawIOBase):
    """The same bytes, each read of them told."""

    def __init__(self, raw: io.RawIOBase, told: Told) -> None:
        super().__init__()
        self._raw = raw
        self._told = told

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """As far as the file is."""
        return self._raw.seekable()

    def read(self, size: int = -1) -> bytes:
        """Read, and tell."""
        chunk = self._raw.read(size) or b""
        self._told(len(chunk))
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go there."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._raw.tell()
