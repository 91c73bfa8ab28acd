"""What each process that asked did, remembered in the run store. One that was cut off leaves when it began."""

from collections.abc import Iterable

import msgspec

from batchrunner.job.schema import LimitsTable
from batchrunner.limits.lane import FOREVER
from batchrunner.limits.window import name_of
from batchrunner.report.past import PastRun
from batchrunner.report.summary import ThisRun
from batchrunner.runner.about import Ended, Fact, about_run, remember_ending
from batchrunner.runner.lanes import declared
from batchrunner.store.database import Store
from batchrunner.store.reading import Reader

_PAST = "past run "


def remember_asking(store: Store, limits: LimitsTable, models: Iterable[str | None]) -> None:
    """This process begins to ask these models; it is known by when it began."""
    about = about_run(store.fact)
    if about is not None:
        lanes = {"account" if limits.scope == "account" else model: model for model in models if model}
        past = PastRun(
            began_at=about.started_at,
            declared={lane: _declared(limits.for_model(model)) for lane, model in lanes.items()},
        )
        store.remember(_name(about.started_at), msgspec.json.encode(past).decode())


def remember_ended(store: Store, did: ThisRun, ended: Ended) -> None:
    """How it ended, and what it did unless it had nothing to ask."""
    remember_ending(ended, store.remember)
    past = _begun(store.fact)
    if past is not None:
        done = msgspec.structs.replace(past, ended_at=ended.at, ending=ended.ending, message=ended.message, did=did)
        store.remember(_name(past.began_at), msgspec.json.encode(done).decode())


def past_runs(store: Reader) -> list[PastRun]:
    """All of them, in order."""
    runs = [msgspec.json.decode(value, type=PastRun) for value in store.facts(_PAST).values()]
    return sorted(runs, key=lambda run: run.began_at)


def _begun(fact: Fact) -> PastRun | None:
    about = about_run(fact)
    known = fact(_name(about.started_at)) if about is not None else None
    return None if known is None else msgspec.json.decode(known, type=PastRun)


def _name(began_at: float) -> str:
    return f"{_PAST}{began_at:.6f}"


def _declared(table: LimitsTable) -> dict[str, float]:
    limits = declared(table)
    days = {"requests/day": limits.requests_per_day, "tokens/day": limits.tokens_per_day}
    return {name_of(limit.key): limit.amount for limit in limits.windows} | {
        name: amount for name, amount in days.items() if amount < FOREVER
    }
