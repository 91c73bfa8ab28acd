"""What the book's page means for one process at a lane: its parts of the limits and of the day. Pure.

It runs in the thread that waits for the file, while nobody else can write, and touches no lane.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from batchrunner.limits.book import Entry
from batchrunner.limits.day import DayLease, Spent, lease_of
from batchrunner.limits.in_force import UNLIMITED
from batchrunner.limits.page import Found, Page
from batchrunner.limits.quota import Reset
from batchrunner.limits.sharing import Member, Part, Share, meet
from batchrunner.limits.window import Key

MEMBER_SECONDS = 0.6
AHEAD_SECONDS = 26 * 3600.0  # a day further ahead of the gateway's clock than this is none
_FOREVER = float("inf")


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


def decide(notes: Notes, page: Page, now: float) -> Decision:
    """What the page means, and the entry to write. Pure."""
    shares = meet(notes.member, page.others, now)
    day, discard = _today(notes, page)
    lease, others_hold = _day_lease(notes, page, day, discard, now)
    parts = [
        msgspec.structs.replace(
            part, held=shares[part.key].held, pending=_pending(part, shares[part.key], notes.member)
        )
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


def _pending(part: Part, share: Share, member: Member) -> float:
    """What may come to this part until the lease ends: at its pace, with a burst or a large unit on top."""
    if part.amount >= UNLIMITED:
        return 0.0
    return part.pending + share.amount * share.rate_share / part.span * max(MEMBER_SECONDS, member.until - member.at)


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
