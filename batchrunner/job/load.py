"""A job file becomes a Job; options override it. Refused: unknown keys (with the nearest name) and bad values.

Reading (`load_job`) is apart from parsing (`parse_job`), which touches no file.
"""

import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from batchrunner.errors import InputError, UsageError
from batchrunner.job.reset import parse_reset
from batchrunner.job.schema import Job, LimitsTable, ModelLimits, RequestTable, Table
from batchrunner.job.words import Place, dotted, no_toml, sentence, unknown_key, wrong_value

LARGEST_FILE = 2**20
LARGEST_LIMIT = 10**15

SomeTable = TypeVar("SomeTable", bound=Table)
_LIMITS = frozenset(LimitsTable.__struct_fields__) - {"models"}  # what [limits] says in words of its own


def load_job(path: Path) -> Job:
    """Read a job file; its relative paths are relative to it."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"The job file {path} can't be read: {error.strerror}.") from error
    if len(content) > LARGEST_FILE:
        raise UsageError(f"The job file {path} is larger than {LARGEST_FILE} bytes: is it the right file?")
    job = parse_job(content, name=str(path))
    output = None if job.output is None else _beside(path, job.output)
    return msgspec.structs.replace(job, input=str(path.parent / job.input), output=output)


def parse_job(content: bytes, *, name: str) -> Job:
    """The job that the bytes of a job file say. `name` stands in messages."""
    try:
        tables = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(sentence(f"{name} {no_toml(content, error)}")) from error
    return job_from(tables, name=name)


def job_from(tables: Mapping[str, Any], *, name: str) -> Job:
    """The job that tables of the shape of a job file say. `name` stands in messages."""
    tables = dict(tables)
    unknown = _unknown_key(tables, Job, ())
    if unknown is not None:
        raise UsageError(sentence(f"{name}: {unknown}"))
    if isinstance(tables.get("limits"), dict):
        tables["limits"] = _with_models(tables["limits"], name)
    return _checked(tables, name)


def with_options(job: Job, options: Mapping[str, Mapping[str, Any]]) -> Job:
    """The job with options put over it: `{"limits": {"requests_per_minute": 600}}`; None is not said.

    A limit that is an option holds for every model, also for one that has a table of its own.
    """
    tables = msgspec.to_builtins(job)
    for table, values in options.items():
        said = {key: value for key, value in values.items() if value is not None}
        target = tables if table == "" else tables[table]
        target.update(said)
        if table == "limits":
            for own in target["models"].values():
                own.update(dict.fromkeys(own.keys() & said))
    return _checked(tables, "the options")


def _beside(path: Path, output: str) -> str:
    """Relative to the job file; the slash that names a folder stays."""
    return str(path.parent / output) + ("/" if output.endswith("/") else "")


def _with_models(limits: dict[str, Any], name: str) -> dict[str, Any]:
    """[limits] as its record has it: the tables within it, each named after a model, gathered under `models`."""
    models = {
        key: _converted(value, ModelLimits, name, ("limits", key))
        for key, value in limits.items()
        if _is_of_a_model(key, value)
    }
    return {key: value for key, value in limits.items() if key not in models} | {"models": models}


def _is_of_a_model(key: str, value: Any) -> bool:
    return isinstance(value, dict) and key not in _LIMITS


def _checked(tables: dict[str, Any], name: str) -> Job:
    job = _converted(tables, Job, name)
    gateway = msgspec.structs.replace(job.gateway, base_url=job.gateway.base_url.rstrip("/"))
    job = msgspec.structs.replace(job, gateway=gateway, request=_with_stream(job.request))
    fault = next(_faults(job), None)
    if fault is not None:
        raise UsageError(sentence(f"{name}: {fault}"))
    return job


def _with_stream(request: RequestTable) -> RequestTable:
    """The parameter `stream` is the key of that name: it says how answers come, not what is asked."""
    stream = request.params.get("stream")
    if not isinstance(stream, bool):
        return request
    params = {name: value for name, value in request.params.items() if name != "stream"}
    return msgspec.structs.replace(request, stream=stream, params=params)


def _converted(tables: dict[str, Any], table: type[SomeTable], name: str, place: Place = ()) -> SomeTable:
    try:
        return msgspec.convert(tables, table)
    except msgspec.ValidationError as error:
        raise UsageError(sentence(f"{name}: {wrong_value(error, table, place)}")) from error


def _faults(job: Job) -> Iterator[str]:
    yield from _faults_of_limits(job.limits)
    if job.retry.attempts < 1:
        yield f"retry.attempts = {job.retry.attempts} is less than 1"
    if not 0 < job.retry.timeout < math.inf:
        yield f"retry.timeout = {job.retry.timeout} is no number of seconds above 0"
    if job.retry.invalid_answers < 0:
        yield f"retry.invalid_answers = {job.retry.invalid_answers} is less than 0"
    if job.request.params.get("n", 1) != 1:
        yield "the parameter n is more than 1: repeat the rows instead, each with an id of its own"
    if "stream" in job.request.params:
        yield "the parameter stream is neither true nor false"
    for name in ("model", "messages"):
        if name in job.request.params:
            yield f"the parameter {name} has a place of its own: --model, or the rows"


def _faults_of_limits(limits: LimitsTable) -> Iterator[str]:
    yield from _faults_of_lane(limits, "limits")
    for model in limits.models:
        place = dotted(("limits", model))
        yield from _faults_of_lane(limits.for_model(model), place)
        if limits.scope == "account":
            yield f'limits.scope = "account" counts all models together: [{place}] can\'t have limits of its own'


def _faults_of_lane(lane: LimitsTable, place: str) -> Iterator[str]:
    for key, value in msgspec.structs.asdict(lane).items():
        if isinstance(value, int) and not 1 <= value <= LARGEST_LIMIT:
            yield f"{place}.{key} is not a number from 1 to {LARGEST_LIMIT}"
    most = lane.max_concurrency
    if isinstance(lane.concurrency, int) and most is not None and lane.concurrency > most:
        yield f"{place}.concurrency = {lane.concurrency} is more than max_concurrency = {most}"
    try:
        parse_reset(lane.daily_reset)
    except ValueError as error:
        yield f"{place}.daily_reset: {error}"


def _unknown_key(tables: Mapping[str, Any], table: type[Table], place: Place) -> str | None:
    fields = {field.name: field.type for field in msgspec.structs.fields(table)}
    fields.pop("models", None)  # its tables stand in [limits] itself
    for key, value in tables.items():
        inner = ModelLimits if table is LimitsTable and _is_of_a_model(key, value) else fields.get(key)
        if inner is None:
            return unknown_key(key, value, table, place)
        if isinstance(inner, type) and issubclass(inner, Table) and isinstance(value, dict):
            found = _unknown_key(value, inner, (*place, key))
            if found is not None:
                return found
    return None
