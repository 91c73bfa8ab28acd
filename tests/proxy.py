"""A TCP proxy on loopback between a client and a gateway that does to each request what a test tells it.

    with proxying(gateway.base_url, at_word({"cut": cuts_body})) as proxy:
        ... proxy.base_url; proxy.leave(); proxy.come_back()

Every connection has a thread. It knows as much of HTTP as it takes to tell requests apart.
"""

import json
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from threading import Lock, Thread
from time import sleep
from urllib.parse import urlsplit

_ABORT_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: the kernel sends RST
_PASSED_ON = ("content-type", "date", "retry-after", "x-request-id")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, whole. `earlier`: how often the same body came before; `place`: its place on its connection."""

    path: str
    headers: dict[str, str]
    body: bytes
    earlier: int
    place: int

    @property
    def prompt(self) -> str:
        """The text of its last message."""
        return json.loads(self.body)["messages"][-1]["content"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the gateway said. `head` ends before the length, which is the deed's affair."""

    head: bytes
    body: bytes

    @property
    def whole(self) -> bytes:
        """As the gateway sent it."""
        return self.head + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body


class Talk:
    """One request on one connection, in the hands of a deed."""

    def __init__(self, client: socket.socket, gateway: HTTPConnection, asked: Asked) -> None:
        self.asked = asked
        self.ended = False  # what the client may have sent since is not read then
        self._client = client
        self._gateway = gateway

    def pass_on(self) -> Answer:
        """Let the gateway have the whole request: from now on it may be paid. Its answer."""
        self._gateway.request("POST", self.asked.path, self.asked.body, self.asked.headers)
        reply = self._gateway.getresponse()
        headers = "".join(f"{name}: {value}\r\n" for name, value in reply.getheaders() if name.lower() in _PASSED_ON)
        return Answer(head=f"HTTP/1.1 {reply.status} {reply.reason}\r\n{headers}".encode(), body=reply.read())

    def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Bytes to the client, with so many seconds after each piece."""
        for piece in pieces:
            self._client.sendall(piece)
            sleep(pause)

    def close(self) -> None:
        """End the connection in order."""
        self.ended = True
        self._client.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Break the connection."""
        self.ended = True
        _reset(self._client)

    def wait_for_client(self) -> None:
        """Until the client sends more or leaves."""
        self._client.recv(1, socket.MSG_PEEK)


Deed = Callable[[Talk], None]
Choice = Callable[[Asked], Deed]


def passes(talk: Talk) -> None:
    """Nothing is wrong."""
    talk.send(talk.pass_on().whole)


def resets_unread(talk: Talk) -> None:
    """The gateway never sees the request."""
    talk.reset()


def resets_when_taken(talk: Talk) -> None:
    """The gateway took the request and answered: paid, and the client does not know."""
    talk.pass_on()
    talk.reset()


def closes_when_taken(talk: Talk) -> None:
    """The same with an orderly end of the connection."""
    talk.pass_on()
    talk.close()


def cuts_body(talk: Talk) -> None:
    """Half of the body that was promised."""
    whole = talk.pass_on().whole
    talk.send(whole[:-100])
    talk.close()


def cuts_chunks(talk: Talk) -> None:
    """Half of the body as a chunk, and no end."""
    answer = talk.pass_on()
    half = answer.body[: len(answer.body) // 2]
    talk.send(answer.head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(half), half))
    talk.close()


def resets_in_body(talk: Talk) -> None:
    """Half of the body, and a reset."""
    talk.send(talk.pass_on().whole[:-100], pause=0.02)
    talk.reset()


def drips(talk: Talk) -> None:
    """The answer byte by byte, slower than anybody waits."""
    talk.send(*(bytes([byte]) for byte in talk.pass_on().whole), pause=0.1)


def hangs(talk: Talk) -> None:
    """The request is taken; nothing ever comes back."""
    talk.pass_on()
    talk.wait_for_client()


def never_ends_its_headers(talk: Talk) -> None:
    """One header after another."""
    talk.send(b"HTTP/1.1 200 OK\r\n", *(b"X-More: and more\r\n" for _ in range(100_000)), pause=0.001)


def sends_a_long_header(talk: Talk) -> None:
    """An answer with a header longer than anybody reads."""
    answer = talk.pass_on()
    talk.send(answer.head + b"X-Long: %s\r\n\r\n" % (b"a" * 200_000) + answer.body)
    talk.close()


def answers_without_length(talk: Talk) -> None:
    """HTTP/1.0: the body ends with the connection."""
    answer = talk.pass_on()
    talk.send(answer.head.replace(b"HTTP/1.1", b"HTTP/1.0", 1) + b"\r\n" + answer.body)
    talk.close()


def continues_first(talk: Talk) -> None:
    """`100 Continue`, unasked, and then the answer."""
    talk.send(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.02)
    passes(talk)


def drips_in_time(talk: Talk) -> None:
    """The answer in small pieces, each after a moment."""
    whole = talk.pass_on().whole
    talk.send(*(whole[place : place + 40] for place in range(0, len(whole), 40)), pause=0.02)


def closes_after_the_answer(talk: Talk) -> None:
    """A whole answer that promises to keep the connection, which ends at once."""
    passes(talk)
    talk.close()


def resets_the_next(talk: Talk) -> None:
    """A whole answer, and a reset as the next request on this connection comes: the race of keep-alive."""
    passes(talk)
    talk.wait_for_client()
    talk.reset()


def says(content: bytes, *, status: str = "200 OK", content_type: str = "application/json") -> Deed:
    """An answer that is none of the gateway's."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n".encode()
    return lambda talk: talk.send(Answer(head=head, body=content).whole)


def talks_no_http(talk: Talk) -> None:
    """The banner of another protocol."""
    talk.send(b"SSH-2.0-OpenSSH_9.6\r\n\x00\xff\x00")
    talk.close()


def at_word(deeds: Mapping[str, Deed], *, others: Deed = passes) -> Choice:
    """Each deed where its word stands in the prompt as `<word>`: always, or as `<word once>` the first time."""

    def choose(asked: Asked) -> Deed:
        for word, deed in deeds.items():
            if f"<{word}>" in asked.prompt or (f"<{word} once>" in asked.prompt and not asked.earlier):
                return deed
        return others

    return choose


class Proxy:
    """Listens on one port while the gateway is there. `choose` may be another one at any time."""

    def __init__(self, gateway: str, choose: Choice) -> None:
        self.choose = choose
        self.accepts = True  # else whoever connects is reset before anything is read
        self.accepts_after_seconds = 0.0
        self.requests = 0
        self._gateway = urlsplit(gateway).netloc
        self._came: Counter[bytes] = Counter()
        self._clients: set[socket.socket] = set()
        self._threads: list[Thread] = []
        self._lock = Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self._start(self._accept, self._listener)

    def leave(self) -> None:
        """Nobody listens any more, and every connection is broken."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break_connections()

    def come_back(self) -> None:
        """Listen on the same port again."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._start(self._accept, self._listener)

    def turn_away(self) -> None:
        """Reset every connection there is, and each new one as it is accepted."""
        self.accepts = False
        self._break_connections()

    def refuse_all(self) -> None:
        """Answer 503 and pass nothing on."""
        self.choose = lambda _: says(b"no healthy upstream", status="503 Service Unavailable")

    def let_in(self) -> None:
        """Take every connection and pass everything on."""
        self.accepts, self.choose = True, lambda _: passes

    def end(self) -> None:
        """Leave, and wait for every thread."""
        self.leave()
        for thread in self._threads:
            thread.join(timeout=10)

    def _break_connections(self) -> None:
        with self._lock:
            for client in self._clients:
                _reset(client)

    def _start(self, target: Callable[[socket.socket], None], connection: socket.socket) -> None:
        thread = Thread(target=target, args=(connection,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sleep(self.accepts_after_seconds)
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not self.accepts:
                    _reset(client)
                    client.close()
                    continue
                with self._lock:
                    self._clients.add(client)
                self._start(self._converse, client)

    def _converse(self, client: socket.socket) -> None:
        gateway, requests = HTTPConnection(self._gateway), _Requests(client)
        try:
            with suppress(OSError, HTTPException):
                for place, (path, headers, body) in enumerate(requests):
                    asked = Asked(path=path, headers=headers, body=body, earlier=self._count(body), place=place)
                    talk = Talk(client, gateway, asked)
                    self.choose(asked)(talk)
                    if talk.ended:
                        break
        finally:
            gateway.close()
            with self._lock:
                self._clients.discard(client)
            client.close()

    def _count(self, body: bytes) -> int:
        with self._lock:
            self.requests += 1
            self._came[body] += 1
            return self._came[body] - 1


class _Requests:
    """The requests on a connection: path, headers, body."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._read = b""

    def __iter__(self) -> Iterator[tuple[str, dict[str, str], bytes]]:
        while self._more_until(lambda: b"\r\n\r\n" in self._read):
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            first, *fields = head.decode().split("\r\n")
            headers = dict(field.split(": ", 1) for field in fields)
            length = int(headers["Content-Length"])
            if not self._more_until(lambda length=length: len(self._read) >= length):
                return
            body, self._read = self._read[:length], self._read[length:]
            yield first.split()[1], headers, body

    def _more_until(self, enough: Callable[[], bool]) -> bool:
        while not enough():
            part = self._client.recv(65536)
            if not part:
                return False
            self._read += part
        return True


@contextmanager
def proxying(gateway: str, choose: Choice = lambda _: passes) -> Iterator[Proxy]:
    """A proxy before this base URL, gone after the block."""
    proxy = Proxy(gateway, choose)
    try:
        yield proxy
    finally:
        proxy.end()


def _reset(client: socket.socket) -> None:
    """RST to the client. A thread that waits for its bytes keeps the connection until it wakes, so it is woken."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
        client.shutdown(socket.SHUT_RD)
        client.close()
