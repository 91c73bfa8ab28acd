"""Opens connections to one gateway, or to the proxy that the environment names for it.

A name is looked up once in a while, and its addresses are used in turn. A proxy is used for https alone and every host
but loopback, never past NO_PROXY, through a tunnel (CONNECT): TLS is spoken with the gateway itself, and no proxy sees
the key.
"""

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.request import getproxies, proxy_bypass

import anyio
from yarl import URL

from batchrunner.records import Kind
from batchrunner.transport.connection import Connection, WireError

CONNECT_SECONDS = 10.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_HANDSHAKE_SECONDS = 60.0  # thousands of them at once take their time
_LOOK_UP_EVERY_SECONDS = 300.0
_EYEBALLS_SECONDS = 0.25
_LARGEST_ANSWER = 2**14


class Dialer:
    """Dials one URL."""

    def __init__(self, url: URL, tls: ssl.SSLContext | None) -> None:
        self._url = url
        self._tls = (tls or ssl.create_default_context()) if url.scheme == "https" else None
        named = None if self._tls is None else proxy_for(url)
        self._proxy = None if named is None else _parsed(named)
        self._unusable = named is not None and self._proxy is None
        self._addresses: list[Any] = []
        self._look_up_at = 0.0
        self._looking_up = anyio.Lock()

    async def dial(self, make: Callable[[], Connection]) -> Connection:
        """A connection that stands. Raises WireError."""
        if self._unusable:
            raise WireError(
                Kind.UNREACHABLE, "the proxy that the environment names is none that can be used: http://host:port"
            )
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                reached = await self._reached()
            try:
                reached.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                return await self._speaking(reached, make)
            except BaseException:
                reached.close()
                raise
        except TimeoutError as error:
            self._look_up_at = 0.0
            words = f"no connection to {self._place()} within {CONNECT_SECONDS:g} s"
            raise WireError(Kind.UNREACHABLE, words) from error
        except (OSError, UnicodeError) as error:
            self._look_up_at = 0.0
            words = f"no connection to {self._place()}: {_words(error)}"
            raise WireError(Kind.UNREACHABLE, words) from error

    async def _reached(self) -> socket.socket:
        """A socket that is connected to the gateway or its proxy; through the latter, to the gateway."""
        addresses = await self._looked_up()
        reached = await first_reached(addresses)
        if self._proxy is not None:
            try:
                await self._tunnel(reached, self._proxy)
            except BaseException:
                reached.close()
                raise
        return reached

    async def _speaking(self, reached: socket.socket, make: Callable[[], Connection]) -> Connection:
        secure = self._tls is not None
        _, connection = await asyncio.get_running_loop().create_connection(
            make,
            sock=reached,
            ssl=self._tls,
            server_hostname=self._url.raw_host if secure else None,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if secure else None,
        )
        return connection

    async def _looked_up(self) -> list[Any]:
        """The addresses of gateway or proxy, another one first each time."""
        loop = asyncio.get_running_loop()
        async with self._looking_up:
            if loop.time() >= self._look_up_at:
                host, port = self._where()
                self._addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                self._look_up_at = loop.time() + _LOOK_UP_EVERY_SECONDS
        self._addresses = self._addresses[1:] + self._addresses[:1]
        return self._addresses

    async def _tunnel(self, reached: socket.socket, proxy: URL) -> None:
        """Have the proxy connect us to the gateway. ConnectionError where it won't."""
        loop = asyncio.get_running_loop()
        place = f"{self._url.host_subcomponent}:{self._url.port}"
        lines = {"Host": place, **_credentials(proxy)}
        said = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await loop.sock_sendall(reached, f"CONNECT {place} HTTP/1.1\r\n{said}\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            part = await loop.sock_recv(reached, 1)  # not a byte of what follows
            if not part or len(answer) > _LARGEST_ANSWER:
                raise ConnectionError("the proxy does not answer as one")
            answer += part
        first = answer.partition(b"\r\n")[0].split(b" ", 2)
        if first[1:2] != [b"200"]:
            raise ConnectionError(f"the proxy refuses: {b' '.join(first[1:]).decode(errors='replace')}")

    def _where(self) -> tuple[str, int]:
        """Host and port to connect to."""
        url = self._proxy or self._url
        return url.raw_host or "", url.port or 0

    def _place(self) -> str:
        """The same in words."""
        host, port = self._where()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def first_reached(addresses: Sequence[Any]) -> socket.socket:
    """A socket that is connected to the first of these addresses (getaddrinfo's) that answers; OSError where none does.

    The next one is tried when one has failed, or has not answered for a moment, beside it ("happy eyeballs", RFC 8305).
    """
    if len(addresses) == 1:
        return await _reached(addresses[0])
    reached: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(address: Any, failed: anyio.Event) -> None:
        try:
            reached.append(await _reached(address))
            group.cancel_scope.cancel()
        except OSError as error:
            errors.append(error)
            failed.set()

    async with anyio.create_task_group() as group:
        for address in addresses:
            failed = anyio.Event()
            group.start_soon(attempt, address, failed)
            with anyio.move_on_after(_EYEBALLS_SECONDS):
                await failed.wait()
    if not reached:
        raise errors[0] if errors else OSError("the name has no address")
    for second in reached[1:]:
        second.close()
    return reached[0]


async def _reached(address: Any) -> socket.socket:
    family, kind, protocol, _, place = address
    one = socket.socket(family, kind, protocol)
    try:
        one.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        await asyncio.get_running_loop().sock_connect(one, place)
    except BaseException:
        one.close()
        raise
    return one


def proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for this URL; never for loopback, never past NO_PROXY."""
    host = url.host or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    return getproxies().get(url.scheme)


def _words(error: OSError | UnicodeError) -> str:
    """As the system says it, not as the attempt does: that names the address once more."""
    if isinstance(error, ConnectionError) and error.errno is not None:
        return os.strerror(error.errno)
    return f"{type(error).__name__}: {error}"


def words_of_proxy(base_url: str) -> str | None:
    """Through which proxy this URL is reached, without the name and the password for it; None where there is none."""
    url = URL(base_url)
    proxy = proxy_for(url)
    if proxy is None:
        return None
    before, is_masked, place = proxy.rpartition("@")
    scheme, has_scheme, _ = before.partition("://")
    shown = f"{scheme + '://' if has_scheme else ''}***@{place}" if is_masked else proxy
    return f"requests go through the proxy {shown}, which the environment names; NO_PROXY={url.host} goes past it"


def _parsed(proxy: str) -> URL | None:
    """The proxy's URL, where it is one that can be used."""
    try:
        url = URL(proxy if "://" in proxy else f"http://{proxy}")
    except ValueError:
        return None
    return url if url.scheme == "http" and url.host else None


def _credentials(proxy: URL) -> dict[str, str]:
    """The header for a proxy whose URL names a user."""
    if not proxy.user:
        return {}
    named = f"{proxy.user}:{proxy.password or ''}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(named.encode()).decode()}
