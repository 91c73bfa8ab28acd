"""What a run of a job would find: its input, what an earlier run did, what this machine's book has. Nothing is written,
locked or sent; whatever would stop the run before it sends (65, 78) is raised here, too.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import TypeVar

import msgspec

from batchrunner.folder.arms import ASIDE, Renumbering, arms_in
from batchrunner.folder.owning import check_absent, check_begin, owns_output
from batchrunner.job.schema import Job, LimitsTable
from batchrunner.limits.estimate import Estimator
from batchrunner.limits.glance import Glance
from batchrunner.limits.page import Page
from batchrunner.plan.weighing import Weighed, weigh
from batchrunner.runner.books import SharedGlance, glance_into
from batchrunner.runner.budget import Budget, budget_of
from batchrunner.runner.course import Course
from batchrunner.runner.declared import declared
from batchrunner.runner.drift import check_columns, names_that_differ, of_what_is_asked
from batchrunner.runner.finishing import check_beside
from batchrunner.runner.going_on import IDENTITY, SCANNED
from batchrunner.runner.money import finder_of
from batchrunner.runner.preparing import Prepared, Scanned, prepare
from batchrunner.runner.session import check_job
from batchrunner.runner.settings import Settings
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.database import FILE
from batchrunner.store.heeding import heed_nobody
from batchrunner.store.lock import holder_of
from batchrunner.store.reading import Answered, Reader, read_store
from batchrunner.store.spending import Spending

_Found = TypeVar("_Found")
LEARNED_FROM = 2000  # tries of the earlier run, the last ones


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is to be planned, under the `name` that it was given. `account`: or the key, None where there is
    none; `until`: its deadline (Unix time), if it has one."""

    name: str
    job: Job
    settings: Settings
    account: str | None = None
    until: float | None = None

    @property
    def base_url(self) -> str:
        """As the book has it."""
        return self.settings.identity_url or self.job.gateway.base_url

    def lane_of(self, model: str) -> str:
        """The models that share limits share this name."""
        return "" if self.job.limits.scope == "account" else model


class Surveyed(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `estimators` by model; `pages` of the book by lane; `budget`: and what earlier runs took of it,
    None where there is none; `holder`: who works on this output now."""

    asked: Asked
    prepared: Prepared
    done: int
    weighed: Weighed
    estimators: dict[str, Estimator]
    pages: dict[str, Page]
    budget: Budget | None
    holder: str | None

    def table(self, model: str) -> LimitsTable:
        """The limits of a model's lane."""
        return self.asked.job.limits.for_model(model)


class _Before(msgspec.Struct, frozen=True, kw_only=True):
    """What the earlier run left: the units that are not asked again, tries to learn from, by their numbers now, and
    what all tries took of a budget."""

    ended: Bitmap
    answered: list[Answered]
    spending: list[Spending]


def survey(asked: Asked, course: Course) -> Surveyed:
    """Look at all of it. StoppedError where `course`, which is told how far it is, was stopped."""
    job, settings = asked.job, asked.settings
    goes_on = _goes_on(asked)
    prepared = _prepared(asked, _read(asked, _scanned) if goes_on else None, course)
    before = _Before(ended=Bitmap(prepared.total), answered=[], spending=[])
    if goes_on:
        with course.doing("reading the run"):
            before = _read(asked, partial(_before, asked=asked, prepared=prepared), course)
    estimators: dict[str, Estimator] = {}

    def estimator_of(model: str) -> Estimator:
        accounting = job.limits.for_model(model).token_accounting
        return estimators.setdefault(model, Estimator(accounting))

    def most_tokens_of(model: str) -> float:
        return declared(job.limits.for_model(model)).most_tokens

    with course.doing("composing requests", prepared.source.size()):
        weighed = weigh(prepared, before.ended, before.answered, estimator_of, most_tokens_of)
    with glance_into(settings.state_dir, settings.shared) as book:
        pages = {} if book is None else _pages(asked, weighed, book)
    return Surveyed(
        asked=asked,
        prepared=prepared,
        done=prepared.asked - weighed.pending,
        weighed=weighed,
        estimators=estimators,
        pages=pages,
        budget=budget_of(job.run, before.spending, finder_of(job.prices)) if job.run.has_budget else None,
        holder=holder_of(settings.run_dir),
    )


def live(page: Page) -> int:
    """Processes that use a lane now."""
    return sum(other.until > time.monotonic() for other in page.others)


def _goes_on(asked: Asked) -> bool:
    """Whether there is an earlier run to go on with. UsageError where a run may not begin."""
    job, settings = asked.job, asked.settings
    check_job(job, settings)
    check_begin(settings.run_dir, job.output_path, resume=settings.resume, overwrite=settings.replaces)
    is_there = (settings.run_dir / FILE).exists()
    may_overwrite = settings.replaces or (is_there and _read(asked, partial(_owns, asked=asked)))
    if not may_overwrite:
        check_absent(job.output_path)
    check_beside(job.output_path, settings, may_overwrite=may_overwrite)
    return is_there and settings.resume != "never"


def _prepared(asked: Asked, known: Scanned | None, course: Course) -> Prepared:
    settings = asked.settings
    return prepare(
        asked.job,
        limit=settings.limit,
        sample=settings.sample,
        base_url=asked.base_url,
        known=known,
        course=course,
        make=settings.hooks.request,
        keeps_raw=settings.keeps_raw,
    )


def _read(asked: Asked, fold: Callable[[Reader], _Found], course: Course | None = None) -> _Found:
    """What stands in the store of the earlier run; one of an older version the run would take up, too."""
    heed = heed_nobody if course is None else course.heed
    return read_store(asked.settings.run_dir, fold, takes_older=True, heed=heed)


def _owns(store: Reader, asked: Asked) -> bool:
    job = asked.job
    return owns_output(store, asked.settings.run_dir, job.output_path, in_parts=job.output_is_folder)


def _scanned(store: Reader) -> Scanned | None:
    fact = store.fact(SCANNED)
    return None if fact is None else msgspec.json.decode(fact, type=Scanned)


def _before(store: Reader, asked: Asked, prepared: Prepared) -> _Before:
    """InputError where units drifted, and the run would stop for it."""
    known = store.fact(IDENTITY)
    earlier = prepared.identity if known is None else msgspec.json.decode(known, type=dict[str, str])
    change = Renumbering(arms_in(store.fact, earlier), prepared.known_arms, prepared.swept)
    answered = [one._replace(number=change.number(one.number)) for one in store.answered(LEARNED_FROM)]
    differing = names_that_differ(prepared.identity, earlier)
    ended = Bitmap(prepared.total)
    spending = list(store.spending()) if asked.job.run.has_budget else []
    if differing and not store.holds_answers():
        return _Before(ended=ended, answered=answered, spending=spending)
    for number, _ in store.digests(change.number):
        ended.add(number)
    check_columns(asked.job.output_path, differing, asked.settings.on_drift)
    if of_what_is_asked(differing):
        drift = prepared.drift_from(lambda: takewhile(lambda unit: unit[0] < ASIDE, store.digests(change.number)))
        if drift and asked.settings.on_drift == "stop":
            raise drift.error(asked.job.output_path, differing)
        if drift and asked.settings.on_drift == "rerun-changed":
            ended = Bitmap(prepared.total, (number for number in ended if number not in drift.changed))
    return _Before(ended=ended, answered=answered, spending=spending)


def _pages(asked: Asked, weighed: Weighed, book: Glance | SharedGlance) -> dict[str, Page]:
    lanes = {asked.lane_of(model) for model in weighed.loads}
    found = {lane: book.page(asked.base_url, asked.account, lane) for lane in lanes}
    return {lane: page for lane, page in found.items() if page is not None}
