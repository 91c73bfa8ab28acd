"""Where in Redis a shared book is: what --shared says, without ever telling the password. Pure."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from batchrunner.errors import UsageError

VARIABLE = "BATCHRUNNER_SHARED"
_PORT = 6379
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SIGNED_ON = re.compile(r"(rediss?://)([^:@\s/]*)(?::\S*)?@")
_EXAMPLE = "rediss://user@redis.example:6379/0"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPlace:
    """A database of a Redis server. `files`: paths of certificates and key, by redis-py's names."""

    host: str
    port: int = _PORT
    database: int = 0
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    files: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"

    def connection(self) -> dict[str, Any]:
        """As redis-py takes it."""
        plain = {"host": self.host, "port": self.port, "db": self.database}
        signed_on = {"username": self.user, "password": self.password}
        tls = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True, **self.files} if self.tls else {}
        return {**plain, **signed_on, **tls}


def redis_place(url: str, environment: Mapping[str, str], *, allow_insecure: bool = False) -> RedisPlace:
    """The place that a URL names; a password that it lacks is that of the URL in the environment, where this names the
    same place. UsageError for what is no such URL, or would carry the book in the open."""
    place, known = _parsed(url), environment.get(VARIABLE)
    if place.password is None and known:
        with_password = _parsed(known)
        if (with_password.host, with_password.port) == (place.host, place.port):
            place = _with_password(place, with_password)
    if not allow_insecure and not _is_loopback(place.host):
        _refuse_in_the_open(place)
    return place


def without_password(text: str) -> str:
    """A text with what may be URLs of Redis in it, without their passwords."""
    return _SIGNED_ON.sub(lambda found: f"{found[1]}{found[2]}{'@' if found[2] else ''}", text)


def _parsed(url: str) -> RedisPlace:
    shown = without_password(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        database = int(parts.path.strip("/") or 0)
        query = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    except ValueError:
        raise UsageError(f"--shared takes a URL such as {_EXAMPLE}, not {shown}.") from None
    if parts.scheme not in ("redis", "rediss") or not host or database < 0:
        raise UsageError(f"--shared takes a URL such as {_EXAMPLE}, not {shown}.")
    unknown = query.keys() - set(_FILES)
    if unknown or (query and parts.scheme == "redis"):
        raise UsageError(f"The URL of --shared takes {', '.join(_FILES)} behind a ?, with rediss://; not {shown}.")
    return RedisPlace(
        host=unquote(host),
        port=_PORT if port is None else port,
        database=database,
        tls=parts.scheme == "rediss",
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        files=query,
    )


def _with_password(place: RedisPlace, other: RedisPlace) -> RedisPlace:
    return replace(place, user=place.user or other.user, password=other.password, files=place.files or other.files)


def _refuse_in_the_open(place: RedisPlace) -> None:
    if not place.tls:
        raise UsageError(f"{place} is not on this machine: use rediss:// (TLS), or say --allow-insecure-http.")
    if place.password is None and "ssl_certfile" not in place.files:
        raise UsageError(
            f"{place} is not on this machine and has no password: put it into {VARIABLE}, or say --allow-insecure-http."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
