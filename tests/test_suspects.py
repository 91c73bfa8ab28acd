"""Requests or tokens: told by what has passed, too."""

import pytest

from batchrunner.limits.window import Key
from tests.test_found import RPS, TPS, by_the_second, held, refused


@pytest.mark.parametrize(("passed", "refused_at", "kept"), [(50, 50, RPS), (49, 49, RPS), (53, 49, TPS)])
def test_requests_are_acquitted_where_more_of_them_have_passed_than_are_refused(
    passed: float, refused_at: float, kept: Key
) -> None:
    finder = by_the_second((50, 10_000), (50, 10_000))
    finder.raise_used(102.0, held(passed, 2000, 9_900, 400_000))
    finder.refused(refused(200.0, held(refused_at, 2000, 10_300, 450_000), hint=0.1))
    assert set(finder.caps) == {kept}


def test_tokens_are_acquitted_where_more_of_them_have_passed_than_are_refused() -> None:
    finder = by_the_second((50, 10_000), (47, 10_000), (53, 10_000))
    assert set(finder.caps) == {TPS}
    finder.raise_used(302.0, held(50, 2000, 11_500, 400_000))
    finder.refused(refused(400.0, held(50, 2000, 10_000, 450_000), hint=0.1))
    assert set(finder.caps) == {RPS}
