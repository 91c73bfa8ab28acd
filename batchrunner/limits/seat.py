"""One process's seat at a lane: what it tells the book, and what follows for the lane from the book's page.

Three steps, so that the thread that waits for the file touches no lane: `notes` are taken from the lane, `decide` (in
decide) is pure and runs while nobody else can write, `apply` brings the decision back. Between the first and the last
the lane admits no more than the notes promise.
"""

from batchrunner.limits.day import LEASE_LEAST, LEASE_SECONDS, Spent
from batchrunner.limits.decide import MEMBER_SECONDS, Decision, Notes
from batchrunner.limits.in_force import UNLIMITED
from batchrunner.limits.lane import Lane
from batchrunner.limits.page import Found
from batchrunner.limits.quota import GatewayClock, Reset
from batchrunner.limits.sharing import Member, Part
from batchrunner.limits.window import Key, Window

BEAT_SECONDS = 0.2
UNHEARD_SECONDS = 60.0
_PROMISE_SECONDS = 0.05
_PROMISED, _LEASED = 1.5, 5.0  # times what the book takes to answer
_LONGEST_LEASE_SECONDS = 4.0
_SLOWLY = 0.8  # a book that was slow is thought to be so for some beats
_HUNGRY_SECONDS = 1.0
_MODEST_HEADROOM = 1.25
_FOREVER = float("inf")
_ROUNDING = 1e-6


class Seat:
    """Keeps one lane of one process in step with the book. Times are the lane's clock and Unix time."""

    def __init__(self, lane: Lane, *, reset: Reset, clock: GatewayClock) -> None:
        self.lane = lane
        self.clock = clock
        self.reset = reset
        self._found_at = 0.0
        self._known: dict[Key, float] = {}
        self._tell_gone: float | None = None
        self._unheard: dict[str, Spent] = {}
        self._heard_before = clock.heard
        self._opened_at: float | None = None
        self._requests_before = 0
        self._noted_at = _FOREVER
        self._book_takes = 0.0  # seconds for an answer, lately
        for window in lane.force.windows.values():
            window.allotment = 0.0 if window.limit.amount < UNLIMITED else UNLIMITED

    def gone(self, until: float) -> None:
        """The gateway says that the day's quota is gone until then (Unix time); 0: forget what was said."""
        self._tell_gone = until

    def notes(self, now: float, wall: float, *, ending: bool = False) -> Notes:
        """What is to be told now. `ending`: nothing more will be admitted."""
        lane, unix = self.lane, self.clock.now(now, wall)
        parts = [self._part(window, now) for window in lane.force.windows.values()]
        found = self._found_now(wall)
        ahead = 0.0 if ending else self._ahead(now)
        told, self._tell_gone = self._tell_gone, None
        lane.promised = True
        first_heard = self.clock.heard and not self._heard_before
        spent = self._hand_in(now, unix, ending=ending)
        return Notes(
            member=self._member(parts, now, ending=ending),
            spent=spent,
            unheard=self._unheard,
            unix=unix,
            heard=self.clock.heard,
            first_heard=first_heard,
            reset=self.reset,
            requests_per_day=lane.day.requests_limit,
            tokens_per_day=lane.day.tokens_limit,
            want_requests=ahead,
            want_tokens=ahead * max(1.0, lane.mean_tokens),
            need=lane.head[0] if lane.head is not None and not ending else 0.0,
            busy=lane.in_flight > 0,
            found=found,
            found_at=self._found_at,
            gone_until=told,
        )

    def _found_now(self, wall: float) -> list[Found]:
        """The limits found by now; `_found_at` says since when."""
        found = {key: cap.amount for key, cap in self.lane.force.finder.caps.items() if not cap.told}
        if found != self._known:
            self._known, self._found_at = found, wall
        return [Found(dimension=key[0], window_seconds=key[1], amount=amount) for key, amount in found.items()]

    def _ahead(self, now: float) -> float:
        """Requests to have on lease of the day: what is sent in a second, as things went since the last notes."""
        recent = max(0.0, self.lane.sums.requests - self._requests_before)
        lasted = max(BEAT_SECONDS, now - self._noted_at)
        self._requests_before, self._noted_at = self.lane.sums.requests, now
        return LEASE_LEAST + recent / lasted * LEASE_SECONDS

    def _member(self, parts: list[Part], now: float, *, ending: bool) -> Member:
        """This process as the others are to see it."""
        lane = self.lane
        promised = Spent() if ending else self._day_promise(now)
        return Member(
            at=now,
            until=now if ending else now + self._lease_seconds,
            parts=parts,
            paused_until=lane.pause.until if lane.pause.until > now else None,
            day=lane.day.name,
            day_requests=promised.requests,
            day_tokens=promised.tokens,
            day_hungry=lane.day.hungry,
        )

    def _hand_in(self, now: float, unix: float, *, ending: bool) -> dict[str, Spent]:
        """What was spent, for the book. Before the gateway's clock is heard nobody knows for which day: it is kept back
        for a while. What was kept under another day than the gateway's, the lane counts for the right one by itself."""
        self._opened_at = now if self._opened_at is None else self._opened_at
        spent = dict(self._unheard)
        for day, more in self.lane.day.hand_in().items():
            before = spent.get(day, Spent())
            spent[day] = Spent(before.requests + more.requests, before.tokens + more.tokens)
        if not self.clock.heard and not ending and now - self._opened_at < UNHEARD_SECONDS:
            self._unheard = spent
            return {}
        if self.clock.heard and not self._heard_before:
            self._heard_before = True
            spent = {day: amount for day, amount in spent.items() if day == self.reset.day(unix)}
        self._unheard = {}
        return spent

    def book_took(self, seconds: float) -> None:
        """A book that is far away took so long to answer: more is promised ahead and the lease is longer, so that the
        lane need not stand still."""
        self._book_takes = max(seconds, self._book_takes * _SLOWLY)

    @property
    def _promise_seconds(self) -> float:
        return max(_PROMISE_SECONDS, min(_PROMISED * self._book_takes, _LONGEST_LEASE_SECONDS))

    @property
    def _lease_seconds(self) -> float:
        return max(MEMBER_SECONDS, min(_LEASED * self._book_takes, _LONGEST_LEASE_SECONDS))

    def take_back(self, notes: Notes) -> None:
        """The book was out of reach: what it was to be told is for the next time."""
        if notes.first_heard:
            self._heard_before = False
        if self._tell_gone is None:
            self._tell_gone = notes.gone_until
        self.lane.day.take_back(dict(notes.spent))

    def apply(self, decision: Decision, now: float, wall: float) -> None:
        """Bring back what was decided."""
        lane = self.lane
        if decision.found is not None and decision.found_at > self._found_at:
            self._found_at = decision.found_at
            self._known = {one.key: one.amount for one in decision.found}
            lane.force.restore(self._known, now)
        lane.promised = False
        lane.force.share(decision.shares, now)
        need = lane.head[0] if lane.head else 0.0
        lane.day.apply(decision.lease, need=need, others_hold=decision.others_hold, first_heard=decision.first_heard)
        lane.pause.until = max(lane.pause.until, decision.entry.member.paused_until or float("-inf"))
        unix = self.clock.now(now, wall)
        if self._tell_gone is None:  # else there is news that the book has not heard yet
            lane.gone_until = now + decision.gone_until - unix if decision.gone_until > unix else float("-inf")
        lane.leased_until = decision.entry.member.until

    def quota_back_at(self, now: float, wall: float) -> float | None:
        """Unix time at which a day's quota that is gone comes back; None where there is some."""
        back_at = max(self.lane.gone_until, self.lane.day.ends_at if self.lane.day.gone else float("-inf"))
        return self.clock.now(now, wall) + back_at - now if back_at > now else None

    def _part(self, window: Window, now: float) -> Part:
        """One limit: what is used, what is promised, what is wanted. The window keeps to the promise from here on."""
        limit, used, lane = window.limit, window.used(now), self.lane
        next_amount = 1.0 if limit.dimension == "requests" else (lane.head[0] if lane.head else 0.0)
        if limit.amount < UNLIMITED:
            surplus = window.allotment > window.share * limit.amount + _ROUNDING
            promise = 0.0 if surplus else max(next_amount, window.rate * self._promise_seconds)
            window.allotment = min(window.allotment, used + promise)
        waiting = now - lane.hungry.get(limit.key, float("-inf")) < _HUNGRY_SECONDS
        return Part(
            dimension=limit.dimension,
            window_seconds=limit.window_seconds,
            amount=lane.force.own(limit.key),
            held=window.allotment,
            curve=window.curve(now),
            pending=max(next_amount, window.burst),
            want=None if waiting else used * _MODEST_HEADROOM + window.burst + next_amount,
            need=next_amount if lane.head else 0.0,
            need_since=lane.head[1] if lane.head else None,
        )

    def _day_promise(self, now: float) -> Spent:
        """What may still be taken from today's lease until the book has answered: the lane keeps to it from here."""
        day, head = self.lane.day, self.lane.head
        if not day.limited:
            return Spent()
        if now >= day.ends_at:
            day.leased = Spent()
            return day.leased
        rate = self.lane.rate()
        requests = max(1.0, (0.0 if rate == _FOREVER else rate) * self._promise_seconds)
        return day.promise(requests, requests * max(1.0, self.lane.mean_tokens), need=head[0] if head else None)
