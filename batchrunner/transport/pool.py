"""Connections to one gateway: opened when all others are in use, kept for the next request, never shared by two.

A request is written once: whether a broken connection's may have been taken is not for this room to guess.
"""

import ssl
import time
from collections import deque
from collections.abc import Mapping

from yarl import URL

from batchrunner.transport.connection import Connection, WireReply
from batchrunner.transport.dialing import Dialer
from batchrunner.transport.transport import TimeLeft

_KEEPALIVE_SECONDS = 30.0


class NotWrittenError(Exception):
    """Nothing was written: there was no time left."""


class Pool:
    """Posts to one URL with the same headers each time. `timeout_seconds` is for a try whose connection stands."""

    _connection_class: type[Connection] = Connection

    def __init__(
        self, url: URL, *, headers: Mapping[str, str], timeout_seconds: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._dialer = Dialer(url, tls)
        lines = {"Host": url.host_port_subcomponent, **headers}
        said = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._head = f"POST {url.raw_path_qs} HTTP/1.1\r\n{said}".encode()
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()

    async def post(self, content: bytes, time_left: TimeLeft) -> WireReply:
        """POST the content. Raises WireError, or NotWrittenError where there is no `time_left` when the
        connection stands."""
        connection = await self._ready(time_left)
        try:
            return await connection.exchange(self._whole(content), timeout_seconds=self._timeout_seconds)
        finally:
            self._put_back(connection)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.close()

    async def _ready(self, time_left: TimeLeft) -> Connection:
        """A connection that stands, with time left to write to it."""
        connection = self._take() or await self._dialed()
        if time_left() <= 0:
            self._put_back(connection)
            raise NotWrittenError
        return connection

    def _whole(self, content: bytes) -> bytes:
        """The request with this content."""
        return b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(content), content)

    def _put_back(self, connection: Connection) -> None:
        if connection.is_open:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)

    def _take(self) -> Connection | None:
        """The connection that was used last, if there is one that stands; those that were idle for long are closed."""
        oldest = time.monotonic() - _KEEPALIVE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _dialed(self) -> Connection:
        connection = await self._dialer.dial(lambda: self._connection_class(self._open.discard))
        self._open.add(connection)
        return connection
