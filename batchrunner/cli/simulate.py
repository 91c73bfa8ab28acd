"""batchrunner simulate: the simulated gateway in a process of its own, for any OpenAI client."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click

from batchrunner.cli.manual import Manual
from batchrunner.cli.terminal import say
from batchrunner.cli.types import FAULTS, FAULTS_OF_STREAMS, Amount, FaultShare, Span, Statuses
from batchrunner.runner.open_files import allow_many_files

if TYPE_CHECKING:
    from batchrunner.simulator.desk import Setup
    from batchrunner.simulator.meter import Limit, Rules
    from batchrunner.simulator.script import Fault, Script

# option: dimension, window in seconds
LIMITS = {
    "rps": ("requests", 1),
    "rpm": ("requests", 60),
    "rpd": ("requests", 86_400),
    "tps": ("tokens", 1),
    "tpm": ("tokens", 60),
    "tpd": ("tokens", 86_400),
}
EXAMPLES = """\b
Examples:
  batchrunner simulate --rpm 3000 --tpm 1M --latency 2
  batchrunner simulate --rps 50 --rpd 100k --window fixed --headers openai
  batchrunner simulate --fault 5xx=0.03 --fault reset=0.01 --outage 20-35
\b
Ask it what it saw:
  curl http://127.0.0.1:8000/simulator/ledger
  curl http://127.0.0.1:8000/simulator/ledger/entries
\b
A prompt may aim a fault at itself by its text:
  [[status:NNN]] [[empty]] [[hang]] [[html]] [[truncated]] [[reset]] [[cut]]
  and all other kinds of faults; how the answer is:
  [[invalid]] [[misfit]] [[refusal]] [[length]] [[content_filter]] [[call]];
  only the first N times that it arrives:
  [[429xN]], [[5xxxN]], [[cutxN]], [[invalidxN]], ...
"""


@click.command(cls=Manual, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="0: any free one.")
@click.option("--rps", type=Amount(), help="Requests per second, for each account and model.")
@click.option("--rpm", type=Amount(), help="Requests per minute.")
@click.option("--rpd", type=Amount(), help="Requests per day, from 00:00 UTC.")
@click.option("--tps", type=Amount(), help="Tokens (prompt and completion) per second.")
@click.option("--tpm", type=Amount(), help="Tokens per minute; 1M and 500k are understood.")
@click.option("--tpd", type=Amount(), help="Tokens per day, from 00:00 UTC.")
@click.option(
    "--window",
    type=click.Choice(["rolling", "fixed", "bucket"]),
    default="rolling",
    show_default=True,
    help="How seconds and minutes are counted: any such stretch of time, aligned ones, or a steady refill.",
)
@click.option(
    "--token-accounting",
    type=click.Choice(["admission", "completion", "upfront"]),
    default="admission",
    show_default=True,
    help="What counts when: what is used, at arrival; the same, when the answer is done; prompt + max_tokens.",
)
@click.option("--max-concurrency", type=Amount(), help="Requests in flight for each account.")
@click.option(
    "--headers",
    type=click.Choice(["none", "retry-after", "retry-after-date", "openai"]),
    default="none",
    show_default=True,
    help="What a 429 tells of when to come back.",
)
@click.option(
    "--latency",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Median time to an answer.",
)
@click.option(
    "--latency-spread",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SIGMA",
    help="Sigma of its lognormal.",
)
@click.option("--completion-tokens", type=Amount(), default=50, metavar="MEAN", help="Mean length of answers.")
@click.option(
    "--completion-spread",
    type=click.FloatRange(min=0),
    default=0.3,
    metavar="SIGMA",
    help="Sigma of its lognormal; 0: all alike.",
)
@click.option(
    "--fault",
    "faults",
    type=FaultShare(),
    multiple=True,
    help=f"Repeatable. Kinds: {', '.join(FAULTS)}; reset is half before and half after the request was taken. "
    f"Of streams: {', '.join(FAULTS_OF_STREAMS)}.",
)
@click.option("--piece-chars", type=Amount(), default=12, show_default=True, help="A stream's pieces, in characters.")
@click.option(
    "--piece-seconds", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="The time between them."
)
@click.option(
    "--stream-usage",
    type=click.Choice(["every", "last"]),
    default="every",
    show_default=True,
    help="Which pieces tell it, where it is asked for.",
)
@click.option("--status-5xx", type=Statuses(), default="500", show_default=True, help="What 5xx picks from.")
@click.option(
    "--outage", "outages", type=Span(), multiple=True, help="Seconds since the start; 503 or reset. Repeatable."
)
@click.option("--seed", type=int, default=0, help="Where latency, lengths and faults are drawn from.")
@click.option("--auth-scheme", type=click.Choice(["Api-Key", "Bearer", "any"]), default="Api-Key", show_default=True)
@click.option(
    "--key-env",
    "key_envs",
    multiple=True,
    metavar="NAME",
    help="Accept only the keys in these environment variables. Repeatable.",
)
@click.option("--one-account", is_flag=True, help="All keys share the limits.")
@click.option("--model", "models", multiple=True, metavar="SLUG", help="Accept only these. Repeatable.")
@click.option("--no-enforce", is_flag=True, help="Count, but refuse nothing.")
@click.option(
    "--clock",
    metavar="TIME",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]),
    help="What the wall clock shows at the start (UTC), to rehearse a daily reset: 2026-01-31T23:59:50.",
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def simulate(*, host: str, port: int, clock: datetime | None, until_stdin_closes: bool, **chosen: Any) -> None:
    """Run a simulated gateway: an OpenAI-compatible server with limits, faults and an exact ledger.

    It prints the address it listens on and serves until it is interrupted. It needs no real key and costs nothing.
    """
    serving = partial(
        _serve, _setup(chosen), host=host, port=port, wall=_clock(clock), until_stdin_closes=until_stdin_closes
    )
    allow_many_files()
    try:
        anyio.run(serving)
    except OSError as error:
        raise click.UsageError(f"can't listen on {host}:{port}: {error.strerror}") from error


async def _serve(setup: "Setup", *, host: str, port: int, wall: Callable[[], float], until_stdin_closes: bool) -> None:
    """Serve until SIGINT or SIGTERM, or until stdin closes where that is asked for."""
    from batchrunner.simulator.server import serve  # noqa: PLC0415 (aiohttp is slow to import)

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with serve(setup, host=host, port=port, wall=wall) as gateway, anyio.create_task_group() as tasks:
            if not say(f"listening on {gateway.base_url}"):  # whoever started it has gone
                return
            if until_stdin_closes:
                tasks.start_soon(_cancel_when_stdin_closes, tasks.cancel_scope)
            async for _ in signals:
                break
            tasks.cancel_scope.cancel()


async def _cancel_when_stdin_closes(scope: anyio.CancelScope) -> None:
    """A parent that is killed takes its gateway along: its end of the pipe closes with it."""
    stdin = sys.stdin.fileno()
    while True:
        with suppress(PermissionError):  # a file, or /dev/null: always readable, can't be waited for
            await anyio.wait_readable(stdin)
        if not os.read(stdin, 65_536):
            scope.cancel()
            return


def _setup(chosen: dict[str, Any]) -> "Setup":
    """The simulator's own records from the command line's words."""
    from batchrunner.simulator.access import Access, AuthScheme, hash_keys  # noqa: PLC0415 (with the others)
    from batchrunner.simulator.desk import Setup  # noqa: PLC0415
    from batchrunner.simulator.dialect import HeaderDialect  # noqa: PLC0415

    keys = hash_keys(_key(name) for name in chosen["key_envs"])
    access = Access(
        scheme=AuthScheme(chosen["auth_scheme"]),
        key_hashes=keys or None,
        models=frozenset(chosen["models"]) or None,
        one_account=chosen["one_account"],
    )
    headers = HeaderDialect(chosen["headers"])
    return Setup(script=_script(chosen), rules=_rules(chosen), access=access, headers=headers)


def _rules(chosen: dict[str, Any]) -> "Rules":
    from batchrunner.simulator.meter import Rules, TokenAccounting  # noqa: PLC0415
    from batchrunner.simulator.window import WindowKind  # noqa: PLC0415

    return Rules(
        limits=tuple(_limits(chosen)),
        window=WindowKind(chosen["window"]),
        token_accounting=TokenAccounting(chosen["token_accounting"]),
        max_concurrency=chosen["max_concurrency"],
        enforce=not chosen["no_enforce"],
    )


def _limits(chosen: dict[str, Any]) -> Iterator["Limit"]:
    from batchrunner.simulator.meter import Dimension, Limit  # noqa: PLC0415

    for option, (dimension, window_seconds) in LIMITS.items():
        if chosen[option] is not None:
            yield Limit(dimension=Dimension(dimension), window_seconds=window_seconds, amount=chosen[option])


def _script(chosen: dict[str, Any]) -> "Script":
    from batchrunner.simulator.script import Script  # noqa: PLC0415

    try:
        return Script(
            seed=chosen["seed"],
            latency_seconds=chosen["latency"],
            latency_spread=chosen["latency_spread"],
            completion_tokens=chosen["completion_tokens"],
            completion_spread=chosen["completion_spread"],
            faults=_faults(chosen["faults"]),
            statuses_5xx=chosen["status_5xx"],
            outages=chosen["outages"],
            piece_chars=chosen["piece_chars"],
            piece_seconds=chosen["piece_seconds"],
            usage_everywhere=chosen["stream_usage"] == "every",
        )
    except ValueError as error:
        raise click.UsageError(f"--fault: {error}") from error


def _faults(shares: tuple[tuple[str, float], ...]) -> dict["Fault", float]:
    from batchrunner.simulator.script import Fault  # noqa: PLC0415

    faults: dict[Fault, float] = {}
    for kind, probability in shares:
        halves = (Fault.RESET_BEFORE, Fault.RESET_AFTER) if kind == "reset" else (Fault(kind),)
        for fault in halves:
            faults[fault] = faults.get(fault, 0.0) + probability / len(halves)
    return faults


def _key(name: str) -> str:
    key = os.environ.get(name, "").strip()
    if not key:
        raise click.UsageError(f"--key-env: the environment variable {name} is not set")
    return key


def _clock(start: datetime | None) -> Callable[[], float]:
    """The wall clock, set to `start` now where that is given; naive times are UTC."""
    if start is None:
        return time.time
    aware = start if start.tzinfo else start.replace(tzinfo=UTC)
    ahead_seconds = aware.timestamp() - time.time()
    return lambda: time.time() + ahead_seconds
