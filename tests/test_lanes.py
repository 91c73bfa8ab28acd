"""Lanes opened beside this machine's book: nothing before the seat stands in it, and what others hold is theirs."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from batchrunner.job.schema import LimitsTable, ModelLimits
from batchrunner.limits.account import Book, Entry
from batchrunner.limits.estimate import Estimate
from batchrunner.limits.sharing import Member, Part
from batchrunner.runner.declared import declared
from batchrunner.runner.lanes import LaneOpener

URL = "https://gateway.example/v1"
MODEL = "org/model"
A_MINUTE = LimitsTable(requests_per_minute=600)
ONE = Estimate(10.0)
Scene = Callable[[LaneOpener, anyio.abc.TaskGroup], Awaitable[None]]


def opened(
    state_dir: Path, scene: Callable[[LaneOpener, anyio.abc.TaskGroup], Awaitable[None]], **more: object
) -> None:
    """A scene with an opener of its own, as in one process."""

    async def whole() -> None:
        book = Book(state_dir)
        opener = LaneOpener(book, more.pop("limits", A_MINUTE), base_url=URL, account="key", **more)
        async with anyio.create_task_group() as keepers:
            await scene(opener, keepers)
            keepers.cancel_scope.cancel()
        opener.close()
        book.close()

    anyio.run(whole)


def seconds_to_first(state_dir: Path, model: str = MODEL, **more: object) -> float:
    """Seconds until a lane just opened admits its first try."""
    waited: list[float] = []

    async def scene(opener: LaneOpener, keepers: anyio.abc.TaskGroup) -> None:
        began = time.monotonic()
        limiter = opener.open(model, keepers).limiter
        with anyio.move_on_after(3):
            await limiter.admit(ONE)
            waited.append(time.monotonic() - began)

    opened(state_dir, scene, **more)
    return waited[0] if waited else float("inf")


def write(state_dir: Path, *, held: float, ago: float, until: float, **more: object) -> None:
    """An earlier process, that wrote so long ago and may have admitted until then, held that much of the minute."""
    now = time.monotonic()
    part = Part(dimension="requests", window_seconds=60.0, amount=600.0, held=held, curve=[held] * 32)
    book = Book(state_dir)
    with book.meeting(book.lane_name(URL, "key", MODEL), "earlier") as meeting:
        meeting.entry = Entry(member=Member(at=now - ago, until=now + until, parts=[part]), **more)
    book.close()


def test_a_lane_nobody_used_begins_at_once(tmp_path: Path) -> None:
    assert seconds_to_first(tmp_path) < 0.5


def test_what_a_killed_run_may_still_have_in_the_window_is_not_used_again(tmp_path: Path) -> None:
    write(tmp_path, held=600.0, ago=2.0, until=-1.4)
    assert seconds_to_first(tmp_path) == float("inf")


def test_what_a_killed_run_left_of_the_window_may_be_used(tmp_path: Path) -> None:
    write(tmp_path, held=590.0, ago=2.0, until=-1.4)
    assert seconds_to_first(tmp_path) < 1


def test_what_was_used_longer_ago_than_a_window_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path, held=600.0, ago=63.0, until=-62.0)
    assert seconds_to_first(tmp_path) < 0.5


def test_lanes_of_other_models_are_their_own(tmp_path: Path) -> None:
    write(tmp_path, held=600.0, ago=2.0, until=-1.4)
    assert seconds_to_first(tmp_path, model="org/other") < 0.5


def test_nothing_is_admitted_before_the_seat_stands_in_the_book(tmp_path: Path) -> None:
    async def scene(opener: LaneOpener, keepers: anyio.abc.TaskGroup) -> None:
        await opener.open(MODEL, keepers).limiter.admit(ONE)
        looking = Book(tmp_path)
        (member,) = looking.page(looking.lane_name(URL, "key", MODEL)).others
        looking.close()
        assert member.until > time.monotonic()
        assert member.parts[0].held == 600.0

    opened(tmp_path, scene)
    looking = Book(tmp_path)
    (member,) = looking.page(looking.lane_name(URL, "key", MODEL)).others
    assert member.until <= time.monotonic()
    assert member.parts[0].curve[0] == 1.0
    looking.close()


def test_what_was_sent_today_stands_in_the_book_when_the_run_ends(tmp_path: Path) -> None:
    async def scene(opener: LaneOpener, keepers: anyio.abc.TaskGroup) -> None:
        lane = opener.open(MODEL, keepers).limiter
        for _ in range(3):
            lane.lane.over(await lane.admit(ONE), counted=7.0)

    opened(tmp_path, scene)
    looking = Book(tmp_path)
    (spent,) = looking.page(looking.lane_name(URL, "key", MODEL)).days.values()
    looking.close()
    assert (spent.requests, spent.tokens) == (3.0, 21.0)


def test_the_run_knows_in_the_morning_what_the_night_has_used(tmp_path: Path) -> None:
    limits = LimitsTable(requests_per_day=20)
    sent: list[int] = []
    told: list[float] = []

    async def scene(opener: LaneOpener, keepers: anyio.abc.TaskGroup) -> None:
        lane = opener.open(MODEL, keepers)
        lane.quota_gone = told.append
        count = 0
        with anyio.move_on_after(1.5):
            while True:
                lease = await lane.limiter.admit(ONE)
                lane.limiter.lane.over(lease, counted=None)
                count += 1
                if len(sent) == 0 and count == 13:
                    break
        sent.append(count)

    opened(tmp_path, scene, limits=limits)
    assert told == []
    opened(tmp_path, scene, limits=limits)
    assert sent == [13, 7]
    assert told[0] > time.time()


def test_a_quota_that_the_gateway_called_gone_is_not_asked_for_before_its_time_unless_told_to(tmp_path: Path) -> None:
    write(tmp_path, held=0.0, ago=100.0, until=-99.0, gone_until=time.time() + 3600)
    assert seconds_to_first(tmp_path) == float("inf")
    assert seconds_to_first(tmp_path, ignore_resume_at=True) < 0.5
    assert seconds_to_first(tmp_path) < 0.5


def test_under_the_scope_of_an_account_every_model_has_the_same_lane() -> None:
    book = object()
    by_account = LaneOpener(book, LimitsTable(scope="account"), base_url=URL, account="key")
    by_model = LaneOpener(book, LimitsTable(), base_url=URL, account="key")
    assert by_account.lane_of("a/b") == by_account.lane_of("c/d")
    assert by_model.lane_of("a/b") != by_model.lane_of("c/d")


def test_a_models_own_limits_override_those_of_all() -> None:
    table = LimitsTable(
        requests_per_minute=600, tokens_per_day=1_000_000, models={"a/b": ModelLimits(requests_per_minute=60)}
    )
    (limit,) = declared(table.for_model("a/b")).windows
    assert (limit.amount, declared(table.for_model("a/b")).tokens_per_day) == (60, 1_000_000)
    (limit,) = declared(table.for_model("c/d")).windows
    assert limit.amount == 600


def test_two_processes_with_different_limits_keep_to_the_lower_one(tmp_path: Path) -> None:
    async def scene(opener: LaneOpener, keepers: anyio.abc.TaskGroup) -> None:
        book = Book(tmp_path)
        other = LaneOpener(book, LimitsTable(requests_per_minute=6), base_url=URL, account="key")
        mine, theirs = opener.open(MODEL, keepers), other.open(MODEL, keepers)
        await anyio.sleep(1)
        amounts = {window.limit.amount for one in (mine, theirs) for window in one.limiter.lane.force.limited}
        assert amounts == {6}
        assert mine.limiter.lane.force.lowered == {("requests", 60.0): 6}
        assert theirs.limiter.lane.force.lowered == {}
        book.close()

    async def alone(opener: LaneOpener, keepers: anyio.abc.TaskGroup) -> None:
        mine = opener.open(MODEL, keepers)
        await anyio.sleep(0.5)
        assert [window.limit.amount for window in mine.limiter.lane.force.limited] == [600]

    opened(tmp_path, scene)
    time.sleep(1)
    opened(tmp_path, alone)
