"""One process's seat at a lane: what it tells the book, what it makes of the book's page, what follows for the lane.

Three steps, so that the thread that waits for the file touches no lane: `notes` are taken from the lane, `decide` is
pure and runs while nobody else can write, `apply` brings the decision back. Between the first and the last the lane
admits no more than the notes promise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from batchrunner.limits.account import Entry, Found, Page
from batchrunner.limits.day import LEASE_LEAST, LEASE_SECONDS, DayLease, Spent, lease_of
from batchrunner.limits.in_force import UNLIMITED
from batchrunner.limits.lane import Lane
from batchrunner.limits.quota import GatewayClock, Reset
from batchrunner.limits.sharing import Member, Part, Share, meet
from batchrunner.limits.window import Key, Window

BEAT_SECONDS = 0.2
MEMBER_SECONDS = 0.6
UNHEARD_SECONDS = 60.0
AHEAD_SECONDS = 26 * 3600.0  # a day further ahead of the gateway's clock than this is none
_PROMISE_SECONDS = 0.05
_HUNGRY_SECONDS = 1.0
_MODEST_HEADROOM = 1.25
_FOREVER = float("inf")
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What a process brings to the book. `unix`: the gateway's time; `heard`: whether by its own Date headers,
    `first_heard` since the last notes;
    `unheard`: what was spent, but may be of another day than its name;
    `want_*`, `need`: of today, on lease and for the next try; `busy`: tries are out that may give tokens back."""

    member: Member
    spent: Mapping[str, Spent]
    unheard: Mapping[str, Spent]
    unix: float
    heard: bool
    first_heard: bool
    reset: Reset
    requests_per_day: float
    tokens_per_day: float
    want_requests: float
    want_tokens: float
    need: float
    busy: bool
    found: list[Found]
    found_at: float
    gone_until: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the page means for the lane; `entry` is what was written."""

    entry: Entry
    shares: dict[Key, Share]
    lease: DayLease
    others_hold: bool
    first_heard: bool
    found: list[Found] | None
    found_at: float
    gone_until: float


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
        for window in lane.force.windows.values():
            window.allotment = 0.0 if window.limit.amount < UNLIMITED else UNLIMITED

    def gone(self, until: float) -> None:
        """The gateway says that the day's quota is gone until then (Unix time); 0: forget what was said."""
        self._tell_gone = until

    def notes(self, now: float, wall: float, *, ending: bool = False) -> Notes:
        """What is to be told now. `ending`: nothing more will be admitted."""
        lane, unix = self.lane, self.clock.now(now, wall)
        parts = [self._part(window, now) for window in lane.force.windows.values()]
        found = {key: cap.amount for key, cap in lane.force.finder.caps.items() if not cap.told}
        if found != self._known:
            self._known, self._found_at = found, wall
        recent = max(0.0, lane.sums.requests - self._requests_before)
        lasted = max(BEAT_SECONDS, now - self._noted_at)
        self._requests_before, self._noted_at = lane.sums.requests, now
        ahead = LEASE_LEAST + recent / lasted * LEASE_SECONDS
        need = lane.head[0] if lane.head is not None and not ending else 0.0
        told, self._tell_gone = self._tell_gone, None
        lane.promised = True
        first_heard = self.clock.heard and not self._heard_before
        spent = self._hand_in(now, unix, ending=ending)
        promised = Spent() if ending else self._day_promise(now)
        return Notes(
            member=Member(
                at=now,
                until=now if ending else now + MEMBER_SECONDS,
                parts=parts,
                paused_until=lane.pause.until if lane.pause.until > now else None,
                day=lane.day.name,
                day_requests=promised.requests,
                day_tokens=promised.tokens,
                day_hungry=lane.day.hungry,
            ),
            spent=spent,
            unheard=self._unheard,
            unix=unix,
            heard=self.clock.heard,
            first_heard=first_heard,
            reset=self.reset,
            requests_per_day=lane.day.requests_limit,
            tokens_per_day=lane.day.tokens_limit,
            want_requests=0.0 if ending else ahead,
            want_tokens=0.0 if ending else ahead * max(1.0, lane.mean_tokens),
            need=need,
            busy=lane.in_flight > 0,
            found=[Found(dimension=key[0], window_seconds=key[1], amount=amount) for key, amount in found.items()],
            found_at=self._found_at,
            gone_until=told,
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
            promise = 0.0 if surplus else max(next_amount, window.rate * _PROMISE_SECONDS)
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
        requests = max(1.0, (0.0 if rate == _FOREVER else rate) * _PROMISE_SECONDS)
        return day.promise(requests, requests * max(1.0, self.lane.mean_tokens), need=head[0] if head else None)


def decide(notes: Notes, page: Page, now: float) -> Decision:
    """What the page means, and the entry to write. Pure."""
    shares = meet(notes.member, page.others, now)
    day, discard = _today(notes, page)
    lease, others_hold = _day_lease(notes, page, day, discard, now)
    parts = [
        msgspec.structs.replace(part, held=shares[part.key].held, pending=_pending(part, shares[part.key]))
        for part in notes.member.parts
    ]
    kept = notes.unheard.get(day, Spent())
    paused = [member.paused_until for member in (notes.member, *page.others) if member.paused_until is not None]
    member = msgspec.structs.replace(
        notes.member,
        parts=parts,
        paused_until=max(paused, default=None),
        day=day,
        day_requests=kept.requests + (lease.requests if notes.requests_per_day < _FOREVER else 0.0),
        day_tokens=kept.tokens + (lease.tokens if notes.tokens_per_day < _FOREVER else 0.0),
    )
    gone_until = page.gone_until if notes.gone_until is None else notes.gone_until
    newer = notes.found_at > page.found_at
    entry = Entry(
        member=member,
        spent=dict(notes.spent),
        discard=discard,
        found=notes.found if newer else None,
        found_at=notes.found_at,
        gone_until=notes.gone_until,
    )
    found = None if newer else page.found
    return Decision(entry, shares, lease, others_hold, notes.first_heard, found, page.found_at, gone_until)


def _pending(part: Part, share: Share) -> float:
    """What may come to this part until the lease ends: at its pace, with a burst or a large unit on top."""
    if part.amount >= UNLIMITED:
        return 0.0
    return part.pending + share.amount * share.rate_share / part.span * MEMBER_SECONDS


def _today(notes: Notes, page: Page) -> tuple[str, list[str]]:
    """The day it is, never an earlier one than the book knows; and the book's days that are none."""
    day = notes.reset.day(notes.unix)
    discard = [one for one in page.days if notes.heard and notes.reset.begins(one) > notes.unix + AHEAD_SECONDS]
    latest = max((one for one in page.days if one not in discard), default=day)
    return max(day, latest), discard


def _day_lease(notes: Notes, page: Page, day: str, discard: list[str], now: float) -> tuple[DayLease, bool]:
    """What this process may take from today until it looks again."""
    begins = notes.reset.begins(day)
    ends_at = now + notes.reset.next(max(notes.unix, begins)) - notes.unix
    used = Spent() if day in discard else page.days.get(day, Spent())
    mine = notes.spent.get(day) or notes.unheard.get(day) or Spent()
    others = [other for other in page.others if other.until > now and other.day == day]
    hungry = sum(other.day_hungry for other in others)
    leased = Spent(sum(other.day_requests for other in others), sum(other.day_tokens for other in others))
    left_requests = notes.requests_per_day - used.requests - mine.requests - leased.requests
    left_tokens = notes.tokens_per_day - used.tokens - mine.tokens - leased.tokens
    promised = notes.member if notes.member.day == day else Member(at=0.0, until=0.0)
    requests = lease_of(
        left=left_requests,
        want=notes.want_requests,
        need=1.0 if notes.want_requests else 0.0,
        promised=promised.day_requests,
        hungry_others=hungry,
    )
    tokens = lease_of(
        left=left_tokens,
        want=notes.want_tokens,
        need=notes.need,
        promised=promised.day_tokens,
        hungry_others=hungry,
    )
    others_hold = notes.busy or any(
        (other.day_requests >= 1 or notes.requests_per_day == _FOREVER)
        and (other.day_tokens > 0 or notes.tokens_per_day == _FOREVER)
        for other in others
    )
    return DayLease(day, ends_at, requests, tokens, left_requests, left_tokens), others_hold
