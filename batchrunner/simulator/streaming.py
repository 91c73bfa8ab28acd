"""A streamed answer, as the frames of server-sent events that it is written in; the oddities of streams included."""

from collections.abc import Mapping

import msgspec

from batchrunner.simulator.chat import Call, Spoken, Usage
from batchrunner.simulator.script import Fault

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
INNER_ERROR = b'data: {"error":{"message":"simulated failure inside the stream","type":"server_error","code":500}}\n\n'


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """What is said, in how large pieces, and what is odd about it. `usage_everywhere`: also in pieces before the last,
    cumulative; None for `usage` where nobody asked for it."""

    number: int
    created: int
    model: str
    spoken: Spoken
    finish: str
    usage: Usage | None
    usage_everywhere: bool
    chars_per_piece: int
    fault: Fault | None


def frames(stream: Stream) -> list[bytes]:
    """All frames in their order; those of a stream that breaks off are the ones before its break."""
    deltas = _deltas(stream.spoken, stream.chars_per_piece)
    middle = len(deltas) // 2
    said = [_frame(stream, delta, share=(number + 1) / len(deltas)) for number, delta in enumerate(deltas)]
    begin = _frame(stream, {"role": "assistant", "content": None if stream.spoken.content is None else ""}, share=0.0)
    end = _frame(stream, {}, stream.finish)
    match stream.fault:
        case Fault.CUT | Fault.TRUNCATED | Fault.STALLED:
            return [begin, *said[:middle]]
        case Fault.ERROR_INSIDE:
            return [begin, *said[:middle], INNER_ERROR, DONE]
        case Fault.NO_DONE:
            return [begin, *said, end]
        case Fault.LATE_CONTENT:
            return [begin, *said[:middle], end, *said[middle:], *_usage_alone(stream), DONE]
        case Fault.KEEP_ALIVE:
            whole = [begin, *said, end, *_usage_alone(stream), DONE]
            return [b"\n\n", *(one for frame in whole for one in (KEEP_ALIVE, frame))]
        case _:
            return [begin, *said, end, *_usage_alone(stream), DONE]


def _deltas(spoken: Spoken, chars: int) -> list[dict[str, object]]:
    """What is said, piece by piece."""
    deltas: list[dict[str, object]] = [{"content": piece} for piece in _pieces(spoken.content or "", chars)]
    deltas += [{"refusal": piece} for piece in _pieces(spoken.refusal or "", chars)]
    for index, call in enumerate(spoken.tool_calls or ()):
        deltas += [{"tool_calls": [part]} for part in _call_in_parts(index, call, chars)]
    return deltas


def _call_in_parts(index: int, call: Call, chars: int) -> list[dict[str, object]]:
    """The name first, then the arguments."""
    function = {"name": call.function.name, "arguments": ""}
    begin: dict[str, object] = {"index": index, "id": call.id, "type": "function", "function": function}
    pieces = _pieces(call.function.arguments, chars)
    return [begin, *({"index": index, "function": {"arguments": piece}} for piece in pieces)]


def _pieces(content: str, chars: int) -> list[str]:
    return [content[place : place + chars] for place in range(0, len(content), chars)]


def _usage_alone(stream: Stream) -> list[bytes]:
    if stream.usage is None:
        return []
    return [_encoded(stream, {"choices": [], "usage": stream.usage})]


def _frame(stream: Stream, delta: Mapping[str, object], finish: str | None = None, share: float = 1.0) -> bytes:
    """A chunk with a delta; `share`: of the answer, up to its end."""
    chunk: dict[str, object] = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    if stream.usage is not None:
        chunk["usage"] = _usage_up_to(stream.usage, share) if stream.usage_everywhere else None
    return _encoded(stream, chunk)


def _usage_up_to(usage: Usage, share: float) -> Usage:
    completion = round(usage.completion_tokens * share)
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=completion,
        total_tokens=usage.prompt_tokens + completion,
    )


def _encoded(stream: Stream, chunk: dict[str, object]) -> bytes:
    head = {"id": f"chatcmpl-sim-{stream.number}", "object": "chat.completion.chunk", "created": stream.created}
    return b"data: " + msgspec.json.encode(head | {"model": stream.model} | chunk) + b"\n\n"
