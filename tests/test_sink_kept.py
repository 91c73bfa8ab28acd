"""Tables with kept columns, bodies and answers as fields: the same JSON comes back."""

from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.chat.flat import flat_fields
from batchrunner.records import Outcome, name_in_output
from batchrunner.sink import write_output
from batchrunner.sink.columns import Columns, joined, kinds_in, type_of
from batchrunner.sink.formats import read_rows

texts = st.text(st.characters(codec="utf-8"), max_size=8)
scalars = {
    "bool": st.booleans(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "string": texts,
    "json": st.lists(st.none() | st.integers() | texts, max_size=3) | st.dictionaries(texts, st.booleans(), max_size=3),
}
anything = st.one_of(*scalars.values())


def row(number: int, kept: dict[str, Any], **columns: Any) -> bytes:
    """An output row with these kept columns."""
    made = {name_in_output(name): value for name, value in kept.items()}
    return Outcome(id="x", row=number, status="ok", kept=msgspec.Raw(msgspec.json.encode(made)), **columns).as_row()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for all examples."""
    return tmp_path_factory.mktemp("kept") / "out.parquet"


@given(st.data())
def test_rows_with_kept_columns_are_read_back_byte_for_byte(path: Path, data: st.DataObject) -> None:
    names = data.draw(st.lists(texts | st.sampled_from(["id", "raw", "kept", "input.id"]), unique=True, max_size=4))
    columns = {name: data.draw(st.sampled_from([*scalars.values(), anything])) for name in names}
    drawn = data.draw(st.lists(st.fixed_dictionaries({name: st.none() | kind for name, kind in columns.items()})))
    rows = [row(number, {name: kept[name] for name in names}) for number, kept in enumerate(drawn)]
    write_output(path, rows, replace=True, columns=Columns(keeps=True, kept=kinds_in(rows)))
    fractions = {name for name, kinds in kinds_in(rows).items() if type_of(kinds) == "double"}
    assert list(read_rows(path)) == [_with_fractions(one, fractions) for one in rows]


def _with_fractions(encoded: bytes, names: set[str]) -> bytes:
    """The row, whole numbers in columns of fractions as such."""
    members = msgspec.json.decode(encoded)
    for name in names:
        members[name] = None if members[name] is None else float(members[name])
    return msgspec.json.encode(members)


def test_a_row_has_its_kept_columns_behind_all_others() -> None:
    plain = Outcome(id="a", row=0, status="ok")
    assert plain.as_row() == msgspec.json.encode(plain)
    for kept in (b"{}", b'{"kept":{"kept":{}}}', b'{ "a" : 1}'):
        made = msgspec.structs.replace(plain, raw=msgspec.Raw(b'{"kept":1}'), kept=msgspec.Raw(kept))
        known = {**msgspec.json.decode(plain.as_row()), "raw": {"kept": 1}, **msgspec.json.decode(kept)}
        assert msgspec.json.decode(made.as_row()) == known
        assert list(msgspec.json.decode(made.as_row())) == list(known)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "string"),
        ([None], "string"),
        ([True, None], "bool"),
        ([1, -(2**63)], "int64"),
        ([1, 0.5], "double"),
        ([2**60, 0.5], "json"),
        ([2**63], "json"),
        ([1, 2**63], "json"),
        ([0.5, "a"], "json"),
        (["a", ""], "string"),
        ([[1]], "json"),
        ([{}, []], "json"),
        ([True, 1], "json"),
    ],
)
def test_the_type_of_a_column_is_that_of_all_its_values(values: list[Any], kind: str) -> None:
    rows = [row(number, {"x": value}) for number, value in enumerate(values)]
    assert type_of(kinds_in(rows).get("x", [])) == kind
    assert type_of(joined(kinds_in(rows[:1]), kinds_in(rows[1:])).get("x", [])) == kind


SCALARS = {
    "flag": {"type": "boolean"},
    "count": {"type": ["integer", "null"]},
    "share": {"type": "number"},
    "label": {"enum": ["a", "b"]},
    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "tags": {"type": "array", "items": {"type": "string"}},
}


def asked(schema: object) -> dict[str, Any]:
    """A response_format with this schema."""
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def test_the_fields_of_a_flat_object_have_the_types_of_its_schema() -> None:
    assert flat_fields(asked({"type": "object", "properties": SCALARS})) == {
        "flag": "bool",
        "count": "int64",
        "share": "double",
        "label": "string",
        "note": "string",
        "tags": "list string",
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "array"}}}},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": {"type": ["integer", "string"]}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": []},
        True,
        None,
    ],
)
def test_answers_of_any_other_schema_have_no_fields(schema: object) -> None:
    assert flat_fields(asked(schema)) == {}
    assert flat_fields({"type": "json_object"}) == flat_fields(None) == {}


def test_answers_are_read_back_whole_whatever_fits_their_fields(path: Path) -> None:
    fields = flat_fields(asked({"type": "object", "properties": SCALARS}))
    answers = [
        '{"flag": true, "count": 3.0, "share": 1, "label": "a", "note": null, "tags": ["x", "y"]}',
        '{"tags": [], "more": {"x": 1.50}, "count": 1e400, "share": "no"}'.replace("1e400", str(10**400)),
        "[]",
    ]
    rows = [
        Outcome(
            id="a",
            row=number,
            status="ok",
            response=text,
            parsed=msgspec.Raw(msgspec.json.format(text.encode(), indent=-1)),
        ).as_row()
        for number, text in enumerate(answers)
    ] + [Outcome(id="d", row=3, status="failed", response="no JSON").as_row()]
    write_output(path, rows, replace=True, columns=Columns(parsed=fields))
    nothing = dict.fromkeys(SCALARS)
    assert pq.read_table(path)["parsed"].to_pylist() == [
        {"flag": True, "count": 3, "share": 1.0, "label": "a", "note": None, "tags": ["x", "y"]},
        {**nothing, "tags": []},
        nothing,
        None,
    ]
    assert list(read_rows(path)) == rows
