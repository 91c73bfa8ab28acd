"""A lane at work in virtual time: the client's own rules against the simulator's own meter, no sockets, no waiting.

One scene is one client with endless rows, a gateway with limits of one kind, and a network between them. Events come
off a heap, so that an hour takes seconds. The gateway counts with the simulator's exact windows.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from batchrunner.limits.estimate import Estimator
from batchrunner.limits.hints import Refusal, read_refusal
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.lane import Lane, Limits
from batchrunner.limits.told import told_limits
from batchrunner.limits.window import Limit
from batchrunner.records import Kind, Request, Usage
from batchrunner.simulator.dialect import HeaderDialect, level_headers, plain_error, rate_limited, too_many_at_once
from batchrunner.simulator.ledger import worst_window
from batchrunner.simulator.meter import Cost, Dimension, Instant, Meter, Rules, TokenAccounting, tokens_at_arrival
from batchrunner.simulator.meter import Limit as GatewayLimit
from batchrunner.simulator.window import SECOND_NS, WindowKind

LANE = ("account", "model")
START_WALL = 1_780_000_000  # some noon


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is drawn for one scene. Limits are (dimension, window in seconds, amount); times are seconds.

    `prompt_chars` and `completion_tokens` are (median, sigma of a lognormal); `capacity`: answers per second of a
    gateway that saturates; `change`: from an instant on all limits are so many times as large; `remembered`: caps that
    an earlier run has found; `says_concurrency`: whether a 429 for too many in flight tells its reason.
    """

    limits: tuple[tuple[str, int, int], ...]
    declared: bool = True
    kind: str = "rolling"
    accounting: str = "admission"
    headers: str = "none"
    latency: tuple[float, float] = (1.0, 0.3)
    jitter: float = 0.01
    prompt_chars: tuple[float, float] = (400.0, 0.5)
    completion_tokens: tuple[float, float] = (100.0, 0.5)
    max_tokens: int = 500
    requests: int = 20_000
    seconds: float = 1e9
    max_in_flight: int | None = None
    says_concurrency: bool = True
    capacity: float | None = None
    change: tuple[float, float] | None = None
    remembered: tuple[tuple[str, int, float], ...] = ()
    seed: int = 0


@dataclass
class Seen:
    """What the gateway saw. `used`: share of each limit over the whole scene, or from four windows (a minute at least)
    after its change on; `steady`: over the second half of the scene; `worst`: its fullest window."""

    seconds: float = 0.0
    arrivals: int = 0
    refused: int = 0
    most_in_flight: int = 0
    used: dict[tuple[str, int], float] = field(default_factory=dict)
    steady: float = 0.0
    worst: dict[tuple[str, int], float] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    answered_per_second: float = 0.0

    @property
    def refused_share(self) -> float:
        """Refused tries of all."""
        return self.refused / max(1, self.arrivals)

    @property
    def binding(self) -> float:
        """Use of the limit that is used most."""
        return max(self.used.values(), default=0.0)


class Stage:
    """Plays one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.draw = random.Random(scene.seed)
        self.now = 0.0
        self.lane = Lane(_declared(scene), now=0.0)
        self.estimator = Estimator("upfront" if scene.accounting == "upfront" else "settled")
        self.meter = Meter(rules_of(scene))
        if scene.remembered:
            self.lane.force.restore({(_dimension(d), float(w)): amount for d, w, amount in scene.remembered}, 0.0)
        self.seen = Seen()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._rows = draw_rows(scene, self.draw)
        self._head = next(self._rows)
        self._wake_at = float("inf")
        self._in_flight = 0
        self._busy_until = 0.0
        self._answers = 0
        self._counted: list[tuple[float, int, int]] = []  # instant, requests, tokens

    def play(self) -> Seen:
        """Play the scene to its end."""
        self._send()
        scene = self.scene
        if scene.change is not None:
            self.at(scene.change[0], self._change)
        while self._heap and self.seen.arrivals < scene.requests and self.now < scene.seconds:
            self.now, _, event = heapq.heappop(self._heap)
            event()
            self._send()
        return self._sum_up()

    def at(self, instant: float, event: Callable[[], None]) -> None:
        """Something happens then."""
        heapq.heappush(self._heap, (instant, next(self._order), event))

    def _send(self) -> None:
        """Send for as long as the lane allows, then wake when it will."""
        while True:
            request, cost = self._head
            estimate = self.estimator.estimate(request)
            ready = self.lane.ready_at(estimate, self.now)
            if ready > self.now:
                if ready < self._wake_at - 1e-6:
                    self._wake_at = ready
                    self.at(ready + self.draw.random() * 0.002, lambda due=ready: self._wake(due))
                return
            lease = self.lane.take(estimate, self.now)
            self.seen.starts.append(self.now)
            self._head = next(self._rows)
            self.at(self.now + self._network(), lambda c=cost, r=request, x=lease: self._arrive(r, c, x))

    def _change(self) -> None:
        """The gateway's limits are others from now on; what it has counted stays counted."""
        assert self.scene.change is not None
        before, factor = self._counted, self.scene.change[1]
        self.meter = Meter(rules_of(self.scene, factor))
        for at, requests, tokens in before:
            if requests and at > self.now - 60:
                self.meter.admit(LANE, Cost(prompt=tokens, completion=0, ceiling=tokens), instant(at))

    def _wake(self, due: float) -> None:
        if due == self._wake_at:
            self._wake_at = float("inf")

    def _arrive(self, request: Request, cost: Cost, lease: Lease) -> None:
        scene, seen, now = self.scene, self.seen, instant(self.now)
        seen.arrivals += 1
        dialect = HeaderDialect(scene.headers)
        if scene.max_in_flight is not None and self._in_flight >= scene.max_in_flight:
            refusal = too_many_at_once(dialect) if scene.says_concurrency else plain_error(429)
        else:
            full = self.meter.admit(LANE, cost, now)
            refusal = None if full is None else rate_limited(dialect, full, self.meter.levels(LANE, now), now)
        if refusal is not None:
            seen.refused += 1
            said = read_refusal({k.lower(): v for k, v in refusal.headers.items()}, refusal.body, now.wall_ns / 1e9)
            self.at(self.now + self._network(), lambda: self._refused(lease, said))
            return
        self._in_flight += 1
        seen.most_in_flight = max(seen.most_in_flight, self._in_flight)
        tokens = tokens_at_arrival(TokenAccounting(scene.accounting), cost)
        self._counted.append((self.now, 1, tokens))
        self.at(self._done_at(), lambda: self._done(request, cost, lease))

    def _done_at(self) -> float:
        median, sigma = self.scene.latency
        latency = median * self.draw.lognormvariate(0.0, sigma)
        if self.scene.capacity is None:
            return self.now + latency
        self._busy_until = max(self._busy_until, self.now) + 1 / self.scene.capacity
        return self._busy_until + latency

    def _done(self, request: Request, cost: Cost, lease: Lease) -> None:
        self._in_flight -= 1
        self._answers += 1
        now = instant(self.now)
        if self.scene.accounting == "completion":
            self.meter.settle(LANE, cost.total, now)
            self._counted.append((self.now, 0, cost.total))
        headers = level_headers(HeaderDialect(self.scene.headers), self.meter.levels(LANE, now))
        self.at(self.now + self._network(), lambda: self._answered(request, cost, lease, headers))

    def _refused(self, lease: Lease, refusal: Refusal) -> None:
        self.lane.over(lease, counted=0.0, refused=True)
        if refusal.kind in (Kind.RATE_LIMITED, Kind.CONCURRENCY):
            self.lane.limited_by(lease, self.now, refusal, jitter=self.draw.random())
        else:
            self.lane.pause.until = self.now + 3600

    def _answered(self, request: Request, cost: Cost, lease: Lease, headers: dict[str, str]) -> None:
        usage = Usage(prompt_tokens=cost.prompt, completion_tokens=cost.completion, total_tokens=cost.total)
        self.estimator.learn(request, usage)
        self.lane.over(lease, counted=self.estimator.counted(request, usage), answered=True)
        self.lane.answered(lease, self.now)
        if headers:
            self.lane.force.hear(told_limits(headers, START_WALL + self.now), self.now)

    def _network(self) -> float:
        return 0.002 + self.draw.random() * self.scene.jitter

    def _sum_up(self) -> Seen:
        seen = self.seen
        seen.seconds = self.now
        seen.answered_per_second = self._answers / max(1e-9, self.now)
        by_time = sorted(self._counted)
        factor, since = self._last_stretch()
        for dimension, seconds, before in self.scene.limits:
            amount = before * factor
            place = 1 if dimension == "requests" else 2
            events = [(int(entry[0] * SECOND_NS), entry[place]) for entry in by_time]
            stretch = max(self.now - since, seconds)
            seen.used[(dimension, seconds)] = _sum_since(by_time, place, since) / (amount * stretch / seconds)
            steady = _sum_since(by_time, place, self.now / 2) / (amount * self.now / 2 / seconds)
            seen.steady = max(seen.steady, steady)
            seen.worst[(dimension, seconds)] = worst_window(events, seconds * SECOND_NS) / amount if events else 0.0
        return seen

    def _last_stretch(self) -> tuple[float, float]:
        """By how much the limits were changed, and since when that counts: some windows later."""
        if self.scene.change is None:
            return 1.0, 0.0
        longest = max(seconds for _, seconds, _ in self.scene.limits)
        return self.scene.change[1], self.scene.change[0] + max(60.0, 4.0 * longest)


def play(scene: Scene) -> Seen:
    """Play one scene to its end."""
    return Stage(scene).play()


def draw_rows(scene: Scene, draw: random.Random) -> Iterator[tuple[Request, Cost]]:
    """Endless rows and what each will cost."""
    for number in count():
        chars = max(1, round(draw.lognormvariate(0.0, scene.prompt_chars[1]) * scene.prompt_chars[0]))
        wanted = max(1, round(draw.lognormvariate(0.0, scene.completion_tokens[1]) * scene.completion_tokens[0]))
        cost = Cost(
            prompt=-(-chars // 4) + 4,
            completion=min(wanted, scene.max_tokens),
            ceiling=-(-chars // 4) + 4 + scene.max_tokens,
        )
        yield Request(number=number, id="", model="m", body=b"", prompt_chars=chars, max_tokens=scene.max_tokens), cost


def _sum_since(by_time: list[tuple[float, int, int]], place: int, since: float) -> int:
    return sum(entry[place] for entry in by_time if entry[0] >= since)


def instant(now: float) -> Instant:
    return Instant(mono_ns=int(now * SECOND_NS), wall_ns=int((START_WALL + now) * SECOND_NS))


def _dimension(name: str) -> Literal["requests", "tokens"]:
    return "requests" if name == "requests" else "tokens"


def _declared(scene: Scene) -> Limits:
    if not scene.declared:
        return Limits()
    limits = (Limit(dimension=d, window_seconds=float(w), amount=a) for d, w, a in scene.limits if w < 86_400)
    return Limits(windows=tuple(limits))


def rules_of(scene: Scene, factor: float = 1.0) -> Rules:
    limits = tuple(
        GatewayLimit(dimension=Dimension(d), window_seconds=w, amount=round(a * factor)) for d, w, a in scene.limits
    )
    accounting = TokenAccounting(scene.accounting)
    return Rules(limits=limits, window=WindowKind(scene.kind), token_accounting=accounting)
