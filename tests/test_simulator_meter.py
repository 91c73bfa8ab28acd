"""The simulated gateway's limits and ledger, against brute force: no window ever holds more than it may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.simulator.ledger import Arrival, Ledger, Servings, worst_window
from batchrunner.simulator.meter import (
    DAY_SECONDS,
    Cost,
    Dimension,
    InFlight,
    Instant,
    Limit,
    Meter,
    Rules,
    TokenAccounting,
)
from batchrunner.simulator.window import SECOND_NS, BucketWindow, FixedWindow, RollingWindow, WindowKind, make_window

LANE = ("account", "acme/small")
MIDNIGHT_NS = 1_800_057_600 * SECOND_NS  # 2027-01-16 00:00 UTC

# Gaps that meet the edges of windows: 0, a nanosecond, fractions of a second, just short of a window, whole windows.
gaps = st.sampled_from([0, 1, SECOND_NS // 4, SECOND_NS // 3, SECOND_NS - 1, SECOND_NS, SECOND_NS + 1, 20 * SECOND_NS])
arrivals = st.lists(st.tuples(gaps, st.integers(1, 12)), max_size=60)
limits = st.lists(
    st.builds(
        Limit,
        dimension=st.sampled_from(Dimension),
        window_seconds=st.sampled_from([1, 60]),
        amount=st.integers(1, 20),
    ),
    min_size=1,
    max_size=3,
)


def instant(mono_ns: int, wall_ns: int = MIDNIGHT_NS) -> Instant:
    return Instant(mono_ns=mono_ns, wall_ns=wall_ns)


def cost(tokens: int, ceiling: int = 100) -> Cost:
    return Cost(prompt=0, completion=tokens, ceiling=ceiling)


def rules(*limits: Limit, window: WindowKind = WindowKind.ROLLING, enforce: bool = True) -> Rules:
    return Rules(limits=limits, window=window, enforce=enforce)


def requests(amount: int, window_seconds: int) -> Limit:
    return Limit(dimension=Dimension.REQUESTS, window_seconds=window_seconds, amount=amount)


def tokens(amount: int, window_seconds: int) -> Limit:
    return Limit(dimension=Dimension.TOKENS, window_seconds=window_seconds, amount=amount)


def brute_sum(log: list[tuple[int, int]], now_ns: int, window_ns: int) -> int:
    return sum(amount for at_ns, amount in log if now_ns - window_ns < at_ns <= now_ns)


@given(limits, arrivals)
def test_a_request_is_admitted_exactly_when_it_fits_into_every_rolling_window(
    limits: list[Limit], arrivals: list[tuple[int, int]]
) -> None:
    meter, admitted, now_ns = Meter(rules(*limits)), [], 0
    for gap_ns, size in arrivals:
        now_ns += gap_ns
        fits = all(
            brute_sum(
                [(at, 1 if limit.dimension is Dimension.REQUESTS else taken) for at, taken in admitted],
                now_ns,
                limit.window_seconds * SECOND_NS,
            )
            + (1 if limit.dimension is Dimension.REQUESTS else size)
            <= limit.amount
            for limit in limits
        )
        refusal = meter.admit(LANE, cost(size), instant(now_ns))
        assert (refusal is None) == fits
        if fits:
            admitted.append((now_ns, size))


@given(st.sampled_from(WindowKind), st.integers(5, 20), arrivals)
def test_the_wait_that_a_window_names_is_the_first_instant_at_which_the_request_fits(
    kind: WindowKind, limit: int, arrivals: list[tuple[int, int]]
) -> None:
    window, now_ns = make_window(kind, limit, SECOND_NS), 0
    for gap_ns, size in arrivals:
        now_ns += gap_ns
        wait_ns = window.wait_ns(now_ns, min(size, limit))
        if wait_ns:
            assert window.wait_ns(now_ns + wait_ns - 1, min(size, limit)) == 1
            now_ns += wait_ns
        assert window.wait_ns(now_ns, min(size, limit)) == 0
        window.add(now_ns, min(size, limit))


@given(arrivals)
def test_a_fixed_window_never_holds_more_than_the_limit(arrivals: list[tuple[int, int]]) -> None:
    window, now_ns, held = FixedWindow(15, SECOND_NS), 0, dict[int, int]()
    for gap_ns, size in arrivals:
        now_ns += gap_ns
        fits = held.get(now_ns // SECOND_NS, 0) + size <= 15
        assert (window.wait_ns(now_ns, size) == 0) == fits
        if fits:
            window.add(now_ns, size)
            held[now_ns // SECOND_NS] = held.get(now_ns // SECOND_NS, 0) + size


@given(arrivals)
def test_a_bucket_gives_in_any_stretch_its_size_and_what_flowed_in(arrivals: list[tuple[int, int]]) -> None:
    window, now_ns, log = BucketWindow(15, SECOND_NS), 0, list[tuple[int, int]]()
    for gap_ns, size in arrivals:
        now_ns += gap_ns
        if window.wait_ns(now_ns, size) == 0:
            window.add(now_ns, size)
            log.append((now_ns, size))
    for first in range(len(log)):
        for last in range(first, len(log)):
            flowed_in = (log[last][0] - log[first][0]) * 15  # in amount x nanoseconds: no rounding
            assert sum(size for _, size in log[first : last + 1]) * SECOND_NS <= 15 * SECOND_NS + flowed_in


def test_a_full_window_opens_exactly_when_its_oldest_request_is_a_window_old() -> None:
    window = RollingWindow(2, 60 * SECOND_NS)
    window.add(0, 1)
    window.add(SECOND_NS, 1)
    assert window.used(60 * SECOND_NS - 1) == 2
    assert window.wait_ns(60 * SECOND_NS - 1, 1) == 1
    assert window.wait_ns(60 * SECOND_NS, 1) == 0
    assert window.used(60 * SECOND_NS) == 1
    assert window.wait_ns(60 * SECOND_NS, 2) == SECOND_NS
    assert window.reset_ns(60 * SECOND_NS) == SECOND_NS


@pytest.mark.parametrize("kind", WindowKind)
def test_what_is_larger_than_a_whole_window_never_fits(kind: WindowKind) -> None:
    meter = Meter(rules(tokens(10, 60), window=kind))
    for minute in range(3):
        refusal = meter.admit(LANE, cost(11), instant(minute * 60 * SECOND_NS))
        assert refusal is not None
        assert 0 < refusal.wait_ns <= 60 * SECOND_NS


def test_refused_requests_do_not_count() -> None:
    meter = Meter(rules(requests(1, 60)))
    assert meter.admit(LANE, cost(1), instant(0)) is None
    assert all(meter.admit(LANE, cost(1), instant(second * SECOND_NS)) for second in range(1, 60))
    assert meter.admit(LANE, cost(1), instant(60 * SECOND_NS)) is None


def test_a_request_refused_by_one_limit_takes_nothing_from_the_others() -> None:
    meter = Meter(rules(requests(5, 60), tokens(10, 60)))
    assert meter.admit(LANE, cost(11), instant(0)) is not None
    assert [level.used for level in meter.levels(LANE, instant(0))] == [0, 0]


def test_every_account_and_every_model_has_limits_of_its_own() -> None:
    meter = Meter(rules(requests(1, 60)))
    for lane in [("a", "m"), ("b", "m"), ("a", "n")]:
        assert meter.admit(lane, cost(1), instant(0)) is None
        assert meter.admit(lane, cost(1), instant(0)) is not None


@pytest.mark.parametrize("kind", WindowKind)
def test_a_day_is_used_up_until_midnight_utc_and_no_longer(kind: WindowKind) -> None:
    meter = Meter(rules(requests(1, DAY_SECONDS), window=kind))
    evening_ns = MIDNIGHT_NS - 90 * SECOND_NS
    assert meter.admit(LANE, cost(1), instant(0, evening_ns)) is None
    refusal = meter.admit(LANE, cost(1), instant(0, evening_ns))
    assert refusal is not None
    assert refusal.wait_ns == 90 * SECOND_NS
    assert meter.admit(LANE, cost(1), instant(0, MIDNIGHT_NS - 1)) is not None
    assert meter.admit(LANE, cost(1), instant(0, MIDNIGHT_NS)) is None


def test_the_limit_with_the_longest_wait_is_the_one_that_is_named() -> None:
    meter = Meter(rules(requests(1, 1), requests(1, DAY_SECONDS), requests(1, 60)))
    meter.admit(LANE, cost(1), instant(0))
    refusal = meter.admit(LANE, cost(1), instant(0))
    assert refusal is not None
    assert (refusal.index, refusal.limit.daily) == (1, True)


@pytest.mark.parametrize(
    ("accounting", "admitted"),
    [(TokenAccounting.ADMISSION, 4), (TokenAccounting.UPFRONT, 2), (TokenAccounting.COMPLETION, 100)],
)
def test_tokens_count_at_arrival_by_use_or_by_ceiling_or_not_until_completion(
    accounting: TokenAccounting, admitted: int
) -> None:
    meter = Meter(Rules(limits=(tokens(100, 60),), token_accounting=accounting))
    taken = [meter.admit(LANE, cost(25, ceiling=50), instant(0)) is None for _ in range(100)]
    assert sum(taken) == admitted


def test_at_completion_what_is_done_shuts_the_door_even_beyond_the_limit() -> None:
    meter = Meter(Rules(limits=(tokens(100, 60),), token_accounting=TokenAccounting.COMPLETION))
    meter.settle(LANE, 99, instant(0))
    assert meter.admit(LANE, cost(500), instant(1)) is None
    meter.settle(LANE, 1, instant(2))
    assert meter.admit(LANE, cost(500), instant(3)) is not None
    meter.settle(LANE, 500, instant(SECOND_NS))
    assert meter.admit(LANE, cost(1), instant(2 * SECOND_NS)) is not None
    assert meter.admit(LANE, cost(1), instant(60 * SECOND_NS)) is not None
    assert meter.admit(LANE, cost(1), instant(61 * SECOND_NS)) is None


def test_without_enforcement_everything_is_admitted_and_counted() -> None:
    meter = Meter(rules(requests(1, 60), enforce=False))
    assert [meter.admit(LANE, cost(1), instant(0)) for _ in range(5)] == [None] * 5
    assert meter.levels(LANE, instant(0))[0].used == 5


def test_in_flight_is_who_is_inside_and_its_peak_stays() -> None:
    in_flight = InFlight()
    with in_flight.inside("a"), in_flight.inside("b"), in_flight.inside("a"):
        assert (in_flight.of("a"), in_flight.of("b")) == (2, 1)
    assert (in_flight.of("a"), in_flight.most) == (0, 3)


@given(arrivals, st.sampled_from([1, SECOND_NS // 2, SECOND_NS, 60 * SECOND_NS]))
def test_the_worst_window_is_that_of_brute_force(arrivals: list[tuple[int, int]], window_ns: int) -> None:
    now_ns, log = 0, list[tuple[int, int]]()
    for gap_ns, size in arrivals:
        now_ns += gap_ns
        log.append((now_ns, size))
    worst = max((brute_sum(log, at_ns, window_ns) for at_ns, _ in log), default=0)
    assert worst_window(log, window_ns) == worst


def test_the_ledger_convicts_a_meter_that_lets_too_much_through() -> None:
    limits = (requests(2, 1), tokens(100, 60), requests(3, DAY_SECONDS))
    ledger = Ledger(limits)
    for mono_ns, wall_ns in [(0, -1), (1, -1), (SECOND_NS, 0), (SECOND_NS, 0), (SECOND_NS, 0), (9 * SECOND_NS, 0)]:
        number = ledger.arrive(Arrival(now=instant(mono_ns, MIDNIGHT_NS + wall_ns), account="a", model="m"))
        ledger.admit(number, cost(30), counted=30, paid=True)
    ledger.arrive(Arrival(now=instant(SECOND_NS), account="a", model="m"), "429", refused_by=0)
    uses = ledger.summary().limits
    assert [(use.limit, use.worst, use.refused) for use in uses] == [(2, 4, 1), (100, 180, 0), (3, 4, 0)]


def test_lanes_are_not_added_up_for_the_worst_window() -> None:
    ledger = Ledger((requests(1, 60),))
    for account in "abc":
        number = ledger.arrive(Arrival(now=instant(0), account=account, model="m"))
        ledger.admit(number, cost(1), counted=1, paid=True)
    assert ledger.summary().limits[0].worst == 1


def test_tokens_that_count_at_completion_belong_to_the_window_of_their_completion() -> None:
    ledger = Ledger((tokens(100, 1),))
    numbers = [ledger.arrive(Arrival(now=instant(0), account="a", model="m")) for _ in range(3)]
    for number in numbers:
        ledger.admit(number, cost(60), counted=0, paid=True)
    for number, second in zip(numbers, [5, 3, 1], strict=True):
        ledger.settle(number, 60, instant(second * SECOND_NS))
    assert ledger.summary().limits[0].worst == 60


@pytest.mark.parametrize(
    ("outcomes", "extra", "unexplained"),
    [
        (["ok"], 0, 0),
        (["ok", "ok"], 1, 1),
        (["client_left", "ok"], 1, 1),
        (["reset_after", "ok"], 1, 0),
        (["truncated", "not_json", "empty", "hang", "ok"], 4, 0),
        (["reset_after", "ok", "ok"], 2, 1),
        (["ok", "reset_after"], 1, 1),
        (["in_flight", "ok"], 1, 1),
    ],
)
def test_a_fault_after_payment_explains_one_further_serving(outcomes: list[str], extra: int, unexplained: int) -> None:
    ledger = Ledger()
    for outcome in outcomes:
        number = ledger.arrive(Arrival(now=instant(0), account="a", model="m", digest=7))
        ledger.admit(number, cost(1), counted=1, paid=True)
        ledger.close(number, outcome)
    assert ledger.summary().servings == Servings(
        prompts=1,
        once=int(extra == 0),
        more_than_once=int(extra > 0),
        extra_paid=extra,
        extra_paid_without_fault=unexplained,
    )


def test_what_was_not_paid_is_no_serving() -> None:
    ledger = Ledger()
    for outcome, paid in [("5xx", False), ("ok", True)]:
        number = ledger.arrive(Arrival(now=instant(0), account="a", model="m", digest=7))
        ledger.admit(number, cost(1), counted=1, paid=paid)
        ledger.close(number, outcome)
    assert ledger.summary().servings.extra_paid == 0


def test_an_entry_of_the_ledger_takes_less_than_a_hundred_bytes() -> None:
    ledger = Ledger()
    columns = [column for column in vars(ledger).values() if hasattr(column, "itemsize")]
    assert len(columns) == 13
    assert sum(column.itemsize for column in columns) < 100


def test_an_empty_ledger_has_a_summary() -> None:
    summary = Ledger((requests(1, 1), tokens(1, DAY_SECONDS))).summary()
    assert (summary.arrivals, summary.first_arrival, [use.worst for use in summary.limits]) == (0, None, [0, 0])
