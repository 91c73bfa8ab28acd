"""Asks for one unit after another on one lane, each until it has ended: admit, send, judge, again.

There is one owner of retries: this. A unit's charged tries are tenacity's affair from the first failure on;
what the lane's limits or an outage turn away is admitted again inside a try and charged to nobody.
"""

import random
import time
from collections.abc import Awaitable, Callable

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from batchrunner.chat.verdict import LaneHistory, UnitHistory, Verdict, judge
from batchrunner.limits.estimate import Estimator
from batchrunner.limits.hints import DAILY_SECONDS
from batchrunner.limits.lane import Lease
from batchrunner.limits.limiter import Limiter, SendingStoppedError
from batchrunner.limits.quota import next_reset
from batchrunner.records import Failure, Kind, Outcome, Request, Try
from batchrunner.runner.ending import End, Ending
from batchrunner.runner.outcome import Came, answered, failed, failed_after, read
from batchrunner.store.marks import Marks
from batchrunner.transport.http import HttpTransport

FIRST_BACKOFF_SECONDS = 0.75  # six tries then outlast the 10 s after which an outage charges nobody
LONGEST_BACKOFF_SECONDS = 60.0

Record = Callable[[Try | None, Outcome | None, int | None], Awaitable[None]]
_STOPPING = {
    Kind.REFUSED: End.REFUSED,
    Kind.BILLING: End.REFUSED,
    Kind.REDIRECTED: End.MISCONFIGURED,
}


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to go on. `attempts`: charged tries of a unit; `max_outage_seconds`: of a silent gateway."""

    attempts: int = 6
    max_outage_seconds: float = 900.0


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
        limiter: Limiter,
        *,
        transport: HttpTransport,
        marks: Marks,
        patience: Patience,
        record: Record,
        admitted: Callable[[], None],
    ) -> None:
        self.limiter = limiter
        self.napping: set[int] = set()
        self.stopped: Ending | None = None
        self.trouble: str | None = None
        self._transport = transport
        self._marks = marks
        self._patience = patience
        self._record = record
        self._admitted = admitted
        self._estimator = Estimator()
        self._history = LaneHistory()

    def stop(self, ending: Ending) -> None:
        """Send nothing more on this lane; what waits for leave gets SendingStoppedError."""
        self.stopped = self.stopped or ending
        self.limiter.close()

    async def ask(self, request: Request) -> None:
        """Ask until the unit has ended. SendingStoppedError leaves it pending."""
        tokens = self._estimator.tokens(request)
        if not self.limiter.lane.fits(tokens):
            message = f"about {tokens} tokens (prompt and max_tokens) are more than a whole window of the limit holds"
            failure = Failure(kind=Kind.TOO_LARGE, message=message)
            await self._record(None, failed(request.number, request.id, failure, now=time.time()), None)
            return
        unit = UnitHistory(request.number)
        settled, attempts = await self._try_once(request, unit), 1
        if settled.verdict is Verdict.AGAIN:
            settled, attempts = await self._try_again(request, unit, settled)
        ended = answered if settled.verdict is None else failed_after
        await self._record(settled.came.as_try(request.number), ended(request, settled.came, attempts), settled.slot)

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
            lease = await self.limiter.admit(self._estimator.tokens(request))
            self._admitted()
            came, slot = await self._send(request, lease)
            verdict = self._judge(came, unit, lease)
            settled = Settled(came=came, slot=slot, verdict=verdict)
            if verdict in (None, Verdict.AGAIN, Verdict.FAIL):
                return settled
            await self._record_rejected(request, settled)
            if self.stopped is not None:
                raise SendingStoppedError

    async def _send(self, request: Request, lease: Lease) -> tuple[Came, int]:
        """What one try brought, and its mark; the lane has taken in what it says of tokens and latency."""
        slot = self._marks.set(request.number)
        sent_at = time.time()
        try:
            brought = await self._transport.send(request)
        finally:
            self.limiter.leave(lease)
        came = read(brought, sent_at=sent_at, latency_s=self.limiter.clock() - lease.taken_at)
        if came.reply is not None:
            self._estimator.learn(request, came.reply.usage)
            self.limiter.lane.answered(lease, came.latency_s)
        self._settle(request, lease, came)
        return came, slot

    def _settle(self, request: Request, lease: Lease, came: Came) -> None:
        """Give back what a try did not use: all of one that was not counted; of an answer no more than the present
        estimate was off, as what the first, blind reservations held too much belongs to windows that are past."""
        used = came.used_tokens
        if used is None:
            return
        reserved = lease.tokens if came.reply is None else min(lease.tokens, self._estimator.tokens(request))
        self.limiter.lane.settle(reserved=reserved, used=used)
        self.limiter.wake()

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
                lane.limited(lease, now, hint=hint, jitter=jitter)
                if lane.seems_out_of_quota:
                    self._park(came)
            case Verdict.UNAVAILABLE:
                self.trouble = _words(came)
                lane.unavailable(lease, now, hint=min(hint or 0.0, DAILY_SECONDS), jitter=jitter)
                if self._history.outage_seconds(now) > self._patience.max_outage_seconds:
                    self.stop(_ending(End.UNREACHABLE, came))
            case Verdict.PARK:
                self._park(came)
            case Verdict.STOP:
                self.stop(_ending(_STOPPING[came.failure.kind], came))
            case Verdict.AGAIN | Verdict.FAIL | Verdict.REFUSED:
                pass
        return verdict

    def _park(self, came: Came) -> None:
        now = came.gateway_time or time.time()
        hint = came.hint_seconds or 0.0
        resume_at = now + hint if hint > DAILY_SECONDS else next_reset(now)  # shorter ones are told of every 429
        self.stop(_ending(End.PARKED, came, resume_at=resume_at))

    async def _record_rejected(self, request: Request, settled: Settled) -> None:
        await self._record(settled.came.as_try(request.number), None, settled.slot)


def _ending(end: End, came: Came, *, resume_at: float | None = None) -> Ending:
    return Ending(end=end, message=f"{end}: {_words(came)}", resume_at=resume_at)


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
