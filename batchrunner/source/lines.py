"""Bytes into lines, pure: whatever the chunks, the lines are the same.

Refuses lines longer than the cap (None stands for such a line) and never holds more than the cap and one chunk. One
byte order mark at the start of line 1 is dropped; a carriage return stays, JSON takes it for blank.
"""

from collections.abc import Iterable, Iterator

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def split_lines(chunks: Iterable[bytes], max_bytes: int) -> Iterator[list[bytes | None]]:
    """The lines of a file read in chunks, without their newlines, in a list for each chunk that ends some.

    None for a line of more than `max_bytes`.
    """
    lists = _split(chunks, max_bytes)
    for lines in lists:
        first = lines[0]
        yield [first.removeprefix(BYTE_ORDER_MARK) if first is not None else None, *lines[1:]]
        break
    yield from lists


def _split(chunks: Iterable[bytes], max_bytes: int) -> Iterator[list[bytes | None]]:
    held = _Held(max_bytes)
    for chunk in chunks:
        start, *whole = chunk.split(b"\n")
        held.add(start)
        if not whole:
            continue
        rest = whole.pop()
        lines: list[bytes | None] = [held.take(), *whole]
        if len(chunk) > max_bytes:
            lines = [line if line is not None and len(line) <= max_bytes else None for line in lines]
        yield lines
        held.add(rest)
    if held:
        yield [held.take()]


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
