"""Processes that share a lane: together they never pass a limit, and each gets its fair part of it at once.

A small model: every process has a real Window and beats as the book wants it. It takes notes, decides on what the
others wrote last, writes, and hears of it a little later. Events come off a heap; nothing waits.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, repeat

import pytest

from batchrunner.limits.sharing import Member, Part, Share, meet, weighs
from batchrunner.limits.window import CURVE_POINTS, GUARD_SECONDS, Key, Limit, Window
from batchrunner.simulator.ledger import worst_window

BEAT, LEASE, PROMISE, HUNGRY = 0.2, 0.6, 0.05, 1.0
NS = 1_000_000_000
KEY = ("tokens", 60.0)


@dataclass(eq=False)
class Process:
    """One process. `units`: what its tries ask for; `every`: seconds between two of them, 0 for endless hunger."""

    window: Window
    limit: float
    units: Iterator[int]
    largest: int
    every: float = 0.0
    head: int = 0
    head_since: float | None = None
    hungry_at: float = float("-inf")
    free_at: float = 0.0
    until: float = float("-inf")
    wakes_at: float = float("inf")
    hears: bool = False
    alive: bool = True
    ending: bool = False
    taken: list[tuple[float, int]] = field(default_factory=list)

    def sent(self, start: float, end: float) -> int:
        """What it has admitted from an instant to another."""
        return sum(amount for at, amount in self.taken if start <= at < end)


class Machine:
    """Processes on one lane with a limit of tokens."""

    def __init__(self, *, seconds: float, seed: int = 0) -> None:
        self.seconds = seconds
        self.draw = random.Random(seed)
        self.processes: list[Process] = []
        self.book: dict[Process, Member] = {}
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, instant: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (instant, next(self._order), event))

    def run(self, until: float) -> "Machine":
        while self._heap and self._heap[0][0] <= until:
            self.now, _, event = heapq.heappop(self._heap)
            event()
        self.now = until
        return self

    def join(
        self, limit: float, units: Iterator[int] | None = None, *, largest: int = 1, every: float = 0.0
    ) -> Process:
        window = Window(Limit(dimension="tokens", amount=limit, window_seconds=self.seconds), now=self.now)
        window.allotment = 0.0
        process = Process(window, limit, units or repeat(1), largest, every, free_at=self.now)
        process.head = next(process.units)
        self.processes.append(process)
        self._beat(process)
        return process

    def kill(self, process: Process) -> None:
        process.alive = False

    def end(self, process: Process) -> None:
        process.ending = True

    def worst(self, since: float = 0.0) -> int:
        """The most that all together have admitted within a window and its guard, as the simulator's ledger counts."""
        taken = sorted(one for process in self.processes for one in process.taken if one[0] >= since)
        return worst_window([(round(at * NS), amount) for at, amount in taken], self.span_ns) if taken else 0

    @property
    def span_ns(self) -> int:
        return round((self.seconds + GUARD_SECONDS - 1e-6) * NS)

    def sent(self, start: float, end: float) -> int:
        return sum(process.sent(start, end) for process in self.processes)

    def _beat(self, process: Process) -> None:
        if not process.alive:
            return
        window, now = process.window, self.now
        used, head = window.used(now), process.head if process.free_at <= now else 0
        within = window.allotment <= window.share * window.limit.amount + 1e-6  # else it gives back all it can
        window.allotment = min(window.allotment, used + (max(process.head, window.rate * PROMISE) if within else 0.0))
        process.hears = False
        hungry = now - process.hungry_at < HUNGRY
        part = Part(
            dimension="tokens",
            window_seconds=self.seconds,
            amount=process.limit,
            held=window.allotment,
            curve=window.curve(now),
            want=None if hungry else used * 1.25 + window.burst + head,
            need=head if process.head_since is not None else 0.0,
            need_since=process.head_since,
        )
        self.at(now + self.draw.random() * 0.02, lambda: self._decide(process, part, now))
        if not process.ending:
            self.at(now + BEAT * self.draw.uniform(0.7, 1.3), lambda: self._beat(process))

    def _decide(self, process: Process, part: Part, noted_at: float) -> None:
        if not process.alive:
            return
        until = noted_at if process.ending else noted_at + LEASE
        others = [member for other, member in self.book.items() if other is not process]
        share = meet(Member(at=noted_at, until=until, parts=[part]), others, self.now)[part.key]
        rate = share.amount * share.rate_share / process.window.limit.span
        pending = 0.0 if process.ending else rate * LEASE + 2 * process.largest + process.window.burst
        held = part.curve[0] if process.ending else share.held
        part = Part(
            dimension="tokens",
            window_seconds=part.window_seconds,
            amount=part.amount,
            held=held,
            curve=part.curve,
            pending=pending,
            want=part.want,
            need=part.need,
            need_since=part.need_since,
        )
        self.book[process] = Member(at=noted_at, until=until, parts=[part])
        if process.ending:
            process.alive = False
        else:
            self.at(self.now + self.draw.random() * 0.02, lambda: self._hear(process, share, until))

    def _hear(self, process: Process, share: Share, until: float) -> None:
        window = process.window
        if share.amount != window.limit.amount:
            window.change(Limit(dimension="tokens", amount=share.amount, window_seconds=self.seconds), self.now)
        window.divide(share.held, share.rate_share, self.now)
        process.until, process.hears = until, True
        self._send(process)

    def _wake(self, process: Process) -> None:
        process.wakes_at = float("inf")
        self._send(process)

    def _send(self, process: Process) -> None:
        window, now = process.window, self.now
        while process.alive and not process.ending and now <= process.until:
            ready = max(process.free_at, window.ready_at(process.head, now))
            if ready > now:
                if process.free_at <= now:
                    process.hungry_at = now if process.hears else process.hungry_at
                    process.head_since = now if process.head_since is None else process.head_since
                if ready < process.wakes_at:
                    process.wakes_at = ready
                    self.at(ready, lambda: self._wake(process))
                return
            window.take(process.head, now)
            process.taken.append((now, process.head))
            process.head, process.head_since = next(process.units), None
            process.free_at = max(process.free_at + process.every, now) if process.every else now


def sizes(draw: random.Random, largest: int) -> Iterator[int]:
    while True:
        yield max(1, round(largest ** draw.random()))


@pytest.mark.parametrize("seconds", [1.0, 60.0])
@pytest.mark.parametrize("seed", range(12))
def test_processes_that_come_go_and_are_killed_never_pass_the_limit_together(seed: int, seconds: float) -> None:
    draw = random.Random(seed)
    machine = Machine(seconds=seconds, seed=seed)
    limit, length = draw.choice([5, 60, 600]), 4 * seconds + 10
    for _ in range(draw.randint(2, 7)):
        largest = draw.choice([1, 1, max(1, limit // 20), max(1, limit // 2)])
        every = draw.choice([0.0, 0.0, largest * seconds / limit * 3])

        def play(largest: int = largest, every: float = every, fate: float = draw.random()) -> None:
            process = machine.join(limit, sizes(draw, largest), largest=largest, every=every)
            leave = {0: machine.kill, 1: machine.end}.get(int(fate * 3))
            if leave is not None:
                machine.at(machine.now + draw.random() * length / 2, lambda: leave(process))

        machine.at(draw.random() * length * 0.7, play)
    machine.run(length)
    assert limit >= machine.worst() > 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_two_hungry_processes_use_all_of_the_limit_in_equal_parts(seconds: float, seed: int) -> None:
    machine, limit = Machine(seconds=seconds, seed=seed), 600
    first = machine.join(limit)
    machine.run(1.5 * seconds)
    second = machine.join(limit)
    settled, end = 3 * seconds + 2, 8 * seconds + 12
    machine.run(end)
    assert machine.worst() <= limit
    fits = limit / (seconds + GUARD_SECONDS) * (end - settled)
    assert machine.sent(settled, end) >= 0.97 * fits
    assert first.sent(settled, end) == pytest.approx(second.sent(settled, end), rel=0.04)


def test_what_one_gives_up_the_other_has_at_once() -> None:
    machine, limit = Machine(seconds=60.0), 600
    machine.join(limit)
    machine.run(100.0)
    second = machine.join(limit)
    machine.run(190.0)
    assert machine.sent(100, 160) >= 0.97 * limit * 60 / 60.05
    assert second.sent(101.0, 111.0) >= 0.9 * 5 * 10


@pytest.mark.parametrize("kill", [True, False])
@pytest.mark.parametrize(("seconds", "limit"), [(1.0, 600), (60.0, 600), (60.0, 1500)])
def test_soon_after_one_was_killed_or_ended_the_other_has_the_whole_rate(
    seconds: float, limit: int, *, kill: bool
) -> None:
    machine = Machine(seconds=seconds)
    left, gone = machine.join(limit), machine.join(limit)
    gone_at = 3 * seconds
    machine.run(gone_at)
    (machine.kill if kill else machine.end)(gone)
    whole_from = gone_at + LEASE + 1.0 + seconds * (seconds < 10)
    machine.run(whole_from + 2 * seconds + 20)
    rate = limit / (seconds + GUARD_SECONDS)
    assert machine.worst() <= limit
    assert left.sent(whole_from, whole_from + 20) >= 0.93 * rate * 20
    assert left.sent(whole_from + seconds + 2, machine.now) >= 0.97 * rate * (machine.now - whole_from - seconds - 2)


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_a_modest_process_has_what_it_wants_and_the_hungry_one_all_the_rest(seconds: float) -> None:
    machine, limit = Machine(seconds=seconds), 600
    hungry, modest = machine.join(limit), machine.join(limit, every=10 * seconds / limit)
    start, end = 3 * seconds + 3, 8 * seconds + 13
    machine.run(end)
    rate = limit / (seconds + GUARD_SECONDS)
    assert machine.worst() <= limit
    assert modest.sent(start, end) == pytest.approx(0.1 * limit / seconds * (end - start), rel=0.05, abs=2)
    assert hungry.sent(start, end) >= 0.85 * rate * (end - start)


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_a_unit_of_most_of_the_limit_comes_through_beside_endless_small_ones(seconds: float) -> None:
    machine, limit = Machine(seconds=seconds), 1000
    small = machine.join(limit, repeat(5), largest=5)
    machine.run(2 * seconds)
    large = machine.join(limit, repeat(600), largest=600)
    machine.run(12 * seconds + 10)
    assert machine.worst() <= limit
    assert large.taken[0][0] <= 3.5 * seconds + 3
    assert len(large.taken) >= 3
    assert small.sent(2 * seconds, machine.now) >= 0.2 * limit * 10


@pytest.mark.parametrize("seed", range(4))
def test_a_limit_of_two_a_second_goes_round_among_three(seed: int) -> None:
    machine = Machine(seconds=1.0, seed=seed)
    three = [machine.join(2) for _ in range(3)]
    machine.run(60.0)
    assert machine.worst() <= 2
    assert min(process.sent(0, 60) for process in three) >= 15
    assert machine.sent(0, 60) >= 70


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_the_lowest_declared_limit_holds_for_all_while_its_process_lives(seconds: float) -> None:
    machine = Machine(seconds=seconds)
    high = machine.join(600)
    machine.run(2 * seconds)
    low = machine.join(60)
    machine.run(5 * seconds)
    assert machine.worst(2 * seconds + 2 * BEAT) <= 60
    assert low.sent(3 * seconds + 2, 5 * seconds) > 0 or seconds < 10
    machine.end(low)
    machine.run(8 * seconds)
    assert high.sent(6.5 * seconds, 8 * seconds) >= 0.9 * 600 * 1.5
    assert machine.worst() <= 600


def test_a_lower_limit_of_a_killed_process_ends_with_its_lease() -> None:
    part = Part(dimension="tokens", window_seconds=60.0, amount=10, held=5, curve=[5.0] + [0.0] * (CURVE_POINTS - 1))
    mine = Part(dimension="tokens", window_seconds=60.0, amount=100, held=5, curve=[5.0] * CURVE_POINTS)
    me, other = Member(at=0.0, until=LEASE, parts=[mine]), Member(at=0.0, until=LEASE, parts=[part])
    assert meet(me, [other], 0.5)[KEY] == Share(10, 5.0, 0.5)
    assert meet(me, [other], 0.7)[KEY].amount == 100


def test_a_limit_that_only_others_know_is_told_but_no_part_of_it_given_before_one_has_told_of_ones_own() -> None:
    part = Part(dimension="tokens", window_seconds=60.0, amount=10, held=0, curve=[0.0] * CURVE_POINTS)
    share = meet(Member(at=0.0, until=1.0), [Member(at=0.0, until=1.0, parts=[part])], 0.1)[KEY]
    assert (share.amount, share.held) == (10, 0.0)


def test_nobody_gets_a_part_that_is_not_free_by_promising_to_use_it() -> None:
    full = Part(dimension="tokens", window_seconds=60.0, amount=100, held=100, curve=[100.0] * CURVE_POINTS)
    empty = Part(dimension="tokens", window_seconds=60.0, amount=100, held=0, curve=[0.0] * CURVE_POINTS, pending=5.0)
    me, other = Member(at=0.0, until=1.0, parts=[empty]), Member(at=0.0, until=1.0, parts=[full])
    assert meet(me, [other], 0.1)[KEY].held == 0.0


def test_what_a_killed_process_may_have_used_weighs_until_its_window_has_passed() -> None:
    window = Window(Limit(dimension="tokens", amount=100, window_seconds=60.0), now=0.0)
    for second in range(30):
        window.take(1.0, float(second))
    part = Part(dimension="tokens", window_seconds=60.0, amount=100, held=50, curve=window.curve(30.0), pending=10.0)
    member = Member(at=30.0, until=30.6, parts=[part])
    for instant in (30.0, 45.0, 60.1, 75.0, 89.0, 90.4):
        window.used(instant)
        assert window.used(instant) + 10 <= weighs(part, member, instant) <= 50
    assert weighs(part, member, 30.6 + 60.05) == 0.0


def held(wants: list[tuple[float | None, float, float | None]], used: list[float]) -> list[float]:
    """What each of these would be given if nobody held anything but what it has used."""
    members = [
        Member(
            at=0.0,
            until=1.0,
            parts=[
                Part(
                    dimension="tokens",
                    window_seconds=60.0,
                    amount=100,
                    held=weight,
                    curve=[weight] * CURVE_POINTS,
                    want=want,
                    need=need,
                    need_since=since,
                )
            ],
        )
        for (want, need, since), weight in zip(wants, used, strict=True)
    ]
    return [
        meet(member, members[:place] + members[place + 1 :], 0.5)[KEY].rate_share * 100
        for place, member in enumerate(members)
    ]


@pytest.mark.parametrize(
    ("wants", "parts"),
    [
        ([(None, 0, None)], [100]),
        ([(None, 0, None), (None, 0, None)], [50, 50]),
        ([(10, 0, None), (None, 0, None)], [10, 90]),
        ([(10, 0, None), (20, 0, None), (None, 0, None), (None, 0, None)], [10, 20, 35, 35]),
        ([(10, 0, None), (20, 0, None)], [10, 20]),
        ([(None, 60, 1.0), (None, 5, 2.0)], [60, 40]),
        ([(None, 60, 2.0), (None, 60, 1.0)], [0, 60]),  # in the order of waiting
        ([(None, 160, 1.0), (None, 5, 2.0)], [50, 50]),  # what never fits is no reason to wait
        ([(None, 60, 1.0), (10, 0, None)], [90, 10]),
    ],
)
def test_everybody_has_what_he_wants_or_an_equal_part_and_the_large_unit_its_turn(
    wants: list[tuple[float | None, float, float | None]], parts: list[float]
) -> None:
    assert held(wants, [0.0] * len(wants)) == pytest.approx(parts, abs=0.001)


def test_keys_are_the_dimension_and_the_window() -> None:
    key: Key = ("tokens", 60.0)
    assert Part(dimension="tokens", window_seconds=60.0, amount=1, held=0, curve=[]).key == key
