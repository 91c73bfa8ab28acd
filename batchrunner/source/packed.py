"""The bytes of a line format, unpacked while they are read, in chunks: a small file may unpack to any size.

Refuses (InputError) what is no gzip or zstd, is damaged, or ends before its end, and text that is UTF-16 or UTF-32, of
which no line could be read.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from batchrunner.errors import InputError
from batchrunner.source.failed import reason_of, shown
from batchrunner.source.files import InputFile
from batchrunner.source.formats import Packing, packing_of

CHUNK_BYTES = 1024 * 1024
Read = Callable[[int], bytes]
_PACKED_AS = {".gz": "gzip", ".zst": "zstd"}
_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_ZEROS = {"0001": "UTF-32BE", "1000": "UTF-32LE", "0101": "UTF-16BE", "1010": "UTF-16LE"}  # RFC 4627, section 3


class Unpacked:
    """The bytes of a file, read once from its start to its end; then its fingerprint is known."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._known = file.known_fingerprint()
        self._digest = hashlib.sha256()

    @property
    def fingerprint(self) -> str:
        """See Scan; whole once all chunks have been taken."""
        return self._known or self._digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """The unpacked bytes."""
        with self._file.opened() as raw:
            stream = raw if self._known else _Noted(raw, self._digest.update)
            yield from _texts(stream, self._file.name)


def chunks_of(file: InputFile) -> Iterator[bytes]:
    """The unpacked bytes, without a fingerprint."""
    with file.opened() as raw:
        yield from _texts(raw, file.name)


def fingerprint_of(file: InputFile) -> str:
    """What tells the content of the file from others: as its store says, else the SHA-256 of its bytes in hex."""
    if (known := file.known_fingerprint()) is not None:
        return known
    digest = hashlib.sha256()
    with file.opened() as raw:
        while chunk := raw.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _texts(raw: io.RawIOBase, name: str) -> Iterator[bytes]:
    chunks = _chunks(raw, packing_of(name), name)
    first = next(chunks, b"")
    encoding = encoding_of(first)
    if encoding is not None:
        raise InputError(
            f"{shown(name)} is {encoding}, and has to be UTF-8: write it anew, as by `iconv -f {encoding} -t UTF-8`"
        )
    yield from chain([first] if first else [], chunks)


def encoding_of(first: bytes) -> str | None:
    """The encoding that the first bytes of a text betray, by a mark or by zeros; None where it may be UTF-8."""
    marked = next((encoding for mark, encoding in _MARKS.items() if first.startswith(mark)), None)
    return marked or _ZEROS.get("".join("1" if byte else "0" for byte in first[:4]))


def _chunks(raw: io.RawIOBase, packing: Packing, name: str) -> Iterator[bytes]:
    if packing == "":
        while chunk := raw.read(CHUNK_BYTES):
            yield chunk
        return
    try:
        read = _unpacking(raw, packing)
        while chunk := read(CHUNK_BYTES):
            yield chunk
    except (EOFError, zlib.error, OSError) as error:
        kind = _PACKED_AS[packing]
        raise InputError(
            f"{shown(name)} is no whole {kind} file, but damaged or cut off ({reason_of(error)}): copy it anew"
        ) from error


def _unpacking(raw: io.RawIOBase, packing: Packing) -> Read:
    if packing == ".gz":
        return gzip.GzipFile(fileobj=raw).read
    import pyarrow as pa  # noqa: PLC0415 - takes 0.25 s and 40 MB

    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    return lambda size: bytes(stream.read(size))


class _Noted(io.RawIOBase):
    """A file that is read, of whose every byte note is taken."""

    def __init__(self, file: io.RawIOBase, note: Callable[[Any], object]) -> None:
        super().__init__()
        self._file = file
        self._note = note

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read, and take note."""
        chunk = self._file.read(size) or b""
        self._note(chunk)
        return chunk
