"""What a lane and its estimates learn from its tries: tokens, latencies, the gateway's time and the limits it tells."""

import time
from dataclasses import replace

from batchrunner.limits.estimate import Estimate, Estimator
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.spans import gateway_time
from batchrunner.limits.told import told_limits
from batchrunner.records import HttpReply, Kind, Request
from batchrunner.runner.lanes import OpenLane
from batchrunner.runner.outcome import Came

LISTEN_EVERY_SECONDS = 1.0
_BLIND_SHARE = 0.125
_REFUSALS = frozenset({Kind.RATE_LIMITED, Kind.CONCURRENCY, Kind.DAILY_LIMIT})


class Learning:
    """Estimates for one lane, an estimator for each of its models."""

    def __init__(self, opened: OpenLane) -> None:
        self._opened = opened
        self._lane = opened.limiter.lane
        self._estimators: dict[str, Estimator] = {}
        self._listened_at = float("-inf")

    def least(self, request: Request) -> float:
        """The least tokens that a request will take."""
        return self._estimator(request).least(request)

    def take_in(self, request: Request, lease: Lease, came: Came, now: float) -> None:
        """The lane and the estimates learn what the gateway counted for a try that is over."""
        lane = self._lane
        if came.reply is None:
            refused = came.failure is not None and came.failure.kind in _REFUSALS
            lane.over(lease, counted=came.used_tokens, refused=refused)
            return
        estimator, usage = self._estimator(request), came.reply.usage
        lane.over(lease, counted=estimator.counted(request, usage), answered=True)
        estimator.learn(request, usage)
        lane.answered(lease, now)

    def listen(self, reply: HttpReply, now: float) -> None:
        """What the headers say of the time and of limits; not of every reply, as reading them costs."""
        if now - self._listened_at < LISTEN_EVERY_SECONDS:
            return
        self._listened_at = now
        headers = reply.headers
        date = gateway_time(headers, time.time())
        if "date" in headers:
            self._opened.seat.clock.hear(date, now)
        told = told_limits(headers, date)
        if told:
            self._lane.force.hear(told, now)

    def estimate(self, request: Request) -> Estimate:
        """What to reserve: never more than a window holds, and a part of it while answers' lengths are guessed."""
        estimate, most = self._estimator(request).estimate(request), self._lane.most_tokens
        if estimate.likely is not None and self._opened.table.token_accounting == "settled":
            most = max(most * _BLIND_SHARE, estimate.likely)
        return replace(estimate, tokens=most) if estimate.tokens > most else estimate

    def _estimator(self, request: Request) -> Estimator:
        estimator = self._estimators.get(request.model)
        if estimator is None:
            estimator = self._estimators[request.model] = Estimator(self._opened.table.token_accounting)
        return estimator
