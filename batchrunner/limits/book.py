"""A book in which the processes that share lanes meet: what they read of a lane and what they write.

Two books are: this machine's (account, SQLite), and one for several machines (redis_book). To both a meeting is a page
that nobody else can write now. So what follows from a page is decided in one place and in plain code (decide).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from batchrunner.limits.day import Spent
from batchrunner.limits.page import Found, Page
from batchrunner.limits.sharing import Member


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What one process writes when it has read a page. `spent` adds to the days, `discard` names days that are none;
    `found` with its instant (Unix time) and `gone_until` replace what is there where they are given."""

    member: Member
    spent: dict[str, Spent] = {}
    discard: list[str] = []
    found: list[Found] | None = None
    found_at: float = 0.0
    gone_until: float | None = None


@dataclass(slots=True)
class Meeting:
    """A page that nobody else can write now, and the entry to be written when that is over."""

    page: Page
    entry: Entry | None = None


class LaneInBook(msgspec.Struct, frozen=True, kw_only=True):
    """One lane as `limits show` prints it. `processes`: those that use it now, with their machine where that is not
    this one alone."""

    name: str
    page: Page
    processes: Sequence[int | str]
    seen_at: float


class OutOfReachError(Exception):
    """The book can't be reached for now: nothing was written, or nobody knows whether it was. It may come back."""


class Book(Protocol):
    """StorageError from anything here: the book can't be used. Safe to call from one thread at a time.

    `is_far`: a meeting takes as long as the way there and back.
    """

    is_far: bool

    def lane_name(self, base_url: str, account: str, model: str) -> str:
        """The book's name for a lane; of the account (a key, mostly) it holds a hash only."""

    def page(self, lane: str) -> Page:
        """What stands in the book of this lane."""

    def meeting(self, lane: str, member_id: str) -> AbstractContextManager[Meeting]:
        """The lane's page, to be read and written with nobody between. OutOfReachError where that is to be tried
        again."""

    def lanes(self) -> list[LaneInBook]:
        """Every lane, the one used last first."""

    def forget(self, lane: str) -> None:
        """Strike a lane out: its counts of days, its found limits, its news of quota."""

    def close(self) -> None:
        """Let go of it; what was written stays."""
