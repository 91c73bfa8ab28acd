"""Asks a gateway a few small things and finds out what it says of limits and errors.

Each model of the job once: a good request, one that is malformed on purpose, and what else is wanted. They are admitted
by the lane's limits and counted in this machine's book as those of any run; none is repeated.
"""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup

from batchrunner.chat.expecting import Expectations
from batchrunner.chat.request import RequestSettings, model_of
from batchrunner.chat.stream import Fold
from batchrunner.errors import InputError, UsageError
from batchrunner.folder.ending import End, Ending
from batchrunner.job.schema import STANDARD_INPUT, Job
from batchrunner.job.sweep import arms_of
from batchrunner.limits.hints import DAILY_SECONDS, Refusal
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.limiter import SendingStoppedError
from batchrunner.limits.redis_place import RedisPlace
from batchrunner.probe.advising import BAD, GOOD, SCHEMA, STREAM, STREAM_WITHOUT, advice
from batchrunner.probe.probed import Exchange, Probed, exchange_of, limit_headers, limits_told
from batchrunner.records import SAME_PARAMETER, HttpReply, Kind, Request
from batchrunner.runner.books import open_book
from batchrunner.runner.lanes import LaneOpener, OpenLane
from batchrunner.runner.learning import Learning
from batchrunner.runner.outcome import Came, read
from batchrunner.runner.preparing import LOOKED_AT
from batchrunner.runner.sending import send_admitted
from batchrunner.source import open_source
from batchrunner.store.mounts import check_place
from batchrunner.transport.http import HttpTransport, check_base_url
from batchrunner.transport.observed import ObservedTransport, Seen
from batchrunner.transport.secret import Secret
from batchrunner.transport.streaming import StreamingTransport

MAX_TOKENS = 16
_PROMPT = "Reply with the word OK."
_OF_SCHEMA = 'Is water wet? Reply with JSON such as {"wet": true}.'
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "probe",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"wet": {"type": "boolean"}},
            "required": ["wet"],
            "additionalProperties": False,
        },
    },
}
_WAITED_SECONDS = 2.0
# After these the other requests would only meet the same.
_HOPELESS = {
    Kind.UNREACHABLE: End.UNREACHABLE,
    Kind.REFUSED: End.REFUSED,
    Kind.BILLING: End.REFUSED,
    Kind.REDIRECTED: End.MISCONFIGURED,
    Kind.RATE_LIMITED: End.PARKED,
    Kind.CONCURRENCY: End.PARKED,
    Kind.DAILY_LIMIT: End.PARKED,
}


class Probing(msgspec.Struct, frozen=True, kw_only=True):
    """How to probe. `headers` go with every request; `streams`, `schema`: what else is asked; `told` takes words of
    what is being done; `identity_url` stands for the base URL where that changes."""

    state_dir: Path
    shared: RedisPlace | None = None
    key: Secret
    headers: dict[str, str | Secret] = {}
    ca_bundle: Path | None = None
    allow_insecure_http: bool = False
    timeout_seconds: float = 120.0
    streams: bool = False
    schema: bool = False
    identity_url: str | None = None
    told: Callable[[str], None] | None = None


def models_of(job: Job) -> list[str]:
    """The models that the job asks, those of its first rows too where these name their own. UsageError for none."""
    named: dict[str | None, None] = {}
    for arm in arms_of(job.request, job.sweep):
        own = arm.request
        renders = None if own.prompt is None and not own.messages else _nothing
        settings = RequestSettings(model=own.model, row_params=tuple(own.row_params), render=renders)
        named |= dict.fromkeys([own.model] if own.model is not None else [])
        with suppress(*([InputError] if own.model is not None else [])):
            named |= dict.fromkeys(_models_of_rows(job.input, settings))
    found = [model for model in named if model]
    if not found:
        raise UsageError("No model is named: say which with --model org/model, or name a job that does.")
    return found


async def probe(job: Job, models: list[str], how: Probing) -> list[Probed]:
    """Probe each of these models. BatchrunnerError for what stops it beside the gateway's words."""
    gateway = job.gateway
    check_base_url(gateway.base_url, allow_insecure_http=how.allow_insecure_http)
    check_place(how.state_dir, "--state-dir")
    options: dict[str, Any] = {
        "key": how.key,
        "auth_scheme": gateway.auth_scheme,
        "timeout_seconds": how.timeout_seconds,
        "ca_bundle": how.ca_bundle,
        "more_headers": how.headers,
    }
    with closing(open_book(how.state_dir, how.shared)) as book:
        lanes = LaneOpener(
            book,
            job.limits,
            base_url=how.identity_url or gateway.base_url,
            account=gateway.account or how.key.reveal(),
        )
        with closing(lanes):
            async with (
                ObservedTransport(gateway.base_url, **options) as plain,
                StreamingTransport(gateway.base_url, new_fold=Fold, **options) as streaming,
                anyio.create_task_group() as keepers,
            ):
                probes = _Probes(job, how, lanes, plain, streaming)
                found = [await probes.of(model, keepers) for model in models]
                keepers.cancel_scope.cancel()
    return found


class _Probes:
    """Probes one model after another."""

    def __init__(
        self, job: Job, how: Probing, lanes: LaneOpener, plain: ObservedTransport, streaming: StreamingTransport
    ) -> None:
        self._job = job
        self._how = how
        self._lanes = lanes
        self._plain = plain
        self._streaming = streaming
        self._asked: dict[str, _Lane] = {}

    async def of(self, model: str, keepers: TaskGroup) -> Probed:
        """Probe this model."""
        name = self._lanes.lane_of(model)
        if name not in self._asked:
            self._asked[name] = _Lane(self._lanes.open(model, keepers), self._how.told)
        lane = self._asked[name]
        exchanges: list[Exchange] = []
        with suppress(SendingStoppedError):
            await self._ask(lane, model, exchanges)
        answered = bool(exchanges) and exchanges[0].answered
        ending = lane.gone if lane.gone is not None and not answered else _ending(exchanges[0])
        now = time.time()
        limits = limits_told(exchanges, now)
        return Probed(
            model=model,
            base_url=self._job.gateway.base_url,
            auth_scheme=self._job.gateway.auth_scheme,
            ending=ending,
            exchanges=exchanges,
            limit_headers=limit_headers(exchanges, now),
            limits=limits,
            advice=advice(self._job, model, exchanges, limits) if exchanges else [],
        )

    async def _ask(self, lane: "_Lane", model: str, exchanges: list[Exchange]) -> None:
        """The good request, and where that was not hopeless the others."""
        cap = next((name for name in SAME_PARAMETER if name in self._job.request.params), "max_tokens")
        good = await self._exchange(lane, GOOD, _good(model, cap))
        if good.failure == Kind.REJECTED and SAME_PARAMETER[cap] in (good.message or ""):
            cap = SAME_PARAMETER[cap]
            good = await self._exchange(lane, f"{GOOD}, with {cap}", _good(model, cap))
        exchanges.append(good)
        if good.failure in _HOPELESS:
            return
        exchanges.append(await self._exchange(lane, BAD, {"model": model, "messages": "malformed on purpose"}))
        if self._how.schema:
            body = _good(model, cap, _OF_SCHEMA, 4 * MAX_TOKENS) | {"response_format": _SCHEMA}
            exchanges.append(await self._exchange(lane, SCHEMA, body))
        if self._how.streams:
            asked = _good(model, cap) | {"stream": True}
            with_usage = asked | {"stream_options": {"include_usage": True}}
            exchanges.append(await self._exchange(lane, STREAM, with_usage, self._streaming))
            exchanges.append(await self._exchange(lane, STREAM_WITHOUT, asked, self._streaming))

    async def _exchange(
        self, lane: "_Lane", what: str, body: dict[str, Any], transport: HttpTransport | None = None
    ) -> Exchange:
        if self._how.told is not None:
            self._how.told(f"{body['model']}: {what} ...")
        expected = Expectations().of(body.get("response_format"))
        request = Request(
            number=0,
            id="probe",
            model=body["model"],
            body=msgspec.json.encode(body),
            prompt_chars=len(_OF_SCHEMA),
            max_tokens=next((body[name] for name in SAME_PARAMETER if name in body), None),
            check=None if expected is None else expected.check,
        )
        reply, came = await lane.send(request, transport or self._plain)
        shown = None if reply is None else self._plain.showable(reply)
        if shown is not None:  # an answer, too, is read again without anything that may be a part of the key
            came = read(shown, sent_at=came.sent_at, latency_s=came.latency_s, check=request.check)
        return exchange_of(what, shown, came, Seen() if transport else self._plain.seen)


class _Lane:
    """A lane, and what it learns from a probe. `gone`: the day's quota is used up."""

    def __init__(self, opened: OpenLane, told: Callable[[str], None] | None) -> None:
        self.gone: Ending | None = None
        self._opened = opened
        self._limiter = opened.limiter
        self._learning = Learning(opened)
        self._told = told
        opened.quota_gone = self._quota_gone

    async def send(self, request: Request, transport: HttpTransport) -> tuple[HttpReply | None, Came]:
        """Send it once, when the limits let it; what came. Raises SendingStoppedError when the day's quota is gone."""
        limiter, sent = self._limiter, None
        while sent is None:
            lease = await self._admitted(request)
            sent = await send_admitted(request, lease, limiter=limiter, learning=self._learning, transport=transport)
        came, brought = sent
        now = limiter.clock()
        if came.failure is not None and came.failure.kind in (Kind.RATE_LIMITED, Kind.CONCURRENCY):
            refusal = came.refusal or Refusal(kind=came.failure.kind)
            limiter.lane.limited_by(lease, now, refusal, jitter=0.0)
        elif came.failure is not None and came.failure.kind is Kind.DAILY_LIMIT:
            self._note_gone(came)
        return brought if isinstance(brought, HttpReply) else None, came

    def _note_gone(self, came: Came) -> None:
        """Other runs of this machine need not ask for the day's quota again."""
        gateway_now = came.gateway_time or time.time()
        hint = 0.0 if came.refusal is None else came.refusal.wait_seconds or 0.0
        back_at = gateway_now + hint if hint > DAILY_SECONDS else self._opened.seat.reset.next(gateway_now)
        self._opened.seat.gone(back_at)
        self._quota_gone(back_at)

    def _quota_gone(self, back_at: float) -> None:
        words = f"{End.PARKED}: the day's quota is used up"
        self.gone = Ending(end=End.PARKED, message=words, resume_at=back_at)
        self._limiter.close()

    async def _admitted(self, request: Request) -> Lease:
        estimate = self._learning.estimate(request)
        with anyio.move_on_after(_WAITED_SECONDS):
            return await self._limiter.admit(estimate)
        if self._told is not None:
            self._told(f"{request.model}: waiting for leave ({self._limiter.lane.bound_by})")
        return await self._limiter.admit(estimate)


def _ending(good: Exchange) -> Ending:
    """As that of a run whose rows all meet this."""
    if good.answered:
        return Ending(end=End.ANSWERED, message="")
    end = End.UNREACHABLE if good.failure is None else _HOPELESS.get(good.failure, End.UNREACHABLE)
    said = good.message if good.status is None else f"{good.status}: {good.message}"
    resume_at = time.time() + good.wait_seconds if end is End.PARKED and good.wait_seconds is not None else None
    return Ending(end=end, message=f"{end}: {said}", resume_at=resume_at)


def _good(model: str, cap: str, prompt: str = _PROMPT, max_tokens: int = MAX_TOKENS) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], cap: max_tokens}


def _models_of_rows(place: str, settings: RequestSettings) -> list[str | None]:
    if place == STANDARD_INPUT:
        return []
    first = next(open_source(place).rows(lambda _: False, LOOKED_AT), [])
    return [model_of(row, settings) for row in first]


def _nothing(_: object) -> str:
    """Stands for a template: the rows' own shapes don't matter then."""
    return ""
