"""One streamed try over real sockets: read as it comes, timed, bounded, without the key. Raw gateways send bytes."""

import time
from functools import partial

import anyio
import pytest
from anyio.abc import SocketStream
from test_chat_stream import BEGIN, DONE, PLAIN, chunk, error, text
from test_transport import KEY, REQUEST, Behave, Wire, chunked, closes_after, listening, resets_after, with_length

from batchrunner.chat.reply import understand
from batchrunner.chat.stream import Fold
from batchrunner.records import Broken, Failure, HttpReply, Kind, Reply
from batchrunner.transport import streamed
from batchrunner.transport.secret import Secret
from batchrunner.transport.streaming import StreamingTransport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Request-Id: r1\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
TOKEN = "proxy-token-0123456789"
Came = HttpReply | Broken | Failure | None


def in_chunk(content: bytes) -> bytes:
    """As chunked transfer coding has it."""
    return b"%x\r\n%s\r\n" % (len(content), content)


def streams(*parts: bytes, pause: float = 0.0, end: bytes = END, then: float = 0.0) -> Behave:
    """A stream of these parts, each after a pause; `then` wait before the next request is read."""

    async def behave(stream: SocketStream) -> None:
        await stream.send(HEAD)
        for part in parts:
            await anyio.sleep(pause)
            await stream.send(in_chunk(part))
        await stream.send(end)
        await anyio.sleep(then)

    return behave


async def _tried(behave: Behave, *, times: int, silence: float) -> tuple[list[Came], Wire]:
    async with listening(behave) as wire:
        transport = StreamingTransport(
            wire.url, new_fold=Fold, key=Secret(KEY), timeout_seconds=silence, more_headers={"X-Proxy": Secret(TOKEN)}
        )
        async with transport:
            return [await transport.send(REQUEST) for _ in range(times)], wire


def tried(behave: Behave, *, times: int = 1, silence: float = 5.0) -> tuple[list[Came], Wire]:
    return anyio.run(partial(_tried, behave, times=times, silence=silence))


def came(behave: Behave, *, silence: float = 5.0) -> Came:
    return tried(behave, silence=silence)[0][0]


def answer(behave: Behave, *, silence: float = 5.0) -> tuple[HttpReply, Reply]:
    """The reply that was streamed, and what it says."""
    brought = came(behave, silence=silence)
    assert isinstance(brought, HttpReply), brought
    understood = understand(brought)
    assert isinstance(understood, Reply), understood
    return brought, understood


def kind(brought: Came) -> Kind | None:
    return brought.kind if isinstance(brought, Failure) else None


def test_a_stream_becomes_the_reply_that_it_would_be_unstreamed() -> None:
    http_reply, reply = answer(streams(*PLAIN))
    assert (reply.text, reply.finish_reason, reply.usage.total_tokens) == ("Hello", "stop", 7)
    assert http_reply.headers["x-request-id"] == "r1"


def test_the_first_token_is_timed_apart_from_the_whole() -> None:
    http_reply, _ = answer(streams(BEGIN, text("Hel"), text("lo", "stop"), DONE, pause=0.1))
    assert http_reply.first_token_s is not None
    assert 0.2 <= http_reply.first_token_s < 2


def test_one_connection_serves_one_stream_after_another() -> None:
    brought, wire = tried(streams(*PLAIN), times=4)
    assert [isinstance(one, HttpReply) for one in brought] == [True] * 4
    assert (wire.connections, len(wire.requests)) == (1, 4)


def test_a_stream_that_is_kept_open_after_its_last_word_is_not_waited_for() -> None:
    assert answer(streams(*PLAIN, end=b"", then=30), silence=20)[1].text == "Hello"


def test_a_silence_is_a_timeout_however_long_the_stream_has_been() -> None:
    long = answer(streams(*[text("x")] * 6, chunk({}, "stop"), DONE, pause=0.2), silence=0.7)
    assert long[1].text == "x" * 6
    brought = came(streams(text("Hel"), end=b"", then=9), silence=0.3)
    assert isinstance(brought, Broken)
    assert kind(brought.how) is Kind.TIMEOUT


def test_comments_that_keep_a_stream_alive_are_no_answer() -> None:
    assert kind(came(streams(*[b": keep-alive\n\n"] * 40, pause=0.1), silence=0.5)) is Kind.TIMEOUT


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\n", HEAD, b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\noops"]
)
def test_a_gateway_that_falls_silent_is_a_timeout(head: bytes) -> None:
    async def behave(stream: SocketStream) -> None:
        if head:
            await stream.send(head)
        await anyio.sleep(9)

    assert kind(came(behave, silence=0.3)) is Kind.TIMEOUT


def test_headers_and_errors_that_drip_are_a_timeout() -> None:
    async def drips(stream: SocketStream, begin: bytes) -> None:
        await stream.send(begin)
        for _ in range(200):
            await anyio.sleep(0.1)
            await stream.send(b"x")

    for begin in (b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 500 No\r\nContent-Length: 999\r\n\r\n"):
        assert kind(came(partial(drips, begin=begin), silence=0.5)) is Kind.TIMEOUT


def test_a_connection_that_breaks_within_a_stream_is_a_reset_with_what_had_come() -> None:
    for behave in (
        closes_after(HEAD + in_chunk(text("Hel", usage={"total_tokens": 3}))),
        resets_after(HEAD + in_chunk(text("Hel", usage={"total_tokens": 3}))),
    ):
        brought = came(behave)
        assert isinstance(brought, Broken)
        assert kind(brought.how) is Kind.RESET
        so_far = understand(HttpReply(status=200, headers={}, body=brought.so_far))
        assert isinstance(so_far, Reply)
        assert (so_far.text, so_far.usage.total_tokens) == ("Hel", 3)


def test_a_stream_that_ends_in_the_middle_is_truncated() -> None:
    brought = came(streams(text("Hel")))
    assert isinstance(brought, Broken)
    assert kind(brought.how) is Kind.TRUNCATED


def test_a_stream_may_end_with_its_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    assert answer(closes_after(head + text("Hello", "stop")))[1].text == "Hello"


def test_what_is_not_streamed_though_it_was_asked_for_is_a_reply_like_any_other() -> None:
    body = b'{"choices":[{"message":{"content":"Hello"}}]}'
    for behave in (closes_after(with_length(body)), closes_after(chunked(body[:9], body[9:]))):
        http_reply, reply = answer(behave)
        assert (reply.text, http_reply.first_token_s) == ("Hello", None)


def test_an_error_status_is_a_reply_like_any_other() -> None:
    brought = came(closes_after(b'HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 13\r\n\r\n{"error":"x"}'))
    assert isinstance(brought, HttpReply)
    assert (brought.status, brought.headers["retry-after"], brought.body) == (429, "7", b'{"error":"x"}')


def test_a_stream_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "LARGEST_STREAM", 100_000)

    async def endless(stream: SocketStream) -> None:
        await stream.send(HEAD)
        while True:
            await stream.send(in_chunk(text("x" * 1000)))

    brought = came(endless)
    assert isinstance(brought, Broken)
    assert kind(brought.how) is Kind.INVALID_REPLY


def test_a_stream_that_drips_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "LONGEST_STREAM_SECONDS", 0.5)
    began = time.monotonic()
    brought = came(streams(*[text("x")] * 100, pause=0.05))
    assert time.monotonic() - began < 3
    assert isinstance(brought, Broken)
    assert kind(brought.how) is Kind.TIMEOUT
    assert "did not end" in brought.how.message


def test_a_stream_that_is_encoded_unasked_is_no_answer() -> None:
    head = HEAD.replace(b"X-Request-Id: r1", b"Content-Encoding: gzip")
    assert kind(came(closes_after(head + in_chunk(b"\x1f\x8b")))) is Kind.INVALID_REPLY


@pytest.mark.parametrize("secret", [KEY, TOKEN], ids=["the key", "a header"])
def test_no_secret_is_in_anything_that_comes_of_a_stream_however_it_is_cut(secret: str) -> None:
    halves = text(secret[:9]), text(secret[9:])
    brought = [
        came(streams(*halves, chunk({}, "stop"), DONE)),
        came(streams(*halves)),
        came(streams(*halves, error({"error": {"message": f"bad {secret}", "code": 500}}))),
        came(streams(*halves, error({"error": {"message": f"bad {secret}"}}))),
        came(streams(error({"error": {"message": f"bad {secret}", "code": 403}}))),
        came(streams(error({"error": f"bad {secret}"}))),
    ]
    for one in brought:
        assert secret not in repr(one)
        assert "REDACTED" in repr(one)
