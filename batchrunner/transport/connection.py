"""One connection of HTTP/1.1 to the gateway: a request is written at once, its reply gathered as it arrives.

The one file that speaks asyncio's own protocols: a reply is worked on in the callback that brings its bytes, which
costs a fifth of what streams and a general client do. The parsing is httptools' (llhttp). Head and body are bounded;
encoded bodies are refused, as identity was asked for. What goes wrong is a WireError.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import httptools

from batchrunner.records import Kind

LARGEST_BODY = 64 * 2**20
_LARGEST_HEAD = 2**15


class WireReply(NamedTuple):
    """What came back: status, headers by lower-case name (those of one name joined by commas), the body whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class WireError(Exception):
    """A try that broke on the wire: which kind of failure that is, and how, in words."""

    def __init__(self, kind: Kind, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Connection(asyncio.Protocol):
    """Exchanges one request after another. `lost` is told when it has ended; nothing may be written then."""

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        self.is_open = False
        self.idle_since = 0.0
        self._lost = lost
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._waiter: asyncio.Future[WireReply] | None = None
        self._begin()

    async def exchange(self, content: bytes, *, timeout_seconds: float) -> WireReply:
        """Write the content of a whole request and return its reply. Raises WireError.

        Whoever is cancelled, or out of time, leaves the connection closed.
        """
        if not self.is_open:
            raise WireError(Kind.RESET, "the connection broke before anything was written")
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        late = loop.call_later(
            timeout_seconds, self._fail, WireError(Kind.TIMEOUT, "no whole answer within the time for one try")
        )
        try:
            self._transport.write(content)
            reply: WireReply = await waiter
        finally:
            late.cancel()
            if waiter.cancelled():
                self.close()
        return reply

    def close(self) -> None:
        """Close at once; what was not sent is dropped."""
        self.is_open = False
        self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, or has changed over to TLS."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        if self._waiter is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(WireError(Kind.RESET, f"the reply is no HTTP: {error}"))
        except httptools.HttpParserUpgrade:
            self._fail(WireError(Kind.RESET, "the reply changes the protocol, unasked"))
        else:
            if not self._has_head:
                self._bound_head(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended. A reply that does not say its length ends with it."""
        self.is_open = False
        if exc is None and self._ends_with_connection:
            self.on_message_complete()
        else:
            words = f": {type(exc).__name__}: {exc}" if exc else ""
            self._fail(WireError(Kind.RESET, f"the connection broke before the reply was whole{words}"))
        self._lost(self)

    # What the parser calls

    def on_message_begin(self) -> None:
        """A reply begins; what nobody asked for would be taken for the answer to the next request."""
        if self._waiter is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head."""
        self._bound_head(len(name) + len(value))
        key, text = name.lower().decode(errors="surrogateescape"), value.decode(errors="surrogateescape")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._has_head = True
        encoding = self._headers.get("content-encoding")
        if encoding is not None and encoding.strip().lower() not in ("", "identity"):
            self._fail(WireError(Kind.INVALID_REPLY, f"the reply is encoded as {encoding}, unasked"))

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._parts.append(body)
        self._size += len(body)
        if self._size > LARGEST_BODY:
            self._fail(WireError(Kind.INVALID_REPLY, f"the reply is larger than {LARGEST_BODY} bytes"))

    def on_message_complete(self) -> None:
        """The reply is whole; one of status 1xx only announces it."""
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004
            self._begin_reply()
            return
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        waiter.set_result(WireReply(status, self._headers, b"".join(self._parts)))
        if not self._parser.should_keep_alive() or self._transport.get_write_buffer_size():
            self.close()
        self._begin_reply()

    @property
    def _ends_with_connection(self) -> bool:
        """Whether the reply that is being read has a head that names no other end."""
        framed = self._headers.keys() & {"content-length", "transfer-encoding"}
        return self._waiter is not None and self._has_head and not framed

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._begin_reply()

    def _begin_reply(self) -> None:
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = self._head_size = 0
        self._has_head = False

    def _bound_head(self, size: int) -> None:
        """So much more of a head; counted as it comes and line by line, so that a head may seem twice its size."""
        self._head_size += size
        if self._head_size > _LARGEST_HEAD:
            self._fail(WireError(Kind.RESET, f"the head of the reply is larger than {_LARGEST_HEAD} bytes"))

    def _fail(self, error: WireError) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        if self.is_open:
            self.close()
