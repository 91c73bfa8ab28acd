"""The argument and options of `run`, in the order of its help."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from batchrunner.cli.types import Amount, Concurrency, MostFailed, Parameter, Seconds
from batchrunner.job.schema import KEY_VARIABLES
from batchrunner.limits.redis_place import VARIABLE

Command = Callable[..., Any]

OUTPUT_FORMAT: Callable[[Command], Command] = click.option(
    "--output-format",
    type=click.Choice(["native", "openai-batch"]),
    default="native",
    help="Rows as they are, or lines of the OpenAI Batch API [native]",
)
_SHOWN: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--progress",
        type=click.Choice(["auto", "bar", "log", "none"]),
        default="auto",
        help="A bar, or a line a minute, as somebody sees it [auto]",
    ),
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Of the lines [text]"),
    click.option("--log-file", type=click.Path(path_type=Path), metavar="PATH", help="Append every line to this file."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("-v", "--verbose", is_flag=True, help="Say also each failed try, and what lanes decide."),
    click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object, alone on stdout."),
)
_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.argument(
        "jobs", metavar="JOB...", nargs=-1, required=True, type=click.Path(readable=False, allow_dash=True)
    ),  # text, for a Path would spoil a URL
    click.option(
        "-o",
        "--output",
        type=click.Path(),
        metavar="PATH",
        help="*.jsonl, *.jsonl.gz, *.jsonl.zst, *.parquet, DIR/ for parts, or - for stdout [NAME.results.jsonl]",
    ),
    OUTPUT_FORMAT,
    click.option("--raw", is_flag=True, help="A column with the gateway's body as it came."),
    click.option(
        "--keep", multiple=True, metavar="NAME", help="An input column that the output has, too; or all. Repeatable."
    ),
    click.option("--part-rows", type=Amount(), metavar="N", help="Rows in a part, where the output is DIR/ [100000]"),
    click.option("--overwrite", is_flag=True, help="Replace an output that batchrunner did not make."),
    click.option("--run-dir", type=click.Path(path_type=Path), metavar="PATH", help="The run store [OUTPUT.run/]"),
    click.option(
        "--state-dir",
        type=click.Path(path_type=Path),
        envvar="BATCHRUNNER_STATE_DIR",
        metavar="PATH",
        help="This machine's book of limits used [$XDG_STATE_HOME/batchrunner]",
    ),
    click.option(
        "--shared",
        "shared_url",
        envvar=VARIABLE,
        metavar="URL",
        help="A book that several machines share: redis://...",
    ),
    click.option("-m", "--model", metavar="SLUG", help="Model slug, org/model."),
    click.option("--base-url", envvar="BATCHRUNNER_BASE_URL", metavar="URL", help="[https://inference.baseten.co/v1]"),
    click.option("--api-key-env", metavar="NAME", help=f"Variable with the key [{', then '.join(KEY_VARIABLES)}]"),
    click.option("--api-key-file", type=click.Path(path_type=Path), metavar="PATH", help="File or pipe with the key."),
    click.option("--auth-scheme", type=click.Choice(["Api-Key", "Bearer"]), help="[Api-Key]"),
    click.option("--allow-insecure-http", is_flag=True, help="Plain http beyond loopback."),
    click.option(
        "--ca-bundle", type=click.Path(path_type=Path, exists=True), metavar="PATH", help="Own authority (PEM)."
    ),
    click.option("--prompt", metavar="TEMPLATE", help="Jinja2 template over the row's columns."),
    click.option("--prompt-file", type=click.Path(path_type=Path), metavar="PATH", help="File with that template."),
    click.option("--system", metavar="TEMPLATE", help="System message, a template too."),
    click.option("--files", type=click.Path(), metavar="DIR", help="Where the local files are that messages may name."),
    click.option("--param", "params", type=Parameter(), multiple=True, help="Request parameter. Repeatable."),
    click.option("--rps", "requests_per_second", type=Amount(), metavar="N", help="Limit: requests per second."),
    click.option("--rpm", "requests_per_minute", type=Amount(), metavar="N", help="Limit: requests per minute."),
    click.option("--tps", "tokens_per_second", type=Amount(), metavar="N", help="Limit: tokens per second."),
    click.option("--tpm", "tokens_per_minute", type=Amount(), metavar="N", help="Limit: tokens per minute."),
    click.option("--rpd", "requests_per_day", type=Amount(), metavar="N", help="Limit: requests per day."),
    click.option("--tpd", "tokens_per_day", type=Amount(), metavar="N", help="Limit: tokens per day."),
    click.option("--daily-reset", metavar='"HH:MM ZONE"', help="When days end for the gateway [00:00 UTC]"),
    click.option(
        "--token-accounting",
        type=click.Choice(["settled", "upfront"]),
        help="The gateway counts tokens as used, or prompt + max_tokens [settled]",
    ),
    click.option("--concurrency", type=Concurrency(), metavar="N|auto", help="Requests in flight at most [auto]"),
    click.option("--max-concurrency", type=Amount(), metavar="N", help="What auto may reach."),
    click.option(
        "--on-daily-limit",
        type=click.Choice(["wait", "park"]),
        help="When the day's quota is gone [wait on a terminal, else park]",
    ),
    click.option("--now", "ignore_resume_at", is_flag=True, help="Start even before an earlier run's resume_at."),
    click.option("--attempts", type=click.IntRange(min=1), metavar="N", help="Tries for a row [6]"),
    click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Time for one try [1200]"),
    click.option(
        "--max-outage", type=Seconds(), default="15m", metavar="DURATION", help="Patience with a dead gateway [15m]"
    ),
    click.option(
        "--max-failed",
        type=MostFailed(),
        default="5%",
        metavar="N|P%",
        help="Stop when more fail; none [5% of 200 or more]",
    ),
    click.option(
        "--grace", type=Seconds(), default="20", metavar="SECONDS", help="For what is in flight at a stop [20]"
    ),
    click.option("--until", metavar="TIME", help="Stop sending at 06:00 (local, the next one), or an ISO instant."),
    click.option("--max-duration", type=Seconds(), metavar="DURATION", help="Stop sending after so long: 90m, 8h."),
    click.option("--budget-cost", type=float, metavar="X", help="All runs of the output cost no more; needs prices."),
    click.option("--budget-tokens", type=Amount(), metavar="N", help="All its runs take no more; needs max_tokens."),
    click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Take the first N rows."),
    click.option("--sample", type=click.IntRange(min=0), metavar="N", help="Take N rows at random."),
    click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="S", help="Which ones --sample takes [0]"),
    click.option(
        "--resume", type=click.Choice(["auto", "never", "must"]), default="auto", help="An earlier run [auto]"
    ),
    click.option(
        "--on-drift",
        type=click.Choice(["stop", "rerun-changed", "keep"]),
        default="stop",
        help="When the job asks other things than its earlier run [stop]",
    ),
    click.option(
        "--wait-lock", type=Seconds(), default="0", metavar="SECONDS", help="For another run of this output to end [0]"
    ),
    click.option(
        "--engine", type=click.Choice(["local", "ray"]), default="local", help="Where requests are sent from [local]"
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), default=2, metavar="N", help="Processes of Ray that send [2]"
    ),
    click.option("--ray-address", metavar="HOST:PORT|auto", help="A Ray cluster that is there [one of its own]"),
    *_SHOWN,
    click.option(
        "--simulate", is_flag=True, help="Talk to a simulated gateway with the job's limits: no key, no cost."
    ),
)


def run_options(command: Command) -> Command:
    """Give the command all of them."""
    return _with(_OPTIONS, command)


def shown_options(command: Command) -> Command:
    """Give the command those that say how it is shown."""
    return _with(_SHOWN, command)


def _with(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
