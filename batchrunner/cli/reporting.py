"""Looks at a run now and then, and tells its log what is new: phases, progress, pauses, errors by class, decisions.

Errors of a class are told at once, and then once a minute with their number and an example.
"""

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from batchrunner.cli.log import Level, Log
from batchrunner.report.live import LaneLive, Live, line_of, trouble_of
from batchrunner.report.tally import Tally, Trouble
from batchrunner.runner.course import Course

if TYPE_CHECKING:  # as in Course
    from batchrunner.runner.gauge import Gauge

EVERY_SECONDS = 60.0
SILENT_SECONDS = 2.0


class Reporter:
    """What has been told of one run. Instants are monotonic seconds; `name`: of its job, where there are several."""

    def __init__(self, log: Log, course: Course, name: str) -> None:
        self._log = log
        self._course = course
        self._name = name
        self._told_at: dict[str, float] = {}
        self._seen = 0
        self._troubles: Counter[str] = Counter()  # by kind, and how many of them have been told
        self._told: Counter[str] = Counter()
        self._examples: dict[str, Trouble] = {}
        self._before: dict[str, LaneLive] = {}
        self._stopping = False

    def look(self, now: float, *, last: bool = False) -> None:
        """Tell what is new; at the `last` look all of it."""
        self._look_at_phase(now)
        gauge = self._course.gauge
        if gauge is None:
            return
        self._count_troubles(gauge.loop.tally, gauge.arms)
        self._tell_troubles(now, gauge.arms, last=last)
        if self._course.loop is not None or last:
            self._look_at_loop(gauge, now, last=last)

    def _look_at_phase(self, now: float) -> None:
        phase = self._course.phase
        if phase is not None and now - phase.since >= SILENT_SECONDS and self._is_due(phase.what, now):
            self._tell(Level.PROGRESS, "phase", phase.words(), done=phase.done, of=phase.of)

    def _look_at_loop(self, gauge: "Gauge", now: float, *, last: bool) -> None:
        live = gauge.live()
        for lane in live.lanes:
            self._look_at_lane(live, lane, now)
        self._before = {lane.lane: lane for lane in live.lanes}
        if live.stopping is not None and not self._stopping:
            self._stopping = True
            self._tell(Level.PROGRESS, "stopping", live.stopping)
        self._told_at.setdefault("progress", now)
        if last or self._is_due("progress", now):
            level = Level.RECORD if last else Level.PROGRESS
            self._tell(level, "progress", line_of(live), **msgspec.to_builtins(live))

    def _look_at_lane(self, live: Live, lane: LaneLive, now: float) -> None:
        """A lane's decisions."""
        before, named = self._before.get(lane.lane), f"{lane.lane} " if len(live.lanes) > 1 else ""
        words, known = trouble_of(lane), before is not None and trouble_of(before) is not None
        if words is not None and not known:
            often = not self._is_due(f"trouble of {lane.lane}", now)
            level = Level.DETAIL if often or self._log.shows(Level.DETAIL) else Level.PROGRESS  # bars show it as it is
            self._tell(level, "lane", f"{named}{words}", lane=lane.lane, paused_s=lane.paused_s, stopped=lane.stopped)
        if words is None and known:
            self._tell(Level.DETAIL, "lane", f"{named}goes on", lane=lane.lane)
        found = {one.limit: one.amount for one in lane.use.limits if one.found}
        found_before = {} if before is None else {one.limit: one.amount for one in before.use.limits if one.found}
        if found != found_before:
            told = ", ".join(f"{limit} {amount:,.0f}" for limit, amount in found.items()) or "none"
            self._tell(Level.DETAIL, "lane", f"{named}limits found: {told}", lane=lane.lane, found=found)
        if before is not None and lane.may_be_in_flight < before.may_be_in_flight / 2:
            told = f"at most {lane.may_be_in_flight:,} in flight, {before.may_be_in_flight:,} before"
            self._tell(Level.DETAIL, "lane", f"{named}{told}", lane=lane.lane)

    def _count_troubles(self, tally: Tally, arms: int) -> None:
        count = tally.failures.total()
        new, self._seen = count - self._seen, count
        latest = list(islice(reversed(tally.latest), new))[::-1]
        if new > len(latest):
            self._tell(Level.DETAIL, "try", f"{new - len(latest):,} more failed since the last look")
        for one in latest:
            self._examples[one.kind] = one
            facts = {"row": one.number // arms, "kind": one.kind, "status": one.status}
            self._tell(Level.DETAIL, "try", f"{one.kind}: {_example(one, arms)}", **facts)
        self._troubles = Counter(tally.failures)

    def _tell_troubles(self, now: float, arms: int, *, last: bool) -> None:
        for kind, count in (self._troubles - self._told).items():
            if last or self._is_due(f"errors {kind}", now):
                self._told[kind] += count
                last_one = f", the last: {_example(self._examples[kind], arms)}" if kind in self._examples else ""
                words = f"{kind} x {count:,}{last_one}"
                self._tell(Level.NOTE, "errors", words, kind=kind, count=count)

    def _is_due(self, what: str, now: float) -> bool:
        """Whether it was not told for a minute; then it is told now."""
        due = now - self._told_at.get(what, -EVERY_SECONDS) >= EVERY_SECONDS
        if due:
            self._told_at[what] = now
        return due

    def _tell(self, level: Level, event: str, words: str, **facts: object) -> None:
        self._log.tell(level, event, words, self._name, **facts)


def _example(one: Trouble, arms: int) -> str:
    status = f"{one.status}: " if one.status else ""
    return f"row {one.number // arms}: {status}{one.message}"
