"""Gathers what the page of a run tells, from its folder beside whoever works on it. Memory does not grow with the run.

One pass over all tries, one over the failed units: about five seconds of one core for a million tries.
"""

import time
from pathlib import Path

import msgspec

from batchrunner.errors import StorageError
from batchrunner.folder.about import About, about_known_run, last_ending
from batchrunner.folder.arms import Arms, arms_in
from batchrunner.folder.ending import End
from batchrunner.folder.looking import CUT_OFF, RUNNING, Status, status_of
from batchrunner.folder.past import past_runs
from batchrunner.folder.published import outcomes_among
from batchrunner.records import Outcome
from batchrunner.report.causes import Cause, causes_of
from batchrunner.report.facts import Facts, Mood, Place
from batchrunner.report.history import History
from batchrunner.store.heeding import Heed, heed_nobody
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


def facts_of(run_dir: Path, heed: Heed) -> Facts:
    """Read them; `heed` is told of each try, twice. InputError, StorageError where they can't be."""
    return Chronicle(run_dir, heed).facts()


class Chronicle:
    """The facts of one run, which may be read again and again: tries that were folded in once are not read anew."""

    def __init__(self, run_dir: Path, heed: Heed = heed_nobody) -> None:
        self._run_dir = run_dir
        self._heed = heed
        self._history: History | None = None
        self._arms: tuple[int, int] = (0, 0)

    def facts(self) -> Facts:
        """As they are now. InputError, StorageError where they can't be read."""
        holder = holder_of(self._run_dir)
        return read_store(self._run_dir, lambda store: self._facts(store, holder), heed=self._heed)

    def _facts(self, store: Reader, holder: str | None) -> Facts:
        status = status_of(self._run_dir, store, holder)  # narrows the store to a sample, if that is what is asked
        history = self._taken(about_known_run(store.fact).arms, arms_in(store.fact, {}).samples)
        history.add(store.each_try(history.sums.tries))
        facts = _facts(self._run_dir, store, status, history)
        self._history = history
        return facts

    def _taken(self, arms: int, samples: int) -> History:
        """The history so far, which stays away when reading fails in its middle; a new one where units have other
        numbers."""
        history, self._history = self._history, None
        if history is None or self._arms != (arms, samples):
            history, self._arms = History(arms=arms, samples=samples), (arms, samples)
        return history


def _facts(run_dir: Path, store: Reader, status: Status, history: History) -> Facts:
    about, ended = about_known_run(store.fact), last_ending(store.fact)
    arms = arms_in(store.fact, {})
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
        places=_places(store, about, arms),
        arms=about.arms,
        runs=past_runs(store),
        live=status.live if status.state in (RUNNING, CUT_OFF) else None,
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


def _places(store: Reader, about: About, arms: Arms) -> list[Place]:
    if about.arms == 1 or len(arms.asked) != about.arms:
        return []
    units = store.units_by_arm(about.total, about.arms)
    places = []
    for first in range(0, about.arms, arms.samples):
        of_place = [units.get(arm, (0, 0)) for arm in range(first, first + arms.samples)]
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
