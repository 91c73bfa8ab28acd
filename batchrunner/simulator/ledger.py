"""The exact log: one entry for every arrival, in columns of a few bytes each (a million take some 70 MB).

The summary is a fold of the log alone. It knows nothing of the meter's running sums, so that the two can
disagree. An entry belongs to the instant at which its whole request was here; instants are nanoseconds.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from batchrunner.simulator.meter import DAY_SECONDS, Cost, Dimension, Instant, Limit
from batchrunner.simulator.script import HARMLESS, Fault
from batchrunner.simulator.window import SECOND_NS

PENDING = "in_flight"
CLIENT_LEFT = "client_left"
OK = "ok"
PAID_FAULTS = frozenset(set(Fault) - {Fault.SERVER_ERROR, Fault.RESET_BEFORE})

_ADMITTED, _PAID, _LEFT = 1, 2, 4
_NOBODY = 0xFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Who came when with what. Empty strings and a digest of 0 where that was not read."""

    now: Instant
    account: str = ""
    model: str = ""
    digest: int = 0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of /simulator/ledger/entries. `arrived` is monotonic, `wall` Unix time, both in seconds."""

    number: int
    arrived: float
    wall: float
    account: str
    model: str
    prompt: str
    outcome: str
    admitted: bool
    paid: bool
    client_left: bool
    prompt_tokens: int
    completion_tokens: int
    counted_tokens: int


class LimitUse(msgspec.Struct, frozen=True, kw_only=True):
    """`worst`: the largest sum of any one lane in any window of that length; daily limits: in any UTC day."""

    dimension: str
    window_seconds: int
    limit: int
    worst: int
    refused: int


class Servings(msgspec.Struct, frozen=True, kw_only=True):
    """How often prompts were paid for. Each fault after payment explains one further serving, and no more."""

    prompts: int
    once: int
    more_than_once: int
    extra_paid: int
    extra_paid_without_fault: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger in short. Arrivals are monotonic seconds; tokens are those of paid servings."""

    arrivals: int
    first_arrival: float | None
    last_arrival: float | None
    outcomes: dict[str, int]
    admitted: int
    paid: int
    client_left: int
    prompt_tokens: int
    completion_tokens: int
    max_in_flight: int
    limits: list[LimitUse]
    servings: Servings


class Ledger:
    """The log itself. An entry is told by its number, from 0."""

    def __init__(self, limits: tuple[Limit, ...] = ()) -> None:
        self._limits = limits
        self._arrived, self._wall = array("q"), array("q")
        self._account, self._model, self._outcome = array("I"), array("I"), array("H")
        self._digest = array("Q")
        self._flags, self._refused_by = array("B"), array("B")
        self._prompt, self._completion, self._counted = array("I"), array("I"), array("Q")
        self._counted_at, self._counted_wall = array("q"), array("q")
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._arrived)

    def arrive(self, arrival: Arrival, outcome: str = PENDING, refused_by: int = _NOBODY) -> int:
        """Open an entry and return its number. `refused_by` is the index of the limit that said no."""
        self._arrived.append(arrival.now.mono_ns)
        self._wall.append(arrival.now.wall_ns)
        self._account.append(self._intern(arrival.account))
        self._model.append(self._intern(arrival.model))
        self._digest.append(arrival.digest)
        self._outcome.append(self._intern(outcome))
        self._refused_by.append(refused_by)
        self._counted_at.append(arrival.now.mono_ns)
        self._counted_wall.append(arrival.now.wall_ns)
        for column in (self._flags, self._prompt, self._completion, self._counted):
            column.append(0)
        return len(self) - 1

    def admit(self, number: int, cost: Cost, *, counted: int, paid: bool) -> None:
        """The request was taken, and so many of its tokens count from its arrival on."""
        self._flags[number] |= _ADMITTED | (_PAID if paid else 0)
        self._prompt[number], self._completion[number] = cost.prompt, cost.completion if paid else 0
        self._counted[number] = counted

    def settle(self, number: int, tokens: int, now: Instant) -> None:
        """The answer is done, and its tokens count from now on."""
        self._counted[number] = tokens
        self._counted_at[number], self._counted_wall[number] = now.mono_ns, now.wall_ns

    def close(self, number: int, outcome: str, *, client_left: bool = False) -> None:
        """What came of it. `client_left`: the client was gone before the answer was written."""
        self._outcome[number] = self._intern(outcome)
        self._flags[number] |= _LEFT if client_left else 0

    def entries(self) -> Iterator[Entry]:
        """Every entry, in order of arrival."""
        return (self.entry(number) for number in range(len(self)))

    def entry(self, number: int) -> Entry:
        flags = self._flags[number]
        return Entry(
            number=number,
            arrived=self._arrived[number] / SECOND_NS,
            wall=self._wall[number] / SECOND_NS,
            account=self._names[self._account[number]],
            model=self._names[self._model[number]],
            prompt=f"{self._digest[number]:016x}",
            outcome=self._names[self._outcome[number]],
            admitted=bool(flags & _ADMITTED),
            paid=bool(flags & _PAID),
            client_left=bool(flags & _LEFT),
            prompt_tokens=self._prompt[number],
            completion_tokens=self._completion[number],
            counted_tokens=self._counted[number],
        )

    def summary(self, *, max_in_flight: int = 0) -> Summary:
        """The ledger in short. Takes a few seconds for a million entries."""
        outcomes = Counter(self._outcome)
        refusals = Counter(self._refused_by)
        return Summary(
            arrivals=len(self),
            first_arrival=self._arrived[0] / SECOND_NS if len(self) else None,
            last_arrival=self._arrived[-1] / SECOND_NS if len(self) else None,
            outcomes={self._names[index]: count for index, count in sorted(outcomes.items())},
            admitted=len(self._having(_ADMITTED)),
            paid=len(self._having(_PAID)),
            client_left=len(self._having(_LEFT)),
            prompt_tokens=sum(self._prompt[number] for number in self._having(_PAID)),
            completion_tokens=sum(self._completion[number] for number in self._having(_PAID)),
            max_in_flight=max_in_flight,
            limits=[self._use(limit, refusals[index]) for index, limit in enumerate(self._limits)],
            servings=self._servings(),
        )

    def _use(self, limit: Limit, refused: int) -> LimitUse:
        worst = 0
        for numbers in self._by_lane().values():
            if limit.daily:
                worst = max(worst, self._worst_day(limit, numbers))
            else:
                worst = max(worst, self._worst_window(limit, numbers))
        return LimitUse(
            dimension=limit.dimension,
            window_seconds=limit.window_seconds,
            limit=limit.amount,
            worst=worst,
            refused=refused,
        )

    def _worst_window(self, limit: Limit, numbers: "array[int]") -> int:
        if limit.dimension is Dimension.REQUESTS:
            return worst_window(((self._arrived[n], 1) for n in numbers), limit.window_seconds * SECOND_NS)
        by_time = sorted(numbers, key=self._counted_at.__getitem__)
        events = ((self._counted_at[n], self._counted[n]) for n in by_time)
        return worst_window(events, limit.window_seconds * SECOND_NS)

    def _worst_day(self, limit: Limit, numbers: "array[int]") -> int:
        days: Counter[int] = Counter()
        for number in numbers:
            if limit.dimension is Dimension.REQUESTS:
                days[self._wall[number] // (DAY_SECONDS * SECOND_NS)] += 1
            else:
                days[self._counted_wall[number] // (DAY_SECONDS * SECOND_NS)] += self._counted[number]
        return max(days.values(), default=0)

    def _by_lane(self) -> dict[tuple[int, int], "array[int]"]:
        lanes: dict[tuple[int, int], array[int]] = {}
        for number in self._having(_ADMITTED):
            lane = (self._account[number], self._model[number])
            lanes.setdefault(lane, array("I")).append(number)
        return lanes

    def _servings(self) -> Servings:
        paid: dict[int, int] = {}
        excuses: Counter[int] = Counter()
        unexplained = 0
        faults = {self._numbers[fault] for fault in PAID_FAULTS - HARMLESS if fault in self._numbers}
        for number in self._having(_PAID):
            prompt = self._digest[number]
            paid[prompt] = paid.get(prompt, 0) + 1
            if paid[prompt] > 1 and not excuses[prompt]:
                unexplained += 1
            elif paid[prompt] > 1:
                excuses[prompt] -= 1
            if self._outcome[number] in faults:
                excuses[prompt] += 1
        once = sum(times == 1 for times in paid.values())
        return Servings(
            prompts=len(paid),
            once=once,
            more_than_once=len(paid) - once,
            extra_paid=sum(paid.values()) - len(paid),
            extra_paid_without_fault=unexplained,
        )

    def _having(self, flag: int) -> "array[int]":
        return array("I", (number for number, flags in enumerate(self._flags) if flags & flag))

    def _intern(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number


def worst_window(events: Iterable[tuple[int, int]], window_ns: int) -> int:
    """The largest sum of amounts in any window (t - W, t] over events (instant, amount) in order of time."""
    log = list(events)
    worst = total = oldest = 0
    for instant_ns, amount in log:
        total += amount
        while log[oldest][0] <= instant_ns - window_ns:
            total -= log[oldest][1]
            oldest += 1
        worst = max(worst, total)
    return worst
