"""An HTTP reply becomes a chat completion, or the reason why it is none. Never raises on any bytes.

Error bodies come in at least four shapes; the words are looked for in `error`, `error.message`, `message` and
`detail`, in that order, then in the raw text. Only the status decides the kind.
"""

from typing import Any

import msgspec

from batchrunner.records import REFUSAL, Failure, HttpReply, Kind, Reply, Usage

LONGEST_MESSAGE = 500
_LARGEST_COUNT = 2**31
_LARGEST_COST = 1e9
_REQUEST_ID_HEADERS = ("x-request-id", "x-baseten-request-id", "request-id")

_KIND_OF_STATUS = {
    401: Kind.REFUSED,
    402: Kind.BILLING,
    403: Kind.REFUSED,
    404: Kind.REFUSED,
    408: Kind.TIMEOUT,
    409: Kind.SERVER_ERROR,
    425: Kind.SERVER_ERROR,
    429: Kind.RATE_LIMITED,
    502: Kind.UNAVAILABLE,
    503: Kind.UNAVAILABLE,
    504: Kind.UNAVAILABLE,
    529: Kind.UNAVAILABLE,
}


_NULL = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    content: Any = None
    tool_calls: msgspec.Raw = _NULL
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Any = None


class _Completion(msgspec.Struct):
    """Strict about what makes an answer, lenient about all else: a paid answer is not refused for a trifle."""

    choices: list[_Choice]
    usage: msgspec.Raw = _NULL
    model: Any = None
    id: Any = None


_decode = msgspec.json.Decoder(_Completion).decode
_decode_any = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def kind_of_status(status: int) -> Kind:
    """The kind of failure that a status outside 2xx stands for."""
    known = _KIND_OF_STATUS.get(status)
    if known is not None:
        return known
    by_class = {3: Kind.REDIRECTED, 4: Kind.REJECTED}
    return by_class.get(status // 100, Kind.SERVER_ERROR if status >= 500 else Kind.INVALID_REPLY)  # noqa: PLR2004


def understand(http_reply: HttpReply) -> Reply | Failure:
    """The completion in an HTTP reply, or why there is none."""
    status = http_reply.status
    if not 200 <= status < 300:  # noqa: PLR2004
        return Failure(kind=kind_of_status(status), status=status, message=_words(http_reply))
    try:
        completion = _decode(http_reply.body)
        if not completion.choices:
            return Failure(kind=Kind.EMPTY_ANSWER, status=status, message="the completion has no choices")
        return _reply(completion, http_reply)
    except _UNREADABLE as error:
        return Failure(kind=Kind.INVALID_REPLY, status=status, message=f"no chat completion: {error}")


def emptiness(reply: Reply) -> Failure | None:
    """A failure where an answer has neither text nor tool calls and was not cut short or refused."""
    if reply.text or reply.tool_calls is not None or reply.finish_reason in ("length", "content_filter"):
        return None
    return Failure(kind=Kind.EMPTY_ANSWER, message="the answer has no text and no tool calls", status=200)


def _reply(completion: _Completion, http_reply: HttpReply) -> Reply:
    choice = completion.choices[0]
    message = choice.message
    usage = _table(completion.usage)
    return Reply(
        text=_text(message),
        tool_calls=_calls(message.tool_calls),
        reasoning=_string(message.reasoning_content) or _string(message.reasoning),
        finish_reason=REFUSAL if _is_refusal(choice) else _string(choice.finish_reason),
        usage=_usage(usage),
        cost=_cost(usage.get("cost")),
        model=_string(completion.model),
        request_id=_request_id(http_reply) or _string(completion.id),
    )


def _is_refusal(choice: _Choice) -> bool:
    """Whether there is a refusal in place of an answer that ended as any other."""
    if choice.finish_reason not in (None, "stop"):
        return False
    content = choice.message.content
    if not content:
        return bool(_string(choice.message.refusal))
    return isinstance(content, list) and all(isinstance(part, dict) and part.get("refusal") for part in content)


def _text(message: _Message) -> str | None:
    """The content, whole or in parts; a refusal where there is none."""
    refusal = _string(message.refusal)
    match message.content:
        case str() as text:
            return text or refusal or text
        case list() as parts:
            words = (part.get("text") or part.get("refusal") for part in parts if isinstance(part, dict))
            return "".join(word for word in words if isinstance(word, str)) or refusal or ""
        case _:
            return refusal


def _calls(calls: msgspec.Raw) -> msgspec.Raw | None:
    """On one line, as a line of JSON output needs it; None where there are none."""
    content = bytes(calls)
    content.decode()
    one_line = msgspec.json.format(content, indent=-1)
    return None if one_line in (b"null", b"[]") else msgspec.Raw(one_line)


def _table(raw: msgspec.Raw) -> dict[str, Any]:
    """A JSON object; an empty one where there is none."""
    try:
        table = _decode_any(raw)
    except _UNREADABLE:
        table = None
    return table if isinstance(table, dict) else {}


def _usage(usage: dict[str, Any]) -> Usage:
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens"))
    if total is None and prompt is not None and completion is not None:
        total = prompt + completion
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cached_tokens=_detail(usage, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=_detail(usage, "completion_tokens_details", "reasoning_tokens"),
    )


def _detail(usage: dict[str, Any], group: str, name: str) -> int | None:
    details = usage.get(group)
    return _count(details.get(name)) if isinstance(details, dict) else None


def _count(value: object) -> int | None:
    """A number of tokens, or None for what can't be one."""
    return int(value) if isinstance(value, int | float) and 0 <= value < _LARGEST_COUNT else None


def _cost(value: object) -> float | None:
    """An amount of money, or None for what can't be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _LARGEST_COST else None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _request_id(http_reply: HttpReply) -> str | None:
    for name in _REQUEST_ID_HEADERS:
        if name in http_reply.headers:
            return http_reply.headers[name].encode(errors="replace").decode()  # it may hold bytes that are no UTF-8
    return None


def _words(http_reply: HttpReply) -> str:
    try:
        content = _decode_any(http_reply.body)
    except _UNREADABLE:
        content = None
    found = _words_in(content) or http_reply.body[:LONGEST_MESSAGE].decode(errors="replace")
    if http_reply.status // 100 == 3:  # noqa: PLR2004
        found = f"the gateway redirects to {http_reply.headers.get('location', '?')}; use that as --base-url"
    return " ".join(found.split())[:LONGEST_MESSAGE] or f"HTTP status {http_reply.status}"


def _words_in(content: object) -> str | None:
    if not isinstance(content, dict):
        return None
    error = content.get("error")
    if isinstance(error, dict):
        error = error.get("message") or error.get("code") or error.get("type")
    for words in (error, content.get("message"), content.get("detail")):
        if words:
            return str(words)
    return None
