"""What is wrong with a job file, in its own words: those of TOML's and msgspec's errors are for programmers."""

import difflib
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from batchrunner.job.lines import Place
from batchrunner.job.schema import NO_KEYS, Job, ModelLimits, ModelPrices, Table
from batchrunner.job.secrets import ADVICE, is_secret_name, shown

# As options and requests call them: what people write from memory.
SHORT_NAMES = {
    "rps": "requests_per_second",
    "rpm": "requests_per_minute",
    "rpd": "requests_per_day",
    "tps": "tokens_per_second",
    "tpm": "tokens_per_minute",
    "tpd": "tokens_per_day",
}
_PARAMETERS = frozenset(("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed", "tools"))
_PLACES = frozenset(
    ("overwrite", "part_rows", "run_dir", "state_dir", "api_key_file", "ca_bundle", "allow_insecure_http")
)
_SHOWN = frozenset(("progress", "log_format", "log_file", "quiet", "verbose", "json"))
_GOING_ON = frozenset(("wait_lock", "now", "max_outage", "max_failed", "grace", "limit", "resume", "on_drift"))
OPTIONS_ONLY = _PLACES | _GOING_ON | _SHOWN | {"output_format", "raw", "simulate", "engine", "workers", "ray_address"}
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
_KNOWN_TROUBLE = {  # of what tomllib says
    "Cannot overwrite a value": "this key stands there already",
    "Invalid value": "no value stands here; a text needs its quotes",
    "Invalid statement": "here stands neither a key nor a table",
    "Expected newline or end of document after a statement": "something follows the value; a text needs its quotes",
}
_SIGNS = {"/": "a slash", ".": "a dot", ":": "a colon", " ": "a space"}
_WRONG_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_NO_CHOICE = re.compile(r"Invalid enum value ")
_HEADER = re.compile(r"""\s*\[\s*(limits|prices)\s*\.\s*([^\[\]"'#]*?)\s*(?:\]|#|$)""")
_BARE = re.compile(r"[\w-]*", re.ASCII)


def sentence(words: str) -> str:
    """With a full stop, where it does not end with a sign of its own."""
    return words if words.endswith((".", "?", "!")) else f"{words}."


def dotted(place: Place) -> str:
    """The key as TOML writes it: limits."acme/small".concurrency. Elements of lists: messages[0].role."""
    words = ""
    for part in place:
        match part:
            case int():
                words += f"[{part}]"
            case str():
                words += f".{part}" if part and _BARE.fullmatch(part) else f'."{part}"'
    return words.removeprefix(".")


def at_place(place: Place, words: str) -> str:
    """Words that follow the name of a key: `limits.concurrency` and `= 0 is too few`."""
    return f"{dotted(place)}{words if words.startswith(':') else ' ' + words}" if place else words


def no_toml(content: bytes, error: Exception) -> tuple[int | None, str]:
    """Where and why a file is no TOML. The name of a model that lacks its quotes is shown with them."""
    if isinstance(error, UnicodeDecodeError):
        return content.count(b"\n", 0, error.start) + 1, "this is no TOML: it is no text in UTF-8"
    words = _KNOWN_TROUBLE.get(str(error).partition(" (at ")[0], str(error).partition(" (at ")[0])
    at = re.search(r"\(at line (\d+), column (\d+)\)$", str(error))
    if at is None:
        ended = str(error).endswith("(at end of document)")
        return content.rstrip().count(b"\n") + 1 if ended else None, f"this is no TOML: {words}"
    header = _HEADER.match(content.decode(errors="replace").split("\n")[int(at[1]) - 1])
    if header is not None and not _BARE.fullmatch(header[2]):
        return int(at[1]), f"this is no TOML: {in_quotes(header[1], header[2])}"
    return int(at[1]), f"this is no TOML: {words} (column {at[2]})"


def in_quotes(table: str, model: str) -> str:
    """How the table of a model within another is written, where the model's name is no bare key."""
    sign = next(sign for sign in model if not _BARE.fullmatch(sign))
    return f'a model\'s name with {_SIGNS.get(sign, sign)} in it needs quotes: [{table}."{model}"]'


def unknown_key(key: str, value: Any, table: type[Table], place: Place, where: str, more: tuple[str, ...] = ()) -> str:
    """That a table has no such key, and which one was meant. `place`: of the table in a job; `where`: its name in the
    file; `more`: keys that it has beside those of its record."""
    if table in (ModelLimits, ModelPrices) and isinstance(value, dict):
        advice = "; " + in_quotes(str(place[0]), ".".join((str(place[-1]), key, *_deeper(value))))
    elif is_secret_name(key):
        advice = f"; {ADVICE}"
    else:
        known = [name for name in table.__struct_fields__ if name not in NO_KEYS] + list(more)
        meant = SHORT_NAMES.get(key, key)
        advice = f"; {_home(meant, known, place) or _near(key, known)}"
    return f"{where or 'the job'} has no key `{key}`{advice}"


def wrong_value(error: msgspec.ValidationError, table: type[Table], tables: Any) -> tuple[Place, str]:
    """Which value of these tables is not what its key takes, and words that follow its place."""
    words, _, path = str(error).partition(" - at `$")
    inner: Place = tuple(filter(None, re.sub(r"\[[^\]]*\]", "", path.rstrip("`")).split(".")))
    if missing := _MISSING.match(words):
        return inner, f"lacks the key `{missing[1]}`" if inner else f"the key `{missing[1]}` is missing"
    choices = " or ".join(_choices(_type_at(table, inner)))
    value = "" if "[" in path else shown(_value_at(tables, inner))
    if wrong := _WRONG_TYPE.match(words):
        written = f": {value}" if value and wrong[2] not in ("array", "object", "bool") else ""
        got = value if value and wrong[2] == "bool" else _named(wrong[2], _GOT)
        return inner, f"takes {choices or _named(wrong[1], _EXPECTED)}, not {got}{written}"
    if _NO_CHOICE.match(words):
        return inner, f"takes {choices}, not {value}"
    return inner, f"is wrong: {words}"


def _value_at(tables: Any, place: Place) -> Any:
    for key in place:
        tables = tables.get(key) if isinstance(tables, dict) else None
    return tables


def _named(types: str, names: Mapping[str, str]) -> str:
    """`int | null` as a whole number: TOML has no null."""
    return " or ".join(names.get(name, name) for name in types.split(" | ") if name != "null")


def _choices(kind: Any) -> list[str]:
    """What a key takes where few texts will do: a whole number, "auto". Nothing where any text will."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    texts = [f'"{text}"' for part in parts if get_origin(part) is Literal for text in get_args(part)]
    others = {int: "int", float: "float", list: "array"}
    names = [others[plain] for part in parts if (plain := get_origin(part) or part) in others]
    return [_EXPECTED[name] for name in names] + texts if texts else []


def _type_at(table: type[Table], path: Place) -> Any:
    """The type of the key at the end of the path; None where that is no key of a table."""
    kind: Any = table
    for key in path:
        tables = isinstance(kind, type) and issubclass(kind, Table)
        kind = _types(kind).get(str(key)) if tables else None
    return kind


def _types(table: type[Table]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(table)}


def _home(key: str, known: list[str], place: Place) -> str | None:
    """Where a key belongs that is none of this table."""
    if key in known:
        return f"did you mean `{key}`?"
    homes = [home for home, names in _homes().items() if key in names]
    if homes:
        return f"`{key}` stands {' or '.join(homes)}"
    if key in _PARAMETERS and place in ((), ("request",)):
        return f"it is a parameter: [request] has params = {{ {key} = ... }}"
    return f"it is an option of the command line only: --{key.replace('_', '-')}" if key in OPTIONS_ONLY else None


def _near(key: str, known: list[str]) -> str:
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
    homes = {"above the first table": set(Job.__struct_fields__) - set(tables) - NO_KEYS}
    return homes | {f"in [{name}]": set(table.__struct_fields__) - NO_KEYS for name, table in tables.items()}
