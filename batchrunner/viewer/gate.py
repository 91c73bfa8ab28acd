"""Who is let in: a browser on this machine that was given the token, and comes by the viewer's own address. Pure.

Another page in the same browser can send requests here, also by a name that it lets point here (DNS rebinding): it
knows no token, its requests carry no cookie (SameSite=Strict), and they name another Host, or say where they come from.
Nothing but GET and HEAD is answered, and nothing changes anything.
"""

import hmac
from collections.abc import Mapping

import msgspec

METHODS = frozenset({"GET", "HEAD"})
TOKEN = "token"
_OWN_SITE = frozenset({"same-origin", "none"})


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of itself. `headers` by name in lower case."""

    method: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    query: Mapping[str, str]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP status and why."""

    status: int
    words: str


class Gate:
    """The gate of a viewer at this port. `token` opens it for good, `once` for one browser: that is for a moment among
    the arguments of a process, which others can read."""

    def __init__(self, port: int, token: str, once: str) -> None:
        self.cookie = f"batchrunner_{port}"  # cookies are shared by all ports of a host
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self._token = token
        self._once: str | None = once

    def refusal(self, visit: Visit) -> Refusal | None:
        """Why this visit is refused; None where it is let in."""
        if visit.headers.get("host", "").lower() not in self._hosts:
            return Refusal(status=421, words="This address is not the viewer's own.")
        if visit.method not in METHODS:
            return Refusal(status=405, words="Nothing can be changed here.")
        if TOKEN in visit.query:
            return None
        if self._is_foreign(visit):
            return Refusal(status=403, words="Another page asked for this.")
        if not _same(visit.cookies.get(self.cookie, ""), self._token):
            return Refusal(status=403, words="Open the address that the viewer printed, with its token.")
        return None

    def _is_foreign(self, visit: Visit) -> bool:
        origin = visit.headers.get("origin")
        if origin is not None and origin.removeprefix("http://").lower() not in self._hosts:
            return True
        return visit.headers.get("sec-fetch-site", "none").lower() not in _OWN_SITE

    def admits(self, token: str) -> bool:
        """Whether a browser that comes with this token gets the cookie, whose value is the lasting one."""
        if self._once is not None and _same(token, self._once):
            self._once = None
            return True
        return _same(token, self._token)

    @property
    def lasting(self) -> str:
        """The token that opens it for good: the value of the cookie."""
        return self._token


def _same(said: str, known: str) -> bool:
    return hmac.compare_digest(said.encode("utf-8", "surrogateescape"), known.encode())
