"""The key: read once, shown never, joined to the request's headers in this room alone."""

import base64
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from batchrunner.errors import NoKeyError

LONGEST_KEY_FILE = 8192
_SHORTEST_PART = 8
_SHORTEST_SURE = 16
_REDACTED = b"[REDACTED]"
_IN_HTML = {'"': "quot", "&": "amp", "<": "lt", ">": "gt", "'": "apos"}
_URL_SAFE = str.maketrans("+/", "-_")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_KEY_LIKE = re.compile(rb"(sk|key|pat|Bearer|Api-Key)([-_ ])[A-Za-z0-9_.-]{16,}")


class Secret:
    """Holds a key. Every way to print, copy or pickle it shows `***` or fails."""

    __slots__ = ("_forms", "_in_json", "_is_written_plainly", "_value")

    def __init__(self, value: str) -> None:
        """Stripped; NoKeyError where it can't stand in a header. The message never quotes it."""
        value = value.strip()
        if not _PRINTABLE.fullmatch(value):
            del value  # what shows the values of a traceback's frames would show it
            raise NoKeyError("The API key is empty or has characters that can't stand in an HTTP header.")
        self._value = value
        self._is_written_plainly = set(value).isdisjoint('"/\\')  # in JSON, unless it is escaped without need
        self._in_json: re.Pattern[bytes] | None = None
        self._forms: list[re.Pattern[bytes]] = []

    def reveal(self) -> str:
        """The key itself: for the header and for hashing, nothing else."""
        return self._value

    def redact(self, body: bytes) -> bytes:
        """An error body without the key, its encodings or longer parts of it, or anything that looks like one."""
        self._forms = self._forms or _forms_of(self._value)
        for form in self._forms:
            body = form.sub(_REDACTED, body)
        key = self._value.encode()
        if len(key) > 2 * _SHORTEST_PART:
            body = _without_beginnings(body, key, _REDACTED)
            body = _without_beginnings(body[::-1], key[::-1], _REDACTED[::-1])[::-1]
        return _KEY_LIKE.sub(rb"\1\2[REDACTED]", body)

    def redact_exactly(self, body: bytes) -> bytes:
        """An answer, or a header of one, without the key as it is, or as JSON writes it; a short one may be a word of
        the answer and stays."""
        if len(self._value) < _SHORTEST_SURE:
            return body
        body = body.replace(self._value.encode(), _REDACTED)
        if self._is_written_plainly and b"\\u00" not in body:
            return body
        self._in_json = self._in_json or _pattern(self._value, _in_json)
        return self._in_json.sub(_REDACTED, body)

    def is_in(self, headers: Mapping[str, str]) -> bool:
        """Whether the key stands in any of these."""
        return len(self._value) >= _SHORTEST_SURE and self._value in "\n".join(headers.values())

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


def _forms_of(key: str) -> list[re.Pattern[bytes]]:
    """The key, and it in base64 with and without padding, alone or within other text; each of them as it is, in a URL,
    in JSON and in HTML. The longest first."""
    forms = set()
    for before, uncertain in enumerate((0, 2, 3)):
        padded = base64.b64encode(b"?" * before + key.encode()).decode()
        encoded = padded.rstrip("=")
        forms |= set() if before else {padded, encoded}
        certain = encoded[uncertain : len(encoded) - (padded != encoded)]
        forms |= {certain} if len(certain) >= _SHORTEST_PART else set()
    forms |= {form.translate(_URL_SAFE) for form in forms} | {key}
    return [_pattern(form, _written) for form in sorted(forms, key=len, reverse=True)]


def _pattern(text: str, writings: Callable[[str], list[str]]) -> re.Pattern[bytes]:
    """For the text, each sign of it written in any of these ways."""
    return re.compile("".join(f"(?:{'|'.join(writings(sign))})" for sign in text).encode())


def _in_json(sign: str) -> list[str]:
    """Patterns for a sign as JSON may write it, also within other JSON: with a few backslashes."""
    escaped = [rf"\\{{1,8}}{re.escape(sign)}"] if sign in '"/\\' else []
    return [rf"\\{{1,8}}u00{_hex(ord(sign))}", *escaped, re.escape(sign)]


def _written(sign: str) -> list[str]:
    """The same, and as URLs and HTML write it, these once more encoded, too."""
    code = ord(sign)
    named = [_IN_HTML[sign]] if sign in _IN_HTML else []
    entity = "|".join([f"#0{{0,4}}{code}", f"#[xX]0{{0,4}}{_hex(code)}", *named])
    return [f"%(?:25){{0,2}}{_hex(code)}", f"&(?:amp;){{0,2}}(?:{entity});?", *_in_json(sign)]


def _hex(code: int) -> str:
    """A pattern for a number of two hexadecimal digits, of any case."""
    return "".join(sign if sign.isdecimal() else f"[{sign}{sign.upper()}]" for sign in f"{code:02x}")


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
    return Secret(_content_of(path).decode("utf-8", errors="replace"))


def may_others_read(path: Path) -> bool:
    """Whether a key file can be read by more users than one."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _content_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise NoKeyError(f"Others may write the key file {path}; take that away with: chmod go-w {path}")
            content = file.read(LONGEST_KEY_FILE + 1)
    except OSError as error:
        raise NoKeyError(f"The key file {path} can't be read: {error.strerror}.") from error
    if len(content) > LONGEST_KEY_FILE:
        del content  # what shows the values of a traceback's frames would show it
        raise NoKeyError(f"The key file {path} is longer than {LONGEST_KEY_FILE} bytes: is it the right file?")
    return content
