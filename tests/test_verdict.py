"""What becomes of a unit whose try failed: the table, and the rules that need memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.chat.reply import kind_of_status
from batchrunner.chat.verdict import (
    FAILURES_OF_ITS_OWN,
    NEW_MODEL_SECONDS,
    OUTAGE_AFTER_SECONDS,
    REFUSED_IN_SUCCESSION,
    TABLE,
    UNPAID,
    LaneHistory,
    UnitHistory,
    Verdict,
    judge,
)
from batchrunner.records import Failure, Kind

DECIDED = {Verdict.FAIL, Verdict.AGAIN, Verdict.LIMITED, Verdict.PARK, Verdict.STOP}


def failed(kind: Kind, status: int | None = None) -> Failure:
    """A failure of this kind."""
    return Failure(kind=kind, message="", status=status)


def refused(status: int = 403) -> Failure:
    """The key or the model is refused."""
    return failed(kind_of_status(status), status)


def lane(*, succeeded_at: float | None = 0.0) -> LaneHistory:
    """A lane whose last answer came then, or that had none since it began at 0."""
    history = LaneHistory()
    if succeeded_at is not None:
        history.answered(succeeded_at)
    return history


def test_the_table_has_a_verdict_for_every_kind() -> None:
    assert TABLE.keys() == set(Kind)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (Kind.INVALID_ROW, Verdict.FAIL),
        (Kind.TOO_LARGE, Verdict.FAIL),
        (Kind.REJECTED, Verdict.FAIL),
        (Kind.INVALID_REPLY, Verdict.AGAIN),
        (Kind.EMPTY_ANSWER, Verdict.AGAIN),
        (Kind.SERVER_ERROR, Verdict.AGAIN),
        (Kind.TIMEOUT, Verdict.AGAIN),
        (Kind.RATE_LIMITED, Verdict.LIMITED),
        (Kind.CONCURRENCY, Verdict.LIMITED),
        (Kind.DAILY_LIMIT, Verdict.PARK),
        (Kind.UNAVAILABLE, Verdict.AGAIN),
        (Kind.UNREACHABLE, Verdict.AGAIN),
        (Kind.RESET, Verdict.AGAIN),
        (Kind.REFUSED, Verdict.FAIL),
        (Kind.BILLING, Verdict.STOP),
        (Kind.REDIRECTED, Verdict.STOP),
    ],
)
def test_the_verdict_while_others_succeed(kind: Kind, verdict: Verdict) -> None:
    assert judge(failed(kind), UnitHistory(1), lane(), 1.0) is verdict


AWAY = [Kind.UNAVAILABLE, Kind.UNREACHABLE, Kind.RESET]


@pytest.mark.parametrize("kind", AWAY)
def test_before_the_first_answer_a_gateway_that_is_away_charges_nobody(kind: Kind) -> None:
    history = lane(succeeded_at=None)
    for now in (0.0, 1.0, 1000.0):
        assert judge(failed(kind), UnitHistory(1), history, now) is Verdict.UNAVAILABLE


@pytest.mark.parametrize("kind", AWAY)
def test_an_outage_begins_when_all_has_failed_for_10_seconds_however_long_ago_the_last_answer_was(kind: Kind) -> None:
    history = lane(succeeded_at=5.0)
    for now, verdict in (
        (300.0, Verdict.AGAIN),
        (300.0 + OUTAGE_AFTER_SECONDS - 0.001, Verdict.AGAIN),
        (300.0 + OUTAGE_AFTER_SECONDS, Verdict.UNAVAILABLE),
        (1000.0, Verdict.UNAVAILABLE),
    ):
        assert judge(failed(kind), UnitHistory(1), history, now) is verdict
    assert history.outage_seconds(1000.0) == 700.0


@pytest.mark.parametrize("kind", AWAY)
def test_a_unit_that_fails_while_others_pass_is_charged_also_in_an_outage(kind: Kind) -> None:
    history, killer = lane(succeeded_at=None), UnitHistory(1)
    assert judge(failed(kind), killer, history, 0.0) is Verdict.UNAVAILABLE
    history.answered(1.0)
    assert judge(failed(kind), killer, history, 2.0) is Verdict.AGAIN
    assert judge(failed(kind), killer, history, 2.0 + OUTAGE_AFTER_SECONDS) is Verdict.AGAIN
    assert judge(failed(kind), UnitHistory(2), history, 2.0 + OUTAGE_AFTER_SECONDS) is Verdict.UNAVAILABLE


def failing_beside_others(history: LaneHistory, kind: Kind, times: int) -> UnitHistory:
    """A unit that has failed so often, and others were answered after each time."""
    unit = UnitHistory(1)
    for now in range(times):
        assert judge(failed(kind), unit, history, float(now)) is Verdict.AGAIN
        history.answered(now + 0.5)
    return unit


@pytest.mark.parametrize("kind", AWAY)
def test_the_last_unit_of_a_run_is_charged_where_it_failed_again_and_again_beside_others(kind: Kind) -> None:
    history = lane()
    killer = failing_beside_others(history, kind, FAILURES_OF_ITS_OWN)
    for now in (100.0, 100.0 + OUTAGE_AFTER_SECONDS, 1000.0):
        assert judge(failed(kind), killer, history, now) is Verdict.AGAIN
    assert judge(failed(kind), UnitHistory(2), history, 1000.0) is Verdict.UNAVAILABLE


@pytest.mark.parametrize("kind", AWAY)
def test_a_few_failures_before_an_outage_do_not_charge_a_unit_for_it(kind: Kind) -> None:
    history = lane()
    unit = failing_beside_others(history, kind, FAILURES_OF_ITS_OWN - 1)
    assert judge(failed(kind), unit, history, 100.0) is Verdict.AGAIN
    assert judge(failed(kind), unit, history, 100.0 + OUTAGE_AFTER_SECONDS) is Verdict.UNAVAILABLE


def test_twenty_429s_fail_a_unit_only_where_others_passed_meanwhile() -> None:
    history, alone, cause = lane(succeeded_at=0.0), UnitHistory(1), UnitHistory(2)
    for now in range(1, 40):
        assert judge(refused(429), alone, history, float(now)) is Verdict.LIMITED
    verdicts = []
    for now in range(40, 60):
        verdicts.append(judge(refused(429), cause, history, float(now)))
        history.answered(now + 0.5)
    assert verdicts == [Verdict.LIMITED] * 19 + [Verdict.FAIL]


def test_an_answer_ends_an_outage() -> None:
    history = lane(succeeded_at=None)
    assert judge(failed(Kind.RESET), UnitHistory(1), history, 100.0) is Verdict.UNAVAILABLE
    history.answered(101.0)
    assert judge(failed(Kind.RESET), UnitHistory(1), history, 102.0) is Verdict.AGAIN


@pytest.mark.parametrize("kind", [Kind.SERVER_ERROR, Kind.TIMEOUT, Kind.INVALID_REPLY, Kind.EMPTY_ANSWER])
def test_what_a_unit_may_cause_itself_is_charged_even_in_an_outage(kind: Kind) -> None:
    assert judge(failed(kind), UnitHistory(1), lane(succeeded_at=None), 1000.0) is Verdict.AGAIN


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_a_lane_that_had_no_success(status: int) -> None:
    assert judge(refused(status), UnitHistory(1), lane(succeeded_at=None), 1.0) is Verdict.STOP


def test_a_model_that_is_not_found_at_first_is_probed_for_60_seconds() -> None:
    history = lane(succeeded_at=None)
    assert judge(refused(404), UnitHistory(1), history, 100.0) is Verdict.UNAVAILABLE
    assert judge(refused(404), UnitHistory(2), history, 100.0 + NEW_MODEL_SECONDS - 0.001) is Verdict.UNAVAILABLE
    assert judge(refused(404), UnitHistory(1), history, 100.0 + NEW_MODEL_SECONDS) is Verdict.STOP


def test_a_key_refused_while_a_new_model_is_probed_stops_the_lane() -> None:
    history = lane(succeeded_at=None)
    assert judge(refused(404), UnitHistory(1), history, 0.0) is Verdict.UNAVAILABLE
    assert judge(refused(403), UnitHistory(1), history, 1.0) is Verdict.STOP


@pytest.mark.parametrize("status", [401, 403, 404])
def test_three_units_refused_in_succession_stop_a_lane_that_works(status: int) -> None:
    history = lane()
    verdicts = [judge(refused(status), UnitHistory(unit), history, 1.0) for unit in range(REFUSED_IN_SUCCESSION)]
    assert verdicts == [Verdict.FAIL, Verdict.FAIL, Verdict.STOP]


def test_one_unit_refused_again_and_again_stops_nobody() -> None:
    history = lane()
    assert {judge(refused(), UnitHistory(1), history, 1.0) for _ in range(20)} == {Verdict.FAIL}


def test_an_answer_between_refusals_starts_the_count_anew() -> None:
    history = lane()
    for unit in range(0, 20, 2):
        assert judge(refused(), UnitHistory(unit), history, 1.0) is Verdict.FAIL
        assert judge(refused(), UnitHistory(unit + 1), history, 1.0) is Verdict.FAIL
        history.answered(1.0)


def test_only_what_was_turned_away_or_never_arrived_is_unpaid() -> None:
    maybe_paid = {Kind.RESET, Kind.TIMEOUT, Kind.SERVER_ERROR, Kind.INVALID_REPLY, Kind.EMPTY_ANSWER}
    assert not UNPAID & maybe_paid
    assert {
        Kind.RATE_LIMITED,
        Kind.CONCURRENCY,
        Kind.DAILY_LIMIT,
        Kind.UNREACHABLE,
        Kind.REFUSED,
        Kind.BILLING,
    } <= UNPAID


STEPS = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.none() | st.tuples(st.sampled_from(Kind), st.sampled_from([None, 401, 403, 404]), st.integers(0, 4)),
    ),
    max_size=30,
)


@given(STEPS)
def test_every_verdict_is_one_that_can_be_acted_on(
    steps: list[tuple[float, tuple[Kind, int | None, int] | None]],
) -> None:
    history, now, succeeded_at = LaneHistory(last_success=0.0), 0.0, None
    for pause, came in steps:
        now += pause
        if came is None:
            history.answered(now)
            succeeded_at = now
            continue
        kind, status, unit = came
        verdict = judge(failed(kind, status), UnitHistory(unit), history, now)
        assert verdict in DECIDED | {Verdict.UNAVAILABLE}
        if verdict is Verdict.UNAVAILABLE:
            assert succeeded_at is None or now - succeeded_at >= OUTAGE_AFTER_SECONDS
        if verdict is Verdict.STOP and succeeded_at is not None:
            assert kind in (Kind.BILLING, Kind.REDIRECTED, Kind.REFUSED)
