"""The key: read once, shown never, joined to the request's headers in this room alone."""

import base64
import json
import os
import re
import stat
from pathlib import Path
from urllib.parse import quote

from batchrunner.errors import NoKeyError

LONGEST_KEY_FILE = 8192
_SHORTEST_PART = 8
_SHORTEST_SURE = 16
_REDACTED = b"[REDACTED]"
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_KEY_LIKE = re.compile(rb"(sk|key|pat|Bearer|Api-Key)([-_ ])[A-Za-z0-9_.-]{16,}")


class Secret:
    """Holds a key. Every way to print, copy or pickle it shows `***` or fails."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Stripped; NoKeyError where it can't stand in a header. The message never quotes it."""
        value = value.strip()
        if not _PRINTABLE.fullmatch(value):
            raise NoKeyError("The API key is empty or has characters that can't stand in an HTTP header.")
        self._value = value

    def reveal(self) -> str:
        """The key itself: for the header and for hashing, nothing else."""
        return self._value

    def redact(self, body: bytes) -> bytes:
        """An error body without the key, its encodings or longer parts of it, or anything that looks like one."""
        for form in self._forms():
            body = body.replace(form, _REDACTED)
        key = self._value.encode()
        if len(key) > 2 * _SHORTEST_PART:
            body = _without_beginnings(body, key, _REDACTED)
            body = _without_beginnings(body[::-1], key[::-1], _REDACTED[::-1])[::-1]
        return _KEY_LIKE.sub(rb"\1\2[REDACTED]", body)

    def redact_exactly(self, body: bytes) -> bytes:
        """An answer without the key as it is; a short one may be a word of the answer and stays."""
        key = self._value.encode()
        return body.replace(key, _REDACTED) if len(key) >= _SHORTEST_SURE else body

    def _forms(self) -> list[bytes]:
        """The key as it is, in base64 with and without padding, in a URL and in JSON; the longest form first."""
        key, in_json = self._value.encode(), json.dumps(self._value)[1:-1]
        forms = {key, quote(self._value, safe="").encode(), in_json.encode(), in_json.replace("/", "\\/").encode()}
        for encoded in (base64.b64encode(key), base64.urlsafe_b64encode(key)):
            forms |= {encoded, encoded.rstrip(b"=")}
        return sorted(forms, key=len, reverse=True)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


def _without_beginnings(body: bytes, key: bytes, instead: bytes) -> bytes:
    """`body` with `instead` for every piece that begins as the key does, for as long as it does."""
    kept: list[bytes] = []
    place = 0
    while (found := body.find(key[:_SHORTEST_PART], place)) >= 0:
        kept += [body[place:found], instead]
        place = found + _alike(body[found : found + len(key)], key)
    return b"".join([*kept, body[place:]])


def _alike(one: bytes, other: bytes) -> int:
    """How many bytes the two have in common at their start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def key_from_environment(names: tuple[str, ...]) -> Secret | None:
    """The key in the first of these environment variables that is set and not empty."""
    for name in names:
        if os.environ.get(name):
            return Secret(os.environ[name])
    return None


def key_from_file(path: Path) -> Secret:
    """The key in a file or pipe; refused where others may write it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LONGEST_KEY_FILE + 1)
    except OSError as error:
        raise NoKeyError(f"The key file {path} can't be read: {error.strerror}.") from error
    if len(content) > LONGEST_KEY_FILE:
        raise NoKeyError(f"The key file {path} is longer than {LONGEST_KEY_FILE} bytes: is it the right file?")
    if stat.S_ISREG(mode) and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NoKeyError(f"Others may write the key file {path}; take that away with: chmod go-w {path}")
    return Secret(content.decode("utf-8", errors="replace"))
