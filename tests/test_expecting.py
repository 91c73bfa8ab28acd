"""What a job expects of answers, as rules: which answers fit, which schemas can be used, and that nothing raises."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.chat.expecting import LONGEST_MESSAGE, Expectations
from batchrunner.records import Failure, Kind, Reply, Usage


def answer(text: str | None, finish_reason: str | None = "stop", calls: bytes | None = None) -> Reply:
    return Reply(
        text=text,
        tool_calls=None if calls is None else msgspec.Raw(calls),
        reasoning=None,
        finish_reason=finish_reason,
        usage=Usage(),
        model=None,
        request_id=None,
    )


def asking(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def checked(schema: object, text: str | None, **said: Any) -> Reply | Failure:
    expected = Expectations().of(asking(schema))
    assert expected is not None
    return expected.check(answer(text, **said))


def fault(schema: object, text: str, **said: Any) -> Failure:
    failure = checked(schema, text, **said)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.INVALID_ANSWER
    assert len(failure.message) <= LONGEST_MESSAGE
    assert "\n" not in failure.message
    return failure


@pytest.mark.parametrize(
    ("schema", "text", "parsed"),
    [
        ({}, "5", b"5"),
        ({}, ' {"a":\n [1, 2]}\n', b'{"a": [1, 2]}'),
        (True, "null", b"null"),
        ({"type": "integer"}, str(2**70), str(2**70).encode()),
        ({"type": "integer"}, "1.0", b"1.0"),
        ({"type": "string"}, '"\\u00e9\\n"', b'"\\u00e9\\n"'),
        ({"properties": {"a": {"$ref": "#"}}}, '{"a": {"a": {}}}', b'{"a": {"a": {}}}'),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]}, "[null]", b"[null]"),
        ({"format": "email"}, '"no address"', b'"no address"'),
    ],
)
def test_an_answer_that_fits_is_parsed_as_it_was_written_on_one_line(schema: object, text: str, parsed: bytes) -> None:
    reply = checked(schema, text)
    assert isinstance(reply, Reply)
    assert reply.parsed is not None
    assert json.loads(bytes(reply.parsed)) == json.loads(parsed)
    assert b"\n" not in bytes(reply.parsed)
    assert reply.text == text


@pytest.mark.parametrize(
    ("schema", "text", "words"),
    [
        ({}, "", "no JSON"),
        ({}, "```json\n{}\n```", "no JSON"),
        ({}, "{} and more", "no JSON"),
        ({}, "NaN", "no JSON"),
        ({}, "[" * 5000, "no JSON"),
        (False, "1", "does not fit"),
        ({"type": "object"}, "[]", "does not fit"),
        ({"properties": {"a": {"items": {"maximum": 5}}}}, '{"a": [1, 9]}', "at `a/1`"),
        ({"const": "x"}, json.dumps("y" * 100_000), "does not fit"),
        ({"pattern": "^(a+)+$"}, json.dumps("a" * 50 + "b"), "does not fit"),
        ({"pattern": r"^(a|aa)+\1$"}, json.dumps("a" * 500 + "b"), ""),
    ],
)
def test_an_answer_that_does_not_fit_is_told_with_the_place(schema: object, text: str, words: str) -> None:
    failure = fault(schema, text)
    assert words in failure.message
    assert not failure.final


def test_an_answer_that_was_cut_short_is_final_unless_it_fits() -> None:
    assert fault({}, '{"a": ', finish_reason="length").final
    assert isinstance(checked({}, "{}", finish_reason="length"), Reply)


@pytest.mark.parametrize("finish_reason", ["refusal", "content_filter"])
def test_what_was_declined_is_not_checked(finish_reason: str) -> None:
    reply = checked({}, "I won't.", finish_reason=finish_reason)
    assert isinstance(reply, Reply)
    assert reply.parsed is None


def test_tool_calls_are_checked_where_text_stands_beside_them_only() -> None:
    assert isinstance(checked({}, None, calls=b'[{"id":"a"}]'), Reply)
    assert isinstance(checked({}, "text", calls=b'[{"id":"a"}]'), Failure)


def test_where_nothing_is_expected_there_is_nothing_to_check() -> None:
    nothing = Expectations()
    for response_format in (None, {"type": "text"}, {"type": "grammar", "grammar": "x"}, {}):
        assert nothing.of(response_format) is None
    assert nothing.of(None) is None


def test_a_finish_reason_that_counts_as_failure_does_so_for_every_format() -> None:
    strict = Expectations(frozenset({"length"}))
    for response_format in (None, {"type": "text"}, {"type": "json_object"}, asking({})):
        expected = strict.of(response_format)
        assert expected is not None
        failure = expected.check(answer("{}", "length"))
        assert isinstance(failure, Failure)
        assert failure.kind is Kind.FINISH_REASON
        assert isinstance(expected.check(answer("{}", "stop")), Reply)


def test_a_schema_is_compiled_once_and_formats_alternate_freely() -> None:
    expectations = Expectations()
    one, two = asking({"type": "integer"}), asking({"type": "string"})
    for _ in range(3):
        first, second = expectations.of(one), expectations.of(json.loads(json.dumps(two)))
        assert first is not None
        assert second is not None
        assert isinstance(first.check(answer("1")), Reply)
        assert isinstance(second.check(answer("1")), Failure)
        assert expectations.of(None) is None


@pytest.mark.parametrize(
    "response_format",
    [
        "json",
        [1],
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {}},
        asking(None),
        asking(5),
        asking({"type": "objekt"}),
        asking({"$ref": "https://json.example/schema"}),
        asking({"$ref": "file:///etc/passwd"}),
        asking({"$ref": "#/$defs/no"}),
        asking({"$schema": "http://127.0.0.1:9/meta"}),
        asking({"pattern": "("}),
        asking({"a": object()}),
        asking({"enum": "x"}),
    ],
)
def test_a_format_that_can_t_be_used_is_a_value_error_in_few_words(response_format: object) -> None:
    with pytest.raises(ValueError, match=r"schema|response_format") as raised:
        Expectations().of(response_format)
    assert len(str(raised.value)) < LONGEST_MESSAGE + 100


def test_a_schema_in_another_file_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="another document"):
        Expectations().of(asking({"$ref": path.as_uri()}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "$ref", "items", "properties", "enum", "const", "pattern", "anyOf", "a"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(JSON, st.text(max_size=20) | JSON.map(json.dumps))
def test_no_schema_and_no_answer_raises_anything_else(schema: object, text: str) -> None:
    try:
        expected = Expectations().of(asking(schema))
    except ValueError:
        return
    assert expected is not None
    assert isinstance(expected.check(answer(text)), Reply | Failure)
