"""How a run stands, read from its folder beside whoever works on it. Memory does not grow with the run."""

import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from batchrunner.folder.about import About, about_known_run, last_ending
from batchrunner.folder.live_file import last_picture
from batchrunner.records import Kind
from batchrunner.report.live import Live
from batchrunner.report.summary import Units, usage_of
from batchrunner.store.heeding import Heed, heed_nobody
from batchrunner.store.lock import holder_of
from batchrunner.store.marks import marked_units
from batchrunner.store.reading import Reader, read_store
from batchrunner.store.summing import DayUsage, ModelUsage, summed, usage_by_day, usage_by_model_and_day

RUNNING = "running"
CUT_OFF = "cut off"
RATES_OVER_SECONDS = 60.0
FRESH_SECONDS = 10.0


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """By the second, over the last minute or the time since this process began."""

    units_per_s: float
    tries_per_s: float
    tokens_per_s: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands. `state` is "running", "cut off", or how it ended, as in its summary; `worked_on_by` names the
    process; `in_flight` are units that were asked and whose answers are not committed; `rates` and `eta_s` are of a
    run that goes on; `cost` is that of all tries but `tries_without_cost`; `live` is the last picture of the loop of
    who works on it, or of who did last; instants are RFC 3339."""

    run_dir: str
    output: str
    state: str
    worked_on_by: str | None
    began_at: str
    units: Units
    failed_by_kind: dict[str, int]
    in_flight: int
    in_doubt: int
    tries: int
    failed_tries_by_kind: dict[str, int]
    usage: dict[str, int]
    cost: float | None
    tries_without_cost: int
    usage_by_day: dict[str, DayUsage]
    usage_by_model_and_day: list[ModelUsage]
    rates: Rates | None
    eta_s: float | None
    message: str | None
    resume_at: str | None
    live: Live | None


def look_at(run_dir: Path, heed: Heed = heed_nobody) -> Status:
    """Read it; `heed` is told of each of its tries. InputError, StorageError where it can't be."""
    holder = holder_of(run_dir)
    return read_store(run_dir, lambda store: status_of(run_dir, store, holder), heed=heed)


def tries_in(run_dir: Path) -> int:
    """How many tries there are to read. InputError, StorageError where nothing can be read."""
    return read_store(run_dir, lambda store: store.last_try())


def status_of(run_dir: Path, store: Reader, holder_before: str | None) -> Status:
    """The lock was looked at before the snapshot and is after it: whoever was there then may have ended meanwhile, or
    begun, and is not to be taken for one who was cut off."""
    about = about_known_run(store.fact)
    holder = holder_before or holder_of(run_dir)
    ended = None if holder else last_ending(store.fact)
    if about.sample is not None:
        store.choose(about.sample.chosen(about.rows), about.arms)
    counted, tries = store.units(about.total), list(store.tries())
    sums = summed(tries)
    failed = sum(counted.failed.values())
    pending = about.units - counted.ok - failed
    marked = marked_units(run_dir / "marks")
    rates = _rates(store, about) if holder else None
    live = _picture(run_dir, about)
    failed_tries = store.failed_tries()
    lost = failed_tries.get(Kind.WORKER_LOST, 0)
    return Status(
        run_dir=str(run_dir),
        output=about.output,
        state=RUNNING if holder else ended.ending if ended else CUT_OFF,
        worked_on_by=holder,
        began_at=_instant(about.began_at),
        units=Units(total=about.units, ok=counted.ok, failed=failed, pending=pending),
        failed_by_kind=counted.failed,
        in_flight=len(marked) if holder else 0,
        in_doubt=int(store.fact("in_doubt") or 0) + (0 if holder else store.pending_of(marked)) + lost,
        tries=sums.tries,
        failed_tries_by_kind=failed_tries,
        usage=usage_of(sums),
        cost=sums.cost,
        tries_without_cost=sums.tries_without_cost,
        usage_by_day=usage_by_day(tries),
        usage_by_model_and_day=usage_by_model_and_day(tries),
        rates=rates,
        eta_s=_eta(pending, rates, live),
        message=ended.message if ended else None,
        resume_at=_instant(ended.resume_at) if ended and ended.resume_at is not None else None,
        live=live,
    )


def _picture(run_dir: Path, about: About) -> Live | None:
    """The loop of the last process that began; one before it is of no interest."""
    live = last_picture(run_dir)
    return live if live is not None and live.at >= about.started_at else None


def _eta(pending: int, rates: Rates | None, live: Live | None) -> float | None:
    """By the rate; where lanes pause, or have daily limits, as whoever is at work sees it."""
    if rates is None:
        return None
    if live is not None and live.has_to_wait and time.time() - live.at < FRESH_SECONDS:
        return live.eta_s
    return pending / rates.units_per_s if rates.units_per_s else None


def _rates(store: Reader, about: About) -> Rates:
    now = time.time()
    seconds = min(RATES_OVER_SECONDS, max(1.0, now - about.started_at))
    recent = store.recent(now - seconds)
    return Rates(
        units_per_s=round(recent.units / seconds, 3),
        tries_per_s=round(recent.tries / seconds, 3),
        tokens_per_s=round(recent.tokens / seconds, 3),
    )


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
