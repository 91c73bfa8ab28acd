"""What to do after a try: one table from the kind of failure to a verdict, and the few rules that need memory.

The table is printed in the README from here. What needs memory is in `LaneHistory`: whether anything on the
lane has succeeded, and who was refused in succession.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from batchrunner.records import Failure, Kind

OUTAGE_AFTER_SECONDS = 10.0
FAILURES_OF_ITS_OWN = 3
FAILURES_OF_AN_OUTAGE = 8
NEW_MODEL_SECONDS = 60.0
REFUSED_IN_SUCCESSION = 3
LIMITED_TRIES = 20
ALIKE_FAILURES = 50


_BREAKING = frozenset({502, 504})  # what a proxy says when the server behind it breaks, or does not come back


class Verdict(StrEnum):
    """What becomes of the unit."""

    FAIL = "the unit fails"
    AGAIN = "another try, charged to the unit"
    REASK = "asked again, `invalid_answers` times at most; cut short (`length`), it fails the unit"
    LIMITED = "the lane pauses and the unit is sent again, uncharged"
    UNAVAILABLE = "one probe at a time, uncharged, before the first answer and once all fails for 10 s; else charged"
    PARK = "the lane waits for the daily reset, or the run parks until then"
    REFUSED = "the lane stops when nothing succeeded yet or three units in succession meet it; else the unit fails"
    STOP = "the lane stops"


TABLE: dict[Kind, Verdict] = {
    Kind.INVALID_ROW: Verdict.FAIL,
    Kind.TOO_LARGE: Verdict.FAIL,
    Kind.REJECTED: Verdict.FAIL,
    Kind.INVALID_REPLY: Verdict.AGAIN,
    Kind.EMPTY_ANSWER: Verdict.AGAIN,
    Kind.TRUNCATED: Verdict.AGAIN,
    Kind.INVALID_ANSWER: Verdict.REASK,
    Kind.FINISH_REASON: Verdict.FAIL,
    Kind.SERVER_ERROR: Verdict.AGAIN,
    Kind.TIMEOUT: Verdict.AGAIN,
    Kind.RATE_LIMITED: Verdict.LIMITED,
    Kind.CONCURRENCY: Verdict.LIMITED,
    Kind.DAILY_LIMIT: Verdict.PARK,
    Kind.UNAVAILABLE: Verdict.UNAVAILABLE,
    Kind.UNREACHABLE: Verdict.UNAVAILABLE,
    Kind.RESET: Verdict.UNAVAILABLE,
    Kind.WORKER_LOST: Verdict.AGAIN,
    Kind.REFUSED: Verdict.REFUSED,
    Kind.BILLING: Verdict.STOP,
    Kind.REDIRECTED: Verdict.STOP,
}

# Kinds after which nothing was paid: the gateway turned the request away, or never saw it.
UNPAID = frozenset(
    {
        Kind.REJECTED,
        Kind.RATE_LIMITED,
        Kind.CONCURRENCY,
        Kind.DAILY_LIMIT,
        Kind.UNREACHABLE,
        Kind.REFUSED,
        Kind.BILLING,
    }
)


@dataclass(slots=True)
class LaneHistory:
    """What a lane has met so far. Instants are seconds of one monotonic clock.

    `failing_since`: the first failure of the gateway since the last answer, if any; `failed_in_succession`: how many.
    """

    last_success: float = float("-inf")
    failing_since: float | None = None
    failed_in_succession: int = 0
    refused: list[int] = field(default_factory=list)
    first_refused_at: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether any try has been answered."""
        return self.last_success > float("-inf")

    def answered(self, now: float) -> None:
        """A try was answered."""
        self.last_success = now
        self.failing_since = None
        self.failed_in_succession = 0
        self.refused.clear()
        self.first_refused_at = None

    def nobody_answers(self, in_flight: int) -> bool:
        """Whether as many tries as are in flight, and a few, found no gateway one after another: time to slow down."""
        return self.failed_in_succession >= max(FAILURES_OF_AN_OUTAGE, in_flight)

    def outage_seconds(self, now: float) -> float:
        """For how long there have been failures of the gateway without an answer between."""
        return 0.0 if self.failing_since is None else now - self.failing_since


@dataclass(slots=True)
class UnitHistory:
    """What one unit has met so far: how often and since when it was turned away uncharged.

    `reasked`: how often it was asked again as its answer was not what was asked for, `reasks` times at most.
    `failed_at`: when it last found no gateway; `failed_alone`: how often others were answered since the time before.
    """

    number: int
    reasks: int = 0
    reasked: int = 0
    tries: int = 0
    limited: int = 0
    turned_away_at: float | None = None
    failed_at: float | None = None
    failed_alone: int = 0

    def others_passed(self, history: LaneHistory) -> bool:
        """Whether others were answered since this unit was first turned away: it may be the cause."""
        return self.turned_away_at is not None and history.last_success > self.turned_away_at

    def may_be_the_cause(self, failure: Failure, attempts: int) -> bool:
        """Whether it has had its tries and failed in a way in which a request can bring a gateway down."""
        broke = failure.kind is Kind.RESET or failure.status in _BREAKING
        return broke and self.tries >= attempts

    def finds_no_gateway(self, history: LaneHistory, now: float) -> bool:
        """Take that in; whether it has done so again and again while others passed: no outage then, but the unit."""
        self.failed_alone += self.failed_at is not None and history.last_success > self.failed_at
        self.failed_at = now
        return self.failed_alone >= FAILURES_OF_ITS_OWN


def judge(failure: Failure, unit: UnitHistory, history: LaneHistory, now: float) -> Verdict:
    """The verdict on a unit whose try failed; both histories take it in. Never REFUSED."""
    unit.tries += 1
    match TABLE[failure.kind]:
        case Verdict.REFUSED:
            return _judge_refusal(failure, unit, history, now)
        case Verdict.UNAVAILABLE:
            return _judge_outage(unit, history, now)
        case Verdict.REASK:
            is_over = failure.final or unit.reasked >= unit.reasks
            unit.reasked += not is_over
            return Verdict.FAIL if is_over else Verdict.REASK
        case Verdict.LIMITED:
            unit.limited += 1
            verdict = Verdict.FAIL if unit.limited >= LIMITED_TRIES and unit.others_passed(history) else Verdict.LIMITED
            unit.turned_away_at = now if unit.turned_away_at is None else unit.turned_away_at
            return verdict
        case verdict:
            return verdict


def _judge_outage(unit: UnitHistory, history: LaneHistory, now: float) -> Verdict:
    if history.failing_since is None:
        history.failing_since = now
    history.failed_in_succession += 1
    in_outage = not history.succeeded or history.outage_seconds(now) >= OUTAGE_AFTER_SECONDS
    is_the_cause = unit.finds_no_gateway(history, now)
    if not in_outage or is_the_cause or unit.others_passed(history):
        return Verdict.AGAIN
    unit.turned_away_at = now if unit.turned_away_at is None else unit.turned_away_at
    return Verdict.UNAVAILABLE


def _judge_refusal(failure: Failure, unit: UnitHistory, history: LaneHistory, now: float) -> Verdict:
    if history.succeeded:
        if unit.number not in history.refused:
            history.refused.append(unit.number)
        return Verdict.STOP if len(history.refused) >= REFUSED_IN_SUCCESSION else Verdict.FAIL
    if history.first_refused_at is None:
        history.first_refused_at = now
    may_be_new = failure.status == 404 and now - history.first_refused_at < NEW_MODEL_SECONDS  # noqa: PLR2004
    return Verdict.UNAVAILABLE if may_be_new else Verdict.STOP
