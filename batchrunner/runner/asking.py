"""Asks for one unit after another on one lane, each until it has ended: admit, send, judge, again.

There is one owner of retries: this. A unit's charged tries are tenacity's affair from the first failure on;
what the lane's limits or an outage turn away is admitted again inside a try and charged to nobody.
"""

import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from batchrunner.chat.verdict import LaneHistory, UnitHistory, Verdict, judge
from batchrunner.limits.estimate import Estimate, Estimator
from batchrunner.limits.hints import DAILY_SECONDS, Refusal
from batchrunner.limits.lane import Lease
from batchrunner.limits.limiter import SendingStoppedError
from batchrunner.limits.spans import gateway_time
from batchrunner.limits.told import told_limits
from batchrunner.records import Failure, HttpReply, Kind, Request
from batchrunner.runner.ending import End, Ending
from batchrunner.runner.lanes import OpenLane
from batchrunner.runner.outcome import Came, answered, failed, failed_after, read
from batchrunner.store.database import Entry
from batchrunner.store.marks import Marks
from batchrunner.transport.http import HttpTransport

FIRST_BACKOFF_SECONDS = 0.75  # six tries then outlast the 10 s after which an outage charges nobody
LONGEST_BACKOFF_SECONDS = 60.0
LISTEN_EVERY_SECONDS = 1.0
_BLIND_SHARE = 0.125
LOOK_AGAIN_SECONDS = 1800.0  # whether a quota that seems gone is: others may have used it

Record = Callable[[Entry, int | None], Awaitable[None]]
_STOPPING = {
    Kind.REFUSED: End.REFUSED,
    Kind.BILLING: End.REFUSED,
    Kind.REDIRECTED: End.MISCONFIGURED,
}
_REFUSALS = frozenset({Kind.RATE_LIMITED, Kind.CONCURRENCY, Kind.DAILY_LIMIT})


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to go on. `attempts`: charged tries of a unit; `max_outage_seconds`: of a silent gateway;
    `waits_for_quota`: a lane whose daily quota is gone waits for the reset instead of stopping."""

    attempts: int = 6
    max_outage_seconds: float = 900.0
    waits_for_quota: bool = False


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A try that is over: what it brought, the mark its commit clears, and the verdict if it failed."""

    came: Came
    slot: int
    verdict: Verdict | None


class Asker:
    """One lane at work. `record` takes each try and outcome; `admitted` is told of each lease.

    `stopped` says why the lane asks no more, `trouble` why it paused last.
    """

    def __init__(
        self,
        opened: OpenLane,
        *,
        transport: HttpTransport,
        marks: Marks,
        patience: Patience,
        record: Record,
        admitted: Callable[[], None],
    ) -> None:
        self.opened = opened
        self.limiter = opened.limiter
        opened.quota_gone = self._quota_gone
        self.napping: set[int] = set()
        self.stopped: Ending | None = None
        self.trouble: str | None = None
        self._transport = transport
        self._marks = marks
        self._patience = patience
        self._record = record
        self._admitted = admitted
        self._estimators: dict[str, Estimator] = {}
        self._history = LaneHistory()
        self._listened_at = float("-inf")

    def stop(self, ending: Ending) -> None:
        """Send nothing more on this lane; what waits for leave gets SendingStoppedError."""
        self.stopped = self.stopped or ending
        self.limiter.close()

    async def ask(self, request: Request) -> None:
        """Ask until the unit has ended. SendingStoppedError leaves it pending."""
        tokens = self._estimator(request).least(request)
        if tokens > self.limiter.lane.most_tokens:
            counted = "prompt and max_tokens" if self.opened.table.token_accounting == "upfront" else "the prompt alone"
            message = f"about {tokens:.0f} tokens ({counted}) are more than a whole window of the limit holds"
            failure = Failure(kind=Kind.TOO_LARGE, message=message)
            outcome = failed(request.number, request.id, failure, now=time.time())
            await self._record(Entry(outcome=outcome, digest=request.digest), None)
            return
        unit = UnitHistory(request.number)
        settled, attempts = await self._try_once(request, unit), 1
        if settled.verdict is Verdict.AGAIN:
            settled, attempts = await self._try_again(request, unit, settled)
        outcome = (answered if settled.verdict is None else failed_after)(request, settled.came, attempts)
        await self._record(Entry(settled.came.as_try(request.number), outcome, request.digest), settled.slot)

    async def _try_again(self, request: Request, unit: UnitHistory, first: Settled) -> tuple[Settled, int]:
        """Further charged tries, with `first` as tenacity's first attempt. The last one, and how many."""
        known = [first]

        async def attempt() -> Settled:
            return known.pop() if known else await self._try_once(request, unit)

        async def record_rejected(state: RetryCallState) -> None:
            await self._record_rejected(request, _result(state))

        async def nap(seconds: float) -> None:
            self.napping.add(request.number)
            try:
                await self.limiter.nap(seconds)
            finally:
                self.napping.discard(request.number)

        retrying = AsyncRetrying(
            sleep=nap,
            stop=stop_after_attempt(self._patience.attempts),
            wait=_backoff_seconds,
            retry=retry_if_result(_gets_another),
            before_sleep=record_rejected,
            retry_error_callback=_result,
        )
        settled: Settled = await retrying(attempt)
        return settled, int(retrying.statistics["attempt_number"])

    async def _try_once(self, request: Request, unit: UnitHistory) -> Settled:
        """One charged try: sent as often as the lane's limits or an outage turn it away."""
        while True:
            lease = await self.limiter.admit(self._estimate(request))
            self._admitted()
            sent = await self._send(request, lease)
            if sent is None:
                continue
            came, slot = sent
            verdict = self._judge(came, unit, lease)
            settled = Settled(came=came, slot=slot, verdict=verdict)
            if verdict in (None, Verdict.AGAIN, Verdict.FAIL):
                return settled
            await self._record_rejected(request, settled)
            if self.stopped is not None:
                raise SendingStoppedError

    async def _send(self, request: Request, lease: Lease) -> tuple[Came, int] | None:
        """What one try brought, and its mark; the lane has taken in what it says of tokens and latency.

        None where nothing was sent: the connection was so long in coming that the lease had to be given up.
        """
        slot = self._marks.set(request.number)
        sent_at, limiter = time.time(), self.limiter
        try:
            brought = await self._transport.send(request, may_write=lambda: limiter.may_write(lease))
        except BaseException:
            limiter.lane.over(lease, counted=None)
            raise
        if brought is None:
            self._marks.clear(slot)
            return None
        now = limiter.clock()
        came = read(brought, sent_at=sent_at, latency_s=now - lease.taken_at)
        self._take_in(request, lease, came, now)
        if isinstance(brought, HttpReply) and now - self._listened_at >= LISTEN_EVERY_SECONDS:
            self._listen(brought, now)
        limiter.wake()
        return came, slot

    def _take_in(self, request: Request, lease: Lease, came: Came, now: float) -> None:
        """The lane and the estimates learn what the gateway counted for a try that is over."""
        lane = self.limiter.lane
        if came.reply is None:
            refused = came.failure is not None and came.failure.kind in _REFUSALS
            lane.over(lease, counted=came.used_tokens, refused=refused)
            return
        estimator, usage = self._estimator(request), came.reply.usage
        lane.over(lease, counted=estimator.counted(request, usage), answered=True)
        estimator.learn(request, usage)
        lane.answered(lease, now)

    def _listen(self, reply: HttpReply, now: float) -> None:
        """What the headers say of the time and of limits; not of every reply, as reading them costs."""
        self._listened_at = now
        date = gateway_time(reply.headers, time.time())
        if "date" in reply.headers:
            self.opened.seat.clock.hear(date, now)
        told = told_limits(reply.headers, date)
        if told:
            self.limiter.lane.force.hear(told, now)

    def _estimate(self, request: Request) -> Estimate:
        """What to reserve: never more than a window holds, and a part of it while answers' lengths are guessed."""
        estimate, most = self._estimator(request).estimate(request), self.limiter.lane.most_tokens
        if estimate.likely is not None and self.opened.table.token_accounting == "settled":
            most = max(most * _BLIND_SHARE, estimate.likely)
        return replace(estimate, tokens=most) if estimate.tokens > most else estimate

    def _estimator(self, request: Request) -> Estimator:
        estimator = self._estimators.get(request.model)
        if estimator is None:
            estimator = self._estimators[request.model] = Estimator(self.opened.table.token_accounting)
        return estimator

    def _judge(self, came: Came, unit: UnitHistory, lease: Lease) -> Verdict | None:
        """The verdict on a failed try, after the lane has taken it in; None for an answer."""
        now = lease.taken_at + came.latency_s
        if came.reply is not None:
            self._history.answered(now)
        if came.failure is None:
            return None
        verdict = judge(came.failure, unit, self._history, now)
        lane, hint, jitter = self.limiter.lane, came.hint_seconds, random.random()
        match verdict:
            case Verdict.LIMITED:
                self.trouble = _words(came)
                lane.limited_by(lease, now, came.refusal or Refusal(kind=Kind.RATE_LIMITED), jitter=jitter)
                if lane.seems_out_of_quota:
                    self._told_gone(came, lease)
            case Verdict.UNAVAILABLE:
                self.trouble = _words(came)
                lane.unavailable(lease, now, hint=min(hint or 0.0, DAILY_SECONDS), jitter=jitter)
                if self._history.outage_seconds(now) > self._patience.max_outage_seconds:
                    self.stop(_ending(End.UNREACHABLE, came))
            case Verdict.PARK:
                self._told_gone(came, lease)
            case Verdict.STOP:
                self.stop(_ending(_STOPPING[came.failure.kind], came))
            case Verdict.AGAIN | Verdict.FAIL | Verdict.REFUSED:
                pass
        return verdict

    def _told_gone(self, came: Came, lease: Lease) -> None:
        """The gateway refuses for a daily quota, or seems to: until its reset, or as long as it says itself."""
        seat, now, refusal = self.opened.seat, self.limiter.clock(), came.refusal
        gateway_now = seat.clock.now(now, time.time()) if came.gateway_time is None else came.gateway_time
        hint = refusal.wait_seconds if refusal is not None else None
        back_at = seat.reset.next(gateway_now)
        if hint is not None and hint > DAILY_SECONDS:
            back_at = math.ceil(gateway_now + hint + 1)  # its Date is cut to seconds
        sure = refusal is not None and refusal.kind is Kind.DAILY_LIMIT
        if not sure and self._patience.waits_for_quota:
            back_at = min(back_at, gateway_now + LOOK_AGAIN_SECONDS)
        seat.gone(back_at)
        self.limiter.lane.quota_gone(lease.taken_at, now, back_at=now + back_at - gateway_now)
        self._quota_gone(back_at, _words(came))

    def _quota_gone(self, back_at: float, words: str = "the day's quota is used up") -> None:
        """Until then (Unix time) nothing more can be sent on this lane: stop it, or let it wait."""
        self.trouble = words
        if not self._patience.waits_for_quota and self.stopped is None:
            self.stop(Ending(end=End.PARKED, message=f"{End.PARKED}: {words}", resume_at=back_at))

    async def _record_rejected(self, request: Request, settled: Settled) -> None:
        await self._record(Entry(settled.came.as_try(request.number)), settled.slot)


def _ending(end: End, came: Came) -> Ending:
    return Ending(end=end, message=f"{end}: {_words(came)}")


def _words(came: Came) -> str:
    """What the gateway said, with its status."""
    assert came.failure is not None  # noqa: S101 - asked of failures only
    status, message = came.failure.status, came.failure.message
    hint = "; is the path of --base-url right? It ends in /v1, mostly" if status == 404 else ""  # noqa: PLR2004
    return f"{status}: {message}{hint}" if status else message


def _gets_another(settled: Settled) -> bool:
    return settled.verdict is Verdict.AGAIN


def _result(state: RetryCallState) -> Settled:
    assert state.outcome is not None  # noqa: S101 - tenacity asks after an attempt only
    settled: Settled = state.outcome.result()
    return settled


def _backoff_seconds(state: RetryCallState) -> float:
    """Exponential with half of it random, never less than what the gateway asked for."""
    backoff: float = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (state.attempt_number - 1))
    hint = min(_result(state).came.hint_seconds or 0.0, DAILY_SECONDS)
    return max(backoff * random.uniform(0.5, 1.0), hint)
