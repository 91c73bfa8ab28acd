"""What is asked of the input, settled before anything is sent: the rows, in which ways, what the run is about."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from batchrunner.chat.request import RequestSettings
from batchrunner.chat.shapes import with_seed_of
from batchrunner.errors import InputError, UsageError
from batchrunner.folder.arms import KnownArm, known_arms
from batchrunner.folder.columns import columns_of, keep_of, kinds_in_input
from batchrunner.folder.identity import identity_of
from batchrunner.folder.sampling import Sample
from batchrunner.job.parameters import misspelt
from batchrunner.job.schema import Job
from batchrunner.job.sweep import Arm, arms_of, swept_in
from batchrunner.records import Row
from batchrunner.runner.checking import bodies_speak, check_asked, check_output_apart
from batchrunner.runner.course import Course
from batchrunner.runner.drift import Drift, Recorded, compare
from batchrunner.runner.hooks import MakeRequest, RemadeSource
from batchrunner.runner.missing import check_keep, warnings_of_row_params
from batchrunner.runner.phrasing import phrase
from batchrunner.sink.columns import Columns, Kinds
from batchrunner.source import Keep, Source, open_source
from batchrunner.store.bitmap import Bitmap

LOOKED_AT = 100


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """An input that was scanned: its SHA-256 in hex, its bytes and its rows; the kinds of values in the columns that
    are kept (`keep`), where it was read for them."""

    fingerprint: str
    size: int
    rows: int
    keep: list[str] | Literal["all"] = []
    kinds: Kinds | None = None


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An input that can be asked. `rows`: how many of its rows are looked at; `chosen`: those of them that are asked,
    all where it is None; `arms`: in which ways each of them is, and `settings` what each way says of a request;
    `identity`: what makes answers of two runs comparable; `version`: of its files before they were read; `warnings`: of
    what may be a mistake; `columns`: what its output rows have beside the native ones, `keep` what of the input."""

    version: str
    source: Source | RemadeSource
    settings: tuple[RequestSettings, ...]
    scanned: Scanned
    arms: tuple[Arm, ...]
    rows: int
    sample: Sample | None
    chosen: Bitmap | None
    identity: dict[str, str]
    columns: Columns
    keep: Keep | None
    warnings: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Units of the rows that are looked at; their numbers are below it."""
        return self.rows * len(self.arms)

    @property
    def asked(self) -> int:
        """How many units are asked."""
        return self.total if self.chosen is None else len(self.chosen) * len(self.arms)

    @property
    def known_arms(self) -> list[KnownArm]:
        """The arms, as the run folder remembers them."""
        return known_arms(self.arms)

    @property
    def swept(self) -> tuple[str, ...]:
        """What differs between variants, by name."""
        return self.settings[0].swept

    @property
    def words_of_sample(self) -> str:
        """Tells an output of a sample from one of another with as many rows."""
        return "" if self.sample is None else f" of {self.rows} by seed {self.sample.seed}"

    def unasked(self, ended: Iterable[int]) -> Bitmap:
        """The units that are not to be asked: those that have ended, and those of rows that were not chosen."""
        found, arms = Bitmap(self.total), len(self.arms)
        if self.chosen is not None and arms == 1:
            found = self.chosen.others()
        elif self.chosen is not None:
            for row in self.chosen.others():
                for number in range(row * arms, (row + 1) * arms):
                    found.add(number)
        for number in ended:
            found.add(number)
        return found

    def units(self, skip: Callable[[int], bool], rows: int) -> Iterator[list[Row]]:
        """Batches of units, each as its row, in order: of the input's first `rows` those whose numbers `skip` does not
        want left out. A row is read once for all its units."""
        arms = len(self.arms)
        if arms == 1:
            return self.source.rows(skip, rows)
        batches = self.source.rows(lambda row: all(map(skip, range(row * arms, (row + 1) * arms))), rows)
        return ([unit for row in batch for unit in _units_of(row, arms, skip)] for batch in batches)

    def moved_to(self, place: str, read: Callable[[int], object]) -> "Prepared":
        """The same, its input having been moved."""
        source = open_source(place, read, self.keep)
        return msgspec.structs.replace(self, source=source, version=source.version())

    def is_changed(self) -> bool:
        """Whether the input's bytes are others by now; they are read where its time of change is another."""
        try:
            return self.source.version() != self.version and self.source.fingerprint() != self.scanned.fingerprint
        except (OSError, InputError):
            return True

    def drift_from(self, recorded: Recorded) -> Drift:
        """What differs from the units that an earlier run recorded."""
        rows = self.scanned.rows
        return compare(lambda skip: self.units(skip, rows), self.settings, rows * len(self.arms), recorded)


def prepare(
    job: Job,
    *,
    limit: int | None,
    sample: Sample | None,
    base_url: str,
    known: Scanned | None,
    course: Course,
    make: MakeRequest | None = None,
    keeps_raw: bool = False,
) -> Prepared:
    """Read the input once; where its bytes are those of `known`, they are hashed only. `make` makes the requests;
    `keeps_raw`: outcomes have the bodies of replies. UsageError or InputError for what no row could survive."""
    check_output_apart(job)
    arms = arms_of(job.request, job.sweep)
    keep = keep_of(job)
    as_it_is = open_source(job.input, course.count, keep)
    source = _source(job, as_it_is, make)
    first = _first_rows(job, source, as_it_is)
    settings = settings_of(job, arms, first, base_url, from_texts=as_it_is.has_texts_only, keeps_raw=keeps_raw)
    check_asked(job, settings, first)
    version = source.version()  # before it is read
    scanned = _with_kinds(_scanned(source, known, course), job, as_it_is, known)
    rows = scanned.rows if limit is None else min(scanned.rows, limit)
    return Prepared(
        version=version,
        source=source,
        settings=settings,
        scanned=scanned,
        arms=arms,
        rows=rows,
        sample=sample,
        chosen=_chosen(sample, rows, course),
        identity=identity_of(job, scanned.fingerprint, base_url) | _identity_of(make, keeps_raw=keeps_raw),
        columns=columns_of(job, settings, scanned.kinds, bodies_speak=bodies_speak(settings, first)),
        keep=keep,
        warnings=_warnings(job, as_it_is, first),
    )


def _chosen(sample: Sample | None, rows: int, course: Course) -> Bitmap | None:
    """The rows of the sample among so many; None for all."""
    with course.doing("choosing the sample"):
        return None if sample is None else sample.chosen(rows)


def _first_rows(job: Job, source: Source | RemadeSource, as_it_is: Source) -> list[Row]:
    """What is looked at before all is read, as it will be asked."""
    first = _looked_at(source)
    check_keep(job.keep, first if source is as_it_is else _looked_at(as_it_is))
    return first


def _looked_at(source: Source | RemadeSource) -> list[Row]:
    return next(source.rows(lambda _: False, LOOKED_AT), [])


def _warnings(job: Job, source: Source, first: list[Row]) -> tuple[str, ...]:
    named = job.request.row_params
    return (*warnings_of_row_params(named, source, first), *misspelt([*job.request.params, *named, *job.sweep]))


def _with_kinds(scanned: Scanned, job: Job, source: Source, known: Scanned | None) -> Scanned:
    same = known is not None and (known.fingerprint, known.keep) == (scanned.fingerprint, job.keep)
    kinds = kinds_in_input(job, source, found_before=known.kinds if known is not None and same else None)
    return msgspec.structs.replace(scanned, keep=job.keep, kinds=kinds)


def _source(job: Job, source: Source, make: MakeRequest | None) -> Source | RemadeSource:
    if make is None:
        return source
    if job.request.prompt is not None or job.request.messages or "prompt" in job.sweep:
        raise UsageError("A prompt template and a function that makes the requests both say what is asked.")
    return RemadeSource(source, make, job.request.model)


def _identity_of(make: MakeRequest | None, *, keeps_raw: bool) -> dict[str, str]:
    """Nobody knows whether a function is the one of the earlier run: it never is, so that what it makes is compared."""
    made = {} if make is None else {"function that makes the requests": str(time.time_ns())}
    return made | ({"raw": "true"} if keeps_raw else {})


def settings_of(
    job: Job, arms: Sequence[Arm], first: list[Row], base_url: str, *, from_texts: bool, keeps_raw: bool
) -> tuple[RequestSettings, ...]:
    """What each arm says of a request. The samples of a variant share its templates."""
    swept = swept_in(job.sweep)
    phrased: dict[int, RequestSettings] = {}
    for arm in arms:
        if id(arm.request) not in phrased:
            variant = msgspec.structs.replace(job, request=arm.request)
            settings = phrase(variant, first, base_url=base_url, from_texts=from_texts)
            phrased[id(arm.request)] = msgspec.structs.replace(settings, keeps_raw=keeps_raw)
    return tuple(_of_arm(phrased[id(arm.request)], arm, swept) for arm in arms)


def _of_arm(variant: RequestSettings, arm: Arm, swept: tuple[str, ...]) -> RequestSettings:
    params = dict(sorted(with_seed_of(arm.sample or 0, variant.params).items()))  # wherever they stand
    return msgspec.structs.replace(variant, params=params, variant=arm.variant, sample=arm.sample, swept=swept)


def _units_of(row: Row, arms: int, skip: Callable[[int], bool]) -> Iterator[Row]:
    """The row once for each of its units that is wanted."""
    first = row.number * arms
    for number in range(first, first + arms):
        if not skip(number):
            yield Row(number=number, id=row.id, columns=row.columns, failure=row.failure, arms=arms, kept=row.kept)


def _scanned(source: Source | RemadeSource, known: Scanned | None, course: Course) -> Scanned:
    size = source.size()
    if known is not None and known.size == size:
        with course.doing("comparing the input with that of the earlier run", size):
            if known.fingerprint == source.fingerprint():
                return known
    with course.doing("reading the input", size):
        scan = source.scan()
    return Scanned(fingerprint=scan.fingerprint, size=size, rows=scan.rows)
