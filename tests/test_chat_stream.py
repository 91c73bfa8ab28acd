"""A streamed answer is the completion that it would be unstreamed, or the reason why it is none."""

import json
import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchrunner.chat import events
from batchrunner.chat.reply import understand
from batchrunner.chat.stream import Fold
from batchrunner.records import Broken, Failure, HttpReply, Kind, Reply, Usage

DONE = b"data: [DONE]\n\n"
RESET = Failure(kind=Kind.RESET, message="the connection broke")
SILENT = Failure(kind=Kind.TIMEOUT, message="nothing came")
USED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **others: Any) -> bytes:
    """One event."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    content = {"id": "c1", "object": "chat.completion.chunk", "model": "acme/x", "choices": choices, **others}
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def text(words: str, finish: str | None = None, **others: Any) -> bytes:
    return chunk({"content": words}, finish, **others)


def calls(*fragments: dict[str, Any]) -> bytes:
    return chunk({"tool_calls": list(fragments)})


def error(content: Any, *, name: bytes = b"") -> bytes:
    return (b"event: " + name + b"\n" if name else b"") + b"data: " + json.dumps(content).encode() + b"\n\n"


def folded(*parts: bytes, broke: Failure | None = None) -> HttpReply | Broken | Failure:
    """What came of a stream that arrived in these parts."""
    fold = Fold()
    for part in parts:
        fold.take(part)
        if fold.is_done:
            break
    return fold.came_of(200, {}, broke)


def answer(*parts: bytes, broke: Failure | None = None) -> Reply:
    came = folded(*parts, broke=broke)
    assert isinstance(came, HttpReply), came
    understood = understand(came)
    assert isinstance(understood, Reply), understood
    return understood


def broken(*parts: bytes, broke: Failure | None = None) -> tuple[Any, Reply]:
    """How a stream broke off, and what had come of it."""
    came = folded(*parts, broke=broke)
    assert isinstance(came, Broken), came
    so_far = understand(HttpReply(status=200, headers={}, body=came.so_far))
    assert isinstance(so_far, Reply)
    return came.how, so_far


BEGIN = chunk({"role": "assistant", "content": ""})
PLAIN = (BEGIN, text("Hel"), text("lo"), chunk({}, "stop"), chunk(usage=USED), DONE)

# Streams that all say "Hello", with their oddities.
ODD: dict[str, tuple[bytes, ...]] = {
    "plain": PLAIN,
    "usage in every chunk": (
        text("Hel", usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}),
        text("lo", usage=USED),
        chunk({}, "stop", usage=USED),
        chunk(usage=USED),
        DONE,
    ),
    "usage null at times": (text("Hel", usage=None), text("lo", usage=USED), chunk({}, "stop", usage=None), DONE),
    "content after the finish": (BEGIN, chunk({"content": ""}, "stop"), text("Hello"), chunk(usage=USED), DONE),
    "no [DONE]": (text("Hel"), text("lo", "stop", usage=USED)),
    "no blank line at the end": (text("Hello", "stop", usage=USED), DONE.strip()),
    "[DONE] without a finish": (text("Hello", usage=USED), DONE),
    "comments": (b": OPENROUTER PROCESSING\n\n", *(part for one in PLAIN for part in (b": keep-alive\n\n", one))),
    "blank lines first": (b"\n\n\r\n", *PLAIN),
    "byte order mark": (b"\xef\xbb\xbf", *PLAIN),
    "CRLF": tuple(part.replace(b"\n", b"\r\n") for part in PLAIN),
    "CR": tuple(part.replace(b"\n", b"\r") for part in PLAIN),
    "no space after the colon": tuple(part.replace(b"data: ", b"data:") for part in PLAIN),
    "other fields": tuple(b"id: 7\nretry: 10\nevent: message\nfoo\n" + part for part in PLAIN),
    "data in several lines": tuple(part.replace(b'{"id"', b'{\ndata: "id"') for part in PLAIN),
    "CRLF between those": tuple(
        part.replace(b'{"id"', b'{\r\ndata: "id"').replace(b"\n\n", b"\r\n\r\n") for part in PLAIN
    ),
    "parts of content": (chunk({"content": [{"type": "text", "text": "Hello"}]}, "stop", usage=USED), DONE),
    "no delta": (b'data: {"choices":[{"index":0}]}\n\n', b'data: {"type":"ping"}\n\n', *PLAIN),
    "filters without choices": (chunk(prompt_filter_results=[]), *PLAIN),
    "another choice": (b'data: {"choices":[{"index":1,"delta":{"content":"no"}}]}\n\n', *PLAIN),
    "unknown fields": (text("Hello", "stop", usage=USED, stop_reason=3, x={"y": [1]}), DONE),
    "a whole message": (
        chunk(None, choices=[{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}], usage=USED),
        DONE,
    ),
    "more after [DONE]": (*PLAIN, text("nonsense"), error({"error": "late"})),
    "an error null": (text("Hello", "stop", error=None, usage=USED), DONE),
}


@pytest.mark.parametrize("oddity", ODD)
def test_a_streams_oddities_change_nothing_of_its_answer(oddity: str) -> None:
    reply = answer(*ODD[oddity])
    assert reply.text == "Hello"
    assert reply.usage == Usage(**USED)
    assert reply.finish_reason == (None if oddity.startswith("[DONE]") else "stop")
    assert (reply.tool_calls, reply.reasoning) == (None, None)


@pytest.mark.parametrize("oddity", ODD)
def test_where_the_bytes_are_cut_does_not_matter(oddity: str) -> None:
    content = b"".join(ODD[oddity])
    whole = answer(content)
    assert answer(*(content[place : place + 1] for place in range(len(content)))) == whole
    assert all(answer(content[:place], content[place:]) == whole for place in range(len(content)))


def test_a_streamed_answer_says_who_gave_it() -> None:
    reply = answer(*PLAIN)
    assert (reply.model, reply.request_id) == ("acme/x", "c1")


def test_reasoning_is_kept_apart_under_both_its_names() -> None:
    for name in ("reasoning_content", "reasoning"):
        reply = answer(chunk({name: "Let me "}), chunk({name: "see."}, "stop"), text("4"), DONE)
        assert (reply.reasoning, reply.text) == ("Let me see.", "4")


def test_a_refusal_is_the_text_where_there_is_no_other() -> None:
    assert answer(chunk({"refusal": "I can"}), chunk({"refusal": "'t."}, "stop"), DONE).text == "I can't."


FIRST = {"index": 0, "id": "a", "type": "function", "function": {"name": "add", "arguments": ""}}
CALLS: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str, str]]]] = {
    "one in fragments": (
        [
            FIRST,
            {"index": 0, "function": {"arguments": '{"x"'}},
            {"index": 0, "function": {"arguments": ":1}"}},
        ],
        [("a", "add", '{"x":1}')],
    ),
    "the id again and again": (
        [FIRST, {"index": 0, "id": "a", "function": {"name": None, "arguments": "{}"}}],
        [("a", "add", "{}")],
    ),
    "the name again and again": (
        [FIRST, {"index": 0, "id": "a", "function": {"name": "add", "arguments": "{}"}}],
        [("a", "add", "{}")],
    ),
    "two, mixed": (
        [
            FIRST,
            {"index": 1, "id": "b", "function": {"name": "sub", "arguments": "["}},
            {"index": 0, "function": {"arguments": "1"}},
            {"index": 1, "function": {"arguments": "]"}},
        ],
        [("a", "add", "1"), ("b", "sub", "[]")],
    ),
    "two of the same index": (
        [FIRST, {"index": 0, "id": "b", "function": {"name": "sub", "arguments": "{}"}}],
        [("a", "add", ""), ("b", "sub", "{}")],
    ),
    "no index": (
        [
            {"id": "a", "function": {"name": "add", "arguments": "{"}},
            {"function": {"arguments": "}"}},
            {"id": "b", "function": {"name": "sub", "arguments": "{}"}},
        ],
        [("a", "add", "{}"), ("b", "sub", "{}")],
    ),
    "arguments as an object": (
        [{"index": 0, "id": "a", "function": {"name": "add", "arguments": {"x": "\u00e9"}}}],
        [("a", "add", '{"x": "\\u00e9"}')],
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_tool_calls_are_put_together_from_their_fragments(case: str) -> None:
    fragments, expected = CALLS[case]
    reply = answer(*map(calls, fragments), chunk({}, "tool_calls"), DONE)
    assert reply.tool_calls is not None
    made = [
        (one["id"], one["function"]["name"], one["function"]["arguments"])
        for one in msgspec.json.decode(reply.tool_calls)
    ]
    assert made == expected
    assert answer(calls(*fragments), chunk({}, "tool_calls"), DONE) == reply


def test_a_pair_of_surrogates_may_be_cut_between_two_chunks() -> None:
    halves = (b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}],"usage":{"total_tokens":3}}\n\n',)
    halves += (b'data: {"choices":[{"delta":{"content":"\\ude00 b\\ud800"},"finish_reason":"stop"}]}\n\n', DONE)
    reply = answer(*halves)
    assert (reply.text, reply.usage.total_tokens) == ("a\U0001f600 b\ufffd", 3)


# What is no answer


@pytest.mark.parametrize("parts", [(text("Hel"),), (text("Hel"), text("lo")), (text("Hel"), text("lo")[:-20])])
def test_a_stream_that_ends_before_its_finish_is_truncated(parts: tuple[bytes, ...]) -> None:
    how, so_far = broken(*parts)
    assert how.kind is Kind.TRUNCATED
    assert so_far.text
    assert "Hello".startswith(so_far.text)


def test_a_stream_whose_connection_breaks_failed_for_that_unless_its_last_word_had_come() -> None:
    assert broken(text("Hel"), broke=RESET)[0] == RESET
    assert broken(text("Hello", "stop"), broke=RESET)[0] == RESET
    assert answer(text("Hello", "stop"), broke=SILENT).text == "Hello"
    assert broken(text("Hel"), broke=SILENT)[0] == SILENT
    assert answer(*PLAIN, broke=RESET).text == "Hello"


def test_the_usage_that_a_broken_stream_told_is_known() -> None:
    assert broken(text("Hel", usage=USED), broke=RESET)[1].usage == Usage(**USED)


def test_before_its_first_word_a_stream_that_breaks_has_cost_nothing_that_is_known() -> None:
    assert folded(BEGIN, broke=RESET) == RESET
    came = folded(b": keep-alive\n\n")
    assert isinstance(came, Failure)
    assert came.kind is Kind.INVALID_REPLY


ERRORS: dict[str, tuple[Any, int | None]] = {
    "a code": ({"error": {"message": "busy", "code": 429}}, 429),
    "a code as text": ({"error": {"message": "busy", "code": "503"}}, 503),
    "OpenRouter's": (
        {"error": {"code": 502, "message": "busy"}, "choices": [{"delta": {}, "finish_reason": "error"}]},
        502,
    ),
    "OpenAI's": ({"error": {"message": "busy", "type": "tokens", "code": "rate_limit_exceeded"}}, 429),
    "Anthropic's": ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, 529),
    "vLLM's": ({"object": "error", "message": "busy", "type": "BadRequestError", "code": 400}, 400),
    "a text": ({"error": "busy"}, None),
    "its type alone": ({"error": {"type": "server_error", "message": "busy"}}, None),
    "no status": ({"error": {"code": 7, "message": "busy"}}, None),
    "true": ({"error": {"code": True, "message": "busy"}}, None),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_inside_a_stream_is_the_reply_that_its_status_names_or_an_error_of_the_server(case: str) -> None:
    content, status = ERRORS[case]
    how, so_far = broken(text("Hel"), error(content), DONE)
    assert so_far.text == "Hel"
    if status is None:
        assert how.kind is Kind.SERVER_ERROR
        assert "busy" in how.message
    else:
        assert how.status == status
        told = understand(how)
        assert isinstance(told, Failure)
        assert "busy" in told.message


def test_an_error_that_comes_first_is_a_reply_like_any_other() -> None:
    came = folded(error({"error": {"message": "busy", "code": 429}}))
    assert isinstance(came, HttpReply)
    assert came.status == 429


def test_an_event_of_the_name_error_is_one() -> None:
    assert broken(text("Hel"), error({"message": "oops"}, name=b"error"))[0].kind is Kind.SERVER_ERROR


def test_a_finish_reason_error_is_no_answer() -> None:
    assert broken(text("Hel"), chunk({"content": ""}, "error"), DONE)[0].kind is Kind.SERVER_ERROR


@pytest.mark.parametrize(
    "event", [b"data: {\n\n", b"data: ping\n\n", b'data: {"choices":7}\n\n', b'data: "\xff"\n\n', b"data: 7\n\n"]
)
def test_an_event_that_is_no_chunk_may_have_held_text_so_the_answer_is_none(event: bytes) -> None:
    assert broken(text("Hel"), event, text("lo", "stop"), DONE)[0].kind is Kind.INVALID_REPLY


@pytest.mark.parametrize("body", [b'{"choices":[{"message":{"content":"Hi"}}]}', b"<html>", b"[]", b" \n{"])
def test_what_is_no_stream_is_a_body_like_any_other(body: bytes) -> None:
    for came in (folded(body), folded(*(body[place : place + 1] for place in range(len(body))))):
        assert came == HttpReply(status=200, headers={}, body=body.lstrip())
    assert folded(body, broke=RESET) == RESET


def test_an_event_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LONGEST_EVENT", 1000)
    for part in (b"x" * 99, b"data: x\n" * 9):
        how, _ = broken(text("Hel"), *[part] * 2000)
        assert how.kind is Kind.INVALID_REPLY


def test_the_first_token_is_known_when_it_comes() -> None:
    for delta in ({"content": "H"}, {"reasoning": "H"}, {"tool_calls": [FIRST]}, {"refusal": "H"}):
        fold = Fold()
        assert [fold.take(b": hi\n\n"), fold.take(BEGIN), fold.has_begun] == [False, True, False]
        fold.take(chunk(delta))
        assert fold.has_begun


PIECES = st.sampled_from(
    [
        *PLAIN, calls(FIRST), calls({"index": 0}), b"data:", b"data: ", b"\n", b"\r", b"\r\n", b"\n\n", b": x\n",
        b"\xef\xbb\xbf", b"event: error\n", b"{", b"[", b"[DONE]", b'{"error":', b'"\\ud83d"', b'{"choices":[', b"\xff",
        chunk({"content": 7, "tool_calls": {"a": 1}, "reasoning": [1]}, usage=7), error({"error": {"code": 10**30}}),
    ]
)  # fmt: skip


def cut(content: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return [content[one:two] for one, two in pairwise(bounds)]


@given(
    st.lists(PIECES | st.binary(max_size=9), max_size=12),
    st.lists(st.integers(0, 2000), max_size=12),
    st.sampled_from([None, RESET, SILENT]),
)
@example([b"\xef\xbb", b"\xbfdata: {"], [1, 2, 3], None)
@example([b'data: {"choices":[{"delta":{"tool_calls":[{"id":"a\\ud83d"}]}}]}\n\n', DONE], [], None)
def test_no_bytes_break_the_reader_and_where_they_are_cut_does_not_matter(
    pieces: list[bytes], places: list[int], broke: Failure | None
) -> None:
    content = b"".join(pieces)
    whole, parted = folded(content, broke=broke), folded(*cut(content, places), broke=broke)
    assert msgspec.json.encode(whole) == msgspec.json.encode(parted)
    if isinstance(whole, HttpReply) and whole.status == 200:
        understand(whole)
    if isinstance(whole, Broken):
        assert isinstance(understand(HttpReply(status=200, headers={}, body=whole.so_far)), Reply | Failure)


@pytest.mark.parametrize("size", [1, 7])
def test_a_long_stream_takes_time_by_its_length_alone(size: int) -> None:
    def seconds(count: int) -> float:
        content = b"data: \n" * count + b"\n" + b"data: " + b"x" * 7 * count
        began = time.process_time()
        fold = Fold()
        for place in range(0, len(content), size):
            fold.take(content[place : place + size])
        return time.process_time() - began

    seconds(1000)
    assert seconds(80_000) < 40 * max(seconds(10_000), 0.01)  # eight times as long; quadratic would be 64
