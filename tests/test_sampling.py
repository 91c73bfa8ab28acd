"""Rows at random: as many as asked for, the same for the same seed, the smaller sample within the larger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.folder.sampling import Sample


def sample(rows: int, total: int, seed: int = 0) -> list[int]:
    return list(Sample(rows=rows, seed=seed).chosen(total))


@given(st.integers(0, 60), st.integers(0, 40), st.integers(0, 2**63 - 1))
def test_a_sample_has_as_many_rows_as_asked_for_and_there_are(rows: int, total: int, seed: int) -> None:
    chosen = sample(rows, total, seed)
    assert len(chosen) == len(set(chosen)) == min(rows, total)
    assert all(0 <= number < total for number in chosen)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 300), st.integers(0, 9))
def test_a_larger_sample_contains_the_smaller_one(rows: int, more: int, total: int, seed: int) -> None:
    assert set(sample(rows, total, seed)) <= set(sample(rows + more, total, seed))


@given(st.integers(0, 100), st.integers(0, 300), st.integers(0, 100))
def test_rows_that_are_appended_only_take_the_place_of_others(rows: int, total: int, more: int) -> None:
    before, after = set(sample(rows, total)), set(sample(rows, total + more))
    assert all(number >= total for number in after - before)


def test_another_seed_chooses_other_rows_and_the_same_seed_the_same() -> None:
    assert sample(50, 20_000, 1) == sample(50, 20_000, 1)
    assert len(set(sample(50, 20_000, 1)) & set(sample(50, 20_000, 2))) < 5


def test_a_sample_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert sample(5, 100_000, 7) == [25055, 29523, 43343, 80683, 91203]


@pytest.mark.parametrize("part", range(4))
def test_every_part_of_the_input_has_its_share(part: int) -> None:
    chosen = sample(4000, 100_000, 3)
    assert 850 < sum(part * 25_000 <= number < (part + 1) * 25_000 for number in chosen) < 1150


def test_the_numbers_that_were_not_chosen_are_the_others() -> None:
    for total in (0, 1, 7, 8, 9, 64):
        chosen = Sample(rows=total // 2).chosen(total)
        assert sorted([*chosen, *chosen.others()]) == list(range(total))
        assert len(chosen.others()) == total - len(chosen)
