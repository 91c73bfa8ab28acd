"""Asks for one unit after another on one lane, each until it has ended: admit, send, judge, again.

There is one owner of retries: this. A unit's charged tries are tenacity's affair from the first failure on;
what the lane's limits or an outage turn away is admitted again inside a try and charged to nobody.
"""

import math
import random
import time
from collections.abc import Awaitable, Callable

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from batchrunner.chat.corrected import corrected
from batchrunner.chat.verdict import LaneHistory, UnitHistory, Verdict, judge
from batchrunner.folder.ending import End, Ending
from batchrunner.limits.hints import DAILY_SECONDS, Refusal
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.limiter import SendingStoppedError
from batchrunner.records import Failure, Kind, Request
from batchrunner.runner.budget import Sent
from batchrunner.runner.charged import Settled, backoff_seconds, gets_another, result_of
from batchrunner.runner.lanes import OpenLane
from batchrunner.runner.learning import Learning
from batchrunner.runner.outcome import Came, answered, failed, failed_after
from batchrunner.runner.purse import Purse
from batchrunner.runner.sending import send_admitted
from batchrunner.store.marks import Marks
from batchrunner.store.rows import Entry
from batchrunner.transport.transport import Transport

_ASIDE_SECONDS = 0.5
LOOK_AGAIN_SECONDS = 1800.0  # whether a quota that seems gone is: others may have used it

Record = Callable[[Entry, int | None], Awaitable[None]]
_STOPPING = {Kind.REFUSED: End.REFUSED, Kind.BILLING: End.REFUSED, Kind.REDIRECTED: End.MISCONFIGURED}

_OF_KEY = "; does the key go with the other --auth-scheme? There are Api-Key (default) and Bearer"
_HINTS = {401: _OF_KEY, 403: _OF_KEY, 404: "; is the path of --base-url right? It ends in /v1, mostly"}


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to go on. `attempts`: charged tries of a unit; `max_outage_seconds`: of a silent gateway;
    `waits_for_quota`: a lane whose daily quota is gone waits for the reset instead of stopping; `invalid_answers`:
    further tries for an answer that is not what was asked for; `tells_errors`: and the model is told why;
    `answered_before`: earlier runs of this output had answers."""

    attempts: int = 6
    invalid_answers: int = 2
    tells_errors: bool = False
    max_outage_seconds: float = 900.0
    waits_for_quota: bool = False
    answered_before: bool = False


class Asker:
    """One lane at work. `record` takes each try and outcome; `admitted` is told of each lease; `others_wait`: whether
    there are units that were never sent; `purse`: what units pay from.

    `stopped` says why the lane asks no more, `trouble` why it paused last, `napping` until when units wait to be asked
    again (the lane's clock)."""

    def __init__(
        self,
        opened: OpenLane,
        *,
        transport: Transport,
        marks: Marks,
        patience: Patience,
        record: Record,
        admitted: Callable[[], None],
        others_wait: Callable[[], bool],
        purse: Purse,
    ) -> None:
        self.opened = opened
        self.limiter = opened.limiter
        opened.quota_gone = self._quota_gone
        self.napping: dict[int, float] = {}
        self.stopped: Ending | None = None
        self.trouble: str | None = None
        self._transport = transport
        self._marks = marks
        self._patience = patience
        self._record = record
        self._admitted = admitted
        self._others_wait = others_wait
        self._purse = purse
        self._history = LaneHistory()
        self._learning = Learning(opened)

    def stop(self, ending: Ending) -> None:
        """Send nothing more on this lane; what waits for leave gets SendingStoppedError."""
        self.stopped = self.stopped or ending
        self.limiter.close()

    async def ask(self, request: Request) -> None:
        """Ask until the unit has ended. SendingStoppedError leaves it pending."""
        failure = self._unaskable(request)
        if failure is not None:
            outcome = failed(request, failure, request, now=time.time())
            await self._record(Entry(outcome=outcome, digest=request.digest, unit=request.number), None)
            return
        unit = UnitHistory(request.number, self._patience.invalid_answers)
        settled, attempts = await self._try_once(request, unit), 1
        if settled.verdict is Verdict.AGAIN:
            settled, attempts = await self._try_again(request, unit, settled)
        attempts += unit.reasked
        outcome = (answered if settled.verdict is None else failed_after)(request, settled.came, attempts)
        paid = self._purse.close(request.number, outcome)
        if paid is not None:
            outcome = msgspec.structs.replace(outcome, usage=paid.usage, cost=paid.cost)
        entry = Entry(settled.came.as_try(request), outcome, request.digest, request.number)
        await self._record(entry, settled.slot)

    def _unaskable(self, request: Request) -> Failure | None:
        """Why it can't be asked at all, whoever waits."""
        tokens = self._learning.least(request)
        if tokens > self.limiter.lane.most_tokens:
            counted = "prompt and max_tokens" if self.opened.table.token_accounting == "upfront" else "the prompt alone"
            message = f"about {tokens:.0f} tokens ({counted}) are more than a whole window of the limit holds"
            return Failure(kind=Kind.TOO_LARGE, message=message)
        gate = self._purse.gate
        lack = None if gate is None else gate.lacks(request)
        return None if lack is None else Failure(kind=Kind.INVALID_ROW, message=lack)

    async def _try_again(self, request: Request, unit: UnitHistory, first: Settled) -> tuple[Settled, int]:
        """Further charged tries, with `first` as tenacity's first attempt. The last one, and how many."""
        known = [first]

        async def attempt() -> Settled:
            return known.pop() if known else await self._try_once(request, unit)

        async def record_rejected(state: RetryCallState) -> None:
            await self._record_rejected(request, result_of(state))

        async def nap(seconds: float) -> None:
            self.napping[request.number] = self.limiter.clock() + seconds
            try:
                await self.limiter.nap(seconds)
            finally:
                del self.napping[request.number]

        retrying = AsyncRetrying(
            sleep=nap,
            stop=stop_after_attempt(self._patience.attempts),
            wait=backoff_seconds,
            retry=retry_if_result(gets_another),
            before_sleep=record_rejected,
            retry_error_callback=result_of,
        )
        settled: Settled = await retrying(attempt)
        return settled, int(retrying.statistics["attempt_number"])

    async def _try_once(self, request: Request, unit: UnitHistory) -> Settled:
        """One charged try: sent as often as the lane's limits or an outage turn it away, or its answers are invalid."""
        asked, gate = request, self._purse.gate
        while True:
            sent = await (self._send(asked) if gate is None else gate.around(asked, self._send))
            if sent is None:
                continue
            came, slot, lease = sent
            verdict = self._judge(came, unit, lease)
            settled = Settled(came=came, slot=slot, verdict=verdict)
            if verdict in (None, Verdict.AGAIN, Verdict.FAIL):
                return settled
            await self._record_rejected(request, settled)
            if self.stopped is not None:
                raise SendingStoppedError
            if verdict is Verdict.UNAVAILABLE:
                await self._stand_aside(request)
            if verdict is Verdict.REASK and self._patience.tells_errors and came.reply and came.failure:
                asked = corrected(request, came.reply, came.failure)

    async def _send(self, request: Request) -> Sent | None:
        """What one try brought, its mark and its lease. None where its lease had to be given up: nothing was sent."""
        limiter = self.limiter
        lease = await limiter.admit(self._learning.estimate(request))
        self._admitted()
        slot = self._marks.set(request.number)
        sent = await send_admitted(
            request,
            lease,
            limiter=limiter,
            learning=self._learning,
            transport=self._transport,
            price=self._purse.price_of(request.model),
        )
        if sent is None:
            self._marks.clear(slot)
            return None
        limiter.wake()
        return sent[0], slot, lease

    def _judge(self, came: Came, unit: UnitHistory, lease: Lease) -> Verdict | None:
        """The verdict on a failed try, after the lane has taken it in; None for an answer."""
        now = lease.taken_at + came.latency_s
        if came.reply is not None:
            self._history.answered(now)
        if came.failure is None:
            return None
        verdict = judge(came.failure, unit, self._history, now)
        self._slow_down(verdict, came, lease, now)
        match verdict:
            case Verdict.LIMITED:
                self.trouble = _words(came)
                if self.limiter.lane.seems_out_of_quota:
                    self._told_gone(came, lease)
            case Verdict.UNAVAILABLE:
                self.trouble = _words(came)
                if self._history.outage_seconds(now) > self._patience.max_outage_seconds:
                    return self._give_up(came, unit)
            case Verdict.PARK:
                self._told_gone(came, lease)
            case Verdict.STOP:
                self.stop(_ending(_STOPPING[came.failure.kind], came))
            case Verdict.AGAIN | Verdict.REASK | Verdict.FAIL | Verdict.REFUSED:
                pass
        return verdict

    def _slow_down(self, verdict: Verdict, came: Came, lease: Lease, now: float) -> None:
        """The lane's share of a verdict: a pause for a refusal, or for a gateway that answers nothing."""
        lane, jitter = self.limiter.lane, random.random()
        if verdict is Verdict.LIMITED:
            lane.limited_by(lease, now, came.refusal or Refusal(kind=Kind.RATE_LIMITED), jitter=jitter)
        elif verdict is Verdict.UNAVAILABLE or self._history.nobody_answers(lane.in_flight):
            lane.unavailable(lease, now, hint=min(came.hint_seconds or 0.0, DAILY_SECONDS), jitter=jitter)

    def _give_up(self, came: Came, unit: UnitHistory) -> Verdict:
        """The outage has outlasted our patience: the lane stops, unless what is left may be the cause itself."""
        assert came.failure is not None  # noqa: S101 - asked of failures only
        answered = self._history.succeeded or self._patience.answered_before
        if answered and not self._others_wait() and unit.may_be_the_cause(came.failure, self._patience.attempts):
            return Verdict.FAIL
        self.stop(_ending(End.UNREACHABLE, came))
        return Verdict.UNAVAILABLE

    async def _stand_aside(self, request: Request) -> None:
        """Let a unit that was not turned away yet be the next probe; back when one has passed, or none is left."""
        self.napping[request.number] = self.limiter.clock() + _ASIDE_SECONDS
        self._admitted()
        try:
            while self.limiter.lane.pause.step and self._others_wait():
                await self.limiter.nap(_ASIDE_SECONDS)
        finally:
            del self.napping[request.number]

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
        self._purse.pay(request.number, settled.came.paid)
        await self._record(Entry(settled.came.as_try(request)), settled.slot)


def _ending(end: End, came: Came) -> Ending:
    return Ending(end=end, message=f"{end}: {_words(came)}")


def _words(came: Came) -> str:
    """What the gateway said, with its status."""
    assert came.failure is not None  # noqa: S101 - asked of failures only
    status, message = came.failure.status, came.failure.message
    return f"{status}: {message}{_HINTS.get(status, '')}" if status else message
