"""A row becomes a request: every shape a row can have, what the job adds, and what is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.chat.request import RequestSettings, compose
from batchrunner.chat.sound import DEEPEST
from batchrunner.records import Failure, Kind, Request, Row

MODEL = RequestSettings(model="acme/small")
SAYS_X = [{"role": "user", "content": "x"}]


def asked(columns: dict[str, Any], settings: RequestSettings = MODEL) -> Request:
    """The request that a row makes; it must make one."""
    request = compose(Row(number=7, id="seven", columns=columns), settings)
    assert isinstance(request, Request), request
    assert (request.number, request.id) == (7, "seven")
    return request


def body(columns: dict[str, Any], settings: RequestSettings = MODEL) -> dict[str, Any]:
    """The JSON body that a row makes."""
    return json.loads(asked(columns, settings).body)


def refused(columns: dict[str, Any], settings: RequestSettings = MODEL) -> str:
    """Why a row makes no request; it must make none."""
    failure = compose(Row(number=7, id="seven", columns=columns), settings)
    assert isinstance(failure, Failure), failure
    assert failure.kind is Kind.INVALID_ROW
    assert failure.status is None
    return failure.message


def nested(depth: int) -> object:
    """A value of so many lists in one another."""
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def batch_line(**changes: Any) -> dict[str, Any]:
    """A line of the OpenAI Batch API."""
    return {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "acme/large", "messages": SAYS_X, "temperature": 0.5} | changes,
    }


@pytest.mark.parametrize(
    ("columns", "messages"),
    [
        ({"prompt": "x"}, SAYS_X),
        ({"prompt": ""}, [{"role": "user", "content": ""}]),
        ({"prompt": "é𝄞\x00\u2028"}, [{"role": "user", "content": "é𝄞\x00\u2028"}]),
        ({"messages": SAYS_X}, SAYS_X),
        ({"messages": SAYS_X, "prompt": "y"}, SAYS_X),
        (batch_line() | {"messages": [], "prompt": "y"}, SAYS_X),
    ],
    ids=["prompt", "empty prompt", "any character", "messages", "messages before prompt", "body before all"],
)
def test_a_rows_shape_is_told_by_its_keys(columns: dict[str, Any], messages: list[Any]) -> None:
    assert body(columns)["messages"] == messages


def test_a_template_comes_before_every_other_shape() -> None:
    settings = RequestSettings(model="m", render=lambda columns: f"Say {columns['word']}")
    made = body({"word": "x", "prompt": "y", "messages": [], "body": {}}, settings)
    assert made == {"model": "m", "messages": [{"role": "user", "content": "Say x"}]}


def test_a_template_that_fails_on_a_row_fails_that_row_with_its_words() -> None:
    failure = Failure(kind=Kind.INVALID_ROW, message="the template needs `word`")
    assert refused({"prompt": "y"}, RequestSettings(model="m", render=lambda _: failure)) == failure.message


def test_a_row_that_could_not_be_read_keeps_its_reason() -> None:
    failure = Failure(kind=Kind.INVALID_ROW, message="line 3 is no JSON")
    assert compose(Row(number=2, id="2", columns={}, failure=failure), MODEL) is failure


def test_a_row_sets_nothing_but_its_content() -> None:
    own = {"model": "acme/dear", "max_tokens": 10**6, "n": 50, "temperature": 2, "base_url": "http://evil.example"}
    settings = RequestSettings(model="acme/small", params={"max_tokens": 5})
    for content in ({"prompt": "x"}, {"messages": SAYS_X}):
        assert body(own | content, settings) == {"model": "acme/small", "messages": SAYS_X, "max_tokens": 5}


@pytest.mark.parametrize(
    ("messages", "roles"),
    [
        (SAYS_X, ["system", "user"]),
        ([{"role": "system", "content": "own"}, *SAYS_X], ["system", "user"]),
        ([{"role": "developer", "content": "own"}, *SAYS_X], ["developer", "user"]),
        ([{"content": "no role"}], ["system", None]),
        ([{"role": ["odd"]}], ["system", ["odd"]]),
    ],
)
def test_the_jobs_system_message_stands_first_unless_the_row_has_its_own(messages: list[Any], roles: list[Any]) -> None:
    made = body({"messages": messages}, RequestSettings(model="m", system="job"))["messages"]
    assert [message.get("role") for message in made] == roles
    if len(made) == len(messages):
        assert made == messages


def test_a_batch_body_is_sent_as_written_but_for_stream() -> None:
    odd = {"stream": True, "x_unknown": {"a": [1, None, 2.5]}, "max_tokens": 9, "n": 1}
    settings = RequestSettings(model="job/model", system="job", params={"temperature": 0, "max_tokens": 1})
    request = asked(batch_line(**odd), settings)
    expected = batch_line(**odd)["body"]
    del expected["stream"]
    assert json.loads(request.body) == expected
    assert (request.model, request.max_tokens) == ("acme/large", 9)


ROWS = ({"prompt": "hi"}, {"messages": [{"role": "user", "content": "hi"}]}, batch_line(stream=False))


@pytest.mark.parametrize("columns", ROWS)
def test_a_stream_asks_for_the_same_and_for_its_usage(columns: dict[str, Any]) -> None:
    whole = asked(columns, RequestSettings(model="m", params={"seed": 1}))
    stream = asked(columns, RequestSettings(model="m", params={"seed": 1}, stream=True))
    added = {"stream": True, "stream_options": {"include_usage": True}}
    assert json.loads(stream.body) == json.loads(whole.body) | added
    assert msgspec.structs.replace(stream, body=whole.body) == whole  # the digest is the same


def test_options_of_streams_are_sent_with_streams() -> None:
    options = {"include_usage": False, "x": 1}
    settings = RequestSettings(model="m", params={"stream_options": options}, stream=True)
    assert json.loads(asked({"prompt": "hi"}, settings).body)["stream_options"] == options
    settings = RequestSettings(model="m", stream=True)
    assert json.loads(asked(batch_line(stream_options=options), settings).body)["stream_options"] == {
        "include_usage": True
    }


@pytest.mark.parametrize("missing", [("url",), ("method",), ("url", "method", "custom_id")])
def test_a_batch_line_needs_neither_url_nor_method(missing: tuple[str, ...]) -> None:
    line = {name: value for name, value in batch_line().items() if name not in missing}
    assert asked(line, RequestSettings(model=None)).model == "acme/large"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "none of `prompt`, `messages` and `body`"),
        ({"question": "x"}, "--prompt"),
        ({"prompt": None, "messages": None, "body": None}, "none of `prompt`, `messages` and `body`"),
        ({"prompt": 5}, "`prompt` is not a text"),
        ({"prompt": ["x"]}, "`prompt` is not a text"),
        ({"messages": []}, "not a list of objects"),
        ({"messages": "x"}, "not a list of objects"),
        ({"messages": ["x"]}, "not a list of objects"),
        ({"messages": {"role": "user"}}, "not a list of objects"),
        ({"body": "{}"}, "not an object with `messages`"),
        ({"body": {"model": "m"}}, "not an object with `messages`"),
        ({"body": {"model": "m", "messages": "x"}}, "not an object with `messages`"),
        (batch_line() | {"url": "/v1/embeddings"}, "/v1/embeddings"),
        (batch_line() | {"url": "https://evil.example/v1/chat/completions"}, "evil.example"),
        (batch_line() | {"url": 5}, "only /v1/chat/completions"),
        (batch_line() | {"method": "GET"}, "not POST"),
        (batch_line(model=None), "no model"),
        (batch_line(model=""), "no model"),
        (batch_line(model=5), "no model"),
        (batch_line(n=2), "n > 1"),
        (batch_line(n="2"), "n > 1"),
        (batch_line(seed=2**64), "beyond 64 bits"),
        (batch_line(logit_bias={"a": {"b": [-(2**70)]}}), "beyond 64 bits"),
        (batch_line(extra=nested(DEEPEST)), f"deeper than {DEEPEST}"),
        (batch_line(extra=nested(5000)), f"deeper than {DEEPEST}"),
        (batch_line(temperature=float("nan")), "nan"),
        (batch_line(temperature=float("-inf")), "inf"),
        (batch_line(extra=object()), "can't be written as JSON"),
        ({"prompt": "lone \ud800"}, "can't be written as JSON"),
    ],
)
def test_a_row_that_makes_no_request_fails_with_the_reason(columns: dict[str, Any], words: str) -> None:
    assert words in refused(columns)


def test_columns_that_a_table_has_but_a_row_leaves_empty_do_not_tell_its_shape() -> None:
    columns = {"prompt": "x", "messages": None, "body": None, "url": None, "method": None}
    asked = compose(Row(number=0, id="0", columns=columns), RequestSettings(model="m/m"))
    assert isinstance(asked, Request)


def test_a_long_url_of_a_batch_line_is_quoted_in_part_only() -> None:
    assert len(refused(batch_line() | {"url": "x" * 10_000})) < 200


def test_a_row_without_a_model_of_its_own_needs_the_jobs() -> None:
    assert "--model" in refused({"prompt": "x"}, RequestSettings(model=None))


@pytest.mark.parametrize(
    ("params", "words"),
    [({"n": 3}, "n > 1"), ({"temperature": float("nan")}, "nan"), ({"extra": nested(80)}, "deeper")],
)
def test_the_jobs_parameters_are_held_to_the_same_rules(params: dict[str, Any], words: str) -> None:
    assert words in refused({"prompt": "x"}, RequestSettings(model="m", params=params))


def test_what_is_just_within_the_rules_is_asked() -> None:
    extra = {"seed": 2**63 - 1, "n": 1, "extra": nested(DEEPEST - 1)}
    assert body(batch_line(**extra)) == batch_line(**extra)["body"]


@pytest.mark.parametrize(
    ("params", "most"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -3}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": 2.5}, None),
    ],
)
def test_the_limiter_learns_the_most_tokens_an_answer_may_have(params: dict[str, Any], most: int | None) -> None:
    assert asked({"prompt": "x"}, RequestSettings(model="m", params=params)).max_tokens == most
    assert asked(batch_line(**params)).max_tokens == most


@pytest.mark.parametrize(
    ("messages", "characters"),
    [
        ([{"role": "user", "content": "12345"}, {"role": "assistant", "content": "678"}], 8),
        ([{"role": "assistant", "content": None, "tool_calls": []}], 0),
        ([{"role": "user"}], 0),
    ],
)
def test_the_limiter_learns_the_characters_of_all_messages(messages: list[Any], characters: int) -> None:
    assert asked({"messages": messages}).prompt_chars == characters


def test_the_parts_of_a_message_are_counted_too() -> None:
    parts = [{"type": "text", "text": "1234567890"}, {"type": "text", "text": "1234567890"}]
    assert asked({"messages": [{"role": "user", "content": parts}]}).prompt_chars >= 20


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text(st.characters(categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
COLUMNS = st.dictionaries(
    st.sampled_from(["prompt", "messages", "body", "url", "method", "model", "question"]), ANYTHING, max_size=5
)


@given(COLUMNS, st.none() | st.just("be brief"))
def test_any_row_makes_a_request_of_valid_json_or_a_failure(columns: dict[str, Any], system: str | None) -> None:
    made = compose(Row(number=0, id="0", columns=columns), RequestSettings(model="m", system=system))
    if isinstance(made, Request):
        content = json.loads(made.body)
        assert content["model"] == made.model
        assert isinstance(content["messages"], list)
        assert "stream" not in content
        assert b"\n" not in made.body
    else:
        assert made.kind is Kind.INVALID_ROW


def test_a_seed_that_the_row_sets_is_another_for_each_sample() -> None:
    second = RequestSettings(model="m", row_params=("seed",), params={"seed": 8}, sample=1)
    assert body({"prompt": "x", "seed": 3}, second)["seed"] == 4
    assert body({"prompt": "x", "seed": None}, second)["seed"] == 8


def test_a_row_does_not_replace_the_tools_that_the_sweep_sets() -> None:
    variant = RequestSettings(model="m", params={"tools": [{"type": "function"}]}, swept=("tools",))
    assert "the sweep sets `tools`" in refused({"prompt": "x", "tools": []}, variant)
    assert body({"prompt": "x", "tools": None, "tool_choice": "auto"}, variant)["tools"] == [{"type": "function"}]
