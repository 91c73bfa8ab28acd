"""Decides about each request, without waiting and without sockets: refuse it, break it, or serve it.

The order: outage, key, body, model, what the prompt asks for itself, concurrency, limits. What comes to the
ledger comes through here.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import msgspec

from batchrunner.simulator import chat, dialect, script
from batchrunner.simulator.access import Access
from batchrunner.simulator.answers import answer
from batchrunner.simulator.chat import ChatRequest, Spoken
from batchrunner.simulator.dialect import Answer, HeaderDialect
from batchrunner.simulator.ledger import CLIENT_LEFT, OK, PAID_FAULTS, Arrival, Ledger, Summary
from batchrunner.simulator.meter import (
    Cost,
    InFlight,
    Instant,
    Lane,
    Meter,
    Rules,
    TokenAccounting,
    tokens_at_arrival,
)
from batchrunner.simulator.script import OF_STREAMS, Directive, Fate, Fault, Script
from batchrunner.simulator.streaming import Stream, frames
from batchrunner.simulator.window import SECOND_NS

_ENDLESS = frozenset({Fault.HANG, Fault.STALLED})
_NEVER_STREAMED = frozenset({Fault.SERVER_ERROR, Fault.NOT_JSON, Fault.RESET_AFTER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that can be chosen about a simulated gateway."""

    script: Script = field(default_factory=Script)
    rules: Rules = field(default_factory=Rules)
    access: Access = field(default_factory=Access)
    headers: HeaderDialect = HeaderDialect.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One POST to /v1/chat/completions, wholly here. `number` counts them, `fate` was drawn for it."""

    number: int
    fate: Fate
    now: Instant
    authorization: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A request that was taken: `number` is that of its ledger entry.

    `streams`: its answer is written piece by piece, `tells_usage` with what it costs.
    """

    number: int
    lane: Lane
    cost: Cost
    fate: Fate
    spoken: Spoken
    finish_reason: str
    streams: bool = False
    tells_usage: bool = False

    @property
    def account(self) -> str:
        return self.lane[0]

    @property
    def paid(self) -> bool:
        return self.fate.fault is None or self.fate.fault in PAID_FAULTS

    @property
    def outcome(self) -> str:
        return self.fate.fault or OK


class Desk:
    """The state of one gateway: its meter, its ledger, who is in flight, how often aimed prompts came."""

    def __init__(self, setup: Setup, started: Instant) -> None:
        self._setup = setup
        self._started = started
        self._meter = Meter(setup.rules)
        self._in_flight = InFlight()
        self._aimed: Counter[int] = Counter()
        self.ledger = Ledger(setup.rules.limits)

    def receive(self, visit: Visit) -> Service | Answer | Fault:
        """Take a request, or refuse it with an answer; a fault in return means: reset the connection."""
        elapsed_seconds = (visit.now.mono_ns - self._started.mono_ns) / SECOND_NS
        fault = script.outage(self._setup.script, visit.number, elapsed_seconds)
        if fault is Fault.RESET_BEFORE:
            return self.reset_before(visit.now)
        if fault is not None:
            self.ledger.arrive(Arrival(now=visit.now), fault)
            return dialect.plain_error(503)
        account = self._setup.access.account(visit.authorization)
        if account is None:
            self.ledger.arrive(Arrival(now=visit.now), "403")
            return Answer(status=403, body=dialect.BAD_KEY)
        return self._read(visit, account)

    def reset_before(self, now: Instant) -> Fault:
        """A connection is broken before its request is taken."""
        self.ledger.arrive(Arrival(now=now), Fault.RESET_BEFORE)
        return Fault.RESET_BEFORE

    def turned_away(self, now: Instant, status: int) -> None:
        """A request that never got to `receive`: its body was too large, say."""
        self.ledger.arrive(Arrival(now=now), str(status))

    def left_early(self, now: Instant) -> None:
        """A client went away while it was sending its request."""
        number = self.ledger.arrive(Arrival(now=now))
        self.ledger.close(number, CLIENT_LEFT, client_left=True)

    @contextmanager
    def serving(self, service: Service) -> Iterator[None]:
        """The time in which an answer is being made: it is in flight."""
        with self._in_flight.inside(service.account):
            yield

    def settle(self, service: Service, now: Instant) -> None:
        """The answer is done, or its client is gone: where tokens count at completion they do so now."""
        if self._setup.rules.token_accounting is TokenAccounting.COMPLETION:
            tokens = service.cost.total if service.paid else 0
            self._meter.settle(service.lane, tokens, now)
            self.ledger.settle(service.number, tokens, now)

    def close(self, service: Service, *, written: bool) -> None:
        """Log what the client saw of it. A hang is over when the client goes, and stays one."""
        if written or service.fate.fault in _ENDLESS:
            self.ledger.close(service.number, service.outcome, client_left=not written)
        else:
            self.ledger.close(service.number, CLIENT_LEFT, client_left=True)

    def answer(self, service: Service, now: Instant) -> Answer:
        """What is written, faults of content included; how it is written is the server's affair."""
        headers = self._level_headers(service.lane, now)
        match service.fate.fault:
            case Fault.SERVER_ERROR:
                return replace(dialect.plain_error(service.fate.status), headers=headers)
            case Fault.NOT_JSON:
                return Answer(body=dialect.HTML, content_type="text/html", headers=headers)
            case _:
                body = _completion(service, _said(service), now)
                return Answer(body=body, headers=headers)

    def stream(self, service: Service, now: Instant) -> tuple[dict[str, str], list[bytes]]:
        """The headers of a streamed answer, and its frames."""
        stream = Stream(
            number=service.number,
            created=now.wall_ns // SECOND_NS,
            model=service.lane[1],
            spoken=_said(service),
            finish=service.finish_reason,
            usage=_usage(service) if service.tells_usage else None,
            usage_everywhere=self._setup.script.usage_everywhere,
            chars_per_piece=self._setup.script.piece_chars,
            fault=service.fate.fault,
        )
        return self._level_headers(service.lane, now), frames(stream)

    def models(self, authorization: str) -> Answer:
        """GET /v1/models; not in the ledger."""
        if self._setup.access.account(authorization) is None:
            return Answer(status=403, body=dialect.BAD_KEY)
        return Answer(body=chat.model_list(self._setup.access.models or frozenset()))

    def summary(self) -> Summary:
        return self.ledger.summary(max_in_flight=self._in_flight.most)

    def _read(self, visit: Visit, account: str) -> Service | Answer | Fault:
        try:
            request = chat.read_request(visit.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.ledger.arrive(Arrival(now=visit.now, account=account), "400")
            return dialect.openai_error(400, str(error), "invalid_request_error")
        text = chat.prompt_text(request)
        digest = chat.digest_of(text)
        arrival = Arrival(now=visit.now, account=account, model=request.model, digest=digest)
        refused = self._cannot_be_served(request)
        if refused is not None:
            self.ledger.arrive(arrival, str(refused.status))
            return refused
        return self._aim(visit, arrival, request, text)

    def _cannot_be_served(self, request: ChatRequest) -> Answer | None:
        if not self._setup.access.knows(request.model):
            message = f"The model `{request.model}` does not exist or you do not have access to it."
            return dialect.openai_error(404, message, "invalid_request_error", "model_not_found")
        return None

    def _aim(self, visit: Visit, arrival: Arrival, request: ChatRequest, text: str) -> Service | Answer | Fault:
        """Do what the prompt asks for itself, where it does; its fate counts otherwise."""
        aim = script.directive(text)
        fate, manner = visit.fate, None
        if aim is not None and self._applies(aim, arrival.digest):
            manner = aim.manner
            if aim.fault is Fault.RESET_BEFORE:
                self.ledger.arrive(arrival, aim.fault)
                return aim.fault
            if aim.fault is None and manner is None:
                self.ledger.arrive(arrival, str(aim.status))
                return dialect.plain_error(aim.status)
            if manner is None:
                fate = replace(fate, fault=aim.fault, status=aim.status)
        spoken = answer(request, text, manner, number=visit.number)
        return self._admit(fate, arrival, request, spoken)

    def _applies(self, aim: Directive, digest: int) -> bool:
        self._aimed[digest] += 1
        return aim.applies(self._aimed[digest] - 1)

    def _admit(
        self, fate: Fate, arrival: Arrival, request: ChatRequest, spoken: tuple[Spoken, str | None]
    ) -> Service | Answer:
        rules, lane = self._setup.rules, (arrival.account, arrival.model)
        if rules.enforce and self._is_full(arrival.account):
            self.ledger.arrive(arrival, "429")
            return dialect.too_many_at_once(self._setup.headers)
        if fate.fault in OF_STREAMS and not request.stream:
            fate = replace(fate, fault=None)
        cost, finish_reason = _cost(self._setup.script, request, arrival.digest)
        refusal = self._meter.admit(lane, cost, arrival.now)
        if refusal is not None:
            self.ledger.arrive(arrival, "429", refusal.index)
            levels = self._meter.levels(lane, arrival.now)
            return dialect.rate_limited(self._setup.headers, refusal, levels, arrival.now)
        service = Service(
            number=self.ledger.arrive(arrival),
            lane=lane,
            cost=cost,
            fate=fate,
            spoken=spoken[0],
            finish_reason=spoken[1] or finish_reason,
            streams=bool(request.stream) and fate.fault not in _NEVER_STREAMED,
            tells_usage=chat.wants_usage(request),
        )
        counted = tokens_at_arrival(rules.token_accounting, cost)
        self.ledger.admit(service.number, cost, counted=counted, paid=service.paid)
        return service

    def _is_full(self, account: str) -> bool:
        most = self._setup.rules.max_concurrency
        return most is not None and self._in_flight.of(account) >= most

    def _level_headers(self, lane: Lane, now: Instant) -> dict[str, str]:
        if self._setup.headers is not HeaderDialect.OPENAI:
            return {}
        return dialect.level_headers(self._setup.headers, self._meter.levels(lane, now))


def _cost(answers: Script, request: ChatRequest, digest: int) -> tuple[Cost, str]:
    """The tokens of a request and why its answer ends."""
    prompt, cap = chat.prompt_tokens(request), chat.max_completion(request)
    wanted = script.completion_tokens(answers, digest)
    completion = wanted if cap is None else min(wanted, cap)
    cost = Cost(prompt=prompt, completion=completion, ceiling=prompt + (cap or completion))
    return cost, "length" if completion < wanted else "stop"


def _said(service: Service) -> Spoken:
    return Spoken(content="") if service.fate.fault is Fault.EMPTY else service.spoken


def _usage(service: Service) -> chat.Usage:
    cost = service.cost
    return chat.Usage(prompt_tokens=cost.prompt, completion_tokens=cost.completion, total_tokens=cost.total)


def _completion(service: Service, spoken: Spoken, now: Instant) -> bytes:
    return chat.completion(
        number=service.number,
        created=now.wall_ns // SECOND_NS,
        model=service.lane[1],
        spoken=spoken,
        finish=service.finish_reason,
        usage=_usage(service),
    )
