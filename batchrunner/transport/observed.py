"""A transport that tells how each reply came: how long its connection and its first byte took, in which versions.

For one request after another, never for two at once. Everything else is as with any other try.
"""

import ssl
import time

import msgspec

from batchrunner.records import HttpReply
from batchrunner.transport.connection import Connection, WireReply
from batchrunner.transport.http import HttpTransport
from batchrunner.transport.pool import Pool
from batchrunner.transport.transport import TimeLeft


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How a reply came. `connect_s`: until the connection stood, None where an earlier one served; `first_byte_s`: from
    the request to the first byte of its reply; `tls`: None where there is none."""

    connect_s: float | None = None
    first_byte_s: float | None = None
    http_version: str | None = None
    tls: str | None = None


class ObservedConnection(Connection):
    """Exchanges as its parent does, and looks at the clock."""

    written_at = 0.0  # never yet
    first_byte_s: float | None = None
    http_version: str | None = None

    async def exchange(self, content: bytes, *, timeout_seconds: float) -> WireReply:
        """As its parent's."""
        self.written_at, self.first_byte_s, self.http_version = time.monotonic(), None, None
        return await super().exchange(content, timeout_seconds=timeout_seconds)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        if self.first_byte_s is None:
            self.first_byte_s = round(time.monotonic() - self.written_at, 4)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.http_version = self._parser.get_http_version()
        super().on_headers_complete()

    def tls(self) -> str | None:
        """The version of TLS that is spoken."""
        spoken = self._transport.get_extra_info("ssl_object")
        return spoken.version() if isinstance(spoken, ssl.SSLObject) else None


class ObservedPool(Pool):
    """Posts as its parent does; `seen` tells how the last reply came."""

    _connection_class = ObservedConnection
    seen = Seen()

    async def post(self, content: bytes, time_left: TimeLeft) -> WireReply:
        """As its parent's."""
        self.seen, began = Seen(), time.monotonic()
        connection = await self._ready(time_left)
        assert isinstance(connection, ObservedConnection)  # noqa: S101 - this pool has no others
        connect_s = None if connection.written_at else round(time.monotonic() - began, 4)
        tls = connection.tls()
        try:
            return await connection.exchange(self._whole(content), timeout_seconds=self._timeout_seconds)
        finally:
            self.seen = Seen(
                connect_s=connect_s,
                tls=tls,
                first_byte_s=connection.first_byte_s,
                http_version=connection.http_version,
            )
            self._put_back(connection)


class ObservedTransport(HttpTransport):
    """Sends as its parent does."""

    _pool: ObservedPool
    _pool_class = ObservedPool

    @property
    def seen(self) -> Seen:
        """How the last reply came."""
        return self._pool.seen

    def showable(self, reply: HttpReply) -> HttpReply:
        """The reply without secrets in any part of it, as what is shown to people must be, an answer's too."""
        shown = self._refusal(reply.status, reply.headers, reply.body)
        return msgspec.structs.replace(shown, first_token_s=reply.first_token_s)
