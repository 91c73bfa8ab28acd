"""What is wrong with a job file, in its own words: those of TOML's and msgspec's errors are for programmers."""

import difflib
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from batchrunner.job.schema import Job, ModelLimits, Table

Place = tuple[str, ...]

# As options and requests call them: what people write from memory.
_SHORT = {
    "rps": "requests_per_second",
    "rpm": "requests_per_minute",
    "rpd": "requests_per_day",
    "tps": "tokens_per_second",
    "tpm": "tokens_per_minute",
    "tpd": "tokens_per_day",
}
_PARAMETERS = frozenset(("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed", "tools"))
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "array": "a list",
    "object": "a table",
}
_GOT = _EXPECTED | {
    "float": "a fraction",
    "bool": "true or false",
    "date": "a date",
    "time": "a time of day without quotes",
    "datetime": "a date and time without quotes",
}
_SIGNS = {"/": "a slash", ".": "a dot", ":": "a colon", " ": "a space"}
_WRONG_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_NO_CHOICE = re.compile(r"Invalid enum value (.+)", re.DOTALL)
_HEADER = re.compile(r"""\s*\[\s*limits\s*\.\s*([^\[\]"'#]*?)\s*(?:\]|#|$)""")
_BARE = re.compile(r"[\w-]*", re.ASCII)


def sentence(words: str) -> str:
    """With a full stop, where it does not end with a sign of its own."""
    return words if words.endswith((".", "?", "!")) else f"{words}."


def dotted(place: Place) -> str:
    """The key as TOML writes it: limits."acme/small".concurrency."""
    return ".".join(key if _BARE.fullmatch(key) else f'"{key}"' for key in place)


def no_toml(content: bytes, error: Exception) -> str:
    """Why a file is no TOML. The name of a model that lacks its quotes is shown with them."""
    if isinstance(error, UnicodeDecodeError):
        return "is no TOML: it is no text in UTF-8"
    at = re.search(r"at line (\d+)", str(error))
    header = _HEADER.match(content.decode(errors="replace").split("\n")[int(at[1]) - 1]) if at else None
    if header is None or _BARE.fullmatch(header[1]):
        return f"is no TOML: {error}"
    return f"is no TOML: {error}; {in_quotes(header[1])}"


def in_quotes(model: str) -> str:
    """How the table of a model is written whose name is no bare key."""
    sign = next(sign for sign in model if not _BARE.fullmatch(sign))
    return f'a model\'s name with {_SIGNS.get(sign, sign)} in it needs quotes: [limits."{model}"]'


def unknown_key(key: str, value: Any, table: type[Table], place: Place) -> str:
    """That a table has no such key, and which one was meant."""
    where = f"the table [{dotted(place)}]" if place else "the job"
    return f"{where} has no key `{key}`; {_advice(key, value, table, place)}"


def wrong_value(error: msgspec.ValidationError, table: type[Table], place: Place) -> str:
    """A value that is not what its key takes. `place`: where the table stands."""
    words, _, path = str(error).partition(" - at `$.")
    inner = tuple(path.rstrip("`").replace("[...]", "").split("."))
    if missing := _MISSING.match(words):
        return f"the key `{missing[1]}` is missing"
    choices = " or ".join(_choices(_type_at(table, inner)))
    where = f"`{dotted((*place, *inner))}`"
    if wrong := _WRONG_TYPE.match(words):
        return f"{where} takes {choices or _named(wrong[1], _EXPECTED)}, not {_named(wrong[2], _GOT)}"
    if no_choice := _NO_CHOICE.match(words):
        return f"{where} takes {choices}, not {no_choice[1]}"
    return f"{where}: {words}"


def _named(types: str, names: Mapping[str, str]) -> str:
    """`int | null` as a whole number: TOML has no null."""
    return " or ".join(names.get(name, name) for name in types.split(" | ") if name != "null")


def _choices(kind: Any) -> list[str]:
    """What a key takes where few texts will do: a whole number, "auto". Nothing where any text will."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    texts = [f'"{text}"' for part in parts if get_origin(part) is Literal for text in get_args(part)]
    return [_EXPECTED[part.__name__] for part in parts if part in (int, float)] + texts if texts else []


def _type_at(table: type[Table], path: Place) -> Any:
    """The type of the key at the end of the path; None where that is no key of a table."""
    kind: Any = table
    for key in path:
        tables = isinstance(kind, type) and issubclass(kind, Table)
        kind = _types(kind).get(key) if tables else None
    return kind


def _types(table: type[Table]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(table)}


def _advice(key: str, value: Any, table: type[Table], place: Place) -> str:
    if table is ModelLimits and isinstance(value, dict):
        return in_quotes(".".join((place[-1], key, *_deeper(value))))
    known = [name for name in table.__struct_fields__ if name != "models"]
    meant = _SHORT.get(key, key)
    if meant in known:
        return f"did you mean `{meant}`?"
    homes = [home for home, names in _homes().items() if meant in names]
    if homes:
        return f"`{meant}` stands {' or '.join(homes)}"
    if key in _PARAMETERS and place in ((), ("request",)):
        return f"it is a parameter: [request] has params = {{ {key} = ... }}"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"


def _deeper(value: dict[str, Any]) -> list[str]:
    """The further parts of a name that its dots cut to tables within tables."""
    names: list[str] = []
    while len(value) == 1 and isinstance(inner := next(iter(value.values())), dict):
        names += value
        value = inner
    return names


def _homes() -> dict[str, set[str]]:
    """Where keys stand."""
    tables = {name: kind for name, kind in _types(Job).items() if isinstance(kind, type) and issubclass(kind, Table)}
    homes = {"above the first table": set(Job.__struct_fields__) - set(tables)}
    return homes | {f"in [{name}]": set(table.__struct_fields__) - {"models"} for name, table in tables.items()}
