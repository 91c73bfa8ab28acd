"""The limits of a day over processes that share a book: never passed, whatever resets, clocks and kills do.

The book is a dict. Every process has a real Day, sends within its lease and looks into the book a few times a second;
what was on lease to one that was killed is charged when its lease ends. Time is virtual.
"""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from zoneinfo import ZoneInfo

import pytest

from batchrunner.limits.day import LEASE_LEAST, LEASE_SECONDS, Day, DayLease, Spent, lease_of
from batchrunner.limits.quota import GatewayClock, Reset

HOUR, BEAT, DELAY = 3600.0, 0.2, 0.02
MIDNIGHT_UTC = Reset(0, 0, "UTC")
LOS_ANGELES = "America/Los_Angeles"
AT_ONCE = 2  # tries that may be sent while the book is being asked


@dataclass(eq=False)
class Process:
    """Sends a try of some tokens `every` so many seconds, that takes `latency`, for as long as its day allows."""

    day: Day
    every: float
    latency: float
    tokens: Callable[[], float]
    until: float = float("-inf")
    alive: bool = True
    stopped_at: float | None = None
    head: float = 0.0
    leased: Spent = field(default_factory=Spent)
    leased_day: str = ""
    out: int = 0


@dataclass(frozen=True)
class Sent:
    """A try as the gateway may count it: from its start to its end."""

    start: float
    end: float
    tokens: float


class House:
    """Processes that share a day's limits. `start`: Unix time at which the virtual clock shows 0."""

    def __init__(
        self,
        start: float,
        *,
        requests: float = math.inf,
        tokens: float = math.inf,
        reset: Reset = MIDNIGHT_UTC,
        beat: float = BEAT,
    ) -> None:
        self.beat = beat
        self.start, self.requests, self.tokens, self.reset = start, requests, tokens, reset
        self.draw = random.Random(round(start) + round(min(requests, 1e6)))
        self.book: dict[str, Spent] = {}
        self.processes: list[Process] = []
        self.sent: list[Sent] = []
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, instant: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (instant, next(self._order), event))

    def run(self, until: float) -> "House":
        while self._heap and self._heap[0][0] <= until:
            self.now, _, event = heapq.heappop(self._heap)
            event()
        self.now = until
        return self

    def join(self, *, every: float, latency: float = 0.5, tokens: Callable[[], float] = lambda: 10.0) -> Process:
        process = Process(Day(self.requests, self.tokens), every, latency, tokens, head=tokens())
        self.processes.append(process)
        self._look(process)
        self._send(process)
        return process

    def counted(self, day: str) -> Spent:
        """What a gateway counts for a day: every try that was under way in it."""
        begin, end = self.reset.begins(day), self.reset.next(self.reset.begins(day))
        inside = [one for one in self.sent if self.start + one.end >= begin and self.start + one.start < end]
        return Spent(len(inside), sum(one.tokens for one in inside))

    def days(self) -> list[str]:
        return sorted({self.reset.day(self.start + one.start) for one in self.sent})

    def _send(self, process: Process) -> None:
        if not process.alive:
            return
        day, now = process.day, self.now
        if now <= process.until and day.ready_at(process.head, now) <= now:
            reserved, process.head = process.head, process.tokens()
            name = day.take(reserved)
            process.out += 1
            end = now + process.latency * self.draw.uniform(0.2, 1.8)
            used = reserved * self.draw.uniform(0.5, 1.0)
            self.sent.append(Sent(now, end, used))
            self.at(end, lambda: self._end(process, name, reserved, used))
        elif day.gone and not process.out and process.stopped_at is None:
            process.stopped_at = now
        self.at(now + process.every * self.draw.uniform(0.8, 1.2), lambda: self._send(process))

    def _end(self, process: Process, name: str, reserved: float, used: float) -> None:
        process.out -= 1
        if process.alive:
            process.day.over(name, used, change=used - reserved, refused=False)

    def _look(self, process: Process) -> None:
        """Into the book and out again: what is there now, and a little later what follows."""
        if not process.alive:
            return
        day, now = process.day, self.now
        self._bury()
        unix = self.start + now
        today = max([self.reset.day(unix), *self.book])
        handed = day.hand_in()
        for name, spent in handed.items():
            self._charge(name, spent)
        promise = Spent()
        if day.name == today and now < day.ends_at:
            promise = Spent(
                max(0.0, min(AT_ONCE, day.leased.requests)),
                min(AT_ONCE * process.head, day.leased.tokens) if day.leased.tokens >= process.head else 0.0,
            )
        day.leased = Spent(promise.requests, promise.tokens)
        others = [o for o in self.processes if o is not process and o.alive | (o.until > now) and o.leased_day == today]
        hungry = sum(other.day.hungry for other in others)
        spent = self.book.get(today, Spent())
        left_requests = self.requests - spent.requests - sum(other.leased.requests for other in others)
        left_tokens = self.tokens - spent.tokens - sum(other.leased.tokens for other in others)
        want = LEASE_LEAST + LEASE_SECONDS / process.every
        process.leased_day, process.leased = (
            today,
            Spent(
                lease_of(left=left_requests, want=want, need=1, promised=promise.requests, hungry_others=hungry),
                lease_of(
                    left=left_tokens,
                    want=want * process.head,
                    need=process.head,
                    promised=promise.tokens,
                    hungry_others=hungry,
                ),
            ),
        )
        ends_at = self.reset.next(max(unix, self.reset.begins(today))) - self.start
        lease = DayLease(today, ends_at, process.leased.requests, process.leased.tokens, left_requests, left_tokens)
        hold = process.out > 0 or any(o.leased.requests >= 1 and o.leased.tokens > 0 for o in others)
        until = now + 3 * self.beat

        def hear() -> None:
            if process.alive:
                process.until = until
                day.apply(lease, need=process.head, others_hold=hold)

        process.until = max(process.until, now)
        self.at(now + self.draw.random() * DELAY, hear)
        self.at(now + self.beat, lambda: self._look(process))

    def _bury(self) -> None:
        """Charge what was on lease to those that have died, once their lease has ended."""
        for process in self.processes:
            if not process.alive and process.until <= self.now and process.leased_day:
                self._charge(process.leased_day, process.leased)
                process.leased, process.leased_day = Spent(), ""

    def _charge(self, name: str, spent: Spent) -> None:
        known = self.book.setdefault(name, Spent())
        known.requests += spent.requests
        known.tokens += spent.tokens


def local(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize("seed", range(6))
def test_processes_that_share_a_book_never_pass_a_days_limits_and_a_kill_costs_a_lease_at_most(seed: int) -> None:
    draw = random.Random(seed)
    requests, tokens = draw.choice([(300, math.inf), (math.inf, 5000), (300, 4000)])
    house = House(local("2026-11-24 12:00", "UTC") + seed, requests=requests, tokens=tokens)
    kills = 0
    for _ in range(draw.randint(2, 5)):
        process = house.join(every=draw.uniform(0.05, 0.3), tokens=lambda: round(10 ** (2 * draw.random())))
        house.run(house.now + draw.random())
        if draw.random() < 0.5 and kills < 2:
            kills += 1
            house.at(house.now + draw.uniform(0.3, 4), lambda process=process: setattr(process, "alive", False))
    survivor = house.join(every=0.05, tokens=lambda: 20.0)
    house.run(150.0)
    counted = house.counted("2026-11-24")
    assert counted.requests <= requests
    assert counted.tokens <= tokens
    assert survivor.day.gone
    lost = kills * (LEASE_LEAST + LEASE_SECONDS / 0.05)
    assert counted.requests >= requests - lost - 5 or counted.tokens >= tokens - 100 * (lost + len(house.processes))


def test_near_the_end_of_the_quota_everybody_sends_what_is_left_and_stops_in_time() -> None:
    house = House(local("2026-11-24 12:00", "UTC"), requests=100)
    processes = [house.join(every=0.1) for _ in range(3)]
    house.run(30.0)
    assert house.counted("2026-11-24").requests == 100
    assert all(process.stopped_at is not None and process.stopped_at < 15 for process in processes)
    assert house.sent[-1].start < 12
    assert all(process.day.ready_at(1.0, 30.0) == process.day.ends_at == 12 * HOUR for process in processes)


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        ("UTC", "2026-03-08", 4),
        ("UTC", "2026-11-01", 4),
        (LOS_ANGELES, "2026-03-08", 4),
        (LOS_ANGELES, "2026-03-09", 4),
        (LOS_ANGELES, "2026-11-01", 4),
        (LOS_ANGELES, "2026-11-02", 4),
    ],
)
def test_the_quota_comes_back_at_the_reset_and_no_day_is_passed_over_it(zone: str, date: str, hours: float) -> None:
    midnight = local(f"{date} 00:00", zone)
    house = House(midnight - 2 * HOUR, requests=400, reset=Reset(0, 0, zone), beat=5.0)
    for _ in range(2):
        house.join(every=20.0, latency=60.0)
    house.run(hours * HOUR)
    before, after = house.days()
    assert after == date
    assert house.counted(before).requests <= 400
    assert house.counted(after).requests <= 400
    assert house.counted(after).requests >= 395
    first = min(one.start for one in house.sent if house.start + one.start >= midnight)
    assert 0 <= house.start + first - midnight < 45


@pytest.mark.parametrize(("hour", "date"), [(2, "2026-03-08"), (1, "2026-11-01")])
def test_a_reset_within_the_hour_that_the_clocks_skip_or_show_twice_comes_once(hour: int, date: str) -> None:
    reset = Reset(hour, 30, LOS_ANGELES)
    house = House(reset.begins(date) - HOUR, requests=50, reset=reset, beat=5.0)
    house.join(every=10.0)
    house.run(4 * HOUR)
    assert [house.counted(day).requests for day in house.days()] == [50, 50]


@pytest.mark.parametrize("reset_is_known", [True, False])
def test_a_try_that_spans_the_reset_counts_for_both_days(*, reset_is_known: bool) -> None:
    day = Day(requests_limit=10, tokens_limit=1000)
    before, after = DayLease("a", 100.0, 5, 500, 5, 500), DayLease("b", 200.0, 5, 500, 5, 500)
    day.apply(before, need=0, others_hold=False)
    name = day.take(40.0)
    if reset_is_known:
        day.apply(after, need=0, others_hold=False)
    day.over(name, 30.0, change=-10.0, refused=False)
    if not reset_is_known:  # it ended between the reset and the look that tells of it
        day.apply(after, need=0, others_hold=False)
    assert day.hand_in() == {"a": Spent(1, 30), "b": Spent(1, 30)}
    assert day.leased == Spent(4, 470)


def test_a_try_that_ended_before_the_last_look_is_no_try_of_the_next_day() -> None:
    day = Day(requests_limit=10)
    day.apply(DayLease("a", 100.0, 5, math.inf, 5, math.inf), need=0, others_hold=False)
    day.over(day.take(40.0), 40.0, change=0.0, refused=False)
    for name in ("a", "b"):
        day.apply(DayLease(name, 200.0, 5, math.inf, 5, math.inf), need=0, others_hold=False)
    assert set(day.hand_in()) == {"a"}


def test_a_refused_try_has_cost_nothing() -> None:
    day = Day(requests_limit=10, tokens_limit=100)
    day.apply(DayLease("a", 100.0, 5, 50, 5, 50), need=0, others_hold=False)
    name = day.take(40.0)
    day.over(name, 0.0, change=-40.0, refused=True)
    day.apply(DayLease("b", 200.0, 5, 50, 5, 50), need=0, others_hold=False)
    assert set(map(str, day.hand_in().values())) <= {str(Spent(0.0, 0.0))}


def test_tokens_are_corrected_on_the_day_they_were_sent_and_free_the_lease_at_once() -> None:
    day = Day(tokens_limit=100)
    day.apply(DayLease("a", 100.0, math.inf, 50, math.inf, 50), need=0, others_hold=False)
    name = day.take(50.0)
    assert day.ready_at(1.0, 0.0) == math.inf
    day.over(name, 5.0, change=-45.0, refused=False)
    assert day.ready_at(45.0, 0.0) == 0.0
    day.over(name, 65.0, change=60.0, refused=False)
    assert day.ready_at(1.0, 0.0) == math.inf
    assert day.hand_in() == {"a": Spent(1, 65)}


def test_what_was_sent_while_the_book_was_asked_is_taken_off_the_new_lease() -> None:
    day = Day(requests_limit=100)
    day.apply(DayLease("a", 100.0, 5, math.inf, 5, math.inf), need=0, others_hold=False)
    day.take(1.0)
    assert day.hand_in() == {"a": Spent(1, 1)}
    day.take(1.0)
    day.apply(DayLease("a", 100.0, 5, math.inf, 5, math.inf), need=0, others_hold=False)
    assert day.leased.requests == 4


def test_without_limits_of_the_day_nothing_is_in_the_way_and_one_limit_leaves_the_other_free() -> None:
    assert Day().ready_at(1e9, 5.0) == 5.0
    only_tokens = Day(tokens_limit=100)
    only_tokens.apply(DayLease("a", 100.0, 0, 50, math.inf, 60), need=0, others_hold=False)
    assert only_tokens.ready_at(50.0, 0.0) == 0.0
    assert only_tokens.ready_at(51.0, 0.0) == math.inf
    assert only_tokens.hungry


@pytest.mark.parametrize(("left", "holding", "ready"), [(0, 0, 100.0), (0, 1, math.inf), (5, 0, math.inf)])
def test_a_day_is_gone_when_nothing_is_left_and_nothing_may_come_back(left: float, holding: int, ready: float) -> None:
    day = Day(requests_limit=10)
    day.apply(DayLease("a", 100.0, 0, math.inf, left, math.inf), need=1, others_hold=holding > 0)
    assert day.ready_at(1.0, 0.0) == ready


@pytest.mark.parametrize(
    ("left", "want", "need", "promised", "hungry_others", "gets"),
    [
        (1000, 20, 1, 0, 3, 20),
        (40, 20, 1, 0, 3, 10),
        (3, 20, 1, 0, 9, 1),
        (500, 20, 400, 0, 3, 400),
        (300, 20, 400, 0, 3, 0),  # too little for its next try: it may be enough for another's
        (0, 20, 1, 0, 0, 0),
        (0, 20, 1, 2, 0, 2),
        (-5, 20, 1, 0, 0, 0),
    ],
)
def test_a_lease_is_what_is_wanted_a_fair_part_near_the_end_and_never_less_than_was_promised(
    left: float, want: float, need: float, promised: float, hungry_others: int, gets: float
) -> None:
    assert lease_of(left=left, want=want, need=need, promised=promised, hungry_others=hungry_others) == gets


def test_a_clock_that_jumps_back_opens_no_spent_quota_again() -> None:
    reset, clock, midnight = MIDNIGHT_UTC, GatewayClock(), local("2026-11-24 00:00", "UTC")
    clock.hear(midnight + 10.0, mono=0.0)
    days = [reset.day(clock.now(mono, wall=midnight - jump * HOUR)) for mono, jump in enumerate([0, 1, 24, 400])]
    assert days == ["2026-11-24"] * 4
    house = House(midnight - 30.0, requests=20)
    house.join(every=1.0)
    house.run(60.0)
    spent = len(house.sent)
    house.start -= 45.0  # the wall clock says yesterday again; the book knows better
    house.run(100.0)
    assert len(house.sent) == spent
    assert sum(day.requests for day in house.book.values()) <= 41


def test_what_was_sent_before_the_gateways_clock_was_heard_counts_for_its_day() -> None:
    day = Day(requests_limit=10, name="2026-11-24", ends_at=100.0, leased=Spent(10, math.inf))
    for _ in range(4):
        day.take(5.0)
    assert day.hand_in() == {"2026-11-24": Spent(4.0, 20.0)}
    day.take(5.0)
    day.apply(DayLease("2026-01-31", 50.0, 6, math.inf, 6, math.inf), need=0, others_hold=False)
    assert day.hand_in()["2026-01-31"] == Spent(5.0, 25.0)
    assert day.leased.requests == 1


def test_a_day_that_was_mistaken_at_first_comes_in_its_time() -> None:
    day = Day(requests_limit=10, name="2026-11-24", ends_at=100.0, leased=Spent(10, math.inf))
    day.take(5.0)
    day.apply(DayLease("2026-11-23", 50.0, 9, math.inf, 9, math.inf), need=0, others_hold=False, first_heard=True)
    day.apply(DayLease("2026-11-24", 150.0, 10, math.inf, 10, math.inf), need=0, others_hold=False)
    day.hand_in()
    day.take(7.0)
    assert day.hand_in() == {"2026-11-24": Spent(1.0, 7.0)}
    assert day.leased.requests == 9
