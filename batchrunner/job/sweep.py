"""The sweep: every combination of its lists is a variant of the job's request, asked so many times each. Pure.

`model`, `prompt`, `system` and whatever else [request] has of its own are lists in [sweep]; every other name is a
request parameter. What [sweep] lists goes before what [request] says; an option of the command line before both.
An empty text in `system` is no system message.
Refused: what is no list or an empty one, a value twice, `n` (that is what `samples` is for), more than MOST_ARMS.
"""

import difflib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from batchrunner.job.schema import RequestTable

MOST_ARMS = 10_000
_LONGEST_SHOWN = 40
_SAMPLES = "samples"
_NOT_SWEPT = {
    "n": "samples = 4 asks for several answers, each a row of the output",
    "stream": "whether answers come as streams makes no other variant",
    "messages": "conversations stand in the rows; several system messages are system = [...]",
    "params": "each parameter is a list of its own: temperature = [0, 0.7]",
    "row_params": "it is not what is asked",
}

Sweep = Mapping[str, Any]


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which every row is asked. `variant` is its readable name, None where nothing is swept but samples;
    `sample` counts from 0, None where there is no sweep."""

    request: RequestTable
    variant: str | None = None
    sample: int | None = None


def arms_of(request: RequestTable, sweep: Sweep) -> tuple[Arm, ...]:
    """The arms in the order of the output: by variant, the first list of the sweep outermost, then by sample.

    Without a sweep there is one, the request itself.
    """
    if not sweep:
        return (Arm(request=request),)
    return tuple(
        Arm(request=variant, variant=name, sample=sample)
        for name, variant in _variants(request, sweep)
        for sample in range(sweep.get(_SAMPLES, 1))
    )


def swept_in(sweep: Sweep) -> tuple[str, ...]:
    """What differs between the variants, by name."""
    return tuple(name for name in sweep if name != _SAMPLES)


def without(sweep: Sweep, said: Iterable[str]) -> dict[str, Any]:
    """The sweep without what options say."""
    names = set(said)
    return {name: values for name, values in sweep.items() if name not in names}


def values_of(request: RequestTable) -> dict[str, Any]:
    """What a request says, by the names that a sweep would use; without what it leaves open."""
    said = {
        field.name: value
        for field in msgspec.structs.fields(request)
        if field.name not in ("params", "stream") and (value := getattr(request, field.name))
    }
    return {**request.params, **said}


def faults_of_sweep(sweep: Sweep) -> Iterator[tuple[tuple[str, ...], str]]:
    """Which of its keys are wrong, and words that follow their names."""
    samples = sweep.get(_SAMPLES, 1)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        yield ("sweep", _SAMPLES), f"= {_json(samples)} is no number of answers to each row: write samples = 4"
        return
    for name in swept_in(sweep):
        fault = _fault_of(name, sweep[name])
        if fault is not None:
            yield ("sweep", name), f": {fault}"
            return
    arms = samples * math.prod(len(sweep[name]) for name in swept_in(sweep))
    if arms > MOST_ARMS:
        yield ("sweep",), f"makes {arms:,} units of each row; {MOST_ARMS:,} are the most"


def _variants(request: RequestTable, sweep: Sweep) -> Iterator[tuple[str | None, RequestTable]]:
    names = swept_in(sweep)
    places = [list(enumerate(sweep[name], 1)) for name in names]
    for combination in itertools.product(*places):
        values = dict(zip(names, (value for _, value in combination), strict=True))
        words = [f"{name}={_shown(value, place)}" for name, (place, value) in zip(names, combination, strict=True)]
        yield " ".join(words) or None, _with(request, values)


def _with(request: RequestTable, values: Mapping[str, Any]) -> RequestTable:
    own = {name: value for name, value in values.items() if name in request.__struct_fields__}
    params = {name: value for name, value in values.items() if name not in own}
    if own.get("system") == "":
        own["system"] = None  # TOML has no other way to say: none
    return msgspec.structs.replace(request, **own, params=request.params | params)


def _shown(value: object, place: int) -> str:
    """A value in a variant's name: as it would be written, or its place in the list where that is too long."""
    text = value if isinstance(value, str) and value and not _has_other_meaning(value) else _json(value)
    return text if len(text) <= _LONGEST_SHOWN and text.isprintable() else f"#{place}"


def _has_other_meaning(text: str) -> bool:
    """Whether a text without quotes would be taken for a number, say, or for more than one word."""
    if any(sign.isspace() or sign in '"=#' for sign in text):
        return True
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True


def _fault_of(name: str, values: object) -> str | None:
    if name in _NOT_SWEPT:
        return f"can't be swept; {_NOT_SWEPT[name]}"
    near = difflib.get_close_matches(name, (*RequestTable.__struct_fields__, _SAMPLES), n=1, cutoff=0.75)
    if near and near[0] != name:
        return f"did you mean `{near[0]}`?"
    if not isinstance(values, list) or not values:
        return f"it takes a list of values, such as {name} = [{_json(values) if values else '...'}]"
    encoded = [_json(value) for value in values]
    twice = next((text for place, text in enumerate(encoded) if text in encoded[:place]), None)
    if twice is not None:
        return f"{twice} stands there twice"
    return _wrong_type(name, values)


def _wrong_type(name: str, values: list[Any]) -> str | None:
    """Values of what [request] has a place of its own for must be such as stand there."""
    if name not in RequestTable.__struct_fields__:
        return None
    for value in values:
        try:
            msgspec.convert({name: value}, RequestTable)
        except msgspec.ValidationError:
            return f"{_json(value)} is no {name}"
    return None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
