"""A job file becomes a Job; options override it. Refused: unknown keys (with the nearest name) and bad values.

Every error names the file, the line and the key. Reading (`load_job`) is apart from parsing (`parse_job`), which
touches no file. Precedence: options, the job file, the profile it names, defaults.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from batchrunner.job.faults import faults
from batchrunner.job.lines import Place
from batchrunner.job.profiles import BESIDE, merged, profile, profiles_path, read_profiles
from batchrunner.job.schema import (
    NO_KEYS,
    Gateway,
    Job,
    LimitsTable,
    ModelLimits,
    ModelPrices,
    PricesTable,
    RequestTable,
    Table,
)
from batchrunner.job.sheet import Sheet, nearest, parse_sheet, read_file
from batchrunner.job.words import dotted, unknown_key, wrong_value

SomeTable = TypeVar("SomeTable", bound=Table)
# The tables that may have one within them for each model: [limits."acme/small"].
_BY_MODEL: dict[str, tuple[type[Table], type[Table]]] = {
    "limits": (LimitsTable, ModelLimits),
    "prices": (PricesTable, ModelPrices),
}


def load_job(path: Path) -> Job:
    """Read a job file, and the profile that it names; its relative paths are relative to it."""
    sheet = parse_sheet(read_file(path, "job file"), name=str(path))
    names_profile = isinstance(sheet.tables.get("gateway"), str)
    job = job_of(sheet, read_profiles(profiles_path(os.environ)) if names_profile else None)
    output = None if job.output is None else _beside(path, job.output)
    files = None if job.request.files is None else _beside(path, job.request.files)
    request = msgspec.structs.replace(job.request, files=files)
    return msgspec.structs.replace(job, input=_beside(path, job.input), output=output, request=request)


def parse_job(content: bytes, *, name: str, profiles: Sheet | None = None) -> Job:
    """The job that the bytes of a job file say. `name` stands in messages."""
    return job_of(parse_sheet(content, name=name), profiles)


def job_of(sheet: Sheet, profiles: Sheet | None) -> Job:
    """The job that a sheet says. `profiles` are needed where it names one."""
    name = sheet.tables.get("gateway")
    if not isinstance(name, str):
        return _with_places(_checked(_known(sheet, sheet.tables), sheet), sheet)
    below = profile(name, profiles or Sheet(name="the profiles"), sheet)
    common = _known(below, below.tables)
    _checked({"input": "-"} | common, below)
    own = _known(sheet, {key: value for key, value in sheet.tables.items() if key != "gateway"})
    _checked(own, sheet)
    both = merged(common, own)
    if "limits" in common:
        both["limits"]["of_profile"] = list(common["limits"]["models"])
    return _with_places(_checked(both, sheet, below), sheet)


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
    return _checked(tables, Sheet(name="the options", tables=tables))


def _beside(path: Path, said: str) -> str:
    """Relative to the job file. The slash that names a folder stays, and so do `-` and a URL."""
    if said == "-" or "://" in said:
        return said
    return str(path.parent / said) + ("/" if said.endswith("/") else "")


def _known(sheet: Sheet, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables as records have them, once none of their keys is unknown."""
    _refuse_unknown(sheet, tables, Job, ())
    gathered = {
        name: _with_models(name, tables[name], sheet) for name in _BY_MODEL if isinstance(tables.get(name), dict)
    }
    return {**tables, **gathered}


def _with_models(name: str, table: dict[str, Any], sheet: Sheet) -> dict[str, Any]:
    """[limits] or [prices] as its record has it: the tables within it, each named after a model, gathered under
    `models`."""
    models = {key: value for key, value in table.items() if _kind_for_model((name,), key, value)}
    for key, value in models.items():
        _converted(value, _BY_MODEL[name][1], (sheet,), (name, key))
    return {key: value for key, value in table.items() if key not in models} | {"models": models}


def _kind_for_model(place: Place, key: str, value: Any) -> type[Table] | None:
    """The record of a table that is named after a model, where that is what stands under this key."""
    whole, own = _BY_MODEL.get(str(place[-1]), (None, None)) if len(place) == 1 else (None, None)
    if whole is None or not isinstance(value, dict):
        return None
    return None if key in whole.__struct_fields__ and key not in NO_KEYS else own


def _checked(tables: dict[str, Any], *sheets: Sheet) -> Job:
    """The job of these tables, which come from the sheets: those of the first stand over those of the second."""
    job = _converted(tables, Job, sheets)
    for place, words in faults(job):
        raise nearest(sheets, place).wrong(place, words)
    gateway = msgspec.structs.replace(job.gateway, base_url=job.gateway.base_url.rstrip("/"))
    return msgspec.structs.replace(job, gateway=gateway, request=_with_stream(job.request))


def _with_places(job: Job, sheet: Sheet) -> Job:
    return msgspec.structs.replace(job, places=sheet.templates())


def _with_stream(request: RequestTable) -> RequestTable:
    """The parameter `stream` is the key of that name: it says how answers come, not what is asked."""
    stream = request.params.get("stream")
    if not isinstance(stream, bool):
        return request
    params = {name: value for name, value in request.params.items() if name != "stream"}
    return msgspec.structs.replace(request, stream=stream, params=params)


def _converted(
    tables: dict[str, Any], table: type[SomeTable], sheets: tuple[Sheet, ...], place: Place = ()
) -> SomeTable:
    try:
        return msgspec.convert(tables, table)
    except msgspec.ValidationError as error:
        inner, words = wrong_value(error, table, tables)
        raise nearest(sheets, (*place, *inner)).wrong((*place, *inner), words) from error


def _refuse_unknown(sheet: Sheet, tables: Mapping[str, Any], table: type[Table], place: Place) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(table) if field.name not in NO_KEYS}
    for key, value in tables.items():
        inner = _kind_for_model(place, key, value) or fields.get(key)
        if inner is None:
            where = sheet.spelled(place)
            more = BESIDE if sheet.root and table is Gateway else ()
            words = unknown_key(key, value, table, place, f"[{dotted(where)}]" if where else "", more)
            raise sheet.error((*place, key), words)
        if isinstance(inner, type) and issubclass(inner, Table) and isinstance(value, dict):
            _refuse_unknown(sheet, value, inner, (*place, key))
