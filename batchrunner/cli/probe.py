"""batchrunner probe: what a gateway says of limits and errors."""

import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from batchrunner.cli.exits import code_of_several, errors_as_exit_codes
from batchrunner.cli.manual import HEADINGS, Manual
from batchrunner.cli.run import run
from batchrunner.cli.terminal import say
from batchrunner.cli.types import Seconds
from batchrunner.errors import StorageError
from batchrunner.folder.ending import CODE_OF_END
from batchrunner.report.safe import safe_text
from batchrunner.runner.state import state_home

if TYPE_CHECKING:
    from batchrunner.job.schema import Job
    from batchrunner.limits.redis_place import RedisPlace
    from batchrunner.probe.probed import Exchange, Probed

LONGEST_LINE = 700
TIMEOUT = 120
EXAMPLES = """\b
Examples:
  batchrunner probe -m acme/llama-3-70b
  batchrunner probe nightly.toml --stream --schema    (each of its models)
  batchrunner probe -m acme/small --auth-scheme Bearer --json
  batchrunner probe -m acme/small --simulate

It asks for a few tokens of each model, and they are counted as those of any run.
"""
_LIMITS = ("rps", "rpm", "rpd", "tps", "tpm", "tpd", "daily_reset", "token_accounting")
_OF_RUN = {
    *("model", "base_url", "api_key_env", "api_key_file", "auth_scheme", "allow_insecure_http", "ca_bundle"),
    *("simulate", "state_dir", "shared_url"),
}
_HEADINGS = {
    "What is asked": ("--model", "--stream", "--schema"),
    "Gateway": (*HEADINGS["Gateway"], "--timeout"),
    "Limits": (*HEADINGS["Limits"], "--state-dir"),
    "What is shown": ("--json", "--help"),
}
_LIKE_RUN: list[click.Parameter] = [
    one
    for one in run.params
    if one.name in _OF_RUN or {option.lstrip("-").replace("-", "_") for option in one.opts} & {*_LIMITS}
]


@click.command(
    cls=Manual,
    epilog=EXAMPLES,
    headings=_HEADINGS,
    params=_LIKE_RUN,
    context_settings={"max_content_width": 110},
)
@click.argument("named", metavar="[JOB]", required=False, type=click.Path(readable=False))
@click.option("--stream", "streams", is_flag=True, help="Two more requests: a stream with its usage, one without.")
@click.option("--schema", is_flag=True, help="One more request: for JSON by a schema.")
@click.option(
    "--timeout", type=Seconds(), default=str(TIMEOUT), metavar="SECONDS", help=f"Time for one try [{TIMEOUT}]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, alone on stdout.")
def probe(named: str | None, *, as_json: bool, **chosen: Any) -> None:
    """Ask a gateway one good thing and one bad, and say what it tells of limits, errors and usage, and what to set.

    The models are those of JOB, a job file or data file, or the one of --model. Exit codes are those of `run`: 0 when
    the good request was answered, 69 unreachable, 75 out of quota, 77 key or model refused, 78 wrong options.
    """
    with errors_as_exit_codes():
        found = _probe(named, chosen)
        code = code_of_several(CODE_OF_END[one.ending.end] for one in found)
        if as_json:
            content = {"exit_code": code, "probes": [_plain(one) for one in found]}
            text = msgspec.json.encode(_cleaned(content)).decode()
        else:
            text = "\n".join(safe_text(line, LONGEST_LINE) for one in found for line in _lines(one))
        if not say(text):
            raise StorageError("What was found can't be written to stdout.")
        sys.exit(code)


def _probe(named: str | None, chosen: dict[str, Any]) -> "list[Probed]":
    import anyio  # noqa: PLC0415 - heavy, and --help needs none of it

    from batchrunner.probe.probing import Probing, models_of, probe  # noqa: PLC0415
    from batchrunner.runner.cautions import cautions  # noqa: PLC0415
    from batchrunner.runner.keys import secrets_of  # noqa: PLC0415 - likewise
    from batchrunner.runner.simulated import SIMULATED_MODEL, gateway_of  # noqa: PLC0415

    simulate = chosen["simulate"]
    job = _job(named, chosen)
    nobody = simulate and named is None and chosen["model"] is None
    models = [chosen["model"]] if chosen["model"] else [SIMULATED_MODEL] if nobody else models_of(job)
    key, headers = secrets_of(job.gateway, chosen["api_key_file"], simulate=simulate)
    for words in cautions(job, chosen["api_key_file"], simulate=simulate):
        _tell(f"warning: {words}")
    with ExitStack() as stack:
        state_dir = chosen["state_dir"] or state_home()
        if simulate:
            state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        how = Probing(
            state_dir=state_dir,
            shared=None if simulate else _shared(job, chosen),
            key=key,
            headers=headers,
            identity_url="simulated" if simulate else None,
            timeout_seconds=chosen["timeout"],
            told=_tell if sys.stderr.isatty() else None,
            **{name: chosen[name] for name in ("ca_bundle", "allow_insecure_http", "streams", "schema")},
        )
        asked = stack.enter_context(gateway_of(job, simulate=simulate))
        return anyio.run(probe, asked, models, how)


def _shared(job: "Job", chosen: dict[str, Any]) -> "RedisPlace | None":
    from batchrunner.runner.books import place_of  # noqa: PLC0415 - as above

    return place_of(chosen["shared_url"] or job.limits.shared, allow_insecure=chosen["allow_insecure_http"])


def _job(named: str | None, chosen: dict[str, Any]) -> "Job":
    """The job, or one around a data file or nothing, with the options put over it."""
    from batchrunner.job.load import load_job, with_options  # noqa: PLC0415 - as above
    from batchrunner.job.schema import STANDARD_INPUT, Job, LimitsTable  # noqa: PLC0415

    is_job_file = named is not None and named.endswith(".toml")
    job = load_job(Path(named)) if named is not None and is_job_file else Job(input=named or STANDARD_INPUT)
    return with_options(
        job,
        {
            "gateway": {name: chosen[name] for name in ("base_url", "api_key_env", "auth_scheme")},
            "limits": {name: chosen[name] for name in LimitsTable.__struct_fields__ if name in chosen},
        },
    )


def _tell(words: str) -> None:
    say(f"batchrunner: {safe_text(words)}", err=True)


def _plain(found: "Probed") -> dict[str, Any]:
    """What was found about a model, as JSON tells it."""
    content: dict[str, Any] = msgspec.to_builtins(found)
    end = found.ending
    content["ending"] = {
        "exit_code": CODE_OF_END[end.end],
        "message": end.message,
        "resume_at": _resume_at(found),
    }
    return content


def _resume_at(found: "Probed") -> str | None:
    at = found.ending.resume_at
    return None if at is None else datetime.fromtimestamp(math.ceil(at), UTC).isoformat()


def _cleaned(value: Any) -> Any:
    """A JSON value whose texts are safe to print, and of bounded length."""
    match value:
        case str():
            return safe_text(value, LONGEST_LINE)
        case dict():
            return {safe_text(str(name)): _cleaned(inner) for name, inner in value.items()}
        case list():
            return [_cleaned(inner) for inner in value]
        case _:
            return value


def _lines(found: "Probed") -> Iterator[str]:
    """For people: exchange by exchange, the limits told, the rest, and what to do."""
    yield f"{found.model} at {found.base_url} ({found.auth_scheme})"
    for exchange in found.exchanges:
        yield from _lines_of(exchange)
    if found.exchanges and found.exchanges[0].status is not None:
        yield from _lines_of_limits(found)
        yield _line("gateway", _words_of_gateway(found.exchanges[0]))
        yield _line("clock", _words_of_clock(found.exchanges[0]))
    if CODE_OF_END[found.ending.end]:
        yield _line("so", found.ending.end if found.exchanges else found.ending.message)
    if (resume_at := _resume_at(found)) is not None:
        yield _line("", f"come back at {resume_at}")
    for place, advice in enumerate(found.advice):
        yield _line("" if place else "to do", f"- {advice}")


def _line(name: str, words: str) -> str:
    return f"  {name:<20} {words}"


def _lines_of(one: "Exchange") -> Iterator[str]:
    facts = [
        "no reply" if one.status is None else str(one.status),
        None if one.latency_s is None else f"in {one.latency_s:.3f} s",
        None if one.seen.first_byte_s is None else f"first byte after {one.seen.first_byte_s:.3f} s",
        None if one.first_token_s is None else f"first token after {one.first_token_s:.3f} s",
        one.content_type,
    ]
    yield _line(one.what, ", ".join(fact for fact in facts if fact))
    if one.answered:
        yield _line("  answer", f"{msgspec.json.encode((one.answer or '')[:80]).decode()} ({one.finish_reason})")
        yield _line("  usage", _words_of_usage(one))
    if one.failure is None:
        return
    if one.shape is not None:
        yield _line("  body", one.shape + (f"; code {one.code}" if one.code else ""))
    yield _line("  says", one.message or "")
    asks = "" if one.wait_seconds is None else f"; it asks to wait {one.wait_seconds:g} s"
    yield _line("  taken as", f"{one.failure}{asks}: {one.verdict}")


def _words_of_usage(one: "Exchange") -> str:
    counts = {} if one.usage is None else msgspec.structs.asdict(one.usage)
    told = {name.removesuffix("_tokens"): count for name, count in counts.items() if count is not None}
    words = ", ".join(f"{name} {count:,}" for name, count in told.items()) or "not told"
    lacking = [name.removesuffix("_tokens") for name, count in counts.items() if count is None]
    return words + (f"; not told: {', '.join(lacking)}" if told and lacking else "") + f"; cost {_cost(one)}"


def _cost(one: "Exchange") -> str:
    return "not told" if one.cost is None else f"{one.cost:g}"


def _lines_of_limits(found: "Probed") -> Iterator[str]:
    from batchrunner.probe.probed import window_name  # noqa: PLC0415 - as above

    for place, header in enumerate(found.limit_headers):
        understood = header.understood or "not understood"
        yield _line("" if place else "limit headers", f"{header.name}: {header.value}  ->  {understood}")
    for place, limit in enumerate(found.limits):
        window = window_name(limit.window_seconds)
        per = f"per {window}" if window else "(in which time is not told)"
        yield _line("" if place else "limits", f"{limit.amount:,.12g} {limit.dimension} {per}")
    if not found.limits:
        yield _line("limits", "none told")


def _words_of_gateway(good: "Exchange") -> str:
    seen, server = good.seen, good.headers.get("server")
    facts = [
        None if seen.connect_s is None else f"connected in {seen.connect_s:.3f} s",
        None if seen.http_version is None else f"HTTP/{seen.http_version}",
        seen.tls or "no TLS",
        None if server is None else f"server {server}",
    ]
    return ", ".join(fact for fact in facts if fact)


def _words_of_clock(good: "Exchange") -> str:
    ahead = good.clock_ahead_s
    if ahead is None:
        return "no Date"
    if abs(ahead) <= 1:
        return "the gateway's and this machine's agree to a second"
    return f"the gateway's is {timedelta(seconds=round(abs(ahead)))} {'ahead' if ahead > 0 else 'behind'}"
