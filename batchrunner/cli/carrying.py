"""Carries out what `run` and `retry` were told: job, key and settings, the run itself, the summary."""

import gc
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, cast

import anyio
import msgspec

from batchrunner import __version__
from batchrunner.cli.exits import tell_error
from batchrunner.cli.log import Level, Log
from batchrunner.cli.telling import Manner, tell, words_of_retry
from batchrunner.cli.terminal import say
from batchrunner.cli.watching import Style, counting, shown_with, style_for, watching
from batchrunner.errors import InputError, StorageError, UsageError
from batchrunner.folder.finding import run_folder_of
from batchrunner.folder.retrying import Condition
from batchrunner.folder.sampling import Sample
from batchrunner.job.load import load_job, with_options
from batchrunner.job.schema import STANDARD_INPUT, Job, LimitsTable, RunTable
from batchrunner.job.sweep import without
from batchrunner.limits.redis_place import RedisPlace, without_password
from batchrunner.report.safe import safe_text
from batchrunner.runner.books import place_of
from batchrunner.runner.cautions import cautions
from batchrunner.runner.hooks import Hooks
from batchrunner.runner.keys import secrets_of
from batchrunner.runner.open_files import check_open_files
from batchrunner.runner.prompting import prompt_of
from batchrunner.runner.session import run_job
from batchrunner.runner.settings import Settings
from batchrunner.runner.simulated import SIMULATED_MODEL, gateway_of
from batchrunner.runner.spooling import spooled
from batchrunner.runner.state import state_home
from batchrunner.runner.summing import kept_summary
from batchrunner.transport.secret import Secret


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A job that can be run: how, and with which key."""

    job: Job
    settings: Settings
    key: Secret


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """That failed units are to be asked again: of which run folder, and which of them."""

    run_dir: Path
    conditions: tuple[Condition, ...]


def carry_out(chosen: dict[str, Any], arguments: Iterable[str], retry: Retry | None = None) -> int:
    """Run the job of these parameters of `run` to its end; the exit code.

    `arguments` are what they came from: remembered, and told to people as the command that goes on.
    """
    with said(chosen) as (log, manner, style):
        try:
            return _carry_out(chosen, arguments, retry, log, manner, style)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - told in the manner that was asked for
            return tell_error(error, log, command=shlex.join(["batchrunner", *arguments]))


def _carry_out(
    chosen: dict[str, Any], arguments: Iterable[str], retry: Retry | None, log: Log, manner: Manner, style: Style
) -> int:
    (named,) = chosen["jobs"]
    task = task_of(named, chosen, arguments)
    settings = task.settings if retry is None else _to_retry(task.settings, retry)
    with (
        _spool(task.job, settings, style, fresh=retry is None) as spool,
        gateway_of(task.job, simulate=chosen["simulate"]) as with_gateway,
        watching(style, log) as show,
    ):
        asked = with_options(with_gateway, {"": {"input": spool and str(spool)}})
        settings = msgspec.structs.replace(settings, spool=spool)
        collect_garbage_seldom()
        result = anyio.run(partial(run_job, asked, settings, key=task.key, watch=partial(show, "")))
    summary = kept_summary(task.job, result)
    if manner.as_json and not say(msgspec.json.encode(summary).decode()):
        raise StorageError("The summary can't be written to stdout; it stands beside the output.")
    if retry is not None and not manner.quiet:
        say(words_of_retry(result), err=manner.as_json or settings.to_stdout)
    tell(summary, settings, log, manner)
    return summary.exit_code


@contextmanager
def said(chosen: dict[str, Any]) -> Iterator[tuple[Log, Manner, Style]]:
    """The log, and how a run is shown while it goes on and when it has ended."""
    quiet, asked = chosen["quiet"], chosen["progress"]
    style = style_for(asked, quiet=quiet)
    shown = shown_with(style, quiet=quiet, verbose=chosen["verbose"])
    log = Log(shown=shown, as_json=chosen["log_format"] == "json", path=chosen["log_file"])
    try:
        command = shlex.join(["batchrunner", *map(without_password, sys.argv[1:])])
        log.tell(Level.RECORD, "begin", f"process {os.getpid()}, batchrunner {__version__}: {command}")
        brief = style == "none" and asked == "auto"
        yield log, Manner(quiet=quiet, brief=brief, as_json=chosen["as_json"]), style
    finally:
        log.close()


@contextmanager
def _spool(job: Job, settings: Settings, style: Style, *, fresh: bool) -> Iterator[Path | None]:
    """The file that standard input is spooled to, where that is the input; without `fresh` an earlier run's."""
    if job.input != STANDARD_INPUT:
        yield None
        return
    has_stdin = fresh and sys.stdin is not None and not sys.stdin.isatty()
    stdin = cast("BufferedReader", sys.stdin.buffer) if has_stdin else None
    with ExitStack() as stack:
        with counting("reading standard input", style) as told:
            spool = spooled(settings.run_dir, stdin, anew=settings.resume == "never", told=told)
            path = stack.enter_context(spool)
        yield path


def task_of(named: str, chosen: dict[str, Any], arguments: Iterable[str]) -> Task:
    """The job of this name, with the parameters of `run` put over it. BatchrunnerError where it can't be run."""
    job, settings = asked_of(named, chosen)
    if settings.to_stdout and chosen["as_json"]:
        raise UsageError("--json and --output - both want stdout: leave out one of them.")
    key, headers = secrets_of(job.gateway, chosen["api_key_file"], simulate=chosen["simulate"])
    alone = len(chosen["jobs"]) == 1
    warn = partial(_warn, "batchrunner" if alone else safe_text(named))
    hooks = Hooks() if chosen["quiet"] else Hooks(warn=warn)
    for words in cautions(job, chosen["api_key_file"], simulate=chosen["simulate"]):
        hooks.warn(words)
    settings = msgspec.structs.replace(
        settings, arguments=tuple(arguments), headers=headers, hooks=hooks, key_file=chosen["api_key_file"]
    )
    return Task(job=job, settings=settings, key=key)


def asked_of(named: str, chosen: dict[str, Any]) -> tuple[Job, Settings]:
    """The job of this name, and how it is to be run, without its key."""
    simulate = chosen["simulate"]
    job = job_of(named, chosen, simulate=simulate)
    check_open_files(job.limits)
    to_stdout = job.output_is_stdout
    if to_stdout and chosen["run_dir"] is not None:
        job = msgspec.structs.replace(job, output=f"{str(chosen['run_dir']).removesuffix('.run')}.jsonl")
    return job, msgspec.structs.replace(_settings(job, chosen, simulate=simulate), to_stdout=to_stdout)


def _warn(name: str, words: str) -> None:
    say(f"{name}: warning: {safe_text(words, 2000)}", err=True)


def _to_retry(settings: Settings, retry: Retry) -> Settings:
    """InputError where the remembered arguments are of another run folder than the one that is to be retried."""
    if not settings.run_dir.exists() or not settings.run_dir.samefile(retry.run_dir):
        raise InputError(
            f"The run in {retry.run_dir} was made in {settings.run_dir.absolute()}: move it back there, or repeat the "
            "command with --run-dir."
        )
    return msgspec.structs.replace(settings, retry=retry.conditions, resume="must")


def collect_garbage_seldom() -> None:
    """What was imported lives on; what rows leave behind is freed by counting. Saves some 30 us a row."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def job_of(named: str, chosen: dict[str, Any], *, simulate: bool) -> Job:
    """The job file, or a job around a data file, with the options put over it."""
    job = load_job(Path(named)) if named.endswith(".toml") else Job(input=named)
    params = job.request.params | dict(chosen["params"])
    prompt = prompt_of(chosen["prompt"], chosen["prompt_file"])
    request: dict[str, Any] = {"prompt": prompt, "messages": None if prompt is None else [], "params": params}
    said = {name for name in ("model", "system") if chosen[name] is not None} | dict(chosen["params"]).keys()
    said |= {"prompt"} if prompt is not None else set()
    job = msgspec.structs.replace(job, sweep=without(job.sweep, said))
    model = chosen["model"] or job.request.model or (SIMULATED_MODEL if simulate else None)
    return with_options(
        job,
        {
            "": {"output": chosen["output"], "keep": _keep(chosen["keep"])},
            "gateway": {name: chosen[name] for name in ("base_url", "api_key_env", "auth_scheme")},
            "request": {name: chosen[name] for name in ("system", "files")} | {"model": model, **request},
            "limits": {name: chosen[name] for name in LimitsTable.__struct_fields__ if name in chosen},
            "retry": {name: chosen[name] for name in ("attempts", "timeout")},
            "run": {name: chosen[name] for name in RunTable.__struct_fields__},
        },
    )


def _keep(names: tuple[str, ...]) -> list[str] | str | None:
    if "all" in names:
        return "all"
    return list(dict.fromkeys(names)) or None


def _settings(job: Job, chosen: dict[str, Any], *, simulate: bool) -> Settings:
    output = job.output_path
    run_dir = chosen["run_dir"] or run_folder_of(output)
    return Settings(
        run_dir=run_dir,
        raw=chosen["raw"],
        output_format=chosen["output_format"],
        state_dir=run_dir / "simulated" if simulate else chosen["state_dir"] or state_home(),
        shared=None if simulate else _shared(job, chosen),
        limit=chosen["limit"],
        sample=_sample(chosen),
        resume=chosen["resume"],
        overwrite=chosen["overwrite"],
        ca_bundle=chosen["ca_bundle"],
        allow_insecure_http=chosen["allow_insecure_http"],
        max_outage_seconds=chosen["max_outage"],
        identity_url="simulated" if simulate else None,
        on_daily_limit=on_daily_limit(job),
        ignore_resume_at=chosen["ignore_resume_at"],
        part_rows=chosen["part_rows"],
        on_drift=chosen["on_drift"],
        max_failed=chosen["max_failed"],
        grace_seconds=chosen["grace"],
        wait_lock_seconds=chosen["wait_lock"],
        engine=chosen["engine"],
        workers=chosen["workers"],
        ray_address=chosen["ray_address"],
        simulate=simulate,
    )


def _shared(job: Job, chosen: dict[str, Any]) -> RedisPlace | None:
    return place_of(chosen["shared_url"] or job.limits.shared, allow_insecure=chosen["allow_insecure_http"])


def _sample(chosen: dict[str, Any]) -> Sample | None:
    if chosen["sample"] is None and chosen["seed"] is not None:
        raise UsageError("--seed says which rows --sample takes: say --sample, too.")
    return None if chosen["sample"] is None else Sample(rows=chosen["sample"], seed=chosen["seed"] or 0)


def on_daily_limit(job: Job) -> Literal["wait", "park"]:
    """As the job says; else wait where somebody watches, and leave a script or timer its process back."""
    return job.run.on_daily_limit or ("wait" if sys.stderr.isatty() else "park")
