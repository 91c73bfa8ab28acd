"""The simulated gateway on a real socket: the thin edge, on aiohttp.web, around the desk's decisions.

    async with serve(Setup(...)) as gateway:
        gateway.base_url, gateway.ledger, gateway.summary()

Clients that go away are a matter of course: aiohttp cancels their handlers and the ledger notes it.
"""

import itertools
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from email.utils import formatdate
from functools import lru_cache

import anyio
import msgspec
from aiohttp import web

from batchrunner.simulator import script
from batchrunner.simulator.desk import Desk, Service, Setup, Visit
from batchrunner.simulator.dialect import Answer
from batchrunner.simulator.ledger import Ledger, Summary
from batchrunner.simulator.meter import Instant
from batchrunner.simulator.script import Fault
from batchrunner.simulator.window import SECOND_NS

MAX_BODY_BYTES = 100 * 1024 * 1024
BACKLOG = 4096
SHUTDOWN_SECONDS = 0.25
ENTRIES_PER_WRITE = 1000

_ABORT_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: the kernel sends RST


class Gateway:
    """A running simulated gateway, as seen by whoever started it."""

    def __init__(self, setup: Setup, wall: Callable[[], float]) -> None:
        self._setup = setup
        self._wall = wall
        self._desk = Desk(setup, self._now())
        self._visits = itertools.count()
        self.base_url = ""

    @property
    def ledger(self) -> Ledger:
        return self._desk.ledger

    def summary(self) -> Summary:
        """What GET /simulator/ledger answers."""
        return self._desk.summary()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat/completions", self._chat),
            web.get("/v1/models", self._models),
            web.get("/simulator/ledger", self._summary),
            web.get("/simulator/ledger/entries", self._entries),
        ]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        number = next(self._visits)
        fate = script.fate(self._setup.script, number)
        if fate.fault is Fault.RESET_BEFORE:
            self._desk.reset_before(self._now())
            return _reset(request)
        body = await self._body(request)
        now = self._now()
        authorization = request.headers.get("Authorization", "")
        visit = Visit(number=number, fate=fate, now=now, authorization=authorization, body=body)
        match self._desk.receive(visit):
            case Service() as service:
                return await self._serve(request, service)
            case Answer() as answer:
                return self._response(answer)
            case _:
                return _reset(request)

    async def _body(self, request: web.Request) -> bytes:
        """The whole body. Whoever leaves while sending it leaves a trace in the ledger."""
        try:
            return await request.read()
        except web.HTTPException as error:
            self._desk.turned_away(self._now(), error.status)
            raise
        except BaseException:
            self._desk.left_early(self._now())
            raise

    async def _serve(self, request: web.Request, service: Service) -> web.StreamResponse:
        written = False
        try:
            response = await (self._stream if service.streams else self._whole)(request, service)
            written = True
        except ConnectionError:  # the client left while the answer was being written
            response = _reset(request)
        finally:
            self._desk.close(service, written=written)
        return response

    async def _whole(self, request: web.Request, service: Service) -> web.StreamResponse:
        with self._making(service):
            await _think(service)
        return await self._write(request, service)

    async def _stream(self, request: web.Request, service: Service) -> web.StreamResponse:
        """Think, then write the answer piece by piece, as far as its fault lets it."""
        with self._making(service):
            await _think(service)
            headers, frames = self._desk.stream(service, self._now())
            response = web.StreamResponse(headers=self._headers("text/event-stream; charset=utf-8", headers))
            await response.prepare(request)
            for frame in frames:
                await response.write(frame)
                if self._setup.script.piece_seconds:
                    await anyio.sleep(self._setup.script.piece_seconds)
            if service.fate.fault is Fault.STALLED:
                await anyio.sleep_forever()
        if service.fate.fault is Fault.TRUNCATED and request.transport is not None:
            request.transport.close()
        else:
            await response.write_eof()
        return response

    @contextmanager
    def _making(self, service: Service) -> Iterator[None]:
        """While the answer is made it is in flight. Tokens count at its end, even if the client has left."""
        with self._desk.serving(service):
            try:
                yield
            finally:
                self._desk.settle(service, self._now())

    async def _write(self, request: web.Request, service: Service) -> web.StreamResponse:
        """Write the answer, whole unless a fault is in the way."""
        if service.fate.fault is Fault.RESET_AFTER:
            return _reset(request)
        response = self._response(self._desk.answer(service, self._now()))
        if service.fate.fault is Fault.TRUNCATED:
            return await _write_half(request, response)
        await response.prepare(request)
        await response.write_eof()
        return response

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return self._response(self._desk.models(request.headers.get("Authorization", "")))

    async def _summary(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 (a handler's form)
        return self._response(Answer(body=msgspec.json.encode(self.summary())))

    async def _entries(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        entries = self.ledger.entries()
        while lines := list(itertools.islice(entries, ENTRIES_PER_WRITE)):
            await response.write(b"".join(msgspec.json.encode(entry) + b"\n" for entry in lines))
        await response.write_eof()
        return response

    def _response(self, answer: Answer) -> web.Response:
        headers = self._headers(answer.content_type, answer.headers)
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    def _headers(self, content_type: str, others: Mapping[str, str]) -> dict[str, str]:
        return {"Content-Type": content_type, "Date": _http_date(int(self._wall())), **others}

    def _now(self) -> Instant:
        return Instant(mono_ns=time.monotonic_ns(), wall_ns=int(self._wall() * SECOND_NS))


@asynccontextmanager
async def serve(
    setup: Setup | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Gateway]:
    """Serve until the block ends. Port 0 is any free one; `wall` is the clock of days and of the Date header.

    Raises OSError when the address can't be had.
    """
    gateway = Gateway(setup or Setup(), wall)
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.add_routes(gateway.routes())
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        gateway.base_url = f"http://{host}:{runner.addresses[0][1]}/v1"
        yield gateway
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def _think(service: Service) -> None:
    """The time before the first byte of the answer."""
    if service.fate.fault is Fault.HANG:
        await anyio.sleep_forever()
    if service.fate.latency_seconds:
        await anyio.sleep(service.fate.latency_seconds)


def _reset(request: web.Request) -> web.Response:
    """Break the connection with RST. The response goes nowhere: aiohttp only wants one."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
        transport.abort()
    return web.Response()


async def _write_half(request: web.Request, whole: web.Response) -> web.StreamResponse:
    """Promise the whole body, send half of it, close."""
    body = whole.body
    assert isinstance(body, bytes)  # noqa: S101 (for mypy: we made it ourselves)
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


@lru_cache(maxsize=2)
def _http_date(unix_seconds: int) -> str:
    return formatdate(unix_seconds, usegmt=True)
