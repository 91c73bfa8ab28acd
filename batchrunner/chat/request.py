"""A row becomes a request: the body of its shape (shapes.py), with the files it names, sound (sound.py), as JSON."""

import hashlib
from typing import Any

import msgspec

from batchrunner.chat import shapes
from batchrunner.chat.parts import weigh, with_files
from batchrunner.chat.shapes import RequestSettings
from batchrunner.chat.sound import fault_in
from batchrunner.records import Failure, Kind, Request, Row

__all__ = ["RequestSettings", "compose", "digest_of", "model_of"]


def compose(row: Row, settings: RequestSettings) -> Request | Failure:
    """The request that asks for this row, or why there is none."""
    body = _body(row, settings)
    if isinstance(body, Failure):
        return body
    chars, has_parts = weigh(body["messages"])
    stream_options = body.pop("stream_options", None) if settings.stream else None
    try:
        expected = settings.expectations.of(body.get("response_format"))
        encoded = msgspec.json.encode(with_files(body, settings.read_file) if has_parts else body)
    except (UnicodeEncodeError, RecursionError, TypeError) as error:
        return _invalid(f"the request can't be written as JSON: {error}")
    except ValueError as error:
        return _invalid(str(error))
    tools = body.get("tools")
    return Request(
        number=row.number,
        id=row.id,
        model=body["model"],
        body=_streamed(encoded, stream_options) if settings.stream else encoded,
        digest=_digest(settings, row.id, encoded),
        prompt_chars=chars + (len(msgspec.json.encode(tools)) if tools else 0),
        max_tokens=_whole(body.get("max_completion_tokens")) or _whole(body.get("max_tokens")),
        check=None if expected is None else expected.check,
        arms=row.arms,
        variant=settings.variant,
        sample=settings.sample,
        kept=row.kept,
        keeps_raw=settings.keeps_raw,
    )


def digest_of(row: Row, asked: Request | Failure, settings: RequestSettings) -> bytes:
    """Eight bytes that tell what is asked for a row, to whom and under which id; also where nothing can be."""
    if isinstance(asked, Request):
        return asked.digest
    return _digest(settings, row.id, f"{asked.kind}: {asked.message}".encode(errors="replace"))


def model_of(row: Row, settings: RequestSettings) -> str | None:
    """The model that the row's request will name, read at a glance; None where only `compose` can tell."""
    return None if row.failure is not None else shapes.model_of(row.columns, settings)


def _body(row: Row, settings: RequestSettings) -> dict[str, Any] | Failure:
    if row.failure is not None:
        return row.failure
    body = shapes.body_of(row.columns, settings)
    if isinstance(body, Failure):
        return body
    fault = fault_in(body)
    return body if fault is None else _invalid(fault)


def _digest(settings: RequestSettings, row_id: str, content: bytes) -> bytes:
    place = f"{settings.base_url}\n{len(row_id)} {row_id}\n".encode(errors="replace")
    return hashlib.blake2b(place + content, digest_size=8).digest()


def _streamed(encoded: bytes, options: object) -> bytes:
    """The body that asks for the same as a stream; `options`: the row's or job's own `stream_options`."""
    own = options if isinstance(options, dict) else {}
    asked = {"stream": True, "stream_options": {"include_usage": True} | own}
    return encoded[:-1] + b"," + msgspec.json.encode(asked)[1:]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _invalid(message: str) -> Failure:
    return Failure(kind=Kind.INVALID_ROW, message=message)
