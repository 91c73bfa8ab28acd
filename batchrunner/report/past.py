"""What each process that worked on a run did, as its store remembers it."""

import msgspec

from batchrunner.report.live import Live
from batchrunner.report.summary import ThisRun


class PastRun(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `declared`: the limits of its job by lane and name, such as tokens/minute; `ended_at`, `ending`,
    `message` and `did` are None while it is at work, and when it was cut off. Instants are Unix time."""

    began_at: float
    declared: dict[str, dict[str, float]]
    ended_at: float | None = None
    ending: str | None = None
    message: str | None = None
    did: ThisRun | None = None

    def limits(self, live: Live | None = None) -> dict[str, dict[str, float]]:
        """The limits that held, by lane and name: those in force when it ended, or now, as `live` has them, else those
        declared."""
        uses = self.did.lanes if self.did is not None else [lane.use for lane in live.lanes] if live is not None else []
        lanes = [lane for lane in uses if lane.requests]
        return {lane.lane: {one.limit: one.amount for one in lane.limits} for lane in lanes} or self.declared
