"""Posts over aiohttp's connection pool, which costs a tenth of httpx's own at this scale; speaks httpx's exceptions.

Thin on purpose: no redirects, no cookies, no decompression (identity is asked for), bodies capped, and no request or
response objects of httpx, which would be an eighth of what a try costs. What aiohttp raises is mapped here to httpx's
exceptions, by type. Asked for a proxy by the environment, it uses it for every host but loopback.
"""

import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from yarl import URL

from batchrunner.transport.writing import AskingRequest

LARGEST_BODY = 64 * 2**20
_SMALL_BODY = 2**18
CONNECT_SECONDS = 10.0
_KEEPALIVE_SECONDS = 30.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class WireReply(NamedTuple):
    """What came back: status, headers by name in any case, the body whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class AiohttpWire:
    """Posts to one URL with the same headers each time. `timeout_seconds` is for one try as a whole."""

    def __init__(
        self, url: str, *, headers: Mapping[str, str], timeout_seconds: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._url = URL(url)
        self._proxy = proxy_for(self._url)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ssl=tls or True, keepalive_timeout=_KEEPALIVE_SECONDS, ttl_dns_cache=300
            ),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            request_class=AskingRequest,
        )

    async def post(self, content: bytes) -> WireReply:
        """POST the content; the reply's body has been read. Raises httpx.RequestError."""
        try:
            async with self._session.post(
                self._url, data=content, allow_redirects=False, timeout=self._timeout, proxy=self._proxy
            ) as reply:
                return WireReply(reply.status, reply.headers, await _read(reply))
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise _mapped(error) from error

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


def proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for this URL; never for loopback, never past NO_PROXY."""
    host = url.host or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    return getproxies().get(url.scheme)


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    encoding = ", ".join(reply.headers.getall("Content-Encoding", []))
    if encoding.strip().lower() not in ("", "identity"):
        raise httpx.DecodingError(f"the reply is encoded as {encoding}, unasked")
    length = reply.content_length
    if length is not None and length <= _SMALL_BODY:
        return await reply.read()
    parts: list[bytes] = []
    size = 0
    async for part in reply.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > LARGEST_BODY:
            raise httpx.DecodingError(f"the reply is larger than {LARGEST_BODY} bytes")
    return b"".join(parts)


def _mapped(error: Exception) -> httpx.RequestError:
    """The httpx exception that says what this one of aiohttp or the system says."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout(words)
        case aiohttp.ClientConnectorError() | aiohttp.ClientProxyConnectionError():
            return httpx.ConnectError(words)
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return httpx.ReadTimeout("no whole answer within the time for one try")
        case aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError(words)
        case aiohttp.InvalidURL() | UnicodeError():
            return httpx.UnsupportedProtocol(words)
        case _:
            return httpx.ReadError(words)
