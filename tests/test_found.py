"""Limits that nobody declared: which window, which dimension and how much, from what a gateway refuses."""

from dataclasses import replace
from itertools import pairwise

import pytest

from batchrunner.limits.cap import Refused, Use
from batchrunner.limits.found import Finder
from batchrunner.limits.window import Dimension, Key

RPS: Key = ("requests", 1.0)
RPM: Key = ("requests", 60.0)
TPS: Key = ("tokens", 1.0)
TPM: Key = ("tokens", 60.0)


def held(rps: float, rpm: float, tps: float = 0.0, tpm: float = 0.0) -> Use:
    return {RPS: rps, RPM: rpm, TPS: tps, TPM: tpm}


def refused(
    at: float, used: Use, *, ran: float = 10.0, hint: float | None = None, dimension: Dimension | None = None
) -> Refused:
    return Refused(sent_at=at, now=at, used=used, ran=ran, hint=hint, dimension=dimension)


def found(finder: Finder) -> dict[Key, float]:
    return {key: cap.amount for key, cap in finder.caps.items()}


def by_the_second(*uses: tuple[float, float]) -> Finder:
    """A finder that was refused every hundred seconds at these requests and tokens of a second."""
    finder = Finder()
    for number, (requests, tokens) in enumerate(uses):
        finder.passed(4500.0, 900_000.0)
        use = held(requests, 45 * requests, tokens, 45 * tokens)
        finder.refused(refused(100.0 * number, use, hint=0.1))
    finder.passed(4500.0, 900_000.0)
    return finder


def test_a_first_refusal_without_a_hint_finds_nothing_but_wants_a_probe() -> None:
    finder = Finder()
    finder.refused(refused(10.0, held(50, 300)))
    assert finder.suspects
    assert not finder.caps


def test_a_probe_that_passes_after_a_second_tells_of_a_limit_by_the_second() -> None:
    finder = Finder()
    finder.refused(refused(10.0, held(50, 300)))
    finder.probe_passed(11.5, 11.6)
    assert found(finder) == {RPS: 50.0}
    assert not finder.suspects


def test_a_probe_that_is_refused_tells_of_a_limit_by_the_minute() -> None:
    finder = Finder()
    finder.refused(refused(10.0, held(50, 300)))
    finder.refused(refused(11.1, held(0, 300)))
    assert found(finder) == {RPM: 300.0}
    assert not finder.suspects


@pytest.mark.parametrize(("hint", "expected"), [(0.3, {RPS: 50.0}), (1.0, {RPS: 50.0}), (20.0, {RPM: 300.0})])
def test_a_hint_tells_the_window_without_a_probe(hint: float, expected: dict[Key, float]) -> None:
    finder = Finder()
    finder.refused(refused(10.0, held(50, 300), hint=hint))
    assert found(finder) == expected
    assert not finder.suspects


def test_a_short_hint_late_in_a_run_may_speak_of_either_window() -> None:
    finder = Finder()
    finder.refused(refused(200.0, held(10, 600), ran=200.0, hint=0.1))
    assert found(finder) == {RPS: 10.0, RPM: 600.0}


def test_only_the_dimension_that_the_gateway_names_is_found() -> None:
    finder = Finder()
    finder.refused(refused(10.0, held(50, 300, 9000, 60_000), hint=30.0, dimension="tokens"))
    assert found(finder) == {TPM: 60_000.0}


def test_tokens_are_acquitted_where_every_refusal_meets_the_same_number_of_requests() -> None:
    finder = by_the_second((50, 10_000), (50, 9_000), (50, 10_500), (50, 9_500), (50, 10_400))
    assert set(finder.caps) == {RPS}


def test_requests_are_acquitted_where_every_refusal_meets_the_same_sum_of_tokens() -> None:
    finder = by_the_second((50, 10_000), (45, 10_000), (53, 10_000), (47, 10_000), (52, 10_000))
    assert set(finder.caps) == {TPS}


def test_where_tokens_vary_less_at_refusals_they_are_kept_to_and_requests_come_back_when_they_do() -> None:
    finder = by_the_second((50, 10_000), (45, 10_000), (53, 10_000))
    assert set(finder.caps) == {TPS}
    for at, tokens in enumerate((9_000, 8_200, 10_800, 9_600, 11_000, 8_000)):
        finder.refused(refused(400.0 + 100 * at, held(50, 3000, tokens, 45 * tokens), hint=0.1))
        finder.passed(4500.0, 900_000.0)
    assert set(finder.caps) == {RPS}


def test_requests_and_tokens_that_both_vary_at_refusals_are_both_kept_to() -> None:
    finder = by_the_second((50, 10_000), (50, 6_000), (30, 10_000), (50, 6_500), (32, 10_000))
    assert set(finder.caps) == {RPS, TPS}


def test_a_doubted_minute_keeps_its_limit_where_no_more_passed_than_a_bucket_had_stored_meanwhile() -> None:
    finder = Finder()
    finder.refused(refused(1.0, held(90, 90), ran=1.0))
    finder.refused(refused(2.0, held(0, 90), ran=2.0))
    finder.doubt(5.0)
    finder.passed(7.0, 0.0)
    assert not finder.settle_doubt(5.5)
    finder.refused(refused(5.5, held(7, 97), ran=5.5))
    assert found(finder) == {RPM: 90.0}


def test_a_limit_that_binds_is_raised_after_a_while_and_then_more_boldly() -> None:
    finder = by_the_second((1000, 0))
    amounts = [1000.0]
    for now in (4.1, 8.2, 12.3):
        assert not finder.raise_used(now - 1, held(2000, 60_000))
        assert finder.raise_used(now, held(2000, 60_000))
        amounts.append(finder.caps[RPS].amount)
    steps = [after / before for before, after in pairwise(amounts)]
    assert 1 < steps[0] <= 1.02
    assert steps[0] < steps[1] < steps[2]


def test_a_limit_that_does_not_bind_is_not_raised() -> None:
    finder = by_the_second((100, 0))
    assert not finder.raise_used(1000.0, held(80, 4800))
    assert finder.raise_used(1000.0, held(95, 4800))


def test_a_limit_of_two_is_raised_though_one_is_all_that_its_window_holds() -> None:
    finder = by_the_second((2, 0))
    assert finder.raise_used(1000.0, held(1, 60))
    assert finder.caps[RPS].amount == 3


def test_a_raise_that_was_refused_is_tried_again_later_than_the_one_before() -> None:
    finder, now, waits = by_the_second((100, 0)), 0.0, []
    for _ in range(5):
        began = now
        while not finder.raise_used(now, held(100, 4500)):
            now += 0.5
        waits.append(now - began)
        now += 1.0
        finder.refused(refused(now, held(100, 4500), hint=1.0))
        finder.passed(500.0, 0.0)
    assert waits == sorted(waits)
    assert waits[-1] >= 3 * waits[0]


def test_a_refusal_of_a_raised_amount_brings_it_back_to_what_it_held() -> None:
    finder = by_the_second((100, 0))
    for now in range(5, 15, 5):
        finder.raise_used(float(now), held(110, 4500))
    assert finder.caps[RPS].amount > 102
    finder.passed(1000.0, 0.0)
    finder.refused(refused(20.0, held(100, 4500), hint=0.1))
    assert 98 <= finder.caps[RPS].amount <= 100


def test_a_small_raise_that_was_refused_is_taken_back_though_the_window_held_more() -> None:
    finder = by_the_second((100, 0))
    assert finder.raise_used(5.0, held(100, 4500))
    finder.passed(500.0, 0.0)
    finder.refused(refused(9.0, held(101, 4500), hint=0.1))
    assert finder.caps[RPS].amount == 100


def test_a_raise_whose_refusal_cost_a_whole_window_is_tried_again_fifteen_windows_later_at_the_earliest() -> None:
    for pause, windows in ((0.1, 4), (1.0, 15)):
        finder = by_the_second((100, 0))
        assert finder.raise_used(5.0, held(100, 4500))
        finder.refused(refused(9.0, held(100, 4500), hint=pause))
        finder.passed(500.0, 0.0)
        assert not finder.raise_used(9.0 + windows - 0.1, held(100, 4500))
        assert finder.raise_used(9.0 + windows + 0.1, held(100, 4500))


def test_a_window_in_which_nothing_had_passed_after_all_is_no_limit() -> None:
    finder = Finder()
    finder.refused(refused(100.0, held(4, 50, 2400, 30_000), ran=100.0))
    assert set(finder.caps) == {RPS, RPM}
    for _ in range(4):
        finder.also_refused(600.0)
    assert found(finder) == {RPM: 46.0}


def test_a_refused_raise_of_a_minute_waits_little_longer_for_a_dear_refusal() -> None:
    waits = []
    for pause in (1.0, 60.0):
        finder = Finder()
        finder.refused(refused(0.0, held(5, 100), hint=30.0))
        finder.passed(500.0, 0.0)
        assert finder.raise_used(70.0, held(5, 100))
        finder.refused(refused(200.0, held(5, 100), hint=pause))
        finder.passed(500.0, 0.0)
        waits.append(next(now for now in range(2000) if finder.raise_used(200.0 + now, held(5, 100))))
    assert max(waits) <= 1.5 * min(waits)


def test_refusals_that_follow_one_another_cut_deeper_each_time() -> None:
    finder = by_the_second((100, 0))
    amounts = [100.0]
    for at in (1.0, 2.5, 4.0, 5.5):
        finder.refused(refused(at, held(amounts[-1], 4500), hint=0.1))
        finder.passed(150.0, 0.0)
        amounts.append(finder.caps[RPS].amount)
    cuts = [after / before for before, after in pairwise(amounts[1:])]
    assert cuts[0] > cuts[1] > cuts[2] >= 0.9


def test_a_limit_is_never_lowered_below_half_at_once() -> None:
    finder = by_the_second((100, 0), (100, 0), (100, 0), (100, 0), (100, 0))
    before = finder.caps[RPS].amount
    finder.passed(500.0, 0.0)
    finder.refused(refused(450.0, held(1, 4400), hint=0.1))
    assert before / 2 <= finder.caps[RPS].amount < before


def test_a_refusal_far_below_a_limit_by_the_second_tells_of_another_one() -> None:
    finder = Finder()
    finder.refused(refused(0.0, held(50, 2250), hint=0.1))
    finder.passed(2.0, 0.0)
    finder.refused(refused(30.0, held(5, 600), ran=30.0))
    assert found(finder)[RPM] == 600.0


def test_headers_tell_a_limit_that_needs_no_refusal() -> None:
    finder = Finder()
    finder.told("requests", 600, window=None, reset=40.0, now=1.0)
    assert found(finder) == {RPM: 600.0}
    finder.told("requests", 900, window=None, reset=3.0, now=2.0)
    assert found(finder) == {RPM: 900.0}


@pytest.mark.parametrize(("reset", "expected"), [(0.4, {RPS: 50.0}), (59.0, {RPM: 50.0}), (None, {}), (4000.0, {})])
def test_the_longest_reset_tells_the_window_of_a_header(reset: float | None, expected: dict[Key, float]) -> None:
    finder = Finder()
    finder.told("requests", 50, window=None, reset=reset, now=1.0)
    assert found(finder) == expected


def test_headers_do_not_override_what_was_declared() -> None:
    finder = Finder({RPM: 300.0})
    finder.told("requests", 600, window=60.0, reset=None, now=1.0)
    assert not finder.caps


def test_one_refusal_at_a_full_declared_limit_is_jitter_and_a_second_soon_after_is_a_lower_limit() -> None:
    finder = Finder({RPS: 50.0})
    finder.refused(refused(100.0, held(50, 2900), ran=100.0))
    assert not finder.caps
    assert not finder.suspects
    finder.refused(refused(104.0, held(49, 2900), ran=104.0))
    assert 48 <= found(finder)[RPS] < 50


def test_a_limit_found_below_the_declared_one_ends_where_it_reaches_it_again() -> None:
    finder = Finder({RPS: 50.0})
    for at in (100.0, 104.0):
        finder.refused(refused(at, held(50, 2900), ran=at))
    assert not finder.raise_used(120.0, held(50, 2900))
    finder.passed(100.0, 0.0)
    assert finder.raise_used(120.0, held(50, 2900))
    assert not finder.caps


def test_a_limit_by_the_second_is_acquitted_where_a_silence_of_a_second_does_not_end_the_refusals() -> None:
    finder = Finder()
    finder.refused(refused(100.0, held(4, 180), ran=100.0))
    assert found(finder) == {RPS: 4.0, RPM: 180.0}
    finder.refused(replace(refused(100.3, held(3, 180), ran=100.3), again=True))
    assert RPS in found(finder)
    finder.refused(replace(refused(101.5, held(0, 180), ran=101.5), again=True))
    assert set(found(finder)) == {RPM}


def test_a_limit_by_the_second_that_was_not_full_at_the_first_refusal_is_not_judged_by_a_silence() -> None:
    finder = Finder()
    finder.refused(refused(100.0, held(90, 180), ran=100.0))
    finder.passed(4500.0, 0.0)
    finder.refused(refused(200.0, held(2, 180), ran=200.0))
    finder.refused(replace(refused(201.5, held(0, 180), ran=201.5), again=True))
    assert set(found(finder)) == {RPS, RPM}


def test_a_hint_of_a_second_speaks_for_a_limit_by_the_second_after_a_silence_too() -> None:
    finder = by_the_second((50, 0))
    finder.refused(replace(refused(2.0, held(0, 180), hint=1.0), again=True))
    assert set(found(finder)) == {RPS}
