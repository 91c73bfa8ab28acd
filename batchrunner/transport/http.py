"""One try over HTTP: the one place that knows the key's header and what the network's exceptions mean.

Nothing is retried here and no redirect is followed.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from yarl import URL

from batchrunner.errors import UsageError
from batchrunner.records import Failure, HttpReply, Request
from batchrunner.transport.connection import WireError
from batchrunner.transport.dialing import LOOPBACK, proxy_for
from batchrunner.transport.pool import NotWrittenError, Pool
from batchrunner.transport.secret import Secret
from batchrunner.transport.transport import Brought, TimeLeft, always

LONGEST_MESSAGE = 500
LARGEST_REFUSAL = 2**16
_PORTS = {None, *range(1, 2**16)}


class HttpTransport:
    """Sends requests to one gateway with one key. Use with `async with`."""

    _pool_class: type[Pool] = Pool

    def __init__(
        self,
        base_url: str,
        *,
        key: Secret,
        auth_scheme: str = "Api-Key",
        timeout_seconds: float = 1200.0,
        ca_bundle: Path | None = None,
        more_headers: Mapping[str, str | Secret] = {},
    ) -> None:
        """`more_headers` go with every try, and never instead of those that the key and the body need."""
        tls = _tls(ca_bundle)  # before there is a frame with the key in it: this may raise
        self._key = key
        self._other_secrets = [value for value in more_headers.values() if isinstance(value, Secret)]
        url = URL(base_url.rstrip("/") + "/chat/completions")
        needed = {
            "Authorization": f"{auth_scheme} {key.reveal()}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        }
        headers = _one_over_the_other({"Accept": "application/json", "User-Agent": "batchrunner"}, more_headers)
        headers = _one_over_the_other(headers, needed)
        self._pool = self._pool_class(url, headers=headers, timeout_seconds=timeout_seconds, tls=tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.close()

    async def send(self, request: Request, *, time_left: TimeLeft = always) -> Brought | None:
        """One try, once. What the network or the gateway does wrong is a Failure, never an exception.

        `time_left` is asked when the connection stands, immediately before the first byte; None where there is none.
        """
        try:
            status, headers, content = await self._pool.post(request.body, time_left)
        except NotWrittenError:
            return None
        except WireError as error:
            return self._failure(error)
        if 200 <= status < 300:  # noqa: PLR2004
            return HttpReply(status=status, headers=self._told(headers), body=self._answer(content))
        return self._refusal(status, headers, content)

    def _failure(self, error: WireError) -> Failure:
        return Failure(kind=error.kind, message=self._redacted(str(error))[:LONGEST_MESSAGE])

    def _refusal(self, status: int, headers: Mapping[str, str], content: bytes) -> HttpReply:
        """A reply that is no answer, or one for people: without secrets; of an error's body what anybody may want."""
        content = content if 200 <= status < 300 else content[:LARGEST_REFUSAL]  # noqa: PLR2004
        told = {name: self._redacted(value) for name, value in headers.items()}
        return HttpReply(status=status, headers=told, body=self._without_secrets(content))

    def _answer(self, content: bytes) -> bytes:
        content = self._key.redact_exactly(content)
        for secret in self._other_secrets:
            content = secret.redact_exactly(content)
        return content

    def _told(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of an answer, without secrets."""
        if any(secret.is_in(headers) for secret in (self._key, *self._other_secrets)):
            return {name: self._redacted(value) for name, value in headers.items()}
        return headers

    def _redacted(self, words: str) -> str:
        """Words of the gateway, or about it, without the key and such as UTF-8 can hold."""
        return self._without_secrets(words.encode(errors="replace")).decode(errors="replace")

    def _without_secrets(self, content: bytes) -> bytes:
        for secret in (self._key, *self._other_secrets):
            content = secret.redact(content)
        return content


def _one_over_the_other(under: Mapping[str, str], over: Mapping[str, str | Secret]) -> dict[str, str]:
    """Headers of both; of one name in any case, the second."""
    named = {name.lower() for name in over}
    kept = {name: value for name, value in under.items() if name.lower() not in named}
    return kept | {name: value.reveal() if isinstance(value, Secret) else value for name, value in over.items()}


def check_base_url(base_url: str, *, allow_insecure_http: bool) -> None:
    """UsageError for a base URL that can't be used or would show the key to the network."""
    if any(sign in base_url for sign in "@?#"):
        raise UsageError("--base-url must hold no user name, password, query or fragment: the key goes into a header.")
    try:
        url = URL(base_url) if base_url.isprintable() else URL()
        (url.host or "").encode("idna")
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.port not in _PORTS:
        raise UsageError(f"--base-url {base_url!r} is no URL such as https://gateway.example/v1.")
    if url.scheme == "http" and url.host not in LOOPBACK and not allow_insecure_http:
        raise UsageError(
            f"--base-url {base_url} would send the key in the clear; use https, or say --allow-insecure-http."
        )
    if url.scheme == "http" and proxy_for(url) is not None:
        raise UsageError(
            f"--base-url {base_url} would show the key to the proxy that the environment names; use https, or go past "
            f"the proxy with NO_PROXY={url.host}."
        )


def _tls(ca_bundle: Path | None) -> ssl.SSLContext | None:
    if ca_bundle is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(ca_bundle))
    except (OSError, ValueError) as error:
        raise UsageError(f"--ca-bundle {ca_bundle} holds no certificates in PEM form: {error}.") from error
