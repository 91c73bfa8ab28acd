"""A row becomes a request. The four shapes of a row are told apart by their keys, in this order:

1. a template is given: it is rendered over the row's columns;
2. `body`: a line of the OpenAI Batch API, sent as written but for `stream` and its options;
3. `messages`: a conversation;
4. `prompt`: one user message.

A row of shapes 1, 3 and 4 sets nothing but its content: model and parameters are the job's. Whether answers are
streamed is the job's affair for every shape, and no part of what is asked: digests are the same either way.
Refused, as that row's failure: any other shape, another URL than /v1/chat/completions, n > 1, integers that
JSON readers disagree on (beyond 64 bits), numbers that JSON can't hold (NaN), nesting deeper than 64.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from batchrunner.records import Failure, Kind, Request, Row

URL = "/v1/chat/completions"
DEEPEST = 64
_OF_STREAMS = ("stream", "stream_options")
_LARGEST_INTEGER = 2**63 - 1

Render = Callable[[Mapping[str, Any]], str | Failure]


class RequestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the job says of every request. `model` may be None where every row carries a body.

    `base_url` goes into the digests only; `stream`: answers are asked for as streams that end with their usage.
    """

    model: str | None
    base_url: str = ""
    params: Mapping[str, Any] = {}
    system: str | None = None
    render: Render | None = None
    stream: bool = False


def compose(row: Row, settings: RequestSettings) -> Request | Failure:
    """The request that asks for this row, or why there is none."""
    if row.failure is not None:
        return row.failure
    body = _body(row.columns, settings)
    if isinstance(body, Failure):
        return body
    fault = _fault_in(body)
    if fault is not None:
        return _invalid(fault)
    stream_options = body.pop("stream_options", None) if settings.stream else None
    try:
        encoded = msgspec.json.encode(body)
    except (UnicodeEncodeError, RecursionError, TypeError, ValueError) as error:
        return _invalid(f"the request can't be written as JSON: {error}")
    return Request(
        number=row.number,
        id=row.id,
        model=body["model"],
        body=_streamed(encoded, stream_options) if settings.stream else encoded,
        digest=_digest(settings, row.id, encoded),
        prompt_chars=_characters(body["messages"]),
        max_tokens=_whole(body.get("max_completion_tokens")) or _whole(body.get("max_tokens")),
    )


def digest_of(row: Row, asked: Request | Failure, settings: RequestSettings) -> bytes:
    """Eight bytes that tell what is asked for a row, to whom and under which id; also where nothing can be."""
    if isinstance(asked, Request):
        return asked.digest
    return _digest(settings, row.id, f"{asked.kind}: {asked.message}".encode(errors="replace"))


def model_of(row: Row, settings: RequestSettings) -> str | None:
    """The model that the row's request will name, read at a glance; None where only `compose` can tell."""
    body = row.columns.get("body") if settings.render is None else None
    if body is None:
        return None if row.failure is not None else settings.model
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else None


def _digest(settings: RequestSettings, row_id: str, content: bytes) -> bytes:
    place = f"{settings.base_url}\n{len(row_id)} {row_id}\n".encode(errors="replace")
    return hashlib.blake2b(place + content, digest_size=8).digest()


def _body(columns: Mapping[str, Any], settings: RequestSettings) -> dict[str, Any] | Failure:
    if settings.render is not None:
        text = settings.render(columns)
        return text if isinstance(text, Failure) else _from_prompt(text, settings)
    if columns.get("body") is not None:
        return _from_batch_line(columns)
    if columns.get("messages") is not None:
        return _from_messages(columns["messages"], settings)
    if isinstance(columns.get("prompt"), str):
        return _from_prompt(columns["prompt"], settings)
    if columns.get("prompt") is not None:
        return _invalid("`prompt` is not a text")
    return _invalid("the row has none of `prompt`, `messages` and `body`; a template (--prompt) may make one")


def _from_prompt(text: str, settings: RequestSettings) -> dict[str, Any]:
    return _with_settings([{"role": "user", "content": text}], settings)


def _from_messages(messages: object, settings: RequestSettings) -> dict[str, Any] | Failure:
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        return _invalid("`messages` is not a list of objects")
    return _with_settings(messages, settings)


def _with_settings(messages: list[dict[str, Any]], settings: RequestSettings) -> dict[str, Any]:
    if settings.system is not None and messages[0].get("role") not in ("system", "developer"):
        messages = [{"role": "system", "content": settings.system}, *messages]
    return {"model": settings.model, "messages": messages, **settings.params}


def _from_batch_line(columns: Mapping[str, Any]) -> dict[str, Any] | Failure:
    body = columns["body"]
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        return _invalid("`body` is not an object with `messages`")
    if str(columns.get("url") or URL) != URL:
        return _invalid(f"only {URL} can be asked, not `url` {str(columns['url'])[:60]!r}")
    if str(columns.get("method") or "POST").upper() != "POST":
        return _invalid("`method` is not POST")
    return {name: value for name, value in body.items() if name not in _OF_STREAMS}


def _streamed(encoded: bytes, options: object) -> bytes:
    """The body that asks for the same as a stream; `options`: the row's or job's own `stream_options`."""
    own = options if isinstance(options, dict) else {}
    asked = {"stream": True, "stream_options": {"include_usage": True} | own}
    return encoded[:-1] + b"," + msgspec.json.encode(asked)[1:]


def _fault_in(body: Mapping[str, Any]) -> str | None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "no model: name one with --model"
    if body.get("n") not in (None, 1):
        return "n > 1 is not asked in one request: repeat the row, each with an id of its own"
    return _unfit(body, DEEPEST)


def _unfit(value: object, depth: int) -> str | None:
    """What in a JSON value other readers of JSON would trip over."""
    if isinstance(value, str):
        return None
    if isinstance(value, dict | list):
        if depth == 0:
            return f"nested deeper than {DEEPEST}"
        for inner in value.values() if isinstance(value, dict) else value:
            fault = _unfit(inner, depth - 1)
            if fault is not None:
                return fault
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return "an integer beyond 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}, which JSON has no number for"
    return None


def _characters(messages: list[Any]) -> int:
    return sum(_length(message.get("content")) for message in messages if isinstance(message, dict))


def _length(content: object) -> int:
    if isinstance(content, str):
        return len(content)
    return len(str(content)) if content is not None else 0


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _invalid(message: str) -> Failure:
    return Failure(kind=Kind.INVALID_ROW, message=message)
