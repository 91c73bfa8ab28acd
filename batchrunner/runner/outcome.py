"""What came over the wire, as a try and as a unit's outcome. Pure: where chat/ and limits/ meet over one reply."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from batchrunner.chat.reply import emptiness, request_id_in, understand
from batchrunner.chat.request import RequestSettings
from batchrunner.chat.verdict import UNPAID
from batchrunner.job.schema import ModelPrices
from batchrunner.limits.hints import Refusal, read_refusal, retry_after_seconds
from batchrunner.limits.spans import gateway_time
from batchrunner.records import (
    Broken,
    ErrorColumn,
    Failure,
    HttpReply,
    Kind,
    Outcome,
    Paid,
    Reply,
    Request,
    Row,
    Try,
    Usage,
)
from batchrunner.runner.money import cost_of

Check = Callable[[Reply], Reply | Failure]
MOST_BYTES_OF_A_CHAR = 4
BYTES_AROUND = 1024  # what a body with images has beside texts
_FULL = frozenset({503, 529})  # no capacity; other kinds of UNAVAILABLE may have come from a proxy half-way
NOTHING_CAME = msgspec.Raw(b"null")
_NOT_COUNTED = UNPAID | {Kind.UNAVAILABLE}  # a 500 may have come after the tokens were counted


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """What one try brought. `reply` may stand beside a failure: an answer that is rejected is paid for too.

    `seen`: what a stream that broke off had told of its usage; `cost`: of all of it, None where nobody knows;
    `refusal`: what a 429 says; `hint_seconds`: what any failure asks us to wait; `gateway_time`: Unix time as the
    gateway tells it; `request_id`: of a reply that is no answer; `raw`: see Outcome.
    """

    sent_at: float
    latency_s: float
    reply: Reply | None
    failure: Failure | None
    seen: Usage | None = None
    cost: float | None = None
    first_token_s: float | None = None
    refusal: Refusal | None = None
    hint_seconds: float | None = None
    gateway_time: float | None = None
    request_id: str | None = None
    raw: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def as_try(self, request: Request) -> Try:
        """The row of the store's `tries`."""
        is_bounded = not self.is_known and request.max_tokens is not None
        return Try(
            number=request.number,
            sent_at=self.sent_at,
            latency_s=self.latency_s,
            failure=self.failure,
            usage=self.usage,
            finish_reason=self.reply.finish_reason if self.reply else None,
            model=request.model,
            cost=self.cost,
            most_prompt_tokens=most_prompt_tokens(request) if is_bounded else None,
            most_completion_tokens=request.max_tokens if is_bounded else None,
            first_token_s=self.first_token_s,
        )

    @property
    def paid(self) -> Paid | None:
        """What was used and paid for it, where anything was as far as anybody knows."""
        usage, cost = self.usage, self.cost or None
        return None if usage is None and cost is None else Paid(usage=usage, cost=self.cost)

    @property
    def usage(self) -> Usage | None:
        """What was paid for it, as far as the gateway said."""
        return self.seen if self.reply is None else self.reply.usage

    @property
    def used_tokens(self) -> int | None:
        """Tokens that the gateway counted for it; None where nobody knows, as when a stream broke off."""
        if self.reply is not None:
            return self.reply.usage.total_tokens
        if self.seen is not None:
            return None
        return 0 if self.failure is not None and self.failure.kind in _NOT_COUNTED else None

    @property
    def is_known(self) -> bool:
        """Whether it is known what the gateway will want to be paid for it: a proxy's 502 tells nothing of that."""
        return self.used_tokens is not None and (self.reply is not None or self.cost is not None)


def read(
    came: HttpReply | Broken | Failure,
    *,
    sent_at: float,
    latency_s: float,
    check: Check | None = None,
    price: ModelPrices | None = None,
) -> Came:
    """Understand what the transport brought; `check` is particular about answers, `price` that of the model asked."""
    if isinstance(came, Failure):
        return Came(sent_at=sent_at, latency_s=latency_s, reply=None, failure=came, cost=_cost_of_failure(came))
    if isinstance(came, Broken):
        return _broken_off(came, sent_at=sent_at, latency_s=latency_s, price=price)
    understood = understand(came)
    if isinstance(understood, Failure):
        return _turned_away(came, understood, sent_at=sent_at, latency_s=latency_s)
    failure = emptiness(understood)
    if failure is None and check is not None:
        checked = check(understood)
        understood, failure = (understood, checked) if isinstance(checked, Failure) else (checked, None)
    return Came(
        sent_at=sent_at,
        latency_s=latency_s,
        reply=understood,
        failure=failure,
        cost=_cost(understood, price),
        first_token_s=came.first_token_s,
    )


def _broken_off(came: Broken, *, sent_at: float, latency_s: float, price: ModelPrices | None) -> Came:
    """A stream that ended too early: what it had told of its usage is kept."""
    so_far = understand(HttpReply(status=200, headers={}, body=came.so_far))
    seen = so_far.usage if isinstance(so_far, Reply) else Usage()
    cost = _cost(so_far, price) if isinstance(so_far, Reply) else None
    return msgspec.structs.replace(read(came.how, sent_at=sent_at, latency_s=latency_s), seen=seen, cost=cost)


def _turned_away(came: HttpReply, failure: Failure, *, sent_at: float, latency_s: float) -> Came:
    """A reply that is no answer: what it says of limits, of the time, and of when to come back."""
    now, refusal = sent_at + latency_s, None
    if failure.kind is Kind.RATE_LIMITED:
        refusal = read_refusal(came.headers, came.body, now)
        failure = msgspec.structs.replace(failure, kind=refusal.kind)
    return Came(
        sent_at=sent_at,
        latency_s=latency_s,
        reply=None,
        failure=failure,
        cost=_cost_of_failure(failure),
        refusal=refusal,
        hint_seconds=refusal.wait_seconds if refusal else retry_after_seconds(came.headers, came.body, now),
        gateway_time=gateway_time(came.headers, now),
        request_id=request_id_in(came.headers),
    )


def most_prompt_tokens(request: Request) -> int:
    """The most tokens that a prompt can have: no token is less than a byte. Images and the like count as so much text
    as `prompt_chars` has for them."""
    return min(len(request.body), MOST_BYTES_OF_A_CHAR * request.prompt_chars + BYTES_AROUND)


def _cost(reply: Reply, price: ModelPrices | None) -> float | None:
    return cost_of(reply.usage, price) if reply.cost is None else reply.cost


def _cost_of_failure(failure: Failure) -> float | None:
    """Nothing, where the gateway turned the request away or never saw it."""
    is_unpaid = failure.kind in UNPAID or (failure.kind is Kind.UNAVAILABLE and failure.status in _FULL)
    return 0.0 if is_unpaid else None


def with_body(came: Came, brought: HttpReply | Broken | Failure) -> Came:
    """The same, with the body of the reply: as it is where that is JSON, else as a text in JSON; null where none came.
    Of a stream it is the completion put together."""
    match brought:
        case HttpReply(body=body) | Broken(how=HttpReply(body=body)) | Broken(so_far=body):
            raw = msgspec.Raw(_as_json(body))
        case Failure():
            raw = NOTHING_CAME
    return msgspec.structs.replace(came, raw=raw)


def _as_json(body: bytes) -> bytes:
    try:
        body.decode()
        msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.encode(body.decode(errors="replace"))
    return body.strip()


def answered(request: Request, came: Came, attempts: int) -> Outcome:
    """The outcome of a unit whose last try brought an answer."""
    reply = came.reply
    assert reply is not None  # noqa: S101 - the caller has looked
    return Outcome(
        id=request.id,
        row=request.row,
        status="ok",
        response=reply.text,
        tool_calls=reply.tool_calls,
        parsed=reply.parsed,
        reasoning=reply.reasoning,
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        cost=came.cost,
        model=reply.model or request.model,
        variant=request.variant,
        sample=request.sample,
        attempts=attempts,
        latency_s=round(came.latency_s, 4),
        first_token_s=came.first_token_s,
        request_id=reply.request_id,
        finished_at=timestamp(came.sent_at + came.latency_s),
        raw=came.raw,
        kept=request.kept,
    )


def failed(of: Row | Request, failure: Failure, arm: RequestSettings | Request, *, now: float) -> Outcome:
    """The outcome of a unit that failed before anything was sent for it; `arm` says of which variant and sample."""
    return Outcome(
        id=of.id,
        row=of.row,
        status="failed",
        error=ErrorColumn(kind=failure.kind, status=failure.status, message=failure.message),
        variant=arm.variant,
        sample=arm.sample,
        finished_at=timestamp(now),
        raw=NOTHING_CAME if arm.keeps_raw else msgspec.UNSET,
        kept=of.kept,
    )


def failed_after(request: Request, came: Came, attempts: int) -> Outcome:
    """The outcome of a unit whose last try failed; what was paid for all the same is kept: usage, cost, the answer."""
    paid = came.paid or Paid()
    assert came.failure is not None  # noqa: S101 - the caller has looked
    outcome = failed(request, came.failure, request, now=came.sent_at + came.latency_s)
    outcome = msgspec.structs.replace(
        outcome,
        model=request.model,
        attempts=attempts,
        latency_s=round(came.latency_s, 4),
        usage=paid.usage,
        cost=paid.cost,
        request_id=came.request_id,
        raw=came.raw,
    )
    reply = came.reply
    if reply is None:
        return outcome
    return msgspec.structs.replace(
        outcome,
        response=reply.text or None,
        tool_calls=reply.tool_calls,
        reasoning=reply.reasoning,
        finish_reason=reply.finish_reason,
        request_id=reply.request_id,
    )


def timestamp(now: float) -> str:
    """Unix time as RFC 3339 in UTC, to the millisecond."""
    second = int(now)
    return f"{_second(second)}.{int((now - second) * 1000):03}Z"


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    """Thousands of rows end in the same one."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
