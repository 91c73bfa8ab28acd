"""All that the page of a run tells: folds of its store, without a word of how it looks."""

from enum import StrEnum

import msgspec

from batchrunner.report.causes import Cause
from batchrunner.report.history import History
from batchrunner.report.live import Live
from batchrunner.report.past import PastRun
from batchrunner.report.summary import Units


class Mood(StrEnum):
    """What somebody who looks at the page in the morning has to do."""

    GOOD = "good"  # nothing
    UNDERWAY = "underway"  # wait
    PAUSED = "paused"  # run it again, later or now
    FLAWED = "flawed"  # look at what failed
    BAD = "bad"  # find out what is wrong first


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of the sweep: its name and model, as the job says, and its units that ended."""

    name: str | None
    model: str | None
    ok: int
    failed: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """How a run went, or goes. `state`: in words; `message`: why it stopped; `causes`: of failed units; `places`: the
    variants, by their place; `runs`: the processes that asked, in order; `live`: what the last of them does, or
    did when it was cut off; instants are Unix time."""

    output: str
    run_dir: str
    made_at: float
    mood: Mood
    state: str
    message: str
    worked_on_by: str | None
    resume_at: float | None
    units: Units
    in_flight: int
    in_doubt: int
    units_per_s: float | None
    eta_s: float | None
    began_at: float
    ended_at: float | None
    history: History
    causes: list[Cause]
    places: list[Place]
    arms: int
    runs: list[PastRun]
    live: Live | None
