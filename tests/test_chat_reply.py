"""A reply is understood: recorded error bodies, odd and hostile answers, and no bytes that raise."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchrunner.chat.reply import LONGEST_MESSAGE, emptiness, kind_of_status, understand
from batchrunner.records import Failure, HttpReply, Kind, Reply, Usage

NOTHING = Usage()


def failure(status: int, body: bytes, **headers: str) -> Failure:
    """What a reply fails with; it must fail."""
    found = understand(HttpReply(status=status, headers=headers, body=body))
    assert isinstance(found, Failure), found
    assert found.status == status
    return found


def reply(content: object, **headers: str) -> Reply:
    """The answer in a 200; there must be one."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    found = understand(HttpReply(status=200, headers=headers, body=body))
    assert isinstance(found, Reply), found
    return found


def says(message: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A completion with one message."""
    return {"choices": [{"message": message, "finish_reason": "stop"}]} | others


def uses(usage: str) -> Usage:
    """What is understood of a usage, given as JSON."""
    return reply(b'{"choices": [{"message": {"content": "x"}}], "usage": %s}' % usage.encode()).usage


def test_a_completion_is_understood_whole() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1, "rejected_prediction_tokens": None},
    }
    message = {"role": "assistant", "content": "Hello", "reasoning_content": "They greet."}
    understood = reply(says(message, id="chatcmpl-1", object="chat.completion", model="acme/small", usage=usage))
    assert understood == Reply(
        text="Hello",
        tool_calls=None,
        reasoning="They greet.",
        finish_reason="stop",
        usage=Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7, cached_tokens=2, reasoning_tokens=1),
        model="acme/small",
        request_id="chatcmpl-1",
    )


# Recorded from inference.baseten.co and its neighbours, see the gateway's reference, 2.5.
RECORDED = [
    (403, {"error": "please check the api-key you provided"}, Kind.REFUSED, "please check the api-key you provided"),
    (
        400,
        {"error": {"code": 400, "message": "Validation: `response_format` is empty", "type": "Bad Request"}},
        Kind.REJECTED,
        "Validation: `response_format` is empty",
    ),
    (
        400,
        {"message": "This model does not support multimodal inputs.", "type": "Bad Request", "code": 400},
        Kind.REJECTED,
        "This model does not support multimodal inputs.",
    ),
    (422, {"detail": "field required"}, Kind.REJECTED, "field required"),
    (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, Kind.REJECTED, "field required"),
    (
        503,
        {"error": "no replica", "error_code": "model_not_ready", "detail": "scaled to zero"},
        Kind.UNAVAILABLE,
        "no replica",
    ),
    (
        429,
        {"error": "Rate limit exceeded. Please try again later.", "retry_after": 37},
        Kind.RATE_LIMITED,
        "Rate limit exceeded. Please try again later.",
    ),
    (429, {"error": {"code": "rate_limit_exceeded"}}, Kind.RATE_LIMITED, "rate_limit_exceeded"),
    (400, {"error": {"type": "Bad Request", "message": None}}, Kind.REJECTED, "Bad Request"),
    (400, {"error": None, "message": "said here"}, Kind.REJECTED, "said here"),
    (400, {"error": {}, "detail": "said there"}, Kind.REJECTED, "said there"),
    (500, {"error": 12}, Kind.SERVER_ERROR, "12"),
]


@pytest.mark.parametrize(("status", "content", "kind", "words"), RECORDED)
def test_the_words_of_every_recorded_error_are_found(status: int, content: Any, kind: Kind, words: str) -> None:
    found = failure(status, json.dumps(content).encode())
    assert found.kind is kind
    assert words in found.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><h1>Bad\r\n\tGateway</h1></html>", "<html><h1>Bad Gateway</h1></html>"),
        (b"upstream\xff\xfe lost", "upstream\ufffd\ufffd lost"),
        (b"", "HTTP status 502"),
        (b" \n ", "HTTP status 502"),
        (b"null", "null"),
        (b"[]", "[]"),
        (b'{"error":', '{"error":'),
        (b'{"error":' + b"9" * 5000 + b"}", '{"error":999'),
        (b"[" * 100_000, "[[["),
    ],
)
def test_an_error_without_known_words_is_told_by_its_text_or_its_status(body: bytes, words: str) -> None:
    found = failure(502, body)
    assert words in found.message
    assert len(found.message) <= LONGEST_MESSAGE


def test_a_long_error_is_cut() -> None:
    assert len(failure(400, json.dumps({"error": "x" * 10**6}).encode()).message) == LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (100, Kind.INVALID_REPLY),
        (101, Kind.INVALID_REPLY),
        (0, Kind.INVALID_REPLY),
        (300, Kind.REDIRECTED),
        (301, Kind.REDIRECTED),
        (304, Kind.REDIRECTED),
        (308, Kind.REDIRECTED),
        (400, Kind.REJECTED),
        (401, Kind.REFUSED),
        (402, Kind.BILLING),
        (403, Kind.REFUSED),
        (404, Kind.REFUSED),
        (405, Kind.REJECTED),
        (408, Kind.TIMEOUT),
        (409, Kind.SERVER_ERROR),
        (413, Kind.REJECTED),
        (422, Kind.REJECTED),
        (425, Kind.SERVER_ERROR),
        (429, Kind.RATE_LIMITED),
        (451, Kind.REJECTED),
        (500, Kind.SERVER_ERROR),
        (501, Kind.SERVER_ERROR),
        (502, Kind.UNAVAILABLE),
        (503, Kind.UNAVAILABLE),
        (504, Kind.UNAVAILABLE),
        (529, Kind.UNAVAILABLE),
        (599, Kind.SERVER_ERROR),
        (999, Kind.SERVER_ERROR),
    ],
)
def test_the_status_alone_decides_the_kind(status: int, kind: Kind) -> None:
    assert kind_of_status(status) is kind
    assert failure(status, b'{"error": "rate limit, billing, quota, daily"}').kind is kind


def test_a_redirect_names_its_target() -> None:
    found = failure(308, b"moved", location="https://other.example/v1/chat/completions")
    assert "https://other.example/v1" in found.message
    assert "--base-url" in found.message
    assert "redirects to ?" in failure(301, b"").message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"null",
        b"5",
        b"[]",
        b"{}",
        b'"a text"',
        b'{"error": {"message": "overloaded"}}',
        b'{"choices": null}',
        b'{"choices": {}}',
        b'{"choices": ["x"]}',
        b'{"choices": [{}]}',
        b'{"choices": [{"text": "the old API"}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": "x"}]}',
        b'{"choices": [{"message": {"content": "cut off',
        b'{"choices": [{"message": {"content": "x"}}]} {"and": "more"}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b'{"choices": [{"message": {"tool_calls": ["\xff"]}}]}',
        b'{"choices": [{"message": {"tool_calls": ["\\ud800"]}}]}',
        b'{"choices": [{"message": {"content": ' + b"[" * 100_000,
        b'{"choices": [{"message": {"tool_calls": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}]}",
        b'\xef\xbb\xbf\x00{"choices": []}',
    ],
)
def test_what_is_no_completion_is_an_invalid_reply(body: bytes) -> None:
    found = failure(200, body)
    assert found.kind is Kind.INVALID_REPLY
    assert found.message.startswith("no chat completion: ")


def test_a_completion_without_choices_is_an_empty_answer() -> None:
    assert failure(200, b'{"choices": []}').kind is Kind.EMPTY_ANSWER


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "plain"}, "plain"),
        ({"content": "é𝄞\x00\u2028"}, "é𝄞\x00\u2028"),
        ({"content": [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]}, "in parts"),
        ({"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "yes"}]}, "yes"),
        ({"content": [{"type": "text", "text": None}, {"text": 5}, "x", None, {}]}, ""),
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, "I will not."),
        ({"content": []}, ""),
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": "", "refusal": "I will not."}, "I will not."),
        ({"content": [], "refusal": "I will not."}, "I will not."),
        ({"refusal": "I will not."}, "I will not."),
        ({"content": "text", "refusal": "and refusal"}, "text"),
        ({"content": "text", "refusal": ""}, "text"),
        ({"content": None}, None),
        ({"content": 5}, None),
        ({"content": {"text": "x"}}, None),
        ({}, None),
        ({"content": None, "refusal": {"odd": 1}}, None),
    ],
)
def test_the_text_of_an_answer_is_found_in_every_form(message: dict[str, Any], text: str | None) -> None:
    assert reply(says(message)).text == text


@pytest.mark.parametrize(
    ("calls", "kept"),
    [
        ('[{"id": "a", "function": {"name": "f", "arguments": "{}"}}]', True),
        ('[\n  {\n    "id": "a"\r\n  }\n]', True),
        ('[{"big": 123456789012345678901234567890, "float": 1.50}]', True),
        ('{"odd": "but paid for"}', True),
        ("null", False),
        ("[]", False),
        ("[ ]", False),
        (" [\n] ", False),
    ],
)
def test_tool_calls_are_kept_as_they_came_on_one_line(calls: str, *, kept: bool) -> None:
    body = f'{{"choices": [{{"message": {{"content": null, "tool_calls": {calls}}}}}]}}'.encode()
    found = reply(body).tool_calls
    if not kept:
        assert found is None
        return
    assert found is not None
    assert b"\n" not in bytes(found)
    assert json.loads(bytes(found)) == json.loads(calls)
    assert msgspec.json.encode({"tool_calls": found}) == b'{"tool_calls":' + bytes(found) + b"}"


def test_tool_calls_outlive_the_body_they_came_in() -> None:
    body = bytearray(json.dumps(says({"tool_calls": [{"id": "a"}]})).encode())
    understood = understand(HttpReply(status=200, headers={}, body=bytes(body)))
    del body
    assert isinstance(understood, Reply)
    assert understood.tool_calls is not None
    assert json.loads(bytes(understood.tool_calls)) == [{"id": "a"}]


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"reasoning_content": "first"}, "first"),
        ({"reasoning": "second"}, "second"),
        ({"reasoning_content": "first", "reasoning": "second"}, "first"),
        ({"reasoning_content": None, "reasoning": "second"}, "second"),
        ({"reasoning_content": "", "reasoning": "second"}, "second"),
        ({"reasoning": {"effort": "high"}}, None),
        ({}, None),
    ],
)
def test_reasoning_is_found_under_both_its_names(message: dict[str, Any], reasoning: str | None) -> None:
    assert reply(says({"content": "x"} | message)).reasoning == reasoning


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ("null", NOTHING),
        ("[]", NOTHING),
        ('"12"', NOTHING),
        ("1e999", NOTHING),
        ("{}", NOTHING),
        ('{"prompt_tokens": -5, "completion_tokens": -1, "total_tokens": -6}', NOTHING),
        ('{"prompt_tokens": 1e30, "completion_tokens": 2147483648, "total_tokens": 1' + "0" * 30 + "}", NOTHING),
        ('{"prompt_tokens": "5", "completion_tokens": null, "total_tokens": [7]}', NOTHING),
        ('{"prompt_tokens": 1e999, "completion_tokens": 3}', NOTHING),
        ('{"prompt_tokens": ' + "9" * 5000 + "}", NOTHING),
        ('{"prompt_tokens": {"\xff": 1}}', NOTHING),
        ('{"prompt_tokens": 3}', Usage(prompt_tokens=3)),
        ('{"prompt_tokens": 0, "completion_tokens": 0}', Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)),
        ('{"prompt_tokens": 3.0, "completion_tokens": 4}', Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7)),
        ('{"prompt_tokens": 3, "total_tokens": 9}', Usage(prompt_tokens=3, total_tokens=9)),
        ('{"prompt_tokens": 2147483647}', Usage(prompt_tokens=2**31 - 1)),
        ('{"prompt_tokens_details": {"cached_tokens": 2}}', Usage(cached_tokens=2)),
        ('{"prompt_tokens_details": null, "completion_tokens_details": [1]}', NOTHING),
        ('{"completion_tokens_details": {"reasoning_tokens": -2}}', NOTHING),
    ],
)
def test_nonsense_in_usage_is_not_counted_and_costs_no_answer(usage: str, expected: Usage) -> None:
    assert uses(usage) == expected


def test_a_request_id_that_is_no_text_can_still_be_recorded() -> None:
    body = b'{"choices": [{"message": {"content": "x"}}]}'
    understood = understand(HttpReply(status=200, headers={"x-request-id": "a\udcff"}, body=body))
    assert isinstance(understood, Reply)
    assert understood.request_id == "a?"


def test_a_missing_usage_is_nothing_counted() -> None:
    assert reply(says({"content": "x"})).usage == NOTHING


@pytest.mark.parametrize("odd", [5, None, ["x"], {"a": 1}, True])
def test_a_paid_answer_is_not_refused_for_trifles_of_the_wrong_type(odd: object) -> None:
    content = {
        "choices": [{"message": {"content": "x", "role": odd, "annotations": odd}, "finish_reason": odd, "index": odd}],
        "model": odd,
        "id": odd,
        "usage": odd,
        "created": odd,
        "unknown": {"deep": [odd]},
    }
    understood = reply(content)
    assert (understood.text, understood.finish_reason, understood.model) == ("x", None, None)
    assert understood.request_id is None


def test_of_several_choices_the_first_is_taken() -> None:
    content = {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}
    assert reply(content).text == "a"


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"x-request-id": "a", "x-baseten-request-id": "b"}, "a"),
        ({"x-baseten-request-id": "b", "request-id": "c"}, "b"),
        ({"request-id": "c"}, "c"),
        ({}, "body"),
    ],
)
def test_the_request_id_is_that_of_the_headers_before_that_of_the_body(
    headers: dict[str, str], request_id: str
) -> None:
    assert reply(says({"content": "x"}, id="body"), **headers).request_id == request_id


@pytest.mark.parametrize(
    ("message", "finish_reason", "is_empty"),
    [
        ({"content": "x"}, "stop", False),
        ({"content": " "}, "stop", False),
        ({"content": ""}, "stop", True),
        ({"content": None}, "stop", True),
        ({"content": None}, None, True),
        ({"content": []}, "stop", True),
        ({"content": None, "reasoning": "only thought"}, "stop", True),
        ({"content": None, "tool_calls": [{"id": "a"}]}, "tool_calls", False),
        ({"content": None, "tool_calls": []}, "stop", True),
        ({"content": None, "refusal": "no"}, "stop", False),
        ({"content": "", "refusal": "no"}, "stop", False),
        ({"content": ""}, "length", False),
        ({"content": None}, "content_filter", False),
    ],
)
def test_an_answer_is_empty_without_text_and_calls_unless_cut_short_or_refused(
    message: dict[str, Any], finish_reason: str | None, *, is_empty: bool
) -> None:
    found = emptiness(reply({"choices": [{"message": message, "finish_reason": finish_reason}]}))
    assert (found is not None) == is_empty
    assert found is None or found.kind is Kind.EMPTY_ANSWER


STATUSES = st.integers(0, 999) | st.just(200)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(STATUSES, st.binary(max_size=200))
@example(200, b'{"choices":[{"message":{"content":"\\ud800"}}]}')
@example(400, b'{"error":' + b"9" * 5000 + b"}")
def test_no_bytes_and_no_status_raise(status: int, body: bytes) -> None:
    found = understand(HttpReply(status=status, headers={}, body=body))
    msgspec.json.encode(found)
    assert isinstance(found, Reply) <= (200 <= status < 300)


@given(STATUSES, st.fixed_dictionaries({}, optional=dict.fromkeys(["error", "message", "detail", "choices"], ODD)))
def test_no_json_and_no_status_raise(status: int, content: object) -> None:
    body = json.dumps(content).encode()
    msgspec.json.encode(understand(HttpReply(status=status, headers={"location": "\xff"}, body=body)))


@given(ODD, ODD, ODD, ODD)
def test_no_odd_part_of_a_completion_raises(content: object, calls: object, usage: object, refusal: object) -> None:
    message = {"content": content, "tool_calls": calls, "refusal": refusal, "reasoning": content}
    body = json.dumps(says(message, usage=usage), allow_nan=False) if _is_json([content, calls, usage, refusal]) else ""
    found = understand(HttpReply(status=200, headers={}, body=body.encode()))
    json.loads(msgspec.json.encode(found))
    if isinstance(found, Reply):
        assert all(value is None or 0 <= value < 2**32 for value in msgspec.structs.astuple(found.usage))


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
