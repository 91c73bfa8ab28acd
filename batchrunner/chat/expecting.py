"""What the job or a row expects of an answer: how it may end, and the JSON that `response_format` asks for.

`json_schema` and `json_object` are checked, other formats are the gateway's affair. A schema is checked itself first;
references to other documents are never followed. An answer is taken as it is: JSON within other text, or in a fence,
is none. Not checked: refusals, answers that the content filter cut, and tool calls without text.
"""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from batchrunner.records import REFUSAL, Failure, Kind, Reply

if TYPE_CHECKING:
    import jsonschema_rs

LONGEST_MESSAGE = 500
_KEPT_SCHEMAS = 64
_DECLINED = frozenset({REFUSAL, "content_filter"})
_decode = msgspec.json.Decoder().decode
_OBJECT = {"type": "object"}
_CHECKED = ("json_schema", "json_object")


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer has to be. `validator`: of its JSON; None where any text will do."""

    fail_on: frozenset[str]
    validator: "jsonschema_rs.Validator | None"

    def check(self, reply: Reply) -> Reply | Failure:
        """The reply with its JSON in `parsed`, or what is wrong with it."""
        if reply.finish_reason in self.fail_on:
            words = f"the answer ended with `{reply.finish_reason}`, which `fail_on` names"
            return Failure(kind=Kind.FINISH_REASON, message=words, status=200)
        if self.validator is None or reply.finish_reason in _DECLINED:
            return reply
        if not reply.text and reply.tool_calls is not None:
            return reply
        return _parsed(reply, self.validator)


class Expectations:
    """Those of one job; `fail_on` are finish reasons that count as failure."""

    def __init__(self, fail_on: frozenset[str] = frozenset()) -> None:
        self._fail_on = fail_on
        self._plain = Expected(fail_on=fail_on, validator=None) if fail_on else None
        self._known: tuple[object, Expected | None] = (None, self._plain)

    def of(self, response_format: object) -> Expected | None:
        """What is expected of an answer to a request with this `response_format`; None where there is nothing to check.

        ValueError, in words for people, where it can't be used.
        """
        known, expected = self._known
        if response_format is not known:
            validator = None if response_format is None else _validator_of(response_format)
            expected = self._plain
            if validator is not None:
                expected = Expected(fail_on=self._fail_on, validator=validator)
            self._known = (response_format, expected)
        return expected


def _parsed(reply: Reply, validator: "jsonschema_rs.Validator") -> Reply | Failure:
    text = reply.text or ""
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return _invalid(reply, f"the answer is no JSON: {error}")
    try:
        fault = next(validator.iter_errors(value), None)
    except (ValueError, RecursionError) as error:
        return _invalid(reply, f"the answer can't be checked against the schema: {error}")
    if fault is not None:
        return _invalid(reply, f"the answer does not fit the schema{_place(fault)}: {fault.message}")
    one_line = msgspec.json.format(text.encode(), indent=-1)
    return msgspec.structs.replace(reply, parsed=msgspec.Raw(one_line))


def _invalid(reply: Reply, message: str) -> Failure:
    cut_short = reply.finish_reason == "length"
    words = " ".join(f"{message} (it was cut short: `length`)".split() if cut_short else message.split())
    return Failure(kind=Kind.INVALID_ANSWER, message=words[:LONGEST_MESSAGE], status=200, final=cut_short)


def _place(fault: "jsonschema_rs.ValidationError") -> str:
    path = "/".join(map(str, fault.instance_path))
    return f" at `{path[:100]}`" if path else ""


def _validator_of(response_format: object) -> "jsonschema_rs.Validator | None":
    if not isinstance(response_format, Mapping):
        raise ValueError("response_format is no object")  # noqa: TRY004 - all that is wrong with it is a ValueError
    match response_format.get("type"):
        case "json_object":
            return _compiled(msgspec.json.encode(_OBJECT))
        case "json_schema":
            return _compiled(_encoded(_schema_in(response_format)))
        case kind:
            near = get_close_matches(str(kind), _CHECKED, n=1, cutoff=0.8)
            if near or (kind is None and not response_format.keys().isdisjoint({"json_schema", "schema"})):
                meant = near[0] if near else "json_schema"
                raise ValueError(f'response_format has {_written(kind)}; did you mean "{meant}"?')
            return None


def _written(kind: object) -> str:
    return "no type" if kind is None else f'the type "{str(kind)[:40]}"'


def _schema_in(response_format: Mapping[str, Any]) -> object:
    named = response_format.get("json_schema")
    if not isinstance(named, Mapping) or "schema" not in named:
        raise ValueError('response_format has no schema: { type = "json_schema", json_schema = { name, schema } }')
    return named["schema"]


def _encoded(schema: object) -> bytes:
    try:
        return msgspec.json.encode(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the schema can't be written as JSON: {error}") from error


@lru_cache(maxsize=_KEPT_SCHEMAS)
def _compiled(schema: bytes) -> "jsonschema_rs.Validator":
    import jsonschema_rs  # noqa: PLC0415 - takes time, and only jobs with a schema need it

    try:
        return jsonschema_rs.validator_for(json.loads(schema), retriever=_refuse)
    except (ValueError, RecursionError) as error:
        words = getattr(error, "message", None) or str(error)
        raise ValueError(f"the schema is none: {' '.join(str(words).split())[:LONGEST_MESSAGE]}") from error


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is another document, and only what stands in the schema itself is read")
