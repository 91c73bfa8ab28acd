"""Server-sent events out of bytes, whichever way these were cut (WHATWG HTML, 9.2). Never raises; linear in time.

Lines end in LF, CRLF or CR; a space after the colon is no part of the value; comments and fields other than `event`
and `data` are passed over; an event is what stands before an empty line, and at the end of the stream without one.
"""

from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
LONGEST_EVENT = 16 * 2**20


class Event(NamedTuple):
    """An event: its name, empty mostly, and its data lines."""

    name: bytes
    data: bytes


class EventReader:
    """Takes bytes as they come and gives events as they are complete.

    `is_overlong`: an event was longer than LONGEST_EVENT; nothing more comes of it then.
    """

    def __init__(self) -> None:
        self.is_overlong = False
        self._line: list[bytes] = []  # the pieces of a line whose end has not come
        self._name = b""
        self._data: list[bytes] = []
        self._line_size = self._data_size = 0

    def take(self, part: bytes) -> list[Event]:
        """The events that this part ends."""
        if self.is_overlong or not part:
            return []
        self._line.append(part)
        self._line_size += len(part)
        if b"\n" not in part and b"\r" not in part:
            self._bound()
            return []
        lines = b"".join(self._line).splitlines(keepends=True)
        # A CR at the end may be half of a CRLF: it waits for what comes next.
        self._line = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        self._line_size = sum(map(len, self._line))
        events = self._events(lines)
        self._bound()
        return events

    def end(self) -> list[Event]:
        """The events that the end of the stream ends."""
        lines, self._line = b"".join(self._line).splitlines(keepends=True), []
        return [] if self.is_overlong else self._events([*lines, b"\n"])

    def _bound(self) -> None:
        if self._line_size + self._data_size > LONGEST_EVENT:
            self.is_overlong = True
            self._line, self._data = [], []

    def _events(self, lines: list[bytes]) -> list[Event]:
        events = []
        for ended in lines:
            line = ended.rstrip(b"\r\n")
            if line:
                self._take_field(line)
            elif self._data:
                events.append(Event(self._name, b"\n".join(self._data)))
                self._name, self._data, self._data_size = b"", [], 0
        return events

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._data_size += len(line)
        elif name == b"event":
            self._name = value.removeprefix(b" ")
