"""What is asked of the input, settled before anything is sent: the rows, the template, what the run is about."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from batchrunner.chat.request import RequestSettings, with_seed_of
from batchrunner.errors import InputError, UsageError
from batchrunner.job.schema import Job, RequestTable
from batchrunner.job.sweep import Arm, arms_of, swept_in
from batchrunner.records import Row
from batchrunner.runner.arms import KnownArm, known_arms
from batchrunner.runner.drift import Drift, Recorded, compare
from batchrunner.runner.identity import identity_of
from batchrunner.source import Source, open_source
from batchrunner.source.template import Template, compile_template, missing_columns

LOOKED_AT = 100


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """An input that was scanned: its SHA-256 in hex, its bytes and its rows."""

    fingerprint: str
    size: int
    rows: int


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An input that can be asked. `asked_rows`: how many of its rows are; `arms`: in which ways each of them is, and
    `settings` what each way says of a request; `identity`: what makes answers of two runs comparable; `stamp`: the
    file's size and time of change (ns) before it was read."""

    path: Path
    stamp: tuple[int, int]
    source: Source
    settings: tuple[RequestSettings, ...]
    scanned: Scanned
    arms: tuple[Arm, ...]
    asked_rows: int
    identity: dict[str, str]

    @property
    def total(self) -> int:
        """How many units there are."""
        return self.asked_rows * len(self.arms)

    @property
    def known_arms(self) -> list[KnownArm]:
        """The arms, as the run folder remembers them."""
        return known_arms(self.arms)

    @property
    def swept(self) -> tuple[str, ...]:
        """What differs between variants, by name."""
        return self.settings[0].swept

    def units(self, skip: Callable[[int], bool], rows: int) -> Iterator[list[Row]]:
        """Batches of units, each as its row, in order: of the input's first `rows` those whose numbers `skip` does not
        want left out. A row is read once for all its units."""
        arms = len(self.arms)
        if arms == 1:
            return self.source.rows(skip, rows)
        batches = self.source.rows(lambda row: all(map(skip, range(row * arms, (row + 1) * arms))), rows)
        return ([unit for row in batch for unit in _units_of(row, arms, skip)] for batch in batches)

    def is_changed(self) -> bool:
        """Whether the input's bytes are others by now; they are read where its time of change is another."""
        try:
            return _stamp(self.path) != self.stamp and self.source.fingerprint() != self.scanned.fingerprint
        except (OSError, InputError):
            return True

    def drift_from(self, recorded: Recorded) -> Drift:
        """What differs from the units that an earlier run recorded."""
        rows = self.scanned.rows
        return compare(lambda skip: self.units(skip, rows), self.settings, rows * len(self.arms), recorded)


def prepare(job: Job, *, limit: int | None, base_url: str, known: Scanned | None) -> Prepared:
    """Read the input once; where its bytes are those of `known`, they are hashed only.

    UsageError or InputError for what no row could survive.
    """
    if job.output_path.exists() and job.input_path.exists() and job.output_path.samefile(job.input_path):
        raise UsageError(f"{job.output_path} is the input: name another --output.")
    arms = arms_of(job.request, job.sweep)
    texts = dict.fromkeys(arm.request.prompt for arm in arms)
    templates = {text: compile_template(text) for text in texts if text is not None}
    source = open_source(job.input_path)
    first = next(source.rows(lambda _: False, LOOKED_AT), [])
    for template in templates.values():
        _check_columns(template, first)
    bodies_speak = not templates and any("body" in row.columns for row in first)
    _check_sweep(job, bodies_speak=bodies_speak)
    _check_model(job, {arm.request.model for arm in arms}, first, bodies_speak=bodies_speak)
    stamp = _stamp(job.input_path)
    scanned = _scanned(source, stamp[0], known)
    swept = swept_in(job.sweep)
    return Prepared(
        path=job.input_path,
        stamp=stamp,
        source=source,
        settings=tuple(
            msgspec.structs.replace(
                _settings(arm.request, templates, base_url),
                params=dict(sorted(with_seed_of(arm.sample or 0, arm.request.params).items())),  # wherever they stand
                variant=arm.variant,
                sample=arm.sample,
                swept=swept,
            )
            for arm in arms
        ),
        scanned=scanned,
        arms=arms,
        asked_rows=scanned.rows if limit is None else min(scanned.rows, limit),
        identity=identity_of(job, scanned.fingerprint, base_url),
    )


def _settings(request: RequestTable, templates: Mapping[str, Template], base_url: str) -> RequestSettings:
    return RequestSettings(
        model=request.model,
        base_url=base_url,
        params=request.params,
        system=request.system,
        render=None if request.prompt is None else templates[request.prompt].render,
    )


def _units_of(row: Row, arms: int, skip: Callable[[int], bool]) -> Iterator[Row]:
    """The row once for each of its units that is wanted."""
    first = row.number * arms
    for number in range(first, first + arms):
        if not skip(number):
            yield Row(number=number, id=row.id, columns=row.columns, failure=row.failure, arms=arms)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _scanned(source: Source, size: int, known: Scanned | None) -> Scanned:
    if known is not None and known.size == size and known.fingerprint == source.fingerprint():
        return known
    scan = source.scan()
    return Scanned(fingerprint=scan.fingerprint, size=size, rows=scan.rows)


def _check_columns(template: Template, rows: list[Row]) -> None:
    missing = sorted(missing_columns(template, rows))
    if not missing:
        return
    known = sorted({name for row in rows for name in row.columns})
    near = difflib.get_close_matches(missing[0], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"its columns are: {', '.join(known) or 'none'}."
    raise UsageError(f"The template needs the column {missing[0]!r}, which the input does not have; {hint}")


def _check_model(job: Job, models: set[str | None], rows: list[Row], *, bodies_speak: bool) -> None:
    if None in models and rows and not bodies_speak:
        raise UsageError("No model is named: say which with --model org/model, or `model` in [request].")
    others = [name for name in job.limits.models if name not in models]
    if others and not bodies_speak and len(others) == len(job.limits.models):
        asked = ", ".join(sorted(filter(None, models)))
        raise UsageError(f'[limits."{others[0]}"] is for a model that is not asked; the model is {asked}.')


def _check_sweep(job: Job, *, bodies_speak: bool) -> None:
    swept = swept_in(job.sweep)
    if swept and bodies_speak:
        raise UsageError(
            f"The rows have a `body` each, which is sent as written: [sweep] can't change their {', '.join(swept)}; "
            "`samples` it may have."
        )
