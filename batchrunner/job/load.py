"""A job file becomes a Job; options override it. Refused: unknown keys (with the nearest name) and bad values.

Reading (`load_job`) is apart from parsing (`parse_job`), which touches no file.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from batchrunner.errors import InputError, UsageError
from batchrunner.job.schema import Job, Table

LARGEST_FILE = 2**20
LARGEST_LIMIT = 10**15


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
    output = None if job.output is None else str(path.parent / job.output)
    return msgspec.structs.replace(job, input=str(path.parent / job.input), output=output)


def parse_job(content: bytes, *, name: str) -> Job:
    """The job that the bytes of a job file say. `name` stands in messages."""
    try:
        tables = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is no TOML: {error}.") from error
    unknown = _unknown_key(tables, Job, ())
    if unknown is not None:
        raise UsageError(f"{name}: {unknown}.")
    return _checked(tables, name)


def with_options(job: Job, options: Mapping[str, Mapping[str, Any]]) -> Job:
    """The job with options put over it: `{"limits": {"requests_per_minute": 600}}`; None is not said."""
    tables = msgspec.to_builtins(job)
    for table, values in options.items():
        target = tables if table == "" else tables[table]
        target.update({key: value for key, value in values.items() if value is not None})
    return _checked(tables, "the options")


def _checked(tables: dict[str, Any], name: str) -> Job:
    try:
        job = msgspec.convert(tables, Job)
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {error}.".replace("`$.", "`")) from error
    gateway = msgspec.structs.replace(job.gateway, base_url=job.gateway.base_url.rstrip("/"))
    job = msgspec.structs.replace(job, gateway=gateway)
    fault = next(_faults(job), None)
    if fault is not None:
        raise UsageError(f"{name}: {fault}.")
    return job


def _faults(job: Job) -> Any:
    for key, value in msgspec.structs.asdict(job.limits).items():
        if isinstance(value, int) and not 1 <= value <= LARGEST_LIMIT:
            yield f"limits.{key} is not a number from 1 to {LARGEST_LIMIT}"
    if job.retry.attempts < 1:
        yield f"retry.attempts = {job.retry.attempts} is less than 1"
    if not 0 < job.retry.timeout < math.inf:
        yield f"retry.timeout = {job.retry.timeout} is no number of seconds above 0"
    if job.request.params.get("n", 1) != 1:
        yield "the parameter n is more than 1: repeat the rows instead, each with an id of its own"
    if job.request.params.get("stream"):
        yield "the parameter stream is not supported: leave it out, answers are recorded whole"
    for name in ("model", "messages"):
        if name in job.request.params:
            yield f"the parameter {name} has a place of its own: --model, or the rows"


def _unknown_key(tables: Mapping[str, Any], table: type[Table], place: tuple[str, ...]) -> str | None:
    fields = {field.name: field.type for field in msgspec.structs.fields(table)}
    for key, value in tables.items():
        if key not in fields:
            return _advice(key, fields, place)
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, Table) and isinstance(value, dict):
            found = _unknown_key(value, inner, (*place, key))
            if found is not None:
                return found
    return None


def _advice(key: str, fields: Mapping[str, Any], place: tuple[str, ...]) -> str:
    where = f"the table [{'.'.join(place)}]" if place else "the job"
    near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(fields)}"
    return f"{where} has no key `{key}`; {hint}"
