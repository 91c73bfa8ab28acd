"""What to do after a try: one table from the kind of failure to a verdict, and the few rules that need memory.

The table is printed in the README from here. What needs memory is in `LaneHistory`: whether anything on the
lane has succeeded, and who was refused in succession.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from batchrunner.records import Failure, Kind

OUTAGE_AFTER_SECONDS = 10.0
NEW_MODEL_SECONDS = 60.0
REFUSED_IN_SUCCESSION = 3
LIMITED_TRIES = 20
ALIKE_FAILURES = 50


class Verdict(StrEnum):
    """What becomes of the unit."""

    FAIL = "the unit fails"
    AGAIN = "another try, charged to the unit"
    LIMITED = "the lane pauses and the unit is sent again, uncharged"
    UNAVAILABLE = "while nothing has succeeded yet or for 10 s: one probe at a time, uncharged; else another try"
    PARK = "the run parks until the daily reset"
    REFUSED = "the lane stops when nothing succeeded yet or three units in succession meet it; else the unit fails"
    STOP = "the lane stops"


TABLE: dict[Kind, Verdict] = {
    Kind.INVALID_ROW: Verdict.FAIL,
    Kind.TOO_LARGE: Verdict.FAIL,
    Kind.REJECTED: Verdict.FAIL,
    Kind.INVALID_REPLY: Verdict.AGAIN,
    Kind.EMPTY_ANSWER: Verdict.AGAIN,
    Kind.SERVER_ERROR: Verdict.AGAIN,
    Kind.TIMEOUT: Verdict.AGAIN,
    Kind.RATE_LIMITED: Verdict.LIMITED,
    Kind.DAILY_LIMIT: Verdict.PARK,
    Kind.UNAVAILABLE: Verdict.UNAVAILABLE,
    Kind.UNREACHABLE: Verdict.UNAVAILABLE,
    Kind.RESET: Verdict.UNAVAILABLE,
    Kind.REFUSED: Verdict.REFUSED,
    Kind.BILLING: Verdict.STOP,
    Kind.REDIRECTED: Verdict.STOP,
}

# Kinds after which nothing was paid: the gateway turned the request away, or never saw it.
UNPAID = frozenset({Kind.REJECTED, Kind.RATE_LIMITED, Kind.DAILY_LIMIT, Kind.UNREACHABLE, Kind.REFUSED, Kind.BILLING})


@dataclass(slots=True)
class LaneHistory:
    """What a lane has met so far. Instants are seconds of one monotonic clock."""

    last_success: float
    succeeded: bool = False
    refused: list[int] = field(default_factory=list)
    first_refused_at: float | None = None

    def answered(self, now: float) -> None:
        """A try was answered."""
        self.last_success = now
        self.succeeded = True
        self.refused.clear()
        self.first_refused_at = None

    def in_outage(self, now: float) -> bool:
        """Whether nothing has succeeded yet, or for so long that failures tell of the gateway, not of the unit."""
        return not self.succeeded or now - self.last_success >= OUTAGE_AFTER_SECONDS


def judge(failure: Failure, unit: int, history: LaneHistory, now: float) -> Verdict:
    """The verdict on a unit whose try failed: never REFUSED, and UNAVAILABLE only in an outage."""
    verdict = TABLE[failure.kind]
    if verdict is Verdict.REFUSED:
        return _judge_refusal(failure, unit, history, now)
    if verdict is Verdict.UNAVAILABLE and not history.in_outage(now):
        return Verdict.AGAIN
    return verdict


def _judge_refusal(failure: Failure, unit: int, history: LaneHistory, now: float) -> Verdict:
    if history.succeeded:
        if unit not in history.refused:
            history.refused.append(unit)
        return Verdict.STOP if len(history.refused) >= REFUSED_IN_SUCCESSION else Verdict.FAIL
    if history.first_refused_at is None:
        history.first_refused_at = now
    may_be_new = failure.status == 404 and now - history.first_refused_at < NEW_MODEL_SECONDS  # noqa: PLR2004
    return Verdict.UNAVAILABLE if may_be_new else Verdict.STOP
