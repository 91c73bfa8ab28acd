"""What is reserved before sending: at first from characters and max_tokens, then as learned from usage."""

import pytest

from batchrunner.limits.estimate import FIRST_COMPLETION_TOKENS, FIRST_TOKENS_PER_CHAR, Estimator
from batchrunner.limits.lane import Lane, Limits
from batchrunner.limits.pace import MOST_WHEN_KNOWN, START, KnownPace
from batchrunner.records import Request, Usage


def asking(chars: int, max_tokens: int | None = None) -> Request:
    return Request(number=0, id="0", model="m/m", body=b"{}", prompt_chars=chars, max_tokens=max_tokens)


def taught(estimator: Estimator, answers: int, *, chars: int, prompt: int, completion: int) -> Estimator:
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
    for _ in range(answers):
        estimator.learn(asking(chars), usage)
    return estimator


@pytest.mark.parametrize(("max_tokens", "completion"), [(100, 100), (None, FIRST_COMPLETION_TOKENS)])
def test_before_any_answer_the_whole_of_max_tokens_is_reserved(max_tokens: int | None, completion: int) -> None:
    assert Estimator().tokens(asking(1000, max_tokens)) == round(1000 * FIRST_TOKENS_PER_CHAR) + completion


def test_after_twenty_answers_what_they_used_is_reserved_with_a_small_margin() -> None:
    estimator = taught(Estimator(), 20, chars=1000, prompt=200, completion=50)
    assert estimator.tokens(asking(1000, 500)) == round(1.02 * 250)
    assert estimator.tokens(asking(4000, 500)) == round(1.02 * 850)


def test_never_more_than_max_tokens_is_reserved_for_a_completion() -> None:
    estimator = taught(Estimator(), 20, chars=1000, prompt=200, completion=400)
    assert estimator.tokens(asking(1000, 100)) == round(1.02 * 200) + 100


def test_answers_without_usage_teach_nothing() -> None:
    estimator = Estimator()
    for _ in range(100):
        estimator.learn(asking(1000), Usage())
    assert estimator.tokens(asking(1000, 100)) == 400


def test_with_known_limits_room_in_flight_is_one_and_a_half_times_rate_times_latency() -> None:
    pace = KnownPace()
    assert pace.cap(100.0, 0.0) == MOST_WHEN_KNOWN
    pace.answered(2.0)
    assert pace.cap(100.0, 0.0) == 300
    assert pace.cap(0.5, 0.0) == START
    assert pace.cap(1e6, 0.0) == MOST_WHEN_KNOWN


def test_a_given_concurrency_is_kept() -> None:
    lane = Lane(Limits(concurrency=3), now=0.0)
    for _ in range(3):
        lane.take(1, 0.0)
    assert lane.cap(0.0) == 3
    assert lane.ready_at(1, 0.0) == float("inf")
