"""One try over real sockets: whatever the network and a gateway may do comes back as a reply or a failure.

The gateways here are raw TCP servers that send scripted bytes; no exception may leave `send`.
"""

import base64
import copy
import gzip
import json
import os
import pickle
import re
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import anyio
import msgspec
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from batchrunner.chat.reply import understand
from batchrunner.errors import NoKeyError, UsageError
from batchrunner.records import Failure, HttpReply, Kind, Request
from batchrunner.transport import connection
from batchrunner.transport.dialing import first_reached, proxy_for, words_of_proxy
from batchrunner.transport.http import LARGEST_REFUSAL, LONGEST_MESSAGE, HttpTransport, check_base_url
from batchrunner.transport.secret import LONGEST_KEY_FILE, Secret, key_from_environment, key_from_file

KEY = "sky_ab12cd34.0123456789abcdef0123456789"
ANSWER = b'{"choices":[{"message":{"content":"Hello"}}]}'
REQUEST = Request(number=0, id="0", model="m", body=b'{"model":"m"}', prompt_chars=1)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Behave = Callable[[SocketStream], Awaitable[None]]


@dataclass
class Wire:
    """A raw gateway that listens: its port, and what it has seen."""

    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"


def sends(*pieces: bytes, pause: float = 0.0) -> Behave:
    """Send these bytes."""

    async def behave(stream: SocketStream) -> None:
        for piece in pieces:
            await stream.send(piece)
            await anyio.sleep(pause)

    return behave


def closes_after(*pieces: bytes) -> Behave:
    """Send these bytes and close."""

    async def behave(stream: SocketStream) -> None:
        await sends(*pieces)(stream)
        await stream.aclose()

    return behave


def resets_after(*pieces: bytes) -> Behave:
    """Send these bytes, give them time to arrive, and reset the connection."""

    async def behave(stream: SocketStream) -> None:
        await sends(*pieces, pause=0.05)(stream)
        raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no Django here
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await stream.aclose()

    return behave


def with_length(body: bytes, status: str = "200 OK", headers: bytes = b"", length: int | None = None) -> bytes:
    """A reply with its length said, rightly unless told otherwise."""
    length = len(body) if length is None else length
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), length, headers, body)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A reply in chunks."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@asynccontextmanager
async def listening(behave: Behave) -> AsyncIterator[Wire]:
    """A raw gateway that behaves so after every request."""

    async def converse(stream: SocketStream) -> None:
        wire.connections += 1
        async with stream:
            try:
                while True:
                    wire.requests.append(await _one_request(stream))
                    await behave(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    wire = Wire(listener.extra(SocketAttribute.local_port))  # noqa: S610 - likewise
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, converse)
        yield wire
        group.cancel_scope.cancel()


async def _one_request(stream: SocketStream) -> bytes:
    request = b""
    while not request.endswith(b"\r\n\r\n" + REQUEST.body):
        request += await stream.receive()
    return request


async def tried(
    behave: Behave, *, times: int = 1, timeout_seconds: float = 5.0, scheme: str = "Api-Key", key: str = KEY
) -> tuple[list[HttpReply | Failure], Wire]:
    """What so many tries, one after another, bring from a gateway that behaves so, and what it saw."""
    async with listening(behave) as wire:
        transport = HttpTransport(wire.url, key=Secret(key), auth_scheme=scheme, timeout_seconds=timeout_seconds)
        async with transport:
            return [await transport.send(REQUEST) for _ in range(times)], wire


def sent(behave: Behave, *, timeout_seconds: float = 5.0, key: str = KEY) -> HttpReply | Failure:
    """What one try brings."""
    return anyio.run(partial(tried, behave, timeout_seconds=timeout_seconds, key=key))[0][0]


def sent_to(url: str, *, timeout_seconds: float = 5.0) -> HttpReply | Failure:
    """What one try to this base URL brings."""

    async def send() -> HttpReply | Failure:
        async with HttpTransport(url, key=Secret(KEY), timeout_seconds=timeout_seconds) as transport:
            return await transport.send(REQUEST)

    return anyio.run(send)


def reply(behave: Behave, *, key: str = KEY) -> HttpReply:
    """The reply that one try brings."""
    brought = sent(behave, key=key)
    assert isinstance(brought, HttpReply), brought
    return brought


def failure(behave: Behave, *, timeout_seconds: float = 5.0) -> Failure:
    """The failure that one try brings."""
    brought = sent(behave, timeout_seconds=timeout_seconds)
    assert isinstance(brought, Failure), brought
    assert brought.message
    return brought


# What goes over the wire


def test_a_request_is_posted_once_with_the_key_in_its_header() -> None:
    (brought,), wire = anyio.run(tried, sends(with_length(ANSWER)))
    assert isinstance(brought, HttpReply)
    assert (brought.status, brought.body) == (200, ANSWER)
    (request,) = wire.requests
    head, body = request.split(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert body == REQUEST.body
    assert {name.lower(): value for name, value in headers.items()} == {
        "host": f"127.0.0.1:{wire.port}",
        "authorization": f"Api-Key {KEY}",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "batchrunner",
        "content-length": str(len(REQUEST.body)),
    }


def test_the_scheme_of_the_key_can_be_bearer() -> None:
    _, wire = anyio.run(partial(tried, sends(with_length(ANSWER)), scheme="Bearer"))
    assert f"\r\nAuthorization: Bearer {KEY}\r\n".encode() in wire.requests[0]


def test_one_connection_serves_one_try_after_another() -> None:
    brought, wire = anyio.run(partial(tried, sends(with_length(ANSWER)), times=5))
    assert [one.status for one in brought] == [200] * 5
    assert (wire.connections, len(wire.requests)) == (1, 5)


def test_a_connection_that_the_gateway_closes_is_replaced() -> None:
    closing = closes_after(with_length(ANSWER, headers=b"Connection: close\r\n"))
    brought, wire = anyio.run(partial(tried, closing, times=3))
    assert [one.status for one in brought] == [200] * 3
    assert wire.connections == 3


UNASKED = with_length(b'{"choices":[{"message":{"content":"for somebody else"}}]}')


@pytest.mark.parametrize("more", [UNASKED, UNASKED[:20], b"\r\n\r\n?", b"\x00"])
def test_what_comes_after_a_reply_is_never_the_answer_to_the_next_request(more: bytes) -> None:
    brought, wire = anyio.run(partial(tried, sends(with_length(ANSWER) + more), times=3))
    assert [one.body for one in brought if isinstance(one, HttpReply)] == [ANSWER] * 3
    assert wire.connections == 3


def test_cookies_are_not_kept() -> None:
    _, wire = anyio.run(partial(tried, sends(with_length(ANSWER, headers=b"Set-Cookie: a=b; Path=/\r\n")), times=2))
    assert b"cookie" not in wire.requests[1].lower()


@pytest.mark.parametrize("base", ["/v1", "/v1/", "", "/", "/a%20b/v1", "/deep/er/v1"])
def test_the_path_is_that_of_the_base_url_and_chat_completions(base: str) -> None:
    async def send() -> list[bytes]:
        async with listening(sends(with_length(ANSWER))) as wire:
            async with HttpTransport(f"http://127.0.0.1:{wire.port}{base}", key=Secret(KEY)) as transport:
                await transport.send(REQUEST)
            return wire.requests

    (request,) = anyio.run(send)
    assert request.startswith(b"POST " + base.rstrip("/").encode() + b"/chat/completions HTTP/1.1\r\n")


# Replies that are whole


@pytest.mark.parametrize(
    "content",
    [
        (with_length(ANSWER),),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + with_length(ANSWER),),
        (chunked(ANSWER),),
        (chunked(*(ANSWER[i : i + 1] for i in range(len(ANSWER)))),),
        (chunked(ANSWER, end=b"0\r\nX-Trailer: 1\r\n\r\n"),),
        tuple(with_length(ANSWER)[i : i + 7] for i in range(0, len(with_length(ANSWER)), 7)),
        (with_length(ANSWER, headers=b"Content-Encoding: identity\r\n"),),
        (with_length(ANSWER, headers=b"Content-Encoding: Identity\r\n"),),
        (with_length(ANSWER, headers=b"X-Odd: \xff\xfe\r\nContent-Type: text/html; charset=\xff;;\r\n"),),
        (with_length(ANSWER, status="200 ÿ"),),
    ],
    ids=["length", "continue", "chunk", "chunks", "trailer", "pieces", "identity", "Identity", "headers", "reason"],
)
def test_a_whole_reply_is_read_however_it_is_sent(content: tuple[bytes, ...]) -> None:
    brought = reply(sends(*content))
    assert (brought.status, brought.body) == (200, ANSWER)


def test_a_reply_without_a_length_ends_with_its_connection() -> None:
    assert reply(closes_after(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER)).body == ANSWER


def test_a_large_reply_is_read_whole() -> None:
    body = b"x" * (2**18 + 1)
    assert reply(sends(with_length(body))).body == body


def test_headers_are_found_by_their_lower_case_names() -> None:
    said = b"X-Request-Id: abc\r\nRETRY-AFTER: 7\r\n"
    for status in ("200 OK", "429 Too Many Requests"):
        headers = reply(sends(with_length(b"{}", status, said))).headers
        assert (headers["x-request-id"], headers.get("retry-after"), headers.get("date")) == ("abc", "7", None)


@pytest.mark.parametrize("status", ["204 No Content", "400 Bad", "429 Slow", "500 No", "529 Full", "999 Odd"])
def test_every_status_comes_back_as_it_is(status: str) -> None:
    body = b"" if status.startswith("204") else b'{"error":"words"}'
    brought = reply(sends(with_length(body, status)))
    assert (brought.status, brought.body) == (int(status[:3]), body)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_its_target_is_named(status: int) -> None:
    target = "https://other.example/v1/chat/completions"
    location = f"Location: {target}\r\n".encode()
    (brought,), wire = anyio.run(tried, sends(with_length(b"", f"{status} Moved", location)))
    assert len(wire.requests) == 1
    assert isinstance(brought, HttpReply)
    found = understand(brought)
    assert isinstance(found, Failure)
    assert found.kind is Kind.REDIRECTED
    assert target in found.message


def test_a_redirect_to_the_gateway_itself_is_not_followed_either() -> None:
    (brought,), wire = anyio.run(tried, sends(with_length(b"", "307 Moved", b"Location: /v1/chat/completions\r\n")))
    assert (brought.status, len(wire.requests)) == (307, 1)


# What goes wrong


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        brought = sent_to(f"http://127.0.0.1:{bound.getsockname()[1]}/v1")
    assert isinstance(brought, Failure)
    assert brought.kind is Kind.UNREACHABLE
    assert "127.0.0.1" in brought.message


@pytest.mark.parametrize("host", ["nonexistent.invalid", "a..b", "x" * 64 + ".invalid"])
def test_a_host_that_does_not_exist_is_unreachable(host: str) -> None:
    brought = sent_to(f"https://{host}/v1")
    assert isinstance(brought, Failure)
    assert brought.kind is Kind.UNREACHABLE


def address_of(server: socket.socket) -> tuple[object, ...]:
    """As getaddrinfo gives it."""
    return socket.AF_INET, socket.SOCK_STREAM, 0, "", server.getsockname()


def reached_first(*addresses: tuple[object, ...]) -> tuple[int, float]:
    """The port of the address that is reached of these, and after how many seconds."""

    async def reach() -> int:
        with await first_reached(addresses) as reached:
            return reached.getpeername()[1]

    began = time.monotonic()
    return anyio.run(reach), time.monotonic() - began


def test_of_several_addresses_the_first_that_answers_is_reached() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as good,
        socket.create_server(("127.0.0.1", 0), backlog=0) as busy,
        socket.socket() as closed,
        socket.create_connection(busy.getsockname()),  # its queue is full now: who comes next is not answered
    ):
        closed.bind(("127.0.0.1", 0))
        port = good.getsockname()[1]
        assert reached_first(address_of(closed), address_of(good))[0] == port
        place, seconds = reached_first(address_of(busy), address_of(good), address_of(closed))
        assert place == port
        assert 0.2 < seconds < 5
        with pytest.raises(ConnectionRefusedError):
            reached_first(address_of(closed), address_of(closed))
    with pytest.raises(OSError, match="no address"):
        reached_first()


def test_a_gateway_that_speaks_no_tls_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=lambda: _answer_plainly(server))
        thread.start()
        brought = sent_to(f"https://127.0.0.1:{server.getsockname()[1]}/v1")
        thread.join()
    assert isinstance(brought, Failure)
    assert brought.kind is Kind.UNREACHABLE


def _answer_plainly(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(with_length(ANSWER))


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (closes_after(), Kind.RESET),
        (resets_after(), Kind.RESET),
        (closes_after(b"HTTP/1.1 200 OK\r\nContent-"), Kind.RESET),
        (resets_after(with_length(ANSWER, length=1000)), Kind.RESET),
        (closes_after(with_length(ANSWER, length=1000)), Kind.RESET),
        (closes_after(with_length(ANSWER, length=10**9)), Kind.RESET),
        (closes_after(with_length(b"oops", "500 No", length=1000)), Kind.RESET),
        (closes_after(chunked(ANSWER, end=b"")), Kind.RESET),
        (resets_after(chunked(ANSWER, end=b"")), Kind.RESET),
        (closes_after(chunked(ANSWER, end=b"100\r\ncut")), Kind.RESET),
        (sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"), Kind.RESET),
        (sends(b"SSH-2.0-OpenSSH_9.6\r\n"), Kind.RESET),
        (sends(bytes(range(256)) * 8), Kind.RESET),
        (sends(b"HTTP/1.1 twohundred OK\r\n\r\n"), Kind.RESET),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), Kind.RESET),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n"), Kind.RESET),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), Kind.RESET),
        (sends(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n"), Kind.RESET),
        (sends(b"HTTP/1.1 200 OK\r\n" + b"X-Many: a\r\n" * 20_000 + b"\r\n"), Kind.RESET),
    ],
    ids=[
        "close",
        "reset",
        "close in headers",
        "reset in body",
        "short body",
        "short of a huge body",
        "short error",
        "close between chunks",
        "reset between chunks",
        "close in chunk",
        "no chunk size",
        "another protocol",
        "any bytes",
        "no status",
        "negative length",
        "endless length",
        "two lengths",
        "long header",
        "many headers",
    ],
)
def test_a_connection_that_breaks_or_speaks_no_http_is_a_failure_of_that_try(behave: Behave, kind: Kind) -> None:
    found = failure(behave)
    assert found.kind is kind
    assert found.status is None
    assert len(found.message) <= LONGEST_MESSAGE


def test_a_broken_try_harms_no_later_one() -> None:
    broken = iter([True, False, True, False])

    async def behave(stream: SocketStream) -> None:
        await (resets_after() if next(broken) else sends(with_length(ANSWER)))(stream)

    brought, _ = anyio.run(partial(tried, behave, times=4))
    assert [isinstance(one, Failure) for one in brought] == [True, False, True, False]


async def hangs(_: SocketStream) -> None:
    """Take the request and say nothing."""
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    "behave",
    [
        hangs,
        sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"),
        sends(with_length(ANSWER, length=1000)),
        sends(*(bytes([byte]) for byte in with_length(ANSWER)), pause=0.05),
        sends(*(b"HTTP/1.1 100 Continue\r\n\r\n" for _ in range(100)), pause=0.05),
        sends(chunked(end=b""), *(b"1\r\nx\r\n" for _ in range(100)), pause=0.05),
    ],
    ids=["hang", "headers only", "short body held open", "byte by byte", "endless continue", "drip of chunks"],
)
def test_no_whole_answer_within_the_time_for_one_try_is_a_timeout(behave: Behave) -> None:
    begin = time.monotonic()
    found = failure(behave, timeout_seconds=0.3)
    assert found.kind is Kind.TIMEOUT
    assert 0.25 <= time.monotonic() - begin < 2


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: br\r\n",
        b"Content-Encoding: identity, gzip\r\n",
        b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n",
        b"Content-Encoding: \xff\xfe\r\n",
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "500 No"])
def test_a_reply_that_is_encoded_unasked_is_not_unpacked(headers: bytes, status: str) -> None:
    found = failure(sends(with_length(gzip.compress(ANSWER), status, headers)))
    assert found.kind is Kind.INVALID_REPLY
    assert "unasked" in found.message
    msgspec.json.encode(found)


@pytest.mark.parametrize("content", [with_length(b"x" * 200_000), chunked(*[b"x" * 10_000] * 20)])
def test_a_reply_over_the_cap_is_not_held(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(connection, "LARGEST_BODY", 100_000)
    found = failure(closes_after(content))
    assert found.kind is Kind.INVALID_REPLY
    assert "larger than 100000 bytes" in found.message


def test_the_cap_is_64_mib() -> None:
    assert connection.LARGEST_BODY == 64 * 2**20


HTTP_LIKE = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 ",
            b"HTTP/1.0 200 OK",
            b"200 OK",
            b"101 Up",
            b"304 Not",
            b"\r\n",
            b"\r\n\r\n",
            b": ",
            b"\xff",
            b"\x00",
        ]
    )
    | st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"chunked", b"5", b"0", b"Upgrade", b"Connection"])
    | st.binary(max_size=20),
    max_size=14,
).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(HTTP_LIKE | HTTP_LIKE.map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest))
@example(b"HTTP/1.1 101 Up\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nx")
@example(b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n")
def test_no_bytes_of_a_gateway_raise(content: bytes) -> None:
    brought = sent(closes_after(content), timeout_seconds=2.0)
    if isinstance(brought, Failure):
        assert brought.kind in (Kind.RESET, Kind.INVALID_REPLY, Kind.TIMEOUT)
        msgspec.json.encode(brought)
    else:
        msgspec.json.encode(understand(brought))


def test_a_try_that_is_cancelled_closes_its_connection() -> None:
    async def cancel() -> bool:
        closed = anyio.Event()

        async def behave(stream: SocketStream) -> None:
            try:
                await stream.receive()
            finally:
                closed.set()

        async with listening(behave) as wire, HttpTransport(wire.url, key=Secret(KEY)) as transport:
            with anyio.move_on_after(0.2) as scope:
                await transport.send(REQUEST)
            with anyio.fail_after(2):
                await closed.wait()
            return scope.cancelled_caught

    assert anyio.run(cancel)


# The key


AWKWARD_KEYS = [KEY, "sk-proj/ab+cd==/ef%gh/0123456789", 'quo"te\\back/slash<0123456789', "sixteen-chars-ok"]


@pytest.mark.parametrize("key", AWKWARD_KEYS)
@pytest.mark.parametrize(
    "form",
    [
        str.encode,
        lambda key: base64.b64encode(key.encode()),
        lambda key: base64.b64encode(key.encode()).rstrip(b"="),
        lambda key: base64.urlsafe_b64encode(key.encode()),
        lambda key: quote(key, safe="").encode(),
        lambda key: json.dumps(key)[1:-1].encode(),
        lambda key: json.dumps(key)[1:-1].replace("/", "\\/").encode(),
        lambda key: f"{key}{key} {key}".encode(),
    ],
    ids=["whole", "base64", "base64 unpadded", "base64 url", "url", "json", "json of php", "thrice"],
)
def test_the_key_comes_back_redacted_from_an_error(key: str, form: Callable[[str], bytes]) -> None:
    body = b'{"error": {"message": "Incorrect API key provided: ' + form(key) + b'. Find yours"}}'
    brought = reply(sends(with_length(body, "401 Unauthorized")), key=key)
    assert form(key) not in brought.body
    assert key.encode() not in brought.body
    assert b"[REDACTED]" in brought.body
    assert b"Incorrect API key provided: [REDACTED]" in brought.body
    assert brought.body.endswith(b'. Find yours"}}')
    found = understand(brought)
    assert isinstance(found, Failure)
    assert key not in found.message


@pytest.mark.parametrize("length", [8, 12, 20, len(KEY) - 1])
def test_a_longer_part_of_the_key_comes_back_redacted_whole(length: int) -> None:
    for part in (KEY[:length], KEY[-length:]):
        body = f'{{"error": "the key ({part}***) is wrong"}}'.encode()
        assert reply(sends(with_length(body, "403 Forbidden"))).body == b'{"error": "the key ([REDACTED]***) is wrong"}'


def test_what_looks_like_a_key_is_redacted_from_an_error() -> None:
    body = b"Bearer abcdefghijklmnop1234 and sk-9876543210fedcba and a-short-word"
    assert reply(sends(with_length(body, "400 Bad"))).body == b"Bearer [REDACTED] and sk-[REDACTED] and a-short-word"


def test_no_body_made_of_escapes_takes_long_to_search() -> None:
    key, began = Secret(KEY), time.process_time()
    for piece in (b"\\", b"%25", b"&amp;", b"&#0", b"\\u00", KEY[:8].encode(), KEY[:-1].encode(), b"sk-", b"\\u0073"):
        key.redact(piece * (LARGEST_REFUSAL // len(piece)))
        key.redact_exactly(piece * (2**20 // len(piece)))
    assert time.process_time() - began < 2


def test_of_a_refusal_no_more_is_kept_than_anybody_may_want() -> None:
    came = reply(sends(with_length(b"x" * 3 * LARGEST_REFUSAL, "400 Bad Request")))
    assert len(came.body) == LARGEST_REFUSAL


def test_an_answer_is_left_as_it_is_but_for_the_whole_key() -> None:
    others = b"Bearer abcdefghijklmnop1234 " + KEY[:20].encode()
    assert reply(sends(with_length(others + b" " + KEY.encode()))).body == others + b" [REDACTED]"
    assert reply(sends(with_length(b"EMPTY none")), key="EMPTY").body == b"EMPTY none"


def test_a_gateway_that_sends_back_what_it_got_does_not_get_the_key_into_a_message() -> None:
    echo = f"HTTP/1.1 200 OK\r\nNo Header: Api-Key {KEY}\r\n\r\n".encode()
    assert KEY not in failure(closes_after(echo)).message
    status = f"Api-Key {KEY} HTTP/1.1\r\n\r\n".encode()
    assert KEY not in failure(closes_after(status)).message
    location = f"Location: https://other.example/?key={KEY}\r\nX-Request-Id: {KEY}\r\n".encode()
    moved = reply(sends(with_length(b"", "302 Found", location)))
    assert KEY not in str(dict(moved.headers))
    found = understand(moved)
    assert isinstance(found, Failure)
    assert KEY not in found.message
    assert "https://other.example/" in found.message


@dataclass(frozen=True)
class Holder:
    """A record that holds a secret."""

    key: Secret


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{!r:>30}".format,
        lambda secret: "%s" % secret,  # noqa: UP031 - the old way too
        lambda secret: f"{secret!s:*^20}",
        lambda secret: repr(Holder(secret)),
        lambda secret: repr([{"key": secret}]),
        lambda secret: str(ValueError(secret)),
        lambda secret: json.dumps({"key": secret}, default=str),
    ],
)
def test_a_secret_is_never_shown(show: Callable[[Secret], str]) -> None:
    assert KEY not in show(Secret(KEY))
    assert "***" in show(Secret(KEY))


@pytest.mark.parametrize(
    "copied", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, msgspec.to_builtins, vars]
)
def test_a_secret_is_neither_copied_nor_serialised(copied: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError) as caught:
        copied(Secret(KEY))
    assert KEY not in str(caught.value)


def test_a_transport_does_not_show_its_key() -> None:
    async def show() -> str:
        async with HttpTransport("https://gateway.example/v1", key=Secret(KEY)) as transport:
            return repr(transport) + repr(transport._pool)  # noqa: SLF001 - where a traceback would show it

    assert KEY not in anyio.run(show)


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "two words", "kéy", "a\nb", "a\r\nX-Evil: 1", "a\x00b", "\ufeffkey", "a\tb"]
)
def test_a_key_that_cannot_stand_in_a_header_is_refused_unquoted(text: str) -> None:
    with pytest.raises(NoKeyError) as caught:
        Secret(text)
    assert not text.strip() or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_space_around_a_key_is_stripped() -> None:
    assert Secret(f" \t{KEY}\r\n").reveal() == KEY


def test_the_key_is_that_of_the_first_variable_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRST_KEY", raising=False)
    monkeypatch.delenv("SECOND_KEY", raising=False)
    assert key_from_environment(("FIRST_KEY", "SECOND_KEY")) is None
    monkeypatch.setenv("SECOND_KEY", "second\n")
    assert key_from_environment(("FIRST_KEY", "SECOND_KEY")).reveal() == "second"
    monkeypatch.setenv("FIRST_KEY", "")
    assert key_from_environment(("FIRST_KEY", "SECOND_KEY")).reveal() == "second"
    monkeypatch.setenv("FIRST_KEY", "first")
    assert key_from_environment(("FIRST_KEY", "SECOND_KEY")).reveal() == "first"
    monkeypatch.setenv("FIRST_KEY", "not a key")
    with pytest.raises(NoKeyError):
        key_from_environment(("FIRST_KEY", "SECOND_KEY"))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A key file that only its owner can read."""
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o644, 0o444])
def test_a_key_file_that_others_cannot_write_is_read_without_its_newline(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert key_from_file(key_file).reveal() == KEY


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_key_file_that_others_may_write_is_refused_with_the_remedy(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(NoKeyError, match=f"chmod go-w {key_file}"):
        key_from_file(key_file)


def test_a_link_to_a_key_file_is_followed_and_its_target_judged(tmp_path: Path, key_file: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(key_file)
    assert key_from_file(link).reveal() == KEY
    key_file.chmod(0o666)
    with pytest.raises(NoKeyError, match="write"):
        key_from_file(link)


def test_a_key_is_read_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o666)
    writer = Thread(target=lambda: pipe.write_text(KEY + "\n"))
    writer.start()
    assert key_from_file(pipe).reveal() == KEY
    writer.join()


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two\nlines", b"\xff\xfe", b"k" * (LONGEST_KEY_FILE + 1), KEY.encode("utf-16")]
)
def test_a_key_file_without_a_usable_key_is_refused_unquoted(key_file: Path, content: bytes) -> None:
    key_file.write_bytes(content)
    with pytest.raises(NoKeyError) as caught:
        key_from_file(key_file)
    assert "kkkk" not in str(caught.value)
    assert "lines" not in str(caught.value)


def test_a_key_file_as_long_as_is_allowed_is_read(key_file: Path) -> None:
    key_file.write_bytes(b"k" * LONGEST_KEY_FILE)
    assert len(key_from_file(key_file).reveal()) == LONGEST_KEY_FILE


def test_an_endless_key_file_is_refused() -> None:
    with pytest.raises(NoKeyError, match="longer"):
        key_from_file(Path("/dev/zero"))


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(NoKeyError, match="can't be read"):
        key_from_file(tmp_path / name)


# The URL and the way to it


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.example/v1",
        "https://gateway.example",
        "https://gateway.example:8443/v1/",
        "HTTPS://Gateway.Example/v1",
        "https://bücher.example/v1",
        "https://10.0.0.1/v1",
        "https://[2001:db8::1]:8443/v1",
        "http://127.0.0.1:8000/v1",
        "http://localhost:8000/v1",
        "http://LOCALHOST/v1",
        "http://[::1]:8000/v1",
    ],
)
def test_a_url_that_keeps_the_key_secret_is_taken(url: str) -> None:
    check_base_url(url, allow_insecure_http=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://gateway.example/v1",
        "http://10.0.0.1/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://localhost.evil.example/v1",
        "http://0.0.0.0/v1",
        "http://[::2]/v1",
    ],
)
def test_plain_http_beyond_loopback_must_be_allowed(url: str) -> None:
    with pytest.raises(UsageError, match="--allow-insecure-http"):
        check_base_url(url, allow_insecure_http=False)
    check_base_url(url, allow_insecure_http=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway.example",
        "gateway.example/v1",
        "localhost:8000",
        "//gateway.example/v1",
        "https://",
        "https:///v1",
        "https:gateway.example",
        "ftp://gateway.example/v1",
        "file:///etc/passwd",
        "ws://gateway.example",
        "https://gateway.example:99999/v1",
        "https://gateway.example:0/v1",
        "https://gateway.example:abc/v1",
        "https://[::1/v1",
        "https://gate\nway.example/v1",
        "https://gateway.example/\x00",
        "https://..../v1",
        "https://xn--/v1",
        f"https://{'a' * 64}.example/v1",
    ],
)
def test_what_is_no_url_of_a_gateway_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no URL"):
        check_base_url(url, allow_insecure_http=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter22@gateway.example/v1",
        "https://user@gateway.example/v1",
        "https://:hunter22@gateway.example/v1",
        "https://gateway.example/v1?key=hunter22",
        "https://gateway.example/v1?",
        "https://gateway.example/v1#hunter22",
        "gateway.example/v1?key=hunter22",
        "ftp://user:hunter22@gateway.example",
        "http://localhost\\@evil.example/v1",
    ],
)
def test_a_url_with_a_name_a_password_or_a_query_is_refused_unquoted(url: str) -> None:
    with pytest.raises(UsageError, match="must hold no user name") as caught:
        check_base_url(url, allow_insecure_http=True)
    assert "hunter22" not in str(caught.value)


@given(st.text(max_size=30) | st.text(max_size=20).map("https://".__add__))
@settings(max_examples=200)
def test_any_text_is_a_url_that_can_be_sent_to_or_a_usage_error(text: str) -> None:
    async def build() -> None:
        async with HttpTransport(text, key=Secret(KEY)):
            pass

    try:
        check_base_url(text, allow_insecure_http=True)
    except UsageError:
        return
    anyio.run(build)


def test_a_certificate_authority_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")

    async def build(path: Path) -> None:
        HttpTransport("https://gateway.example/v1", key=Secret(KEY), ca_bundle=path)

    for path in (tmp_path / "ca.pem", tmp_path / "nothing.pem", tmp_path):
        with pytest.raises(UsageError, match="--ca-bundle"):
            anyio.run(build, path)


def test_certificates_are_verified_against_the_authority_that_is_given(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def converse(stream: SocketStream) -> None:
        async with stream:
            await _one_request(stream)
            await stream.send(with_length(ANSWER))

    async def send(ca_bundle: Path | None) -> HttpReply | Failure:
        tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
        url = f"https://127.0.0.1:{tcp.extra(SocketAttribute.local_port)}/v1"  # noqa: S610 - no Django here
        async with TLSListener(tcp, context) as listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, converse)
            async with HttpTransport(url, key=Secret(KEY), ca_bundle=ca_bundle) as transport:
                brought = await transport.send(REQUEST)
            group.cancel_scope.cancel()
            return brought

    stranger = anyio.run(send, None)
    assert isinstance(stranger, Failure)
    assert stranger.kind is Kind.UNREACHABLE
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.message
    known = anyio.run(send, certificate)
    assert isinstance(known, HttpReply), known
    assert known.body == ANSWER


@pytest.fixture
def through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment names a proxy, which listens."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        yield


@pytest.mark.usefixtures("through_a_proxy")
def test_plain_http_through_a_proxy_would_show_it_the_key_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"proxy.*NO_PROXY=gateway\.invalid"):
        check_base_url("http://gateway.invalid/v1", allow_insecure_http=True)
    check_base_url("http://127.0.0.1/v1", allow_insecure_http=True)
    monkeypatch.setenv("no_proxy", "gateway.invalid")
    check_base_url("http://gateway.invalid/v1", allow_insecure_http=True)


@pytest.mark.usefixtures("through_a_proxy")
def test_a_proxy_is_named_without_its_name_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of_proxy("https://gateway.invalid/v1")
    assert words is not None
    assert re.search(r"through the proxy http://127.0.0.1:\d+, which .*NO_PROXY=gateway.invalid", words)
    for secret in ("http://me:pass%40word@", "me:pass@word@", "http://token@"):
        monkeypatch.setenv("https_proxy", f"{secret}proxy.invalid:3128")
        shown = words_of_proxy("https://gateway.invalid/v1") or ""
        assert "***@proxy.invalid:3128" in shown
        assert not re.search("me:|pass|word|token", shown)
    assert words_of_proxy("https://127.0.0.1/v1") is None


def _answer_through_a_tunnel(server: socket.socket, answer: bytes, certificate: Path, asked: list[bytes]) -> None:
    """As a proxy that connects to a gateway behind it, which is this one, too."""
    connection, _ = server.accept()
    with connection:
        asked.append(connection.recv(1000))
        connection.sendall(answer)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        if b" 200 " in answer:
            with context.wrap_socket(connection, server_side=True) as gateway:
                asked.append(gateway.recv(1000))
                gateway.sendall(with_length(ANSWER))


def tunnelled(answer: bytes, certificate: Path) -> tuple[HttpReply | Failure, list[bytes]]:
    """What a try over TLS brings through a proxy that answers so, and what proxy and gateway were asked."""
    asked: list[bytes] = []

    async def send() -> HttpReply | Failure:
        url = "https://gateway.invalid/v1"
        async with HttpTransport(url, key=Secret(KEY), ca_bundle=certificate) as transport:
            return await transport.send(REQUEST)

    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.delenv("no_proxy", raising=False)
        patch.setenv("https_proxy", f"http://me:pass%20word@127.0.0.1:{server.getsockname()[1]}")
        thread = Thread(target=lambda: _answer_through_a_tunnel(server, answer, certificate, asked))
        thread.start()
        brought = anyio.run(send)
        thread.join()
    return brought, asked


def test_tls_through_a_proxy_is_spoken_with_the_gateway_itself(certificate: Path) -> None:
    brought, (to_proxy, to_gateway) = tunnelled(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", certificate)
    assert isinstance(brought, HttpReply), brought
    assert brought.body == ANSWER
    assert to_proxy.startswith(b"CONNECT gateway.invalid:443 HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic " + base64.b64encode(b"me:pass word") in to_proxy
    assert KEY.encode() not in to_proxy
    assert to_gateway.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.invalid\r\n")
    assert b"Proxy-Authorization" not in to_gateway


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Who are you\r\n\r\n", b"SSH-2.0\r\n", b"x" * 100_000])
def test_a_proxy_that_refuses_is_unreachable(answer: bytes, certificate: Path) -> None:
    brought, _ = tunnelled(answer, certificate)
    assert isinstance(brought, Failure)
    assert brought.kind is Kind.UNREACHABLE
    assert "proxy" in brought.message


@pytest.mark.usefixtures("through_a_proxy")
def test_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "gateway.invalid")
    brought = sent_to("https://gateway.invalid/v1")
    assert isinstance(brought, Failure)
    assert brought.kind is Kind.UNREACHABLE
    assert "gateway.invalid" in brought.message


@pytest.mark.usefixtures("through_a_proxy")
def test_a_proxy_of_the_environment_is_never_used_for_loopback() -> None:
    (brought,), wire = anyio.run(tried, sends(with_length(b'{"from":"the gateway"}')))
    assert isinstance(brought, HttpReply)
    assert brought.body == b'{"from":"the gateway"}'
    assert wire.requests[0].startswith(b"POST /v1/chat/completions ")
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert proxy_for(URL(f"http://{host}:1/v1")) is None


@pytest.mark.parametrize("proxy", ["proxy.invalid:3128", "socks5://127.0.0.1:1", "nonsense", "http://a..b", "http://["])
def test_a_proxy_that_cannot_be_used_is_a_failure_and_no_exception(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    brought = sent_to("https://gateway.invalid/v1")
    assert isinstance(brought, Failure)
    assert brought.kind is Kind.UNREACHABLE
