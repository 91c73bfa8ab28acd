"""A lane's sheet in a book that several machines share: what stands in it, and how it changes. Pure.

Instants are those of the server's clock. What a process has used is written as its sum by day since it began, and the
day grows by what that sum has grown: so it may be written twice, when nobody knows whether the first time came through.
A sheet may be lost, or be an old one, after a restart of the server: whoever remembers a newer one brings it back.
"""

from collections.abc import Mapping

import msgspec

from batchrunner.limits.book import Entry
from batchrunner.limits.day import Spent
from batchrunner.limits.page import Found, Page
from batchrunner.limits.sharing import Member

VERSION = 1
KEEP_DAYS = 3
_FORGET_SECONDS = 120.0
_AHEAD_SECONDS = 2.0
Used = Mapping[str, Spent]


class Seated(msgspec.Struct, frozen=True, kw_only=True):
    """What stands there of one process. `who`: process and machine; `used`: by day, since it began; `buried`: what it
    had on lease of its day, when it seemed to be gone: it is in the day's count."""

    member: Member
    who: str = ""
    used: dict[str, Spent] = {}
    buried: bool = False


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """A lane. `writes` grows with each; `found_at`, `gone_until`, `seen_at`: Unix time."""

    version: int = VERSION
    writes: int = 0
    name: str = ""
    members: dict[str, Seated] = {}
    days: dict[str, Spent] = {}
    found: list[Found] = []
    found_at: float = 0.0
    gone_until: float = 0.0
    seen_at: float = 0.0


def as_of(sheet: Sheet, remembered: Sheet, now: float) -> Sheet:
    """The sheet with what it has lost, and with those buried who write no more."""
    if sheet.writes < remembered.writes:
        sheet = _brought_back(sheet, remembered)
    members: dict[str, Seated] = {}
    days = dict(sheet.days)
    for one, seated in sheet.members.items():
        member = seated.member
        if member.at > now + _AHEAD_SECONDS:  # the server's clock was put back
            member = moved(member, now - member.at)
        if member.until + _FORGET_SECONDS < now:
            continue
        buries = member.until < now and not seated.buried
        if buries:
            _add(days, member.day, member.day_requests, member.day_tokens)
        members[one] = msgspec.structs.replace(seated, member=member, buried=seated.buried or buries)
    return msgspec.structs.replace(sheet, members=members, days=days)


def page_of(sheet: Sheet, me: str, used: Used, *, offset: float, late: float) -> Page:
    """What one process that has used so much reads, on its own clock (see ServerClock)."""
    mine, days = sheet.members.get(me), dict(sheet.days)
    if mine is not None:
        _settle(days, mine, used)
    return Page(
        others=[moved(seated.member, -offset, late=late) for one, seated in sheet.members.items() if one != me],
        days=days,
        found=sheet.found,
        found_at=sheet.found_at,
        gone_until=sheet.gone_until,
    )


def written(sheet: Sheet, me: str, entry: Entry, used: Used, *, who: str, now: float) -> Sheet:
    """The sheet after this entry of a process that had used so much before what the entry says."""
    mine, days = sheet.members.get(me), dict(sheet.days)
    if mine is not None:
        _settle(days, mine, used)
    for day, spent in entry.spent.items():
        _add(days, day, spent.requests, spent.tokens)
    kept = sorted(days.keys() - set(entry.discard))[-KEEP_DAYS:]
    sums = {day: spent for day, spent in added(used, entry.spent).items() if day in kept}
    seated = Seated(member=entry.member, who=who, used=sums)
    return Sheet(
        writes=sheet.writes + 1,
        name=sheet.name,
        members=sheet.members | {me: seated},
        days={day: Spent(max(0.0, days[day].requests), max(0.0, days[day].tokens)) for day in kept},
        found=sheet.found if entry.found is None else entry.found,
        found_at=sheet.found_at if entry.found is None else entry.found_at,
        gone_until=sheet.gone_until if entry.gone_until is None else entry.gone_until,
        seen_at=now,
    )


def added(used: Used, spent: Used) -> dict[str, Spent]:
    """What a process has used, with what it has spent since."""
    sums = {day: Spent(one.requests, one.tokens) for day, one in used.items()}
    for day, one in spent.items():
        _add(sums, day, one.requests, one.tokens)
    return sums


def moved(member: Member, by: float, *, late: float = 0.0) -> Member:
    """With its instants on another clock; what it may still do lasts so much longer there."""
    parts = [
        part if part.need_since is None else msgspec.structs.replace(part, need_since=part.need_since + by)
        for part in member.parts
    ]
    paused_until = None if member.paused_until is None else member.paused_until + by
    at, until = member.at + by + late, member.until + by + late
    return msgspec.structs.replace(member, at=at, until=until, parts=parts, paused_until=paused_until)


def _settle(days: dict[str, Spent], mine: Seated, used: Used) -> None:
    """The days, where a process has come back that has used so much, whatever the sheet has of it."""
    for day in mine.used.keys() | used.keys():
        before, now = mine.used.get(day, Spent()), used.get(day, Spent())
        if day in days:  # a day that was struck out stays so
            _add(days, day, now.requests - before.requests, now.tokens - before.tokens)
    if mine.buried and mine.member.day in days:
        _add(days, mine.member.day, -mine.member.day_requests, -mine.member.day_tokens)


def _brought_back(sheet: Sheet, remembered: Sheet) -> Sheet:
    """A sheet that began anew, with all that an earlier one had; what both have as the later or larger one says."""
    members = dict(remembered.members)
    for one, seated in sheet.members.items():
        if one not in members or members[one].member.at <= seated.member.at:
            members[one] = seated
    days = dict(remembered.days)
    for day, spent in sheet.days.items():
        before = days.get(day, Spent())
        days[day] = Spent(max(before.requests, spent.requests), max(before.tokens, spent.tokens))
    newer = sheet if sheet.found_at > remembered.found_at else remembered
    return msgspec.structs.replace(
        remembered,
        members=members,
        days=days,
        found=newer.found,
        found_at=newer.found_at,
        gone_until=max(sheet.gone_until, remembered.gone_until),
    )


def _add(days: dict[str, Spent], day: str, requests: float, tokens: float) -> None:
    if requests or tokens:
        before = days.get(day, Spent())
        days[day] = Spent(before.requests + requests, before.tokens + tokens)
