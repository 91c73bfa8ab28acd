"""kill -9 at seeded moments of every phase, judged by the simulator's ledger; `make crash` prints the tally."""

from collections import Counter
from pathlib import Path

import pytest
from crash.scenario import SEEDS, Phase, scenario_of
from crash.story import play


def test_the_seeds_stand_for_fifty_kills_and_ten_in_each_phase() -> None:
    kills = Counter(phase for seed in SEEDS for phase in scenario_of(seed).phases)
    assert kills.total() >= 50
    assert {phase for phase in Phase if kills[phase] < 10} == set()


def test_the_seeds_stand_for_both_formats_with_limits_and_without_them() -> None:
    scenarios = [scenario_of(seed) for seed in SEEDS]
    assert {scenario.suffix for scenario in scenarios} == {"jsonl", "parquet"}
    assert {scenario.limit is None for scenario in scenarios} == {True, False}
    assert {scenario.code for scenario in scenarios} == {0, 1}


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_kills_lose_no_row_and_double_none_and_cost_only_what_was_in_flight(seed: int, tmp_path: Path) -> None:
    story = play(seed, tmp_path)
    assert story.complaints == ()
    assert (story.lost, story.doubled) == (0, 0)
    assert [story.hits(phase) for phase in Phase] == [story.scenario.phases.count(phase) for phase in Phase]
    assert story.asked_twice <= story.in_doubt


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kills_of_a_run_whose_workers_send_cost_no_more(tmp_path: Path) -> None:
    story = play(SEEDS[0], tmp_path, "ray")
    assert story.complaints == ()
    assert (story.lost, story.doubled) == (0, 0)
    assert story.asked_twice <= story.in_doubt
