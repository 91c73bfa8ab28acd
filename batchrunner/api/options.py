"""What `run` and `Runner` are told in Python, as a job and the settings of its run."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

from batchrunner.errors import UsageError
from batchrunner.folder.finding import run_folder_of
from batchrunner.folder.sampling import Sample
from batchrunner.job.load import job_of as job_of_sheet
from batchrunner.job.load import load_job, with_options
from batchrunner.job.profiles import profiles_path, read_profiles
from batchrunner.job.schema import STANDARD_INPUT, Job, RunTable
from batchrunner.job.sheet import Sheet
from batchrunner.job.sweep import without
from batchrunner.job.words import SHORT_NAMES
from batchrunner.limits.redis_place import VARIABLE, RedisPlace
from batchrunner.runner.books import place_of
from batchrunner.runner.hooks import Accept, Hooks, MakeRequest
from batchrunner.runner.prompting import prompt_of
from batchrunner.runner.settings import Engine, Settings
from batchrunner.runner.simulated import SIMULATED_MODEL
from batchrunner.runner.state import state_home
from batchrunner.runner.stopping import MaxFailed
from batchrunner.sink import OutputFormat

SomeJob = Job | Mapping[str, Any] | str | os.PathLike[str]


class Options(TypedDict, total=False):
    """Those of the command line, by the same names; they override the job. Times are seconds, `params` a table,
    `max_failed` a number of rows, a share such as 0.05, or None for no bound. `request` and `accept` are functions:
    see the README."""

    output: str | os.PathLike[str]
    output_format: OutputFormat
    raw: bool
    keep: Sequence[str] | Literal["all"]
    part_rows: int
    overwrite: bool
    run_dir: str | os.PathLike[str]
    state_dir: str | os.PathLike[str]
    shared: str
    model: str
    base_url: str
    api_key_env: str
    api_key_file: str | os.PathLike[str]
    auth_scheme: Literal["Api-Key", "Bearer"]
    allow_insecure_http: bool
    ca_bundle: str | os.PathLike[str]
    prompt: str
    prompt_file: str | os.PathLike[str]
    system: str
    files: str | os.PathLike[str]
    params: Mapping[str, Any]
    rps: int
    rpm: int
    rpd: int
    tps: int
    tpm: int
    tpd: int
    daily_reset: str
    token_accounting: Literal["settled", "upfront"]
    concurrency: int | Literal["auto"]
    max_concurrency: int
    on_daily_limit: Literal["wait", "park"]
    until: str
    max_duration: float | str
    budget_cost: float
    budget_tokens: int
    now: bool
    wait_lock: float
    attempts: int
    timeout: float
    max_outage: float
    max_failed: float | None
    grace: float
    limit: int
    sample: int
    seed: int
    resume: Literal["auto", "never", "must"]
    on_drift: Literal["stop", "rerun-changed", "keep"]
    simulate: bool
    engine: Engine
    workers: int
    ray_address: str
    request: MakeRequest
    accept: Accept


# Where the options belong: the tables of the job, and by which names the settings of a run know the others.
_TABLES = {
    "": {name: name for name in ("output", "keep")},
    "gateway": {name: name for name in ("base_url", "api_key_env", "auth_scheme")},
    "request": {name: name for name in ("model", "prompt", "system", "files")},
    "limits": SHORT_NAMES
    | {name: name for name in ("daily_reset", "token_accounting", "concurrency", "max_concurrency")},
    "retry": {name: name for name in ("attempts", "timeout")},
    "run": {name: name for name in RunTable.__struct_fields__},
}
_SETTINGS = {
    "now": "ignore_resume_at",
    "max_outage": "max_outage_seconds",
    "grace": "grace_seconds",
    "wait_lock": "wait_lock_seconds",
    **{name: name for name in ("part_rows", "overwrite", "allow_insecure_http", "limit", "resume", "on_drift")},
    **{name: name for name in ("output_format", "raw", "engine", "workers", "ray_address", "simulate")},
}


def job_of(job: SomeJob, options: Options) -> Job:
    """The job, with the options put over it."""
    given = _given(job)
    said: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    unknown = said.keys() - Options.__annotations__.keys()
    if unknown:
        raise UsageError(f"There is no option {min(unknown)!r}; there are: {', '.join(Options.__annotations__)}.")
    if said.get("seed") is not None and said.get("sample") is None:
        raise UsageError("seed says which rows sample takes: say sample, too.")
    prompt = prompt_of(said.get("prompt"), path_of(said.get("prompt_file")))
    if prompt is not None:
        said["prompt"] = prompt
    for name in ("output", "files"):
        if name in said:
            said[name] = os.fspath(said[name])
    tables = {table: {to: said[name] for name, to in names.items() if name in said} for table, names in _TABLES.items()}
    if os.environ.get("BATCHRUNNER_BASE_URL"):
        tables["gateway"].setdefault("base_url", os.environ["BATCHRUNNER_BASE_URL"])
    params = dict(said.get("params", {}))
    tables["request"]["params"] = given.request.params | params
    if prompt is not None:
        tables["request"]["messages"] = []
    if said.get("simulate") and given.request.model is None:
        tables["request"].setdefault("model", SIMULATED_MODEL)
    over = said.keys() & {"model", "prompt", "system"} | params.keys()
    return _in_files(with_options(msgspec.structs.replace(given, sweep=without(given.sweep, over)), tables))


def _in_files(job: Job) -> Job:
    """The job, whose output is no stream."""
    if job.output_is_stdout:
        raise UsageError("Standard output is for the command line: name an output.")
    return job


def _given(job: SomeJob) -> Job:
    given = job if isinstance(job, Job) else _of_tables(job) if isinstance(job, Mapping) else _of_file(os.fspath(job))
    if given.input == STANDARD_INPUT:
        raise UsageError("Standard input is for the command line: name a file.")
    return given


def _of_tables(tables: Mapping[str, Any]) -> Job:
    paths = {name: os.fspath(tables[name]) for name in ("input", "output") if tables.get(name) is not None}
    names_profile = isinstance(tables.get("gateway"), str)
    profiles = read_profiles(profiles_path(os.environ)) if names_profile else None
    return job_of_sheet(Sheet(name="the job", tables={**tables, **paths}), profiles)


def _of_file(name: str) -> Job:
    return load_job(Path(name)) if name.endswith(".toml") else Job(input=name)


def settings_of(job: Job, options: Options) -> Settings:
    """How the job is to be run."""
    said: dict[str, Any] = {to: options[name] for name, to in _SETTINGS.items() if name in options}  # type: ignore[literal-required]
    run_dir = path_of(options.get("run_dir")) or run_folder_of(job.output_path)
    state_dir = path_of(options.get("state_dir") or os.environ.get("BATCHRUNNER_STATE_DIR")) or state_home()
    simulate = options.get("simulate", False)
    return Settings(
        run_dir=run_dir,
        state_dir=run_dir / "simulated" if simulate else state_dir,
        shared=None if simulate else _shared(job, options),
        ca_bundle=path_of(options.get("ca_bundle")),
        key_file=path_of(options.get("api_key_file")),
        identity_url="simulated" if simulate else None,
        on_daily_limit=job.run.on_daily_limit or "park",
        sample=_sample(options),
        max_failed=_most_failed(options.get("max_failed", 0.05)),
        hooks=Hooks(
            request=options.get("request"), accept=options.get("accept"), warn=warnings.warn, heeds_signals=False
        ),
        **said,
    )


def _shared(job: Job, options: Options) -> RedisPlace | None:
    insecure = options.get("allow_insecure_http", False)
    return place_of(options.get("shared") or os.environ.get(VARIABLE) or job.limits.shared, allow_insecure=insecure)


def _sample(options: Options) -> Sample | None:
    rows = options.get("sample")
    return None if rows is None else Sample(rows=rows, seed=options.get("seed") or 0)


def _most_failed(most: float | None) -> MaxFailed:
    if most is None:
        return MaxFailed()
    if isinstance(most, int):
        return MaxFailed(count=most)
    if not 0 <= most <= 1:
        raise UsageError(f"max_failed = {most} is neither a number of rows nor a share between 0 and 1.")
    return MaxFailed(share=most)


def path_of(path: str | os.PathLike[str] | None) -> Path | None:
    """The same as a Path, if there is one."""
    return Path(path) if path else None
