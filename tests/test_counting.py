"""Tokens that a gateway counts when the answer is done: told from those that it counts when a try comes."""

from dataclasses import replace

import pytest

from batchrunner.limits.cap import Cap, Refused
from batchrunner.limits.counting import Counting
from batchrunner.limits.window import Key

TPS: Key = ("tokens", 1.0)
TPM: Key = ("tokens", 60.0)


def refused(at: float, *, sent: float, answered: float) -> Refused:
    """By the minute so much; by the second a sixtieth."""
    use = {("requests", 1.0): 1.0, ("requests", 60.0): 60.0, TPS: sent / 60, TPM: sent}
    return Refused(sent_at=at, now=at, used=use, ran=at, answered={TPS: answered / 60, TPM: answered})


def cap(amount: float, *, told: bool = False) -> Cap:
    return Cap(amount, 0.0, amount, told=told)


def noted(sums: list[tuple[float, float]], caps: dict[Key, Cap]) -> Counting:
    counting = Counting()
    for number, (sent, answered) in enumerate(sums):
        counting.as_counted(refused(100.0 * number, sent=sent, answered=answered), caps)
    return counting


@pytest.mark.parametrize(
    ("sums", "late"),
    [
        ([(1000, 400)], False),
        ([(1000, 600), (800, 600)], True),
        ([(1000, 600), (1000, 800)], False),
        ([(1000, 990), (990, 1000)], False),
        ([(1000, 0), (800, 0)], False),
        ([(1000, 600), (800, 600), (790, 900), (800, 400), (795, 700), (800, 500), (800, 800), (800, 300)], False),
    ],
)
def test_the_sum_that_refusals_agree_on_is_the_one_that_counts(
    sums: list[tuple[float, float]],
    late: bool,  # noqa: FBT001
) -> None:
    assert noted(sums, {TPM: cap(1000.0)}).late == ({TPM} if late else set())


def test_a_limit_that_headers_tell_shows_at_the_first_refusal_which_sum_fills_it() -> None:
    for sums, late in (((700, 1003), {TPM}), ((1003, 700), set())):
        counting = Counting()
        counting.told[TPM] = 1000.0
        counting.as_counted(refused(0.0, sent=sums[0], answered=sums[1]), {TPM: cap(1000.0, told=True)})
        assert counting.late == late


def test_of_limits_by_the_second_that_headers_do_not_tell_agreement_shows_nothing() -> None:
    assert not noted([(1000, 600), (800, 600)], {TPS: cap(20.0)}).late


def test_once_answers_are_what_counts_limits_on_tokens_are_what_had_been_answered_at_refusals() -> None:
    caps, counting = {TPM: cap(1000.0)}, Counting()
    counting.as_counted(refused(0.0, sent=1000, answered=600), caps)
    last = counting.as_counted(refused(100.0, sent=800, answered=602), caps)
    assert caps[TPM].amount == 600.0
    assert last.used[TPM] == 602.0


def test_a_refusal_while_as_much_is_answered_as_before_is_no_silence() -> None:
    counting, first = Counting(), refused(10.0, sent=6000, answered=6000)
    counting.answered(100.0, 10.5)
    assert counting.go_on(first, refused(11.1, sent=6000, answered=6000))
    assert not counting.go_on(first, refused(13.1, sent=6000, answered=6000))
    assert not counting.go_on(first, replace(refused(11.1, sent=6000, answered=6000), hint=30.0))


def test_where_nothing_was_answered_before_a_pause_of_a_second_is_a_silence() -> None:
    assert not Counting().go_on(refused(10.0, sent=6000, answered=0), refused(11.1, sent=6000, answered=0))


def test_a_try_that_had_to_wait_for_answers_to_be_forgotten_shows_how_fast_they_are() -> None:
    counting, first = Counting(), refused(10.0, sent=6000, answered=6000)
    for tenth in range(20):
        counting.answered(20.0, 10.0 + tenth / 10)
    assert counting.paid(first, 14.0) is None
    assert counting.go_on(first, refused(12.0, sent=6000, answered=12_000))
    assert counting.paid(first, 14.0) == pytest.approx(400.0 / 4.0)
    assert counting.paid(first, 14.0) is None


def test_refusals_soon_after_one_another_are_one_sample_as_the_sums_of_a_window_hardly_change() -> None:
    counting = Counting()
    for at, sent in ((0.0, 1000), (3.0, 800), (6.0, 700), (9.0, 600)):
        counting.as_counted(refused(at, sent=sent, answered=600), {TPM: cap(1000.0)})
    assert not counting.late
    counting.as_counted(refused(40.0, sent=700, answered=600), {TPM: cap(1000.0)})
    assert counting.late
