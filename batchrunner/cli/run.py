"""batchrunner run: a file of prompts becomes a file of answers."""

import gc
import re
import shlex
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import click
import msgspec

from batchrunner.cli.exits import CODE_OF_END, errors_as_exit_codes
from batchrunner.cli.progress import style_for, watch
from batchrunner.cli.remembering import arguments_to_remember
from batchrunner.cli.simulated import simulated_gateway
from batchrunner.cli.state import state_home
from batchrunner.cli.terminal import safe_text, say
from batchrunner.cli.types import Amount, Concurrency, MostFailed, Parameter, Seconds
from batchrunner.errors import InputError, NoKeyError, StorageError, UsageError
from batchrunner.job.load import load_job, with_options
from batchrunner.job.schema import KEY_VARIABLES, Job, LimitsTable
from batchrunner.report.summary import Summary, Units, line, lines_of_lanes, usage_of
from batchrunner.runner.finding import run_folder_of
from batchrunner.runner.retrying import Condition
from batchrunner.runner.session import Result, Settings, run_job
from batchrunner.sink import write_summary
from batchrunner.transport.secret import Secret, key_from_environment, key_from_file

SIMULATED_MODEL = "simulated/model"
EXAMPLES = """\b
Examples:
  batchrunner run questions.jsonl -m acme/llama-3-70b --rpm 3000 --tpm 1M
  batchrunner run gsm8k.parquet -m acme/small --prompt "Solve: {{ question }}" -o answers.parquet
  batchrunner run nightly.toml --json
  batchrunner run million.jsonl -m acme/small -o answers.parquet/    (Parquet parts, published as they are done)
  batchrunner run questions.jsonl --simulate --rps 50
\b
Run the same command again to go on where it stopped; a finished job sends nothing.
"""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """That failed units are to be asked again: of which run folder, and which of them."""

    run_dir: Path
    conditions: tuple[Condition, ...]


@click.command(epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.argument("job", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="PATH",
    help="*.jsonl, *.parquet, or DIR/ for parts [NAME.results.jsonl]",
)
@click.option("--part-rows", type=Amount(), metavar="N", help="Rows in a part, where the output is DIR/ [100000]")
@click.option("--overwrite", is_flag=True, help="Replace an output that batchrunner did not make.")
@click.option("--run-dir", type=click.Path(path_type=Path), metavar="PATH", help="The run store [OUTPUT.run/]")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    envvar="BATCHRUNNER_STATE_DIR",
    metavar="PATH",
    help="This machine's book of limits used [$XDG_STATE_HOME/batchrunner]",
)
@click.option("-m", "--model", metavar="SLUG", help="Model slug, org/model.")
@click.option("--base-url", envvar="BATCHRUNNER_BASE_URL", metavar="URL", help="[https://inference.baseten.co/v1]")
@click.option("--api-key-env", metavar="NAME", help=f"Variable with the key [{', then '.join(KEY_VARIABLES)}]")
@click.option("--api-key-file", type=click.Path(path_type=Path), metavar="PATH", help="File or pipe with the key.")
@click.option("--auth-scheme", type=click.Choice(["Api-Key", "Bearer"]), help="[Api-Key]")
@click.option("--allow-insecure-http", is_flag=True, help="Plain http beyond loopback.")
@click.option("--ca-bundle", type=click.Path(path_type=Path, exists=True), metavar="PATH", help="Own authority (PEM).")
@click.option("--prompt", metavar="TEMPLATE", help="Jinja2 template over the row's columns.")
@click.option("--system", metavar="TEXT", help="System message.")
@click.option("--param", "params", type=Parameter(), multiple=True, help="Request parameter. Repeatable.")
@click.option("--rps", "requests_per_second", type=Amount(), metavar="N", help="Limit: requests per second.")
@click.option("--rpm", "requests_per_minute", type=Amount(), metavar="N", help="Limit: requests per minute.")
@click.option("--tps", "tokens_per_second", type=Amount(), metavar="N", help="Limit: tokens per second.")
@click.option("--tpm", "tokens_per_minute", type=Amount(), metavar="N", help="Limit: tokens per minute.")
@click.option("--rpd", "requests_per_day", type=Amount(), metavar="N", help="Limit: requests per day.")
@click.option("--tpd", "tokens_per_day", type=Amount(), metavar="N", help="Limit: tokens per day.")
@click.option("--daily-reset", metavar='"HH:MM ZONE"', help="When days end for the gateway [00:00 UTC]")
@click.option(
    "--token-accounting",
    type=click.Choice(["settled", "upfront"]),
    help="The gateway counts tokens as used, or prompt + max_tokens [settled]",
)
@click.option("--concurrency", type=Concurrency(), metavar="N|auto", help="Requests in flight at most [auto]")
@click.option("--max-concurrency", type=Amount(), metavar="N", help="What auto may reach.")
@click.option(
    "--on-daily-limit",
    type=click.Choice(["wait", "park"]),
    help="When the day's quota is gone [wait on a terminal, else park]",
)
@click.option("--now", "ignore_resume_at", is_flag=True, help="Start even before an earlier run's resume_at.")
@click.option("--attempts", type=click.IntRange(min=1), metavar="N", help="Tries for a row [6]")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Time for one try [1200]")
@click.option(
    "--max-outage", type=Seconds(), default="15m", metavar="DURATION", help="Patience with a dead gateway [15m]"
)
@click.option(
    "--max-failed",
    type=MostFailed(),
    default="5%",
    metavar="N|P%",
    help="Stop when more fail; none [5% of 200 or more]",
)
@click.option("--grace", type=Seconds(), default="20", metavar="SECONDS", help="For what is in flight at a stop [20]")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Take the first N rows.")
@click.option("--resume", type=click.Choice(["auto", "never", "must"]), default="auto", help="An earlier run [auto]")
@click.option(
    "--on-drift",
    type=click.Choice(["stop", "rerun-changed", "keep"]),
    default="stop",
    help="When the job asks other things than its earlier run [stop]",
)
@click.option("--progress", type=click.Choice(["auto", "bar", "log", "none"]), default="auto", help="[auto]")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object, alone on stdout.")
@click.option("--simulate", is_flag=True, help="Talk to a simulated gateway with the job's limits: no key, no cost.")
def run(**chosen: Any) -> None:
    """Ask for every row of JOB, a job file (*.toml) or a data file (*.jsonl, *.parquet)."""
    with errors_as_exit_codes():
        sys.exit(carry_out(chosen, arguments_to_remember(click.get_current_context())))


def carry_out(chosen: dict[str, Any], arguments: Iterable[str], retry: Retry | None = None) -> int:
    """Run the job of these parameters of `run` to its end; the exit code.

    `arguments` are what they came from: remembered, and told to people as the command that goes on.
    """
    simulate, quiet, as_json = chosen["simulate"], chosen["quiet"], chosen["as_json"]
    job = _job(chosen, simulate=simulate)
    settings = _settings(job, chosen, simulate=simulate)
    if retry is not None:
        settings = _to_retry(settings, retry)
    key = Secret("simulated") if simulate else _key(job, chosen["api_key_file"])
    with simulated_gateway(job.limits) if simulate else nullcontext(job.gateway.base_url) as base_url:
        asked = with_options(job, {"gateway": {"base_url": base_url}})
        watching = partial(watch, style_for(chosen["progress"], quiet=quiet))
        settings = msgspec.structs.replace(settings, arguments=tuple(arguments))
        _collect_garbage_seldom()
        result = anyio.run(partial(run_job, asked, settings, key=key, watch=watching))
    summary = _summary(job, result)
    write_summary(_beside(job.output_path), msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    if as_json and not say(msgspec.json.encode(summary).decode()):
        raise StorageError("The summary can't be written to stdout; it stands beside the output.")
    if not quiet:
        if retry is not None:
            say(_words_of_retry(result), err=as_json)
        _tell(summary, settings, err=as_json)
    return summary.exit_code


def _to_retry(settings: Settings, retry: Retry) -> Settings:
    """InputError where the remembered arguments are of another run folder than the one that is to be retried."""
    if not settings.run_dir.exists() or not settings.run_dir.samefile(retry.run_dir):
        raise InputError(
            f"The run in {retry.run_dir} was made in {settings.run_dir.absolute()}: move it back there, or repeat the "
            "command with --run-dir."
        )
    return msgspec.structs.replace(settings, retry=retry.conditions, resume="must")


def _words_of_retry(result: Result) -> str:
    if result.reopened:
        return f"failed units asked again: {result.reopened:,}"
    failed = ", ".join(f"{kind} {count}" for kind, count in sorted(result.totals.failed_units.items()))
    return f"no failed unit matches (failed are: {failed or 'none'})"


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


def _key(job: Job, path: Path | None) -> Secret:
    if path is not None:
        return key_from_file(path)
    named = job.gateway.api_key_env
    if named is not None and not re.fullmatch(r"[A-Za-z_]\w*", named):
        raise UsageError("--api-key-env takes the name of an environment variable, never the key itself.")
    key = key_from_environment(KEY_VARIABLES if named is None else (named,))
    if key is None:
        variables = " or ".join(KEY_VARIABLES) if named is None else "the variable that --api-key-env names"
        raise NoKeyError(
            f"There is no API key: set {variables}, or name a file with --api-key-file. (--simulate needs none.)"
        )
    return key


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


def _summary(job: Job, result: Result) -> Summary:
    ending, totals = result.ending, result.totals
    return Summary(
        output=str(job.output_path),
        ending=ending.end.value,
        message=ending.message,
        exit_code=CODE_OF_END[ending.end],
        resume_at=None if ending.resume_at is None else datetime.fromtimestamp(ending.resume_at, UTC).isoformat(),
        units=Units(
            total=result.total, ok=totals.ok, failed=totals.failed, pending=result.total - totals.ok - totals.failed
        ),
        failed_by_kind=totals.failed_units,
        first_failure=totals.first_failure,
        finish_reasons=totals.finish_reasons,
        tries=totals.tries,
        failed_tries_by_kind=totals.failures,
        in_doubt=result.in_doubt,
        usage=usage_of(totals),
        usage_by_day=result.usage_by_day,
        this_run=result.this_run,
    )


def _tell(summary: Summary, settings: Settings, *, err: bool) -> None:
    """What people want to know of a run that has ended, as far as anyone can read it."""
    lines = [line(summary), *(safe_text(words, 600) for words in lines_of_lanes(summary))]
    if summary.first_failure is not None:
        lines.append(f"first failure: {safe_text(summary.first_failure, 600)}")
    if summary.units.pending == 0:
        lines.append(f"answers in {summary.output}" + ("" if summary.this_run.units else " (nothing was left to ask)"))
    else:
        lines.append(f"stopped: {safe_text(summary.message, 600)}")
        lines += [f"come back at {summary.resume_at}"] if summary.resume_at else []
        if summary.units.pending < summary.units.total:
            what_is_there = shlex.join(["batchrunner", "export", str(settings.run_dir), "--partial", "-o"])
            lines.append(f"take what is there with: {what_is_there} PATH")
        lines.append(f"go on with: {shlex.join(['batchrunner', *settings.arguments])}")
    say("\n".join(lines), err=err)


def _beside(output: Path) -> Path:
    return output.with_name(output.name + ".summary.json")
