"""What was out when a gateway refused is answered yet: where answers are what counts, that is no silence."""

from dataclasses import replace

import pytest

from batchrunner.limits.cap import Cap
from batchrunner.limits.found import Finder
from tests.test_found import RPM, RPS, TPM, TPS, by_the_second, found, held, refused


def answering(*, seconds: float, tokens: float) -> Finder:
    """A finder that knows a limit by the second and was refused at 10.0; then so much was answered for so long."""
    finder = Finder()
    finder.refused(replace(refused(10.0, held(50, 300, 9000, 54_000), hint=0.5), answered={TPS: 3000.0, TPM: 9000.0}))
    for tenth in range(round(10 * seconds)):
        finder.counting.answered(tokens * seconds / round(10 * seconds), 10.0 + tenth / 10)
    return finder


def test_a_limit_by_the_second_stands_while_what_is_out_is_still_answered() -> None:
    again = replace(refused(11.5, held(0, 300, 0, 54_000)), again=True, answered={TPS: 3000.0, TPM: 13_500.0})
    finder = answering(seconds=1.5, tokens=3000.0)
    finder.refused(again)
    assert set(found(finder)) == {RPS}
    silent = by_the_second((50, 9000))
    silent.refused(replace(again, sent_at=101.5, now=101.5))
    assert set(found(silent)) == {RPM}


def test_what_is_answered_until_a_try_passes_again_is_what_a_limit_by_the_second_forgets() -> None:
    finder = answering(seconds=2.0, tokens=3000.0)
    finder.refused(replace(refused(11.5, held(0, 300)), again=True, answered={TPS: 3000.0, TPM: 13_500.0}))
    finder.probe_passed(12.0, 12.3)
    assert found(finder)[RPS] == pytest.approx(50 * 3000 / 9000)
    finder.passed(40.0, 7000.0)
    assert finder.raise_used(16.5, held(17, 600, 3000, 54_000))


def test_a_limit_of_answered_tokens_is_lowered_once_while_what_was_out_is_answered() -> None:
    finder = Finder({})
    finder.caps[TPM] = replace(Cap(9000.0, 0.0, 9000.0))
    finder.counting.late.add(TPM)
    amounts = []
    for at in (100.0, 110.0, 130.0, 175.0):
        use = replace(
            refused(at, held(5, 300, 150, 8000.0), hint=0.5), answered={TPS: 150.0, TPM: 9000.0}, latency=10.0
        )
        finder.passed(30.0, 1000.0)
        finder.refused(use)
        amounts.append(finder.caps[TPM].amount)
    assert amounts[0] == amounts[1] == amounts[2] > amounts[3]
