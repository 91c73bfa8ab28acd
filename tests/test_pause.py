"""Silences after a refusal: they double, heed hints, and end with an answer. Tables of instants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.limits.pause import LONGEST_IN_OUTAGE_SECONDS, LONGEST_SECONDS, Pause


def refused(pause: Pause, times: int, start: float = 0.0) -> list[float]:
    """Every pause is followed by a try that is refused at once: how long each pause was."""
    now, waits = start, []
    for _ in range(times):
        pause.limited(now, now, hint=None, jitter=0.0)
        waits.append(pause.until - now)
        now = pause.until
    return waits


def test_pauses_double_up_to_more_than_any_window_and_an_answer_ends_them() -> None:
    pause = Pause()
    assert refused(pause, 9) == [1, 2, 4, 8, 16, 32, 64, LONGEST_SECONDS, LONGEST_SECONDS]
    assert pause.lift(pause.until)
    assert refused(pause, 1, pause.until) == [1]


def test_the_first_pause_may_be_shorter_where_the_window_is() -> None:
    pause = Pause()
    pause.limited(0.0, 0.0, hint=None, jitter=0.0, first=0.1)
    assert pause.until == pytest.approx(0.1)
    pause.limited(0.1, 0.1, hint=None, jitter=0.0, first=0.1)
    assert pause.until == pytest.approx(0.3)


def test_a_pause_doubles_what_the_last_one_was_though_another_window_is_suspected_meanwhile() -> None:
    pause = Pause()
    for at, first, seconds in ((0.0, 0.1, 0.1), (0.1, 0.1, 0.2), (0.3, 1.0, 0.4)):
        pause.limited(at, at, hint=None, jitter=0.0, first=first)
        assert pause.until - at == pytest.approx(seconds)


def test_refusals_of_tries_that_were_out_together_are_one_episode() -> None:
    pause = Pause()
    assert [pause.limited(0.0, 0.2, hint=None, jitter=0.0) for _ in range(50)] == [True] + [False] * 49
    assert (pause.step, pause.until) == (1, 1.2)


def test_a_later_refusal_of_an_episode_lengthens_it_to_its_own_hint_at_most() -> None:
    pause = Pause()
    pause.limited(0.0, 1.0, hint=3.0, jitter=0.0)
    pause.limited(0.0, 1.1, hint=2.0, jitter=0.0)
    assert pause.until == 4.0
    pause.limited(0.0, 1.2, hint=9.0, jitter=0.0)
    assert (pause.until, pause.step) == (10.2, 1)


@given(st.floats(0, 900), st.floats(0, 1))
def test_a_hint_is_waited_for_in_full_and_jitter_is_added_upwards_only(hint: float, jitter: float) -> None:
    pause = Pause()
    pause.limited(5.0, 5.0, hint=hint, jitter=jitter)
    assert 5.0 + hint <= pause.until <= 5.0 + hint * 1.1 + 1e-9


def test_an_answer_to_a_try_that_was_sent_before_the_pause_ends_nothing() -> None:
    pause = Pause()
    pause.limited(5.0, 6.0, hint=None, jitter=0.0)
    assert not pause.lift(5.9)
    assert pause.step == 1
    assert pause.lift(6.0)
    assert not pause.lift(7.0)  # there was none to end


def test_from_the_second_episode_on_probes_are_asked_for() -> None:
    pause, probing = Pause(), []
    for _ in range(4):
        refused(pause, 1, max(0.0, pause.until))
        probing.append(pause.probing)
    assert probing == [False, True, True, True]
    pause.lift(pause.until)
    assert not pause.probing


def test_pauses_of_an_outage_end_at_a_minute_heed_hints_and_ask_for_an_answer() -> None:
    pause, now, waits = Pause(), 0.0, []
    for hint in (None, 20.0, *[None] * 6):
        pause.unavailable(now, now, hint=hint, jitter=0.0)
        waits.append(pause.until - now)
        now = pause.until
    assert waits == [1, 20, 4, 8, 16, 32, LONGEST_IN_OUTAGE_SECONDS, LONGEST_IN_OUTAGE_SECONDS]
    assert pause.probing
    assert pause.in_outage
    pause.lift(now)
    assert not pause.probing
    assert not pause.in_outage


def test_only_refusals_after_silences_longer_than_every_window_count_for_a_quota_and_hints_and_outages_do_not() -> None:
    pause = Pause()
    refused(pause, 7)
    assert pause.silent_steps == 0
    refused(pause, 2, pause.until)
    assert pause.silent_steps == 2
    pause.limited(pause.until, pause.until, hint=5.0, jitter=0.0)
    assert pause.silent_steps == 2
    pause.unavailable(pause.until, pause.until, hint=None, jitter=0.0)
    assert pause.silent_steps == 0


def test_a_thousand_refusals_overflow_nothing() -> None:
    assert refused(Pause(), 1000)[-1] == LONGEST_SECONDS
