"""One try over HTTP: the one place that knows the key's header and what the network's exceptions mean.

Nothing is retried here and no redirect is followed.
"""

import ssl
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from batchrunner.errors import UsageError
from batchrunner.records import Failure, HttpReply, Kind, Request
from batchrunner.transport.on_aiohttp import LOOPBACK, AiohttpTransport
from batchrunner.transport.secret import Secret


class HttpTransport:
    """Sends requests to one gateway with one key. Use with `async with`."""

    def __init__(
        self,
        base_url: str,
        *,
        key: Secret,
        auth_scheme: str = "Api-Key",
        timeout_seconds: float = 1200.0,
        ca_bundle: Path | None = None,
    ) -> None:
        self._key = key
        self._url = httpx.URL(base_url.rstrip("/") + "/chat/completions")
        self._headers = httpx.Headers(
            {
                "Host": self._url.netloc.decode(),
                "Authorization": f"{auth_scheme} {key.reveal()}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "batchrunner",
            }
        )
        tls = ssl.create_default_context(cafile=str(ca_bundle)) if ca_bundle else None
        self._wire = AiohttpTransport(str(self._url), timeout_seconds=timeout_seconds, tls=tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._wire.aclose()

    async def send(self, request: Request) -> HttpReply | Failure:
        """One try, once. What the network or the gateway does wrong is a Failure, never an exception."""
        try:
            reply = await self._wire.handle_async_request(
                httpx.Request("POST", self._url, headers=self._headers, content=request.body)
            )
        except httpx.RequestError as error:
            return _failure(error)
        body = reply.content
        if not reply.is_success:
            body = self._key.redact(body)
        return HttpReply(status=reply.status_code, headers=reply.headers, body=body)


def check_base_url(base_url: str, *, allow_insecure_http: bool) -> None:
    """UsageError for a base URL that can't be used or would show the key to the network."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--base-url {base_url!r} is no URL such as https://gateway.example/v1.")
    if parts.username or parts.password or parts.query:
        raise UsageError("--base-url must hold no user name, password or query: the key goes into a header.")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and not allow_insecure_http:
        raise UsageError(
            f"--base-url {base_url} would send the key in the clear; use https, or say --allow-insecure-http."
        )


def _failure(error: httpx.RequestError) -> Failure:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.UnsupportedProtocol():
            kind = Kind.UNREACHABLE
        case httpx.TimeoutException():
            kind = Kind.TIMEOUT
        case httpx.DecodingError():
            kind = Kind.INVALID_REPLY
        case _:
            kind = Kind.RESET
    return Failure(kind=kind, message=str(error))
