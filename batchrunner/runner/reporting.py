"""Gathers what the page of a run tells, from its folder beside whoever works on it. Memory does not grow with the run.

One pass over all tries, one over the failed units: about five seconds of one core for a million tries.
"""

import time
from pathlib import Path

import msgspec

from batchrunner.errors import StorageError
from batchrunner.records import Outcome
from batchrunner.report.causes import Cause, causes_of
from batchrunner.report.facts import Facts, Mood, Place
from batchrunner.report.history import History
from batchrunner.runner.about import About, about_known_run, last_ending
from batchrunner.runner.arms import Arms, arms_in
from batchrunner.runner.ending import End
from batchrunner.runner.looking import CUT_OFF, RUNNING, status_of
from batchrunner.runner.past import past_runs
from batchrunner.runner.published import outcomes_among
from batchrunner.store.lock import holder_of
from batchrunner.store.reading import Reader, read_store

EXAMPLES = 25  # causes whose first unit is shown in full

_MOODS = {
    RUNNING: Mood.UNDERWAY,
    CUT_OFF: Mood.PAUSED,
    End.ANSWERED: Mood.GOOD,
    End.SOME_FAILED: Mood.FLAWED,
    End.PARKED: Mood.PAUSED,
    End.INTERRUPTED: Mood.PAUSED,
    End.TERMINATED: Mood.PAUSED,
    End.LEFT: Mood.PAUSED,
}


def facts_of(run_dir: Path) -> Facts:
    """Read them. InputError, StorageError where they can't be."""
    holder = holder_of(run_dir)
    return read_store(run_dir, lambda store: _facts(run_dir, store, holder))


def _facts(run_dir: Path, store: Reader, holder: str | None) -> Facts:
    status = status_of(run_dir, store, holder)  # narrows the store to a sample, if that is what is asked
    about, ended = about_known_run(store.fact), last_ending(store.fact)
    arms = arms_in(store.fact, {})
    samples = sum(arm.variant == arms.asked[0].variant for arm in arms.asked)
    history = History(arms=about.arms, samples=samples)
    history.add(store.each_try())
    return Facts(
        output=status.output,
        run_dir=status.run_dir,
        made_at=time.time(),
        mood=_MOODS.get(status.state, Mood.BAD),
        state=status.state,
        message=status.message or "",
        worked_on_by=status.worked_on_by,
        resume_at=ended.resume_at if ended and not status.worked_on_by else None,
        units=status.units,
        in_flight=status.in_flight,
        in_doubt=status.in_doubt,
        units_per_s=status.rates.units_per_s if status.rates else None,
        eta_s=status.eta_s,
        began_at=about.began_at,
        ended_at=ended.at if ended and not status.worked_on_by else None,
        history=history,
        causes=_causes(run_dir, store, about.total),
        places=_places(store, about, arms, samples),
        arms=about.arms,
        runs=past_runs(store),
    )


def _causes(run_dir: Path, store: Reader, total: int) -> list[Cause]:
    causes = causes_of(store.failed_units(total))
    wanted = sorted(cause.first for cause in causes[:EXAMPLES])
    try:
        rows = dict(outcomes_among(store, run_dir, wanted))
    except StorageError:  # a part that was moved away: what failed is told without its id
        return causes
    for cause in causes[:EXAMPLES]:
        if cause.first in rows:
            cause.row = msgspec.json.decode(rows[cause.first], type=Outcome)
    return causes


def _places(store: Reader, about: About, arms: Arms, samples: int) -> list[Place]:
    if about.arms == 1 or len(arms.asked) != about.arms:
        return []
    units = store.units_by_arm(about.total, about.arms)
    places = []
    for first in range(0, about.arms, samples):
        of_place = [units.get(arm, (0, 0)) for arm in range(first, first + samples)]
        ended, ok = sum(one for one, _ in of_place), sum(one for _, one in of_place)
        model = arms.asked[first].values.get("model", "")
        places.append(
            Place(
                name=arms.asked[first].variant,
                model=msgspec.json.decode(model, type=str) if model.startswith('"') else None,
                ok=ok,
                failed=ended - ok,
            )
        )
    return places
