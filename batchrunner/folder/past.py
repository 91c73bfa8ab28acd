"""What each process that asked did, remembered in the run store. One that was cut off leaves when it began."""

import msgspec

from batchrunner.folder.about import Ended, Fact, about_run, remember_ending
from batchrunner.report.past import PastRun
from batchrunner.report.summary import ThisRun
from batchrunner.store.database import Store
from batchrunner.store.reading import Reader

_PAST = "past run "


def remember_asking(store: Store, declared: dict[str, dict[str, float]]) -> None:
    """This process begins to ask, under these limits of its lanes; it is known by when it began."""
    about = about_run(store.fact)
    if about is not None:
        past = PastRun(began_at=about.started_at, declared=declared)
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
