"""Carries out what `run` and `retry` were told: job, key and settings, the run itself, the summary."""

import gc
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec

from batchrunner.cli.progress import style_for, watch
from batchrunner.cli.telling import tell, words_of_retry
from batchrunner.cli.terminal import say
from batchrunner.errors import InputError, StorageError
from batchrunner.job.load import load_job, with_options
from batchrunner.job.schema import Job, LimitsTable
from batchrunner.runner.finding import run_folder_of
from batchrunner.runner.keys import key_of
from batchrunner.runner.retrying import Condition
from batchrunner.runner.session import Settings, run_job
from batchrunner.runner.simulated import SIMULATED_MODEL, simulated_gateway
from batchrunner.runner.state import state_home
from batchrunner.runner.summing import summary_of, write_beside
from batchrunner.transport.secret import Secret


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """That failed units are to be asked again: of which run folder, and which of them."""

    run_dir: Path
    conditions: tuple[Condition, ...]


def carry_out(chosen: dict[str, Any], arguments: Iterable[str], retry: Retry | None = None) -> int:
    """Run the job of these parameters of `run` to its end; the exit code.

    `arguments` are what they came from: remembered, and told to people as the command that goes on.
    """
    simulate, quiet, as_json = chosen["simulate"], chosen["quiet"], chosen["as_json"]
    job = _job(chosen, simulate=simulate)
    settings = _settings(job, chosen, simulate=simulate)
    if retry is not None:
        settings = _to_retry(settings, retry)
    key = Secret("simulated") if simulate else key_of(job, chosen["api_key_file"])
    with simulated_gateway(job.limits) if simulate else nullcontext(job.gateway.base_url) as base_url:
        asked = with_options(job, {"gateway": {"base_url": base_url}})
        watching = partial(watch, style_for(chosen["progress"], quiet=quiet))
        settings = msgspec.structs.replace(settings, arguments=tuple(arguments))
        _collect_garbage_seldom()
        result = anyio.run(partial(run_job, asked, settings, key=key, watch=watching))
    summary = summary_of(job, result)
    write_beside(job.output_path, summary)
    if as_json and not say(msgspec.json.encode(summary).decode()):
        raise StorageError("The summary can't be written to stdout; it stands beside the output.")
    if not quiet:
        if retry is not None:
            say(words_of_retry(result), err=as_json)
        tell(summary, settings, err=as_json)
    return summary.exit_code


def _to_retry(settings: Settings, retry: Retry) -> Settings:
    """InputError where the remembered arguments are of another run folder than the one that is to be retried."""
    if not settings.run_dir.exists() or not settings.run_dir.samefile(retry.run_dir):
        raise InputError(
            f"The run in {retry.run_dir} was made in {settings.run_dir.absolute()}: move it back there, or repeat the "
            "command with --run-dir."
        )
    return msgspec.structs.replace(settings, retry=retry.conditions, resume="must")


def _collect_garbage_seldom() -> None:
    """What was imported lives on; what rows leave behind is freed by counting. Saves some 30 us a row."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _job(chosen: dict[str, Any], *, simulate: bool) -> Job:
    """The job file, or a job around a data file, with the options put over it."""
    path: Path = chosen["job"]
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a data file or a job file in it.")
    job = load_job(path) if path.suffix == ".toml" else Job(input=str(path))
    params = job.request.params | dict(chosen["params"])
    model = chosen["model"] or job.request.model or (SIMULATED_MODEL if simulate else None)
    return with_options(
        job,
        {
            "": {"output": chosen["output"]},
            "gateway": {name: chosen[name] for name in ("base_url", "api_key_env", "auth_scheme")},
            "request": {name: chosen[name] for name in ("prompt", "system")} | {"model": model, "params": params},
            "limits": {name: chosen[name] for name in LimitsTable.__struct_fields__ if name in chosen},
            "retry": {name: chosen[name] for name in ("attempts", "timeout")},
            "run": {"on_daily_limit": chosen["on_daily_limit"]},
        },
    )


def _settings(job: Job, chosen: dict[str, Any], *, simulate: bool) -> Settings:
    output = job.output_path
    run_dir = chosen["run_dir"] or run_folder_of(output)
    return Settings(
        run_dir=run_dir,
        state_dir=run_dir / "simulated" if simulate else chosen["state_dir"] or state_home(),
        limit=chosen["limit"],
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
    )


def on_daily_limit(job: Job) -> Literal["wait", "park"]:
    """As the job says; else wait where somebody watches, and leave a script or timer its process back."""
    return job.run.on_daily_limit or ("wait" if sys.stderr.isatty() else "park")
