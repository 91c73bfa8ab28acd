"""What is asked of the input, settled before anything is sent: the rows, the template, what the run is about."""

import difflib
import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from batchrunner.chat.request import RequestSettings
from batchrunner.errors import InputError, UsageError
from batchrunner.job.schema import Job
from batchrunner.records import Row
from batchrunner.runner.drift import Drift, compare
from batchrunner.runner.hooks import MakeRequest, RemadeSource
from batchrunner.source import Source, open_source
from batchrunner.source.template import Template, compile_template, missing_columns

LOOKED_AT = 100


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """An input that was scanned: its SHA-256 in hex, its bytes and its rows."""

    fingerprint: str
    size: int
    rows: int


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An input that can be asked. `total`: how many of its rows are; `identity`: what makes answers of two runs
    comparable; `stamp`: the file's size and time of change (ns) before it was read."""

    path: Path
    stamp: tuple[int, int]
    source: Source
    settings: RequestSettings
    scanned: Scanned
    total: int
    identity: dict[str, str]

    def is_changed(self) -> bool:
        """Whether the input's bytes are others by now; they are read where its time of change is another."""
        try:
            return _stamp(self.path) != self.stamp and self.source.fingerprint() != self.scanned.fingerprint
        except (OSError, InputError):
            return True

    def drift_from(self, recorded: Callable[[], Iterable[tuple[int, bytes | None]]]) -> Drift:
        """What differs from the units that an earlier run recorded."""
        rows = self.scanned.rows
        return compare(lambda skip: self.source.rows(skip, rows), self.settings, rows, recorded)


def prepare(
    job: Job, *, limit: int | None, base_url: str, known: Scanned | None, make: MakeRequest | None = None
) -> Prepared:
    """Read the input once; where its bytes are those of `known`, they are hashed only. `make` makes the requests.

    UsageError or InputError for what no row could survive.
    """
    if job.output_path.exists() and job.input_path.exists() and job.output_path.samefile(job.input_path):
        raise UsageError(f"{job.output_path} is the input: name another --output.")
    template = compile_template(job.request.prompt) if job.request.prompt is not None else None
    source = _source(job, make)
    first = next(source.rows(lambda _: False, LOOKED_AT), [])
    if template is not None:
        _check_columns(template, first)
    _check_model(job, template, first)
    stamp = _stamp(job.input_path)
    scanned = _scanned(source, stamp[0], known)
    settings = RequestSettings(
        model=job.request.model,
        base_url=base_url,
        params=job.request.params,
        system=job.request.system,
        render=template.render if template else None,
        stream=job.request.stream,
    )
    return Prepared(
        path=job.input_path,
        stamp=stamp,
        source=source,
        settings=settings,
        scanned=scanned,
        total=scanned.rows if limit is None else min(scanned.rows, limit),
        identity=_identity(job, scanned.fingerprint, base_url) | _identity_of(make),
    )


def _source(job: Job, make: MakeRequest | None) -> Source:
    source = open_source(job.input_path)
    if make is None:
        return source
    if job.request.prompt is not None:
        raise UsageError("A prompt template and a function that makes the requests both say what is asked.")
    return RemadeSource(source, make, job.request.model)


def _identity_of(make: MakeRequest | None) -> dict[str, str]:
    """Nobody knows whether a function is the one of the earlier run: it never is, so that what it makes is compared."""
    return {} if make is None else {"function that makes the requests": str(time.time_ns())}


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


def _check_model(job: Job, template: Template | None, rows: list[Row]) -> None:
    bodies_speak = template is None and any("body" in row.columns for row in rows)
    if job.request.model is None and rows and not bodies_speak:
        raise UsageError("No model is named: say which with --model org/model, or `model` in [request].")
    others = [name for name in job.limits.models if name != job.request.model]
    if others and not bodies_speak and job.request.model not in job.limits.models:
        raise UsageError(f'[limits."{others[0]}"] is for a model that is not asked; the model is {job.request.model}.')


def _identity(job: Job, fingerprint: str, base_url: str) -> dict[str, str]:
    """The parts whose change makes an earlier run another one. Not the key, limits or time-outs, nor streams."""
    request = msgspec.to_builtins(job.request)
    del request["stream"]
    encoded = {name: msgspec.json.encode(value, order="sorted").decode() for name, value in request.items()}
    return {
        "input": fingerprint,
        "base_url": base_url,
        **{name: value if len(value) <= 200 else _digest(value) for name, value in encoded.items()},  # noqa: PLR2004
    }


def _digest(text: str) -> str:
    return "sha256 " + hashlib.sha256(text.encode()).hexdigest()
