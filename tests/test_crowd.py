"""A limit on requests in flight that the gateway does not speak of."""

import pytest

from batchrunner.limits.crowd import Crowd


def refused_beside(*numbers: int, most: int = 0) -> Crowd:
    crowd = Crowd()
    for number in numbers:
        crowd.refused(number)
        crowd.answered(most)
    return crowd


@pytest.mark.parametrize(
    ("beside", "limit"),
    [
        ((32, 32, 32), None),
        ((32, 32, 32, 32), 32),
        ((32, 31, 32, 31), 32),
        ((200, 197, 200, 199), 200),
        ((3, 3, 3, 3), None),
        ((5, 5, 4, 5), None),
        ((5, 5, 4, 5, 4, 5, 5, 5), 5),
        ((32, 40, 32, 32), None),
        ((20, 32, 32, 32, 32), 32),
    ],
)
def test_refusals_beside_the_same_number_tell_of_a_limit_in_flight(beside: tuple[int, ...], limit: int | None) -> None:
    assert refused_beside(*beside).limit == limit


def test_an_answer_out_of_a_larger_crowd_shows_that_the_number_is_no_limit() -> None:
    assert refused_beside(32, 32, 32, 32, 32, most=40).limit is None


def test_a_refusal_beside_clearly_fewer_ends_the_belief_and_more_are_wanted_then() -> None:
    crowd = refused_beside(32, 32, 32, 32)
    crowd.refused(32)
    assert crowd.limit == 32
    crowd.refused(20)
    assert crowd.limit is None
    for _ in range(7):
        crowd.refused(32)
    assert crowd.limit is None
    crowd.refused(32)
    assert crowd.limit == 32


@pytest.mark.parametrize(("answers", "limit"), [(5, None), (10, 32)])
def test_a_number_that_is_kept_to_and_does_not_end_the_refusals_is_no_limit(answers: int, limit: int | None) -> None:
    crowd = refused_beside(32, 32, 32, 32)
    for _ in range(6):
        for _ in range(answers):
            crowd.answered(31)
        crowd.refused(31)
    assert crowd.limit == limit
