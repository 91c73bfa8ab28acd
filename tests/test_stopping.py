"""When failing units stop a run: the first ones all alike, or more than --max-failed."""

import pytest

from batchrunner.cli.types import MostFailed
from batchrunner.folder.ending import End
from batchrunner.records import ErrorColumn, Kind, Outcome
from batchrunner.runner.stopping import MaxFailed, Stopping

FIVE_PERCENT = MaxFailed(share=0.05)


def ended(number: int, kind: Kind | None) -> Outcome:
    """A unit that ended so; None is an answer."""
    error = None if kind is None else ErrorColumn(kind=kind, status=None, message="no")
    return Outcome(id=str(number), row=number, status="ok" if error is None else "failed", error=error)


def stops_at(kinds: list[Kind | None], most: MaxFailed, *, asked: bool = True, before: bool = False) -> int | None:
    """The number of the unit at which a run stops first."""
    stopping = Stopping(most, answered_before=before)
    return next((n for n, kind in enumerate(kinds) if stopping.take(n, ended(n, kind), asked=asked)), None)


@pytest.mark.parametrize(
    ("kinds", "stop"),
    [
        ([Kind.REJECTED] * 60, 49),
        ([Kind.REJECTED] * 49 + [None] + [Kind.REJECTED] * 60, None),
        ([Kind.REJECTED] * 49 + [Kind.TIMEOUT] + [Kind.REJECTED] * 60, None),
        ([None] + [Kind.REJECTED] * 60, None),
    ],
)
def test_the_first_fifty_all_failing_alike_stop_the_run(kinds: list[Kind | None], stop: int | None) -> None:
    assert stops_at(kinds, MaxFailed()) == stop


def test_rows_that_nobody_was_asked_for_tell_nothing_of_the_gateway() -> None:
    assert stops_at([Kind.INVALID_ROW] * 100, MaxFailed(), asked=False) is None


def test_an_answer_of_an_earlier_run_counts_too() -> None:
    assert stops_at([Kind.REJECTED] * 100, MaxFailed(), before=True) is None


def test_those_that_failed_alike_are_to_be_asked_again_also_those_that_were_in_flight() -> None:
    stopping = Stopping(MaxFailed(), answered_before=False)
    endings = [stopping.take(number, ended(number, Kind.REFUSED), asked=True) for number in range(55)]
    assert endings[49].end is End.UNREACHABLE
    assert stopping.not_to_blame == list(range(55))


@pytest.mark.parametrize(
    ("most", "failed_of", "stop"),
    [
        (FIVE_PERCENT, (10, 200), False),
        (FIVE_PERCENT, (11, 200), True),
        (FIVE_PERCENT, (150, 199), False),
        (MaxFailed(count=0), (1, 1), True),
        (MaxFailed(count=3), (3, 3), False),
        (MaxFailed(count=3), (4, 4000), True),
        (MaxFailed(), (10_000, 10_000), False),
    ],
)
def test_more_failed_units_than_may_be_stop_the_run(most: MaxFailed, failed_of: tuple[int, int], stop: bool) -> None:  # noqa: FBT001
    failed, finished = failed_of
    kinds = [None] * (finished - failed) + [Kind.TIMEOUT] * failed
    assert (stops_at(kinds, most, before=True) is not None) is stop


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("none", MaxFailed()),
        ("0", MaxFailed(count=0)),
        ("20", MaxFailed(count=20)),
        ("5%", FIVE_PERCENT),
        ("0.5%", MaxFailed(share=0.005)),
    ],
)
def test_how_many_may_fail_is_written_as_a_number_or_a_share(text: str, means: MaxFailed) -> None:
    assert MostFailed().convert(text, None, None) == means
    assert text == "none" or means.words() == text
