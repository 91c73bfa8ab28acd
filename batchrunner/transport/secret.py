"""The key: read once, shown never, joined to the request's headers in this room alone."""

import base64
import os
import re
import stat
from pathlib import Path
from urllib.parse import quote

from batchrunner.errors import NoKeyError

LONGEST_KEY_FILE = 8192
_SHORTEST_PART = 8
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
        key = self._value.encode()
        forms = [key, base64.b64encode(key), quote(self._value, safe="").encode()]
        if len(key) > 2 * _SHORTEST_PART:
            forms += [key[:_SHORTEST_PART], key[-_SHORTEST_PART:]]
        for form in forms:
            body = body.replace(form, b"[REDACTED]")
        return _KEY_LIKE.sub(rb"\1\2[REDACTED]", body)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


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
