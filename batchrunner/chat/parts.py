"""Messages whose content is a list of parts: their length, and parts that name a local file.

A URL without a scheme, or with `file:`, is the name of a file (`image_url` and every other key that ends in `_url`);
so is `file:NAME` as `file_data` of a `file` part and as `data` of an `input_audio` part. The file's content takes the
name's place: base64, in a data URL where the part holds one. Which files may be read is the reader's affair.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from batchrunner.records import FileContent

CHARS_OF_A_PART = 800  # an image or a sound, as characters of text; what they really cost is learned
MOST_BYTES = 64 * 1024 * 1024  # of the files in one request

ReadFile = Callable[[str], FileContent]  # ValueError, in words for people, where it can't be read

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_HELD = {"file": "file_data", "input_audio": "data"}


def weigh(messages: list[Any]) -> tuple[int, bool]:
    """The characters of all messages, what is no text counting as CHARS_OF_A_PART; whether any has parts."""
    chars, has_parts = 0, False
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            chars += len(content)
        elif isinstance(content, list):
            has_parts = True
            chars += sum(map(_length_of_part, content))
        elif content is not None:
            chars += len(str(content))
    return chars, has_parts


def with_files(body: Mapping[str, Any], read_file: ReadFile | None) -> dict[str, Any]:
    """The body with the content of every file that its messages name.

    ValueError, in words for people, where one can't be read, or none may be.
    """
    filling = _Filling(read_file)
    return {**body, "messages": [filling.message(message) for message in body["messages"]]}


class _Filling:
    """Puts files into messages; counts their bytes."""

    def __init__(self, read_file: ReadFile | None) -> None:
        self._read_file = read_file
        self._bytes = 0

    def message(self, message: Any) -> Any:
        if not (isinstance(message, dict) and isinstance(message.get("content"), list)):
            return message
        parts = [self._part(part) if isinstance(part, dict) else part for part in message["content"]]
        return {**message, "content": parts}

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        return {key: self._value(key, value) for key, value in part.items()}

    def _value(self, key: str, value: Any) -> Any:
        if key.endswith("_url"):
            if isinstance(value, dict) and _names_file(value.get("url")):
                return {**value, "url": self._read(value["url"]).data_url}
            return self._read(value).data_url if _names_file(value) else value
        inner = _HELD.get(key)
        held = value.get(inner) if inner is not None and isinstance(value, dict) else None
        if isinstance(held, str) and held.startswith("file:"):
            content = self._read(held)
            return {**value, inner: content.base64 if key == "input_audio" else content.data_url}
        return value

    def _read(self, url: str) -> FileContent:
        if self._read_file is None:
            raise ValueError(f"{url[:100]!r} is a local file: say with --files in which folder such files may be")
        content = self._read_file(unquote(url[5:].removeprefix("//")) if url.startswith("file:") else url)
        self._bytes += len(content.base64)
        if self._bytes > MOST_BYTES:
            raise ValueError(f"the files of one request have more than {MOST_BYTES:,} bytes")
        return content


def _names_file(url: object) -> bool:
    return isinstance(url, str) and url != "" and (url.startswith("file:") or _SCHEME.match(url) is None)


def _length_of_part(part: object) -> int:
    text = part.get("text") if isinstance(part, dict) else part
    return len(text) if isinstance(text, str) else CHARS_OF_A_PART
