"""The rows of a run as its pages need them: a sheet of some, and one in full, read beside whoever works on the run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from batchrunner.errors import StorageError
from batchrunner.folder.about import About, about_known_run
from batchrunner.folder.arms import arms_in
from batchrunner.folder.published import outcomes_among
from batchrunner.job.schema import Job
from batchrunner.runner.recalling import Asked, Recall
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.browsing import Browser, Ended, ended_unit, tries_of
from batchrunner.store.heeding import Heed, heed_nobody
from batchrunner.store.lock import holder_of
from batchrunner.store.marks import marked_units
from batchrunner.store.reading import Reader, TryRow, read_store
from batchrunner.viewer.question import Question, Shape
from batchrunner.viewer.search import Search

ROWS_A_SHEET = 50

_Found = TypeVar("_Found")

JobOf = Callable[[About], tuple[Job | None, str, str]]
"""The job of a run, the URL that stands in its digests, and why there is no job."""


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One unit. `ended` is None while it is pending, `outcome`, its output row, also where that can't be read; then
    `trouble` says why."""

    number: int
    row: int
    variant: str | None
    sample: int | None
    ended: Ended | None
    outcome: Mapping[str, Any] | None
    asked: Asked
    trouble: str = ""


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the units that a question finds: `count` in all, so many `before`; `previous`, `next`: from which number
    on the sheets beside this one are, None where there are none; `kinds`: failed units of the whole run by kind."""

    shape: Shape
    units: list[Unit]
    count: int
    before: int
    previous: int | None
    next: int | None
    kinds: dict[str, int]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """One unit in full, its place among those that a question finds, and its neighbours there."""

    shape: Shape
    unit: Unit
    in_flight: bool
    tries: list[TryRow]
    count: int
    before: int
    previous: int | None
    next: int | None


class Rows:
    """The rows of the run in this folder. Its methods raise InputError and StorageError where nothing can be read, and
    what `heed` raises."""

    def __init__(self, run_dir: Path, job_of: JobOf, heed: Heed = heed_nobody) -> None:
        self.run_dir = run_dir
        self._heed = heed
        self._job_of = job_of
        self._recall: tuple[About, Recall] | None = None
        self._chosen: tuple[About, Bitmap] | None = None

    def search(self, words: str, earlier: Search | None) -> Search:
        """A search for these words; the earlier one where the run is the same, and no other process works on it."""
        about, shape = self._read(lambda store: (about_known_run(store.fact), _shape_of(store)))
        recall = self._recall_of(about)
        if earlier is not None and earlier.shape == shape and earlier.recall is recall:
            return earlier
        return Search(words, self.run_dir, shape, recall, self._heed)

    def sheet(self, question: Question, first: int, search: Search | None) -> Sheet:
        """The units that are found from this number on."""
        return self._read(lambda store: self._sheet(store, question, first, search))

    def opened(self, number: int, question: Question, search: Search | None) -> Opened | None:
        """One unit; None where the run has none of this number."""
        return self._read(lambda store: self._opened(store, number, question, search))

    def whole(self, number: int) -> bytes | None:
        """The output row of a unit, as JSON; None where there is none."""
        return self._read(lambda store: dict(outcomes_among(store, self.run_dir, [number])).get(number))

    def _read(self, fold: Callable[[Reader], _Found]) -> _Found:
        return read_store(self.run_dir, fold, heed=self._heed)

    def _sheet(self, store: Reader, question: Question, first: int, search: Search | None) -> Sheet:
        about, shape = self._narrowed(store)
        browser = Browser(store, question.choice(shape), None if search is None else search.__contains__)
        found = browser.from_on(first, ROWS_A_SHEET + 1)
        before = browser.before(found[0].number if found else first, ROWS_A_SHEET)
        shown = found[:ROWS_A_SHEET]
        return Sheet(
            shape=shape,
            units=self._units(store, about, {one.number: one for one in shown}, digests=False),
            count=browser.count(),
            before=browser.count(shown[0].number) if shown else 0,
            previous=before[0].number if before else None,
            next=found[-1].number if len(found) > len(shown) else None,
            kinds=store.units(shape.total).failed,
        )

    def _opened(self, store: Reader, number: int, question: Question, search: Search | None) -> Opened | None:
        about, shape = self._narrowed(store)
        if number >= shape.total:
            return None
        browser = Browser(store, question.choice(shape), None if search is None else search.__contains__)
        before, behind = browser.before(number, 1), browser.from_on(number + 1, 1)
        (unit,) = self._units(store, about, {number: ended_unit(store, number)}, digests=True)
        waits = unit.ended is None and holder_of(self.run_dir) is not None
        return Opened(
            shape=shape,
            unit=unit,
            in_flight=waits and number in marked_units(self.run_dir / "marks"),
            tries=tries_of(store, number),
            count=browser.count(),
            before=browser.count(number),
            previous=before[0].number if before else None,
            next=behind[0].number if behind else None,
        )

    def _units(self, store: Reader, about: About, ended: Mapping[int, Ended | None], *, digests: bool) -> list[Unit]:
        asked = self._recall_of(about).asked(
            {number: one.digest if one is not None and digests else None for number, one in ended.items()}
        )
        rows, trouble = self._outcomes(store, [number for number, one in ended.items() if one is not None])
        arms = arms_in(store.fact, {}).asked
        return [
            Unit(
                number=number,
                row=number // about.arms,
                variant=arms[number % about.arms].variant if len(arms) == about.arms else None,
                sample=arms[number % about.arms].sample if len(arms) == about.arms else None,
                ended=one,
                outcome=rows.get(number),
                asked=asked[number],
                trouble=trouble if one is not None and number not in rows else "",
            )
            for number, one in ended.items()
        ]

    def _outcomes(self, store: Reader, numbers: list[int]) -> tuple[dict[int, Any], str]:
        """Those output rows that can be read, and why others can't."""
        rows: dict[int, Any] = {}
        try:
            for number, body in outcomes_among(store, self.run_dir, numbers):
                rows[number] = msgspec.json.decode(body)
        except StorageError as error:  # a part that was moved away
            return rows, str(error)
        return rows, ""

    def _narrowed(self, store: Reader) -> tuple[About, Shape]:
        """What the run is about; from here on the store tells of its sample alone, where one was asked."""
        about = about_known_run(store.fact)
        if about.sample is not None:
            if self._chosen is None or self._chosen[0] != about:
                self._chosen = about, about.sample.chosen(about.rows)
            store.choose(self._chosen[1], about.arms)
        return about, _shape_of(store)

    def _recall_of(self, about: About) -> Recall:
        if self._recall is None or self._recall[0] != about:
            self._recall = about, Recall(about, *self._job_of(about))
        return self._recall[1]


def _shape_of(store: Reader) -> Shape:
    about, arms = about_known_run(store.fact), arms_in(store.fact, {})
    return Shape(total=about.total, arms=about.arms, samples=arms.samples, variants=tuple(arms.variants))
