"""A lane begins where the earlier run on it may have left off."""

import time
from pathlib import Path

import anyio

from batchrunner.job.schema import LimitsTable
from batchrunner.limits.account import Book
from batchrunner.runner.lanes import LaneOpener

URL = "https://gateway.example/v1"
A_MINUTE = LimitsTable(requests_per_minute=600)


def opened(state_dir: Path, model: str = "org/model") -> float:
    """Seconds until a lane just opened admits its first try."""

    async def scene() -> float:
        book = Book(state_dir)
        opener = LaneOpener(book, A_MINUTE, base_url=URL, account="key")
        async with anyio.create_task_group() as keepers:
            lane = opener.open(model, keepers).lane
            lane.leased_until = float("inf")
            now = time.monotonic()
            keepers.cancel_scope.cancel()
        book.close()
        return lane.ready_at(1, now) - now

    return anyio.run(scene)


def used_until(state_dir: Path, instant: float) -> None:
    """An earlier run that was killed with its lease reaching so far."""
    book = Book(state_dir)
    book.extend(book.lane_name(URL, "key", "org/model"), instant)
    book.close()


def test_a_lane_nobody_used_begins_at_once(tmp_path: Path) -> None:
    assert opened(tmp_path) <= 0


def test_a_run_after_a_killed_one_waits_for_the_end_of_its_lease_and_starts_with_no_burst(tmp_path: Path) -> None:
    used_until(tmp_path, time.monotonic() + 5)
    assert 5 < opened(tmp_path) <= 5.1 + 60.05 / 600


def test_what_was_used_longer_ago_than_a_window_does_not_matter(tmp_path: Path) -> None:
    used_until(tmp_path, time.monotonic() - 61)
    assert opened(tmp_path) <= 0


def test_lanes_of_other_models_are_their_own(tmp_path: Path) -> None:
    used_until(tmp_path, time.monotonic() + 5)
    assert opened(tmp_path, model="org/other") <= 0


def test_nothing_is_admitted_before_the_lease_stands_in_the_book(tmp_path: Path) -> None:
    async def scene() -> None:
        book, looking = Book(tmp_path), Book(tmp_path)
        opener = LaneOpener(book, A_MINUTE, base_url=URL, account="key")
        async with anyio.create_task_group() as keepers:
            await opener.open("org/model", keepers).admit(1)
            assert looking.leased_until(looking.lane_name(URL, "key", "org/model")) > time.monotonic()
            keepers.cancel_scope.cancel()
        opener.close()
        assert looking.leased_until(looking.lane_name(URL, "key", "org/model")) <= time.monotonic()
        book.close()
        looking.close()

    anyio.run(scene)
