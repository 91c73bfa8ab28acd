"""A server that answers every request with the same completion: not the bottleneck of a measurement.

`python -m tests.benchmarks.fixed_gateway CHARACTERS [LATENCY SPREAD]`: an answer of so many characters, after so many
seconds, give or take a share that is drawn evenly. It ends with its standard input.
"""

import asyncio
import random
import resource
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
LENGTH = b"\r\ncontent-length:"


def completion(characters: int) -> bytes:
    """The body of an answer with so much text."""
    text = (b"answer " * (characters // 7 + 1))[:characters]
    return (
        b'{"id":"x","object":"chat.completion","created":1,"model":"org/model","choices":[{"index":0,"message":'
        b'{"role":"assistant","content":"%s"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":20,"completion_tokens":30,"total_tokens":50}}' % text
    )


class _Answering(asyncio.Protocol):
    """One connection; requests come one at a time."""

    def __init__(self, reply: bytes, latency: float, spread: float) -> None:
        self._reply, self._latency, self._spread = reply, latency, spread
        self._pending = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        if _is_whole(self._pending):
            self._pending = b""
            if not self._latency:
                self._transport.write(self._reply)
                return
            seconds = self._latency * random.uniform(1 - self._spread, 1 + self._spread)
            asyncio.get_running_loop().call_later(seconds, self._transport.write, self._reply)


def _is_whole(received: bytes) -> bool:
    head = received.find(b"\r\n\r\n")
    place = received.lower().find(LENGTH)
    if head < 0 or place < 0:
        return False
    length = int(received[place + len(LENGTH) : received.find(b"\r", place + len(LENGTH))])
    return len(received) >= head + 4 + length


async def _main(characters: int, latency: float, spread: float) -> None:
    body = completion(characters)
    reply = HEAD % (len(body), body)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(reply, latency, spread), "127.0.0.1", 0, backlog=16_384)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    asyncio.run(_main(int(sys.argv[1]), *(map(float, sys.argv[2:4] or ("0", "0")))))
