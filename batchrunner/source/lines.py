"""Bytes into lines, pure: whatever the chunks, the lines are the same.

Refuses lines longer than the cap (None stands for such a line) and never holds more than the cap and one chunk. One
byte order mark at the start of line 1 is dropped; a carriage return stays, JSON takes it for blank.
"""

from collections.abc import Iterable, Iterator

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def split_lines(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | None]:
    """The lines of a file read in chunks, without their newlines; None for one of more than `max_bytes`."""
    lines = _split(chunks, max_bytes)
    for first in lines:
        yield first.removeprefix(BYTE_ORDER_MARK) if first is not None else None
        break
    yield from lines


def _split(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | None]:
    held = _Held(max_bytes)
    for chunk in chunks:
        start, *whole = chunk.split(b"\n")
        held.add(start)
        if not whole:
            continue
        yield held.take()
        rest = whole.pop()
        for line in whole:
            yield line if len(line) <= max_bytes else None
        held.add(rest)
    if held:
        yield held.take()


class _Held:
    """The beginning of a line whose end has not come yet; nothing of it once it is too long."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = bytearray()
        self._too_long = False

    def __bool__(self) -> bool:
        return self._too_long or bool(self._bytes)

    def add(self, part: bytes) -> None:
        if self._too_long or len(self._bytes) + len(part) > self._max_bytes:
            self._too_long = True
            self._bytes.clear()
        else:
            self._bytes += part

    def take(self) -> bytes | None:
        line = None if self._too_long else bytes(self._bytes)
        self._bytes.clear()
        self._too_long = False
        return line
