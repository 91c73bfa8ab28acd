"""Reads a loop from time to time: how fast it goes, what binds it, what it waits for. None of it is on a row's way."""

import os
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from batchrunner.limits.lane import FOREVER, Lane
from batchrunner.limits.window import name_of
from batchrunner.report.bounds import is_found, use_of
from batchrunner.report.eta import Daily, seconds_left
from batchrunner.report.live import LaneLive, Live
from batchrunner.runner.asking import Asker
from batchrunner.runner.loop import Loop
from batchrunner.store.summing import known_cost

_LOOK_EVERY_SECONDS = 0.2
_RATE_OVER_SECONDS = 15.0
_LAST_SHARE = 0.01
_LAST_UNITS = 10


class _Seen(NamedTuple):
    """What had been done at an instant; by lane, what it had admitted."""

    at: float
    done: int
    tokens: int
    admitted: dict[str, tuple[int, float]]


class Gauge:
    """`done_before`: units that earlier runs ended; `total`: of the job. Times are monotonic seconds."""

    def __init__(self, loop: Loop, done_before: int, total: int, *, arms: int) -> None:
        self.loop = loop
        self.total = total
        self.arms = arms
        self._done_before = done_before
        self._seen: deque[_Seen] = deque()
        self._steady = 0.0  # units per second, when nothing held up all lanes
        self.look(time.monotonic())

    @property
    def done(self) -> int:
        """Units that have ended, in this run and before."""
        return self._done_before + self.loop.tally.units

    def look(self, now: float) -> None:
        """Take note of how far things are; more often than some times a second it is no use."""
        if self._seen and now - self._seen[-1].at < _LOOK_EVERY_SECONDS:
            return
        lanes = ((one.opened.label, one.limiter.lane.sums) for one in self.loop.askers)
        admitted = {label: (sums.requests, sums.tokens) for label, sums in lanes}
        self._seen.append(_Seen(now, self.done, self.loop.tally.tokens, admitted))
        while len(self._seen) > 2 and now - self._seen[0].at > _RATE_OVER_SECONDS:  # noqa: PLR2004
            self._seen.popleft()

    def live(self) -> Live:
        """The run as it is now."""
        now, tally = time.monotonic(), self.loop.tally
        self.look(now)
        units_per_s, tokens_per_s = self._rates()
        lanes = [self._lane(asker, now) for asker in self.loop.askers]
        with_work = {asker.opened.label for asker in self._with_work()}
        goes = any(lane.paused_s is None and lane.lane in with_work for lane in lanes)
        if units_per_s and (goes or not self._steady):
            self._steady = units_per_s
        return Live(
            at=time.time(),
            process=os.getpid(),
            done=self.done,
            total=self.total,
            failed=tally.failed,
            limited=tally.limited,
            units_per_s=round(units_per_s, 3),
            tokens_per_s=round(tokens_per_s, 3),
            cost=known_cost(tally.costs, tally.tries_without_cost),
            tries_without_cost=tally.tries_without_cost,
            in_flight=sum(lane.in_flight for lane in lanes),
            eta_s=self._eta(now),
            left=self._left(now),
            stopping=self._stopping(now),
            lanes=lanes,
        )

    def _rates(self) -> tuple[float, float]:
        then, now = self._seen[0], self._seen[-1]
        seconds = now.at - then.at
        return ((now.done - then.done) / seconds, (now.tokens - then.tokens) / seconds) if seconds > 0 else (0.0, 0.0)

    def _lane(self, asker: Asker, now: float) -> LaneLive:
        limiter, lane = asker.limiter, asker.limiter.lane
        until = lane.waits_until(now)
        paused = until - now if until is not None and until - now >= 1 else None
        return LaneLive(
            lane=asker.opened.label,
            in_flight=lane.in_flight,
            may_be_in_flight=lane.cap(now),
            in_line=limiter.waiting,
            napping=len(asker.napping),
            waits_for=(lane.bound_by or None) if limiter.waiting else None,
            now_used=dict(self._now_used(asker.opened.label, lane)),
            paused_s=None if paused is None else round(paused, 1),
            why=None if paused is None else asker.trouble or "as another run was told",
            stopped=None if asker.stopped is None or self.loop.ending is not None else asker.stopped.message,
            use=use_of(asker.opened.label, lane, now),
            out_of_reach=asker.opened.out_of_reach if now > lane.leased_until else None,
        )

    def _now_used(self, label: str, lane: Lane) -> Iterator[tuple[str, float]]:
        """The share of each limit that was used in the last seconds; of daily ones that of today."""
        then, now = self._seen[0], self._seen[-1]
        seconds = now.at - then.at
        before, after = then.admitted.get(label, (0, 0.0)), now.admitted.get(label, (0, 0.0))
        for window in lane.force.limited:
            dimension, width = window.limit.key
            passed = after[dimension == "tokens"] - before[dimension == "tokens"]
            if seconds > 0:
                share = max(0.0, passed / seconds * width / window.limit.amount)
                yield name_of(window.limit.key), round(min(1.0, share) if is_found(lane, window.limit) else share, 4)
        day = lane.day
        for name, limit, left in (
            ("requests/day", day.requests_limit, day.left.requests),
            ("tokens/day", day.tokens_limit, day.left.tokens),
        ):
            if limit < FOREVER and day.name:
                yield name, round(min(1.0, 1 - left / limit), 4)

    def _eta(self, now: float) -> float | None:
        askers = self._with_work()
        pauses = [one.limiter.lane.waits_until(now) or now for one in askers if one.limiter.waiting]
        pause = max(pauses, default=now) - now  # of who waits in line: before its end not all is done
        eta = seconds_left(self.total - self.done, self._steady, _daily([one.limiter.lane for one in askers], now))
        return None if eta is None else round(max(eta, pause), 1)

    def _with_work(self) -> list[Asker]:
        """The lanes that have something to do; others have done all that was for them."""
        askers = [one for one in self.loop.askers if one.stopped is None]
        return [one for one in askers if one.limiter.waiting or one.limiter.lane.in_flight or one.napping] or askers

    def _left(self, now: float) -> str | None:
        """What the last units wait for, once all of them are at work."""
        askers, left = self.loop.askers, self.total - self.done
        out = sum(one.limiter.lane.in_flight for one in askers)
        line = sum(one.limiter.waiting for one in askers)
        naps = [until for one in askers for until in one.napping.values()]
        if not 0 < left <= max(_LAST_UNITS, self.total * _LAST_SHARE) or left > out + line + len(naps):
            return None
        longest = max(one.limiter.lane.out.longest(now) for one in askers)
        parts = [f"{out} in flight (longest {longest:.0f} s)"] if out else []
        parts += [f"{line} {_wait(line)} for {self._line_waits_for()}"] if line else []
        if naps:
            again = max(0.0, min(naps) - now)
            parts.append(f"{len(naps)} {_wait(len(naps))} to be asked again in {again:.0f} s")
        return f"{left} left: {', '.join(parts)}"

    def _line_waits_for(self) -> str:
        bound = [one.limiter.lane.bound_by for one in self.loop.askers if one.limiter.waiting]
        return next(filter(None, bound), "its turn")

    def _stopping(self, now: float) -> str | None:
        ending = self.loop.ending
        if ending is None:
            return None
        seconds = max(0.0, self.loop.drains_until - now)
        return f"stopping ({ending.message}): what is in flight has {seconds:.0f} s, a second signal ends it"


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"


def _daily(lanes: list[Lane], now: float) -> Daily:
    """What the days hold, where every lane has a daily limit. Each unit is taken to be one try of the mean size."""
    limited = [lane for lane in lanes if lane.day.limited and lane.day.name]
    if not limited or len(limited) < len(lanes):
        return Daily()
    return Daily(
        today=sum(
            0.0 if lane.waits_until(now) else _fit(lane, lane.day.left.requests, lane.day.left.tokens)
            for lane in limited
        ),
        each_day=sum(_fit(lane, lane.day.requests_limit, lane.day.tokens_limit) for lane in limited),
        reset_in=max(0.0, min(lane.day.ends_at for lane in limited) - now),
    )


def _fit(lane: Lane, requests: float, tokens: float) -> float:
    """Units that fit into so many requests and tokens."""
    return max(0.0, min(requests, tokens / max(1.0, lane.mean_tokens)))
