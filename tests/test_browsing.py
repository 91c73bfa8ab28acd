"""A browser of rows reads as many units of the run store as it shows, and every one once where it counts."""

from pathlib import Path

import pytest

from batchrunner.records import ErrorColumn, Failure, Kind, Outcome, Try
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.browsing import Browser, Choice, ended_unit, tries_of
from batchrunner.store.database import Store
from batchrunner.store.reading import Reader
from batchrunner.store.rows import Entry

TOTAL = 20_000
STEPS_A_UNIT = 12  # of SQLite's machine


def entry(number: int) -> Entry:
    """A unit that has ended; one in a hundred failed, of either kind."""
    if number % 100:
        return Entry(None, Outcome(id=f"q{number}", row=number, status="ok", response="x"), b"digest")
    kind = Kind.TIMEOUT if number % 200 else Kind.REJECTED
    error = ErrorColumn(kind=kind, status=None, message="No.")
    tried = Try(number=number, sent_at=1.0, latency_s=0.5, failure=Failure(kind=kind, message="No."))
    return Entry(tried, Outcome(id=f"q{number}", row=number, status="failed", error=error), b"digest")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of many units, every tenth of which is pending."""
    path = tmp_path_factory.mktemp("run")
    store = Store(path)
    store.commit([entry(number) for number in range(TOTAL) if number % 10 != 5])
    store.close()
    return path


class Counted:
    """A reader, and how many steps SQLite's machine took for it, to the hundred."""

    def __init__(self, folder: Path) -> None:
        self.reader = Reader(folder)
        self.steps = 0
        self.reader._db.set_progress_handler(self._step, 100)  # noqa: SLF001 - nowhere else is it known

    def _step(self) -> int:
        self.steps += 100
        return 0


ENDED = [number for number in range(TOTAL) if number % 10 != 5]
FAILED = [number for number in ENDED if number % 100 == 0]
FOUND = Bitmap(TOTAL, range(0, TOTAL, 150))


@pytest.mark.parametrize(
    ("choice", "found", "expected"),
    [
        (Choice(total=TOTAL), None, ENDED),
        (Choice(total=777), None, [number for number in ENDED if number < 777]),
        (Choice(total=TOTAL, ok=False), None, FAILED),
        (Choice(total=TOTAL, kind="timeout"), None, [number for number in FAILED if number % 200]),
        (Choice(total=TOTAL, variant=1, arms=6, samples=2), None, [n for n in ENDED if n % 6 in (2, 3)]),
        (Choice(total=TOTAL), FOUND, [number for number in ENDED if number in FOUND]),
        (Choice(total=TOTAL, ok=False), FOUND, [number for number in FAILED if number in FOUND]),
        (Choice(total=TOTAL, kind="; DROP TABLE units"), None, []),
    ],
)
def test_what_is_chosen_comes_in_order_both_ways(
    folder: Path, choice: Choice, found: Bitmap | None, expected: list[int]
) -> None:
    browser = Browser(Reader(folder), choice, None if found is None else found.__contains__)
    middle = expected[len(expected) // 2] if expected else 100
    assert browser.count() == len(expected)
    assert browser.count(middle) == len(expected) // 2
    assert [one.number for one in browser.from_on(0, TOTAL)] == expected
    assert [one.number for one in browser.from_on(middle, 3)] == expected[len(expected) // 2 :][:3]
    assert [one.number for one in browser.before(middle, 3)] == expected[: len(expected) // 2][-3:]


def test_a_page_reads_what_it_shows_and_a_count_reads_every_unit_once(folder: Path) -> None:
    counted = Counted(folder)
    browser = Browser(counted.reader, Choice(total=TOTAL))
    browser.from_on(TOTAL // 2, 51)
    browser.before(TOTAL // 2, 50)
    assert counted.steps <= 2 * 51 * STEPS_A_UNIT
    for choice in (Choice(total=TOTAL), Choice(total=TOTAL, ok=False, kind="timeout", variant=0)):
        counted.steps = 0
        Browser(counted.reader, choice).count()
        assert counted.steps <= TOTAL * STEPS_A_UNIT


def test_a_unit_and_its_tries_are_found(folder: Path) -> None:
    reader = Reader(folder)
    assert ended_unit(reader, 200) == (200, 0, "rejected", "No.", b"digest")
    assert ended_unit(reader, 5) is None
    assert [(one.number, one.kind) for one in tries_of(reader, 200)] == [(200, "rejected")]
    assert tries_of(reader, 201) == []
