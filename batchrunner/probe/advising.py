"""What to do after a probe, in words: which options to set, and what to see to. Pure."""

from collections.abc import Iterator, Sequence

from batchrunner.job.schema import Job
from batchrunner.job.words import SHORT_NAMES
from batchrunner.probe.probed import Exchange, ToldLimit, window_name
from batchrunner.records import Kind

GOOD = "a good request"
BAD = "a malformed one"
STREAM = "a stream with usage"
STREAM_WITHOUT = "a stream without"
SCHEMA = "a JSON schema"
CLOCKS_DIFFER_SECONDS = 5.0
_OTHER = {"Api-Key": "Bearer", "Bearer": "Api-Key"}
_LIMITED = frozenset({Kind.RATE_LIMITED, Kind.CONCURRENCY, Kind.DAILY_LIMIT})
_NO_ANSWER = "such a reply is no answer: is --base-url that of an OpenAI-compatible gateway?"
_HELP: dict[Kind, tuple[str, ...]] = {
    Kind.BILLING: ("the account has no money, or its monthly limit is reached: no option helps",),
    Kind.REDIRECTED: ("redirects are never followed: see where it points to, and name that with --base-url",),
    Kind.DAILY_LIMIT: ("the day's quota is gone: declare it with --rpd or --tpd, and runs stop before that",),
    Kind.TIMEOUT: ("a model that has to be started first may take minutes: try a longer --timeout",),
    Kind.REJECTED: ("the gateway does not take a plain chat completion for this model: see what it says",),
    Kind.SERVER_ERROR: ("the gateway has trouble of its own: probe again later",),
    Kind.UNAVAILABLE: ("the gateway has no capacity now: probe again later; a run would wait",),
    Kind.EMPTY_ANSWER: (),
}


def advice(job: Job, model: str, exchanges: Sequence[Exchange], limits: Sequence[ToldLimit]) -> list[str]:
    """What to do for this model, the most urgent first. The first exchange is the good one."""
    good, *others = exchanges
    found = list(_of_failure(job, model, good))
    if good.answered:
        found += _of_limits(job, model, limits)
        found += _of_answer(job, model, good)
    for other in others:
        found += _of_other(other)
    return [*found, *_of_clock(good)]


def _of_failure(job: Job, model: str, good: Exchange) -> Iterator[str]:
    """Why it was not answered, and what may help."""
    wait = "" if good.wait_seconds is None else f" in {good.wait_seconds:.0f} s"
    match good.failure:
        case Kind.UNREACHABLE if "certificate" in (good.message or "").lower():
            yield "the gateway's certificate is not trusted: name its own authority with --ca-bundle PATH"
        case Kind.UNREACHABLE:
            yield f"is --base-url {job.gateway.base_url} right? A proxy counts, too: HTTPS_PROXY, NO_PROXY"
        case Kind.REFUSED if good.status == 404:  # noqa: PLR2004 - HTTP
            yield f"is the model {model} right, and the path of --base-url? It ends in /v1, mostly"
        case Kind.REFUSED:
            yield f"is the key right, and may it use {model}?"
            yield f"the key was sent as {job.gateway.auth_scheme}: try --auth-scheme {_OTHER[job.gateway.auth_scheme]}"
        case Kind.RATE_LIMITED | Kind.CONCURRENCY:
            yield f"others use this quota now: probe again{wait}; a run would wait for its turn"
        case Kind() as kind:
            yield from _HELP.get(kind, (_NO_ANSWER,))


def _of_limits(job: Job, model: str, limits: Sequence[ToldLimit]) -> Iterator[str]:
    """Which limits to declare."""
    declared = job.limits.for_model(model)
    for limit in limits:
        amount, window = f"{limit.amount:,.12g} {limit.dimension}", window_name(limit.window_seconds)
        likely = window_name(limit.likely_window_seconds)
        if limit.option is None:
            kind = "no window is told" if window is None else f"they are per {window}, for which there is no option"
            yield f"{amount} are told as a limit, but {kind}: it is found out on the way"
            continue
        said = getattr(declared, f"{limit.dimension}_per_{window or likely}")
        if said is None:
            reason = "" if window else f", if it is per {likely}: its reset suggests that"
            yield f"declare the limit of {amount} with {limit.option}{reason}"
        elif said > limit.amount:
            yield f"declare {limit.option}: the gateway allows {amount} per {window or likely}, the job says {said:,}"
    if not limits and all(getattr(declared, name) is None for name in SHORT_NAMES.values()):
        yield "the gateway tells no limits: declare those you know (--rpm, --tpm, --tpd, ...); others are found"


def _of_answer(job: Job, model: str, good: Exchange) -> Iterator[str]:
    usage = good.usage
    if usage is None or usage.total_tokens is None:
        yield "no usage comes back: limits of tokens and budgets go by estimates alone"
    prices = job.prices.for_model(model)
    if good.cost is None and (prices.prompt is None or prices.completion is None):
        yield "no cost comes back: say the model's [prices] in the job file, if costs are to be known"


def _of_other(other: Exchange) -> Iterator[str]:
    if other.what == BAD:
        if other.answered:
            yield "a malformed request was answered: mistakes in rows will not show as failures"
        elif other.failure not in (Kind.REJECTED, *_LIMITED):
            status = "no reply" if other.status is None else other.status
            yield f"a malformed request was met with {status}, not 400: bad rows look like trouble of the gateway"
    elif other.what == SCHEMA:
        if not other.answered:
            yield "response_format with a JSON schema is not taken"
        elif other.failure is not None:
            yield "response_format with a JSON schema is taken, but the answer did not fit it"
    elif not other.answered:
        yield f"{other.what} did not work: leave `stream` off"
    elif (other.content_type or "").partition(";")[0] != "text/event-stream":
        yield f"{other.what} was asked for, and the answer came whole: `stream` is of no use here"
    elif other.what == STREAM and (other.usage is None or other.usage.total_tokens is None):
        yield "streams bring no usage, though it is asked for: with `stream` tokens go by estimates alone"


def _of_clock(good: Exchange) -> Iterator[str]:
    if good.clock_ahead_s is None:
        if good.status is not None:
            yield "its replies have no Date: days are told by this machine's clock"
    elif abs(good.clock_ahead_s) > CLOCKS_DIFFER_SECONDS + (good.latency_s or 0) / 2:
        yield "the clocks differ: days go by the gateway's, --until by this machine's; set the one that is wrong"
