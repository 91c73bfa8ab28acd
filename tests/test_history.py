"""The folds behind a run's page: they count all, in any order and in pieces, within little memory."""

import math
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.records import Failure, Kind, Try, Usage
from batchrunner.report.axes import TimeAxis, amount_ticks, length_ticks, short_length
from batchrunner.report.bins import MOST_BINS, Lengths
from batchrunner.report.causes import MOST_CAUSES, OTHER_WORDS, causes_of
from batchrunner.report.history import MOST_NAMES, OTHERS, History
from batchrunner.store.database import Store
from batchrunner.store.reading import TryRow, read_store
from batchrunner.store.rows import Entry

NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC


def tried(number: int, sent_at: float, **more: object) -> TryRow:
    """A try of 3 + 4 tokens that was answered after two seconds, unless more is said."""
    row = TryRow(number, sent_at, 2.0, None, None, None, None, 3, 4, 0, 0, "m/m", None)
    return row._replace(**more)


@st.composite
def tries(draw: st.DrawFn) -> list[TryRow]:
    """Some tries, over an hour or a year."""
    span = draw(st.sampled_from([10.0, 3600.0, 86_400.0 * 300]))
    instants = draw(st.lists(st.floats(min_value=0, max_value=span), max_size=60))
    kinds = st.sampled_from([None, None, "rate_limited", "server_error"])
    return [tried(number, NOON + after, kind=draw(kinds)) for number, after in enumerate(instants)]


@given(tries(), st.randoms(use_true_random=False), st.integers(0, 60))
def test_a_history_counts_every_try_once_in_any_order_and_in_pieces(
    some: list[TryRow], chance: random.Random, cut: int
) -> None:
    whole, pieces = History(), History()
    whole.add(some)
    shuffled = sorted(some, key=lambda _: chance.random())
    pieces.add(shuffled[:cut])
    pieces.add(shuffled[cut:])
    assert sum(tries for tries, _ in whole.by_time.values()) == whole.sums.tries == len(some)
    assert whole.sums == pieces.sums
    assert whole.sums.tokens == 7 * len(some)
    assert whole.latency.count + sum(one.tries for one in whole.failed.values()) == len(some)
    assert whole.latency.counts == pieces.latency.counts


def test_bins_of_time_are_few_however_long_a_run_is() -> None:
    history = History()
    history.add(tried(n, NOON + n * n) for n in range(20_000))
    assert len({bin_ for bin_, _ in history.by_time}) <= MOST_BINS
    assert sum(tries for tries, _ in history.by_time.values()) == 20_000


def test_foreign_names_are_bounded() -> None:
    history = History()
    history.add(tried(n, NOON, model=f"model {n}") for n in range(1000))
    models = {model for _, model in history.by_day_and_model()}
    assert len(models) <= MOST_NAMES + 1
    assert OTHERS in models
    assert history.sums.tries == 1000


def test_cost_that_is_unknown_is_not_zero() -> None:
    history = History()
    history.add([tried(0, NOON, cost=0.5), tried(1, NOON, cost=0.25), tried(2, NOON)])
    assert (history.sums.cost, history.sums.tries_without_cost) == (0.75, 1)
    unpriced, free = History(), History()
    unpriced.add([tried(0, NOON)])
    free.add([tried(0, NOON, cost=0.0)])
    assert (History().sums.cost, unpriced.sums.cost, free.sums.cost) == (None, None, 0.0)


def test_samples_of_a_variant_are_one() -> None:
    history = History(arms=4, samples=2)
    history.add(tried(n, NOON) for n in range(12))
    assert {place: sums.tries for place, sums in history.by_variant().items()} == {0: 6, 1: 6}


@given(st.lists(st.floats(min_value=0.001, max_value=5000), min_size=1), st.sampled_from([0.05, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_right_to_two_per_cent(lengths: list[float], share: float) -> None:
    binned = Lengths()
    for one in lengths:
        binned.add(one)
    exact = sorted(lengths)[max(0, math.ceil(share * len(lengths)) - 1)]
    assert binned.quantile(share) == pytest.approx(exact, rel=0.02)
    bars = list(binned.coarse(40))
    assert len(bars) <= 41
    assert sum(count for _, _, count in bars) == len(lengths)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e300, 1e-300])
def test_lengths_of_nonsense_are_counted_too(seconds: float) -> None:
    binned = Lengths()
    binned.add(seconds)
    assert binned.count == 1
    assert math.isfinite(binned.quantile(0.5) or 0.0)


def test_messages_that_differ_in_numbers_and_names_are_one_cause() -> None:
    failed = [
        (7, "rejected", "row 7: no model 'a/b' for request 0f1e2d3c4b5a at 12:30"),
        (8, "rejected", "row 8: no model 'c/d' for request 99999999aaaa at 12:31"),
        (9, "timeout", "no answer within 20 s"),
        (11, "rejected", "something else"),
    ]
    causes = causes_of(failed)
    assert [(cause.kind, cause.units, cause.first) for cause in causes] == [
        ("rejected", 2, 7),
        ("timeout", 1, 9),
        ("rejected", 1, 11),
    ]
    assert causes[0].message == failed[0][2]


def test_causes_are_bounded_and_count_all() -> None:
    words = ("".join(chr(97 + (n >> shift) % 26) for shift in (0, 4, 8)) for n in range(3000))
    causes = causes_of((n, "rejected", f"{word} {word}") for n, word in enumerate(words))
    assert len(causes) == MOST_CAUSES + 1
    assert causes[0].words == OTHER_WORDS
    assert sum(cause.units for cause in causes) == 3000


def test_idle_hours_are_left_out_of_the_time_axis() -> None:
    night, width = 100, 60
    bins = [*range(1000, 1000 + night), *range(3000, 3000 + night)]
    axis = TimeAxis(bins, width)
    assert axis.end < 2 * night + 20
    assert axis.x(1000 * width) == 0
    assert axis.x(2000 * width) is None
    assert axis.clamped(2000 * width) == axis.x(3000 * width) == axis.end - night
    ((start, end),) = axis.gaps()
    assert (start, end) == (night, axis.end - night)


@given(st.sets(st.integers(0, 100_000), min_size=1, max_size=100), st.sampled_from([1, 30, 3600, 86_400]))
def test_ticks_of_time_never_stand_too_close(bins: set[int], width: int) -> None:
    axis = TimeAxis(bins, width)
    places = [tick.at for tick in axis.ticks(8)]
    assert all(later - earlier >= axis.end / 8 for earlier, later in pairwise(places))
    assert all(0 <= place <= axis.end for place in places)


def test_counts_have_no_ticks_between_whole_numbers() -> None:
    assert [tick.words for tick in amount_ticks(1.04, whole=True)] == ["0", "1", "2"]
    assert [tick.words for tick in amount_ticks(40, whole=True)] == ["0", "10", "20", "30", "40"]


@given(st.floats(min_value=0, max_value=1e12))
def test_an_axis_of_amounts_reaches_the_largest_and_not_far_beyond(largest: float) -> None:
    ticks = amount_ticks(largest)
    assert ticks[0].at == 0
    assert largest <= ticks[-1].at * 1.001
    assert len(ticks) <= 7
    assert len({tick.words for tick in ticks}) == len(ticks)


def test_lengths_have_units() -> None:
    assert [short_length(one) for one in (0.004, 0.25, 1.5, 42, 1200)] == ["4 ms", "250 ms", "1.5 s", "42 s", "20 min"]
    for shortest, longest in ((0.3, 0.8), (0.01, 10), (0.001, 5000)):
        assert 2 <= len(length_ticks(shortest, longest)) <= 10


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in an empty folder."""
    opened = Store(tmp_path)
    yield opened
    opened.close()


def test_a_store_tells_its_tries_from_any_of_them_on(store: Store, tmp_path: Path) -> None:
    failure = Failure(kind=Kind.RATE_LIMITED, message="x" * 5000, status=429)
    usage = Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7)
    made = [
        Try(number=0, sent_at=NOON, latency_s=1.5, usage=usage, first_token_s=0.25),
        Try(number=1, sent_at=NOON, latency_s=0.5, failure=failure),
    ]
    store.commit([Entry(one, None) for one in made])
    first, second = (TryRow(*row) for row in read_store(tmp_path, lambda reader: list(reader.each_try())))
    assert (first.number, first.latency_s, first.first_token_s, first.prompt_tokens) == (0, 1.5, 0.25, 3)
    assert (second.kind, second.status, second.message) == ("rate_limited", 429, "x" * 1000)
    assert len(read_store(tmp_path, lambda reader: list(reader.each_try(after=1)))) == 1
