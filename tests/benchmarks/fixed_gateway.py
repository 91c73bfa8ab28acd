"""A server that answers every request with the same completion at once: not the bottleneck of a measurement."""

import sys
from socket import AddressFamily

import anyio
from anyio.abc import SocketStream

BODY = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"org/model","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"%s"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":20,"completion_tokens":30,"total_tokens":50}}' % (b"answer " * 14)
)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


async def _serve(stream: SocketStream) -> None:
    async with stream:
        pending = b""
        while True:
            try:
                pending += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return
            while (end := _end_of_request(pending)) is not None:
                pending = pending[end:]
                await stream.send(REPLY)


def _end_of_request(received: bytes) -> int | None:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    lengths = [line for line in received[:head].lower().split(b"\r\n") if line.startswith(b"content-length:")]
    end = head + 4 + int(lengths[0].split(b":")[1])
    return end if end <= len(received) else None


async def _main() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", family=AddressFamily.AF_INET, backlog=4096)
    port = listener.listeners[0].extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, _serve)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(_main)
