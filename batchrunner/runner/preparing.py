"""What is asked of the input, settled before anything is sent: the rows, the template, what the run is about."""

import hashlib
from collections.abc import Callable, Iterable

import msgspec

from batchrunner.chat.request import RequestSettings
from batchrunner.errors import InputError, UsageError
from batchrunner.job.schema import Job
from batchrunner.records import Row
from batchrunner.runner.drift import Drift, compare
from batchrunner.runner.phrasing import phrase
from batchrunner.runner.sampling import Sample
from batchrunner.sink.parts import part_name, suffix_of
from batchrunner.source import Source, open_source, takes_in
from batchrunner.store.bitmap import Bitmap

LOOKED_AT = 100
_ALWAYS_TOLD = frozenset({"model", "system", "prompt", "params"})  # of [request]; earlier versions knew only these


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """An input that was scanned: its SHA-256 in hex, its bytes and its rows."""

    fingerprint: str
    size: int
    rows: int


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An input that can be asked. `total`: how many of its rows are looked at; `chosen`: those of them that are asked,
    all where it is None; `identity`: what makes answers of two runs comparable; `version`: of its files before they
    were read."""

    version: str
    source: Source
    settings: RequestSettings
    scanned: Scanned
    total: int
    sample: Sample | None
    chosen: Bitmap | None
    identity: dict[str, str]

    @property
    def units(self) -> int:
        """How many rows are asked."""
        return self.total if self.chosen is None else len(self.chosen)

    @property
    def words_of_sample(self) -> str:
        """Tells an output of a sample from one of another with as many rows."""
        return "" if self.sample is None else f" of {self.total} by seed {self.sample.seed}"

    def unasked(self, ended: Iterable[int]) -> Bitmap:
        """The rows that are not to be asked: those that have ended, and those that were not chosen."""
        found = Bitmap(self.total) if self.chosen is None else self.chosen.others()
        for number in ended:
            found.add(number)
        return found

    def moved_to(self, place: str) -> "Prepared":
        """The same, its input having been moved."""
        source = open_source(place)
        return msgspec.structs.replace(self, source=source, version=source.version())

    def is_changed(self) -> bool:
        """Whether the input's bytes are others by now; they are read where its files' times of change are others."""
        try:
            return self.source.version() != self.version and self.source.fingerprint() != self.scanned.fingerprint
        except InputError:
            return True

    def drift_from(self, recorded: Callable[[], Iterable[tuple[int, bytes | None]]]) -> Drift:
        """What differs from the units that an earlier run recorded."""
        rows, chosen = self.scanned.rows, self.chosen
        drift = compare(lambda skip: self.source.rows(skip, rows), self.settings, rows, recorded)
        if chosen is None:
            return drift
        return msgspec.structs.replace(drift, new=len(chosen) - sum(number in chosen for number, _ in recorded()))


def prepare(job: Job, *, limit: int | None, sample: Sample | None, base_url: str, known: Scanned | None) -> Prepared:
    """Read the input once; where its bytes are those of `known`, they are hashed only.

    UsageError or InputError for what no row could survive.
    """
    output = job.output_path
    if takes_in(job.input, output / part_name(0, suffix_of(output)) if job.output_is_folder else output):
        raise UsageError(f"{job.output_path} is, or would be, part of the input: name another --output.")
    source = open_source(job.input)
    first = next(source.rows(lambda _: False, LOOKED_AT), [])
    settings = phrase(job, first, base_url=base_url)
    _check_model(job, settings, first)
    version = source.version()
    scanned = _scanned(source, known)
    total = scanned.rows if limit is None else min(scanned.rows, limit)
    return Prepared(
        version=version,
        source=source,
        settings=settings,
        scanned=scanned,
        total=total,
        sample=sample,
        chosen=None if sample is None else sample.chosen(total),
        identity=_identity(job, scanned.fingerprint, base_url),
    )


def _scanned(source: Source, known: Scanned | None) -> Scanned:
    size = source.size()
    if known is not None and known.size == size and known.fingerprint == source.fingerprint():
        return known
    scan = source.scan()
    return Scanned(fingerprint=scan.fingerprint, size=size, rows=scan.rows)


def _check_model(job: Job, settings: RequestSettings, rows: list[Row]) -> None:
    speaking = {"body"} if settings.render is None else set()
    speaking |= {"model"} & set(settings.row_params)
    rows_speak = any(speaking & row.columns.keys() for row in rows)
    if job.request.model is None and rows and not rows_speak:
        raise UsageError("No model is named: say which with --model org/model, or `model` in [request].")
    others = [name for name in job.limits.models if name not in (job.request.model, *job.limits.of_profile)]
    if others and not rows_speak and job.request.model not in job.limits.models:
        raise UsageError(f'[limits."{others[0]}"] is for a model that is not asked; the model is {job.request.model}.')


def _identity(job: Job, fingerprint: str, base_url: str) -> dict[str, str]:
    """The parts whose change makes an earlier run another one. Not the key, limits or time-outs."""
    request = msgspec.to_builtins(job.request)
    encoded = {
        name: msgspec.json.encode(value, order="sorted").decode()
        for name, value in request.items()
        if value or name in _ALWAYS_TOLD
    }
    return {
        "input": fingerprint,
        "base_url": base_url,
        **{name: value if len(value) <= 200 else _digest(value) for name, value in encoded.items()},  # noqa: PLR2004
    }


def _digest(text: str) -> str:
    return "sha256 " + hashlib.sha256(text.encode()).hexdigest()
