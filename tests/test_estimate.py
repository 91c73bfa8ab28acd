"""What is reserved before sending: at first from characters and max_tokens, then as the answers' usage has taught."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.limits.estimate import FEW, FIRST_COMPLETION_TOKENS, FIRST_TOKENS_PER_CHAR, Estimator
from batchrunner.records import Request, Usage

TAUGHT = 2 * FEW  # answers: some teach, some more test


def asking(chars: int, max_tokens: int | None = None) -> Request:
    return Request(number=0, id="0", model="m/m", body=b"{}", prompt_chars=chars, max_tokens=max_tokens)


def used(prompt: int, completion: int) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def taught(answers: list[tuple[Request, Usage]], accounting: str = "settled") -> Estimator:
    estimator = Estimator(accounting)
    for request, usage in answers:
        estimator.learn(request, usage)
    return estimator


def of_a_line(count: int, max_tokens: int | None = None) -> list[tuple[Request, Usage]]:
    """A prompt of 20 tokens and one for each four characters."""
    return [(asking(100 * n, max_tokens), used(20 + 25 * n, 50)) for n in range(1, count + 1)]


@pytest.mark.parametrize("answers", [0, 1, FEW, TAUGHT - 1])
@pytest.mark.parametrize(("max_tokens", "completion"), [(100, 100), (None, FIRST_COMPLETION_TOKENS)])
def test_before_a_few_answers_the_whole_of_max_tokens_is_reserved(
    answers: int, max_tokens: int | None, completion: int
) -> None:
    estimate = taught(of_a_line(answers)).estimate(asking(1000, max_tokens))
    assert estimate.tokens == pytest.approx(1000 * FIRST_TOKENS_PER_CHAR + completion)
    assert (estimate.variance, estimate.shared_error) == (0.0, 0.0)


@pytest.mark.parametrize("chars", [40, 1000, 100_000])
def test_prompts_follow_a_line_over_their_characters(chars: int) -> None:
    estimate = taught(of_a_line(50)).estimate(asking(chars))
    assert estimate.tokens == pytest.approx(20 + chars / 4 + 50)
    assert estimate.variance == pytest.approx(0.0, abs=1e-6)


def test_prompts_of_one_length_are_taken_to_grow_with_their_characters() -> None:
    estimator = taught([(asking(1000), used(200, 50))] * TAUGHT)
    assert estimator.estimate(asking(1000)).tokens == pytest.approx(250)
    assert estimator.estimate(asking(4000)).tokens == pytest.approx(850)


def test_a_line_that_would_fall_is_not_believed() -> None:
    estimator = taught([(asking(100 * n), used(1000 - 10 * n, 0)) for n in range(1, 40)])
    small, large = (estimator.estimate(asking(chars)).tokens for chars in (100, 100_000))
    assert 0 < small < large


def test_prompts_without_characters_still_cost_what_they_have_cost() -> None:
    assert taught([(asking(0), used(900, 10))] * TAUGHT).estimate(asking(0)).tokens == pytest.approx(910)


def test_completions_are_told_apart_by_max_tokens_once_it_was_met_often_enough() -> None:
    short = [(asking(400, 50), used(100, 50))] * TAUGHT
    long = [(asking(400, 1000), used(100, 600))] * TAUGHT
    estimator = taught(short + long)
    assert estimator.estimate(asking(400, 50)).tokens == pytest.approx(150)
    assert estimator.estimate(asking(400, 1000)).tokens == pytest.approx(700)
    assert estimator.estimate(asking(400, 2000)).tokens == pytest.approx(100 + 325)  # never met: the mean of all


def test_never_more_than_max_tokens_is_reserved_for_a_completion() -> None:
    estimator = taught([(asking(1000), used(200, 400))] * TAUGHT)
    assert estimator.estimate(asking(1000, 100)).tokens == pytest.approx(300)


def test_upfront_gateways_are_reserved_max_tokens_whatever_the_answers_used() -> None:
    estimator = taught(of_a_line(50, max_tokens=500), "upfront")
    estimate = estimator.estimate(asking(1000, 500))
    assert estimate.tokens == pytest.approx(20 + 250 + 500)
    assert estimate.variance == pytest.approx(0.0, abs=1e-6)
    assert estimator.counted(asking(1000, 500), used(270, 50)) == 770
    assert estimator.counted(asking(1000), used(270, 50)) == 320  # they can charge no max_tokens where none is said


def test_a_settled_gateway_counts_what_was_used_and_nobody_knows_without_usage() -> None:
    assert Estimator().counted(asking(1000, 500), used(270, 50)) == 320
    assert Estimator().counted(asking(1000, 500), Usage()) is None


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(prompt_tokens=5), Usage(completion_tokens=5), Usage(total_tokens=500)]
)
def test_answers_without_usage_teach_nothing(usage: Usage) -> None:
    assert taught([(asking(1000), usage)] * 100) == Estimator()
    before = taught(of_a_line(30))
    after = taught([*of_a_line(30), *[(asking(1000), usage)] * 100])
    assert after == before


def test_an_answer_without_a_total_says_nothing_of_how_far_estimates_are_off() -> None:
    parts = Usage(prompt_tokens=270, completion_tokens=50)
    estimator = taught([*of_a_line(50), (asking(1000), parts)])
    assert estimator.estimate(asking(1000)).variance == pytest.approx(0.0, abs=1e-6)


def noisy(count: int) -> list[tuple[Request, Usage]]:
    draw = random.Random(1)
    return [(asking(400), used(100, round(draw.gauss(500, 100)))) for _ in range(count)]


def test_with_answers_the_shared_error_shrinks_and_the_variance_comes_to_its_true_value() -> None:
    few, more, many = (taught(noisy(count)).estimate(asking(400)) for count in (TAUGHT, 100, 3000))
    assert few.shared_error > more.shared_error > many.shared_error
    assert many.variance == pytest.approx(100**2, rel=0.1)
    assert many.shared_error == pytest.approx(100 / math.sqrt(3000), rel=0.1)
    assert abs(many.tokens - 600) < 4 * many.shared_error + 1


def test_from_its_first_learned_estimate_on_it_says_how_far_it_may_be_off() -> None:
    estimate = taught(noisy(TAUGHT)).estimate(asking(400))
    assert 40**2 < estimate.variance < 300**2
    assert estimate.shared_error == pytest.approx(math.sqrt(estimate.variance / FEW))


def test_what_the_gateway_has_changed_is_learned_again() -> None:
    before, after = [(asking(400), used(100, 100))] * 10_000, [(asking(400), used(100, 900))] * 20_000
    assert taught(before + after).estimate(asking(400)).tokens == pytest.approx(1000, rel=0.05)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**5)), max_size=40),
    st.integers(0, 10**6),
    st.none() | st.integers(1, 10**5),
)
def test_whatever_was_answered_at_least_one_token_is_reserved_and_the_number_is_finite(
    answers: list[tuple[int, int, int]], chars: int, max_tokens: int | None
) -> None:
    estimate = taught([(asking(c), used(p, o)) for c, p, o in answers]).estimate(asking(chars, max_tokens))
    assert 1 <= estimate.tokens < math.inf
    assert 0 <= estimate.shared_error < math.inf
    assert 0 <= estimate.variance < math.inf
