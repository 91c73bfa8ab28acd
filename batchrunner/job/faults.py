"""What no job can say though each value has its type: numbers out of range, times that are none, and what
contradicts itself. Found before anything is sent."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, NamedTuple

import msgspec

from batchrunner.job.headers import VARIABLE, faults_of_headers
from batchrunner.job.lines import Place
from batchrunner.job.reset import parse_reset
from batchrunner.job.schema import Gateway, Job, LimitsTable, ModelPrices, PricesTable, RequestTable, Retry, RunTable
from batchrunner.job.secrets import ADVICE, is_secret_name, shown
from batchrunner.job.sweep import faults_of_sweep
from batchrunner.job.times import parse_until
from batchrunner.records import FINISH_REASONS, SAME_PARAMETER

LARGEST_LIMIT = 10**15
LARGEST_PRICE = 10**9
_DEEPEST = 60  # of what a request may nest, 64, the rest is around the parameters
_LARGEST_INTEGER = 2**63 - 1
_NO_ROW_PARAMS = {
    "messages": "is no parameter: rows have a column messages without being told so",
    "prompt": "is no parameter: rows have a column prompt without being told so",
    "system": 'is no parameter: say system = "{{ system }}", a template over the row\'s columns',
    "n": "can't be set: say samples = 4 in [sweep], each answer is then a row",
    "stream": "can't be set by rows: how answers travel is the job's affair",
    "stream_options": "can't be set by rows: how answers travel is the job's affair",
}
_SHARED = re.compile(r"rediss?://(?:[^:@/\s]+@)?[^@/\s]+(?:/[^@\s]*)?")
_URL = re.compile(r"https?://[^/?#\s]+[^\s]*")


class Fault(NamedTuple):
    """Which key is wrong, and words that follow its name: "= 0 is less than 1"."""

    place: Place
    words: str


def faults(job: Job) -> Iterator[Fault]:
    """All of them, in the order of the file."""
    for key in ("input", "output"):
        yield from _fault_of_path((key,), getattr(job, key))
    twice = next((name for name in job.keep if job.keep != "all" and job.keep.count(name) > 1), None)
    if twice is not None:
        yield Fault(("keep",), f"names {shown(twice)} twice")
    yield from _faults_of_gateway(job.gateway)
    yield from _faults_of_request(job.request)
    yield from _faults_of_row_params(job)
    yield from _faults_of_limits(job.limits)
    yield from _faults_of_retry(job.retry)
    yield from _faults_of_run(job.run)
    yield from _faults_of_prices(job.prices)
    for place, words in faults_of_sweep(job.sweep):
        yield Fault(place, words)


def _fault_of_path(place: Place, path: str | None) -> Iterator[Fault]:
    if path is not None and (not path.strip() or "\0" in path):
        yield Fault(place, f"= {shown(path)} is no path")


def _faults_of_gateway(gateway: Gateway) -> Iterator[Fault]:
    place = ("gateway", "base_url")
    if any(sign in gateway.base_url for sign in "@?#"):
        yield Fault(place, "must hold no user name, password, query or fragment: the key goes into a header")
    elif not _URL.fullmatch(gateway.base_url):
        yield Fault(place, f"= {shown(gateway.base_url)} is no URL such as https://gateway.example/v1")
    if gateway.api_key_env is not None and not VARIABLE.fullmatch(gateway.api_key_env):
        yield Fault(("gateway", "api_key_env"), "takes the name of an environment variable, never the key itself")
    for name, words in faults_of_headers(gateway.headers):
        yield Fault(("gateway", "headers", name), words)


def _faults_of_request(request: RequestTable) -> Iterator[Fault]:
    for key in ("model", "prompt"):
        if (text := getattr(request, key)) is not None and not text.strip():
            yield Fault(("request", key), "is empty: leave it out, or say what it is")
    yield from _faults_of_messages(request)
    yield from _faults_of_params(request.params)
    yield from _faults_of_tools(request)


def _faults_of_tools(request: RequestTable) -> Iterator[Fault]:
    choice = request.tool_choice
    chosen = choice.get("function") if isinstance(choice, dict) else None
    functions = [tool.get("function") for tool in request.tools]
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    if names and isinstance(chosen, dict) and chosen.get("name") not in names:
        words = f"names the function {shown(chosen.get('name'))}; request.tools has {', '.join(map(shown, names))}"
        yield Fault(("request", "tool_choice"), words)


def _faults_of_row_params(job: Job) -> Iterator[Fault]:
    place = ("request", "row_params")
    for name in job.request.row_params:
        swept = next((one for one in (name, SAME_PARAMETER.get(name)) if one in job.sweep), None)
        if name in _NO_ROW_PARAMS:
            yield Fault(place, f": {name} {_NO_ROW_PARAMS[name]}")
        elif swept is not None:
            words = f"rows that set {name} would not be asked what their variant says"
            yield Fault(place, f": [sweep] sets {swept}, and {words}: leave it out of one")


def _faults_of_params(params: Mapping[str, Any]) -> Iterator[Fault]:
    place = ("request", "params")
    if {"max_tokens", "max_completion_tokens"} <= params.keys():
        yield Fault((*place, "max_tokens"), "and max_completion_tokens are two names of one parameter: leave one out")
    if (number := params.get("n", 1)) != 1:
        words = f"= {shown(number)} is not 1: say samples = 4 in [sweep], each answer is then a row of the output"
        yield Fault((*place, "n"), words)
    if not isinstance(params.get("stream", False), bool):
        yield Fault((*place, "stream"), f"= {shown(params['stream'])} is neither true nor false")
    for name in ("model", "messages"):
        if name in params:
            yield Fault((*place, name), "has a place of its own: --model, or the rows")
    for name, value in params.items():
        if is_secret_name(name):
            yield Fault((*place, name), f"is no parameter; {ADVICE}")
        yield from _faults_of_json((*place, name), value)


def _faults_of_messages(request: RequestTable) -> Iterator[Fault]:
    if request.prompt is not None and request.messages:
        yield Fault(("request", "messages"), "and request.prompt both say what is asked: leave one out")
    for number, message in enumerate(request.messages):
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content", ""), str | list):
            words = f"[{number}] has no role, or a content that is neither a text nor a list of parts"
            yield Fault(("request", "messages"), words)


def _faults_of_json(place: Place, value: Any) -> Iterator[Fault]:
    """What JSON can't hold, or its readers disagree on."""
    if len(place) > _DEEPEST:
        yield Fault(place[:3], "is nested too deep for a request")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(place, f"= {value} is no number that JSON has")
    elif isinstance(value, int) and not -_LARGEST_INTEGER - 1 <= value <= _LARGEST_INTEGER:
        yield Fault(place, f"= {shown(value)} has more than 64 bits")
    elif isinstance(value, date | time):
        yield Fault(place, f"= {value} is a date or time, which JSON does not have: put it in quotes")
    elif isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inner:
            yield from _faults_of_json((*place, key), one)


def _faults_of_retry(retry: Retry) -> Iterator[Fault]:
    if retry.attempts < 1:
        yield Fault(("retry", "attempts"), f"= {retry.attempts} is less than 1")
    if not 0 < retry.timeout < math.inf:
        yield Fault(("retry", "timeout"), f"= {retry.timeout} is no number of seconds above 0")

    if retry.invalid_answers < 0:
        yield Fault(("retry", "invalid_answers"), f"= {retry.invalid_answers} is less than 0")
    for reason in retry.fail_on:
        near = difflib.get_close_matches(reason.casefold(), FINISH_REASONS, n=1, cutoff=0.8)
        if near and near[0] != reason:  # what resembles none may be a reason of the gateway's own
            yield Fault(("retry", "fail_on"), f": {shown(reason)} is no finish reason; did you mean {shown(near[0])}?")


def _faults_of_run(run: RunTable) -> Iterator[Fault]:
    try:
        seconds = run.max_seconds
        if seconds is not None and not 0 < seconds < math.inf:
            yield Fault(("run", "max_duration"), f"= {shown(run.max_duration)} is no length of time above 0")
    except ValueError as error:
        yield Fault(("run", "max_duration"), f": {error}")
    try:
        if run.until is not None:
            parse_until(run.until, datetime.now())  # noqa: DTZ005 - how it is written does not depend on it
    except ValueError as error:
        yield Fault(("run", "until"), f": {error}")
    if run.budget_cost is not None and not 0 < run.budget_cost < math.inf:
        yield Fault(("run", "budget_cost"), f"= {shown(run.budget_cost)} is no amount above 0")
    if run.budget_tokens is not None and not 1 <= run.budget_tokens <= LARGEST_LIMIT:
        yield Fault(
            ("run", "budget_tokens"), f"= {shown(run.budget_tokens)} is not a number from 1 to {LARGEST_LIMIT:,}"
        )


def _faults_of_prices(prices: PricesTable) -> Iterator[Fault]:
    tables: dict[Place, ModelPrices] = {
        ("prices",): prices,
        **{("prices", name): own for name, own in prices.models.items()},
    }
    for place, table in tables.items():
        if not str(place[-1]).strip():
            yield Fault(place, "is no model: its name is empty")
        for key in ModelPrices.__struct_fields__:
            price = getattr(table, key)
            if price is not None and not 0 <= price <= LARGEST_PRICE:
                yield Fault(
                    (*place, key), f"= {shown(price)} is no price: say what a million tokens cost, 0.60 for instance"
                )


def _faults_of_limits(limits: LimitsTable) -> Iterator[Fault]:
    yield from _faults_of_lane(limits, ("limits",))
    if limits.shared is not None and not _SHARED.fullmatch(limits.shared):
        words = "takes a URL such as rediss://user@redis.example:6379/0; its password is said in BATCHRUNNER_SHARED"
        yield Fault(("limits", "shared"), words)
    for model in limits.models:
        place = ("limits", model)
        if limits.scope == "account":
            yield Fault(place, 'can\'t be: limits.scope = "account" counts all models together')
        if not model.strip():
            yield Fault(place, "is no model: its name is empty")
        yield from _faults_of_lane(limits.for_model(model), place)


def _faults_of_lane(lane: LimitsTable, place: Place) -> Iterator[Fault]:
    for key, value in msgspec.structs.asdict(lane).items():
        if isinstance(value, int) and not 1 <= value <= LARGEST_LIMIT:
            yield Fault((*place, key), f"= {shown(value)} is not a number from 1 to {LARGEST_LIMIT:,}")
    most = lane.max_concurrency
    if isinstance(lane.concurrency, int) and most is not None and lane.concurrency > most:
        yield Fault((*place, "concurrency"), f"= {lane.concurrency} is more than max_concurrency = {most}")
    try:
        parse_reset(lane.daily_reset)
    except ValueError as error:
        yield Fault((*place, "daily_reset"), f": {error}")
