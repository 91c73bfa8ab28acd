"""A lane's sheet in a book that several machines share: written twice, lost, old, or under a clock that was set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.limits.book import Entry
from batchrunner.limits.day import Spent
from batchrunner.limits.server_clock import STEPPED_SECONDS, ServerClock
from batchrunner.limits.sharing import Member, Part
from batchrunner.limits.sheet import Sheet, added, as_of, moved, page_of, written

DAY = "2026-11-24"
NOW = 1_800_000_000.0


def member(at: float, *, leased: float = 0.0, **more: float) -> Member:
    return Member(at=at, until=at + 0.6, day=DAY, day_requests=leased, **more)


def put(sheet: Sheet, me: str, spent: float, used: dict[str, Spent], at: float = NOW, leased: float = 0.0) -> Sheet:
    """The sheet after a process that had `used` before tells what it has spent since."""
    entry = Entry(member=member(at, leased=leased), spent={DAY: Spent(spent, 0.0)} if spent else {})
    return written(as_of(sheet, Sheet(), at), me, entry, used, who="", now=at)


def requests(sheet: Sheet) -> float:
    return sheet.days.get(DAY, Spent()).requests


def test_what_is_written_again_because_nobody_knew_counts_once() -> None:
    used = {DAY: Spent(10.0, 0.0)}
    sheet = put(Sheet(), "me", 10.0, {})
    lost = put(sheet, "me", 3.0, used)
    assert page_of(lost, "me", used, offset=0.0, late=0.0).days == {DAY: Spent(10.0, 0.0)}
    assert requests(put(lost, "me", 5.0, used)) == 15.0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.booleans(), st.booleans()), max_size=30))
def test_a_day_is_what_all_have_spent_whatever_was_lost_on_the_way(
    events: list[tuple[str, int, bool, bool]],
) -> None:
    sheet, spent, untold, used = Sheet(), {"a": 0, "b": 0}, {"a": 0, "b": 0}, {"a": 0, "b": 0}
    for number, (who, more, arrives, answered) in enumerate([*events, ("a", 0, True, True), ("b", 0, True, True)]):
        spent[who] += more
        untold[who] += more
        at = NOW + 0.2 * number
        after = put(sheet, who, untold[who], {DAY: Spent(float(used[who]), 0.0)}, at, leased=3.0)
        sheet = after if arrives else sheet
        if arrives and answered:
            used[who] += untold[who]
            untold[who] = 0
    assert requests(sheet) == sum(spent.values())


def test_whoever_writes_no_more_has_spent_what_he_had_on_lease_until_he_comes_back() -> None:
    sheet = put(put(Sheet(), "dead", 5.0, {}, leased=16.0), "me", 0.0, {}, at=NOW + 1)
    assert requests(sheet) == 21.0
    assert requests(as_of(sheet, Sheet(), NOW + 2)) == 21.0
    assert requests(put(sheet, "dead", 2.0, {DAY: Spent(5.0, 0.0)}, at=NOW + 2)) == 7.0


def test_whoever_was_forgotten_and_comes_back_counts_only_what_is_new() -> None:
    sheet = as_of(put(Sheet(), "me", 5.0, {}), Sheet(), NOW + 200)
    assert sheet.members == {}
    assert requests(put(sheet, "me", 2.0, {DAY: Spent(5.0, 0.0)}, at=NOW + 200)) == 7.0


def test_a_sheet_that_is_lost_or_old_is_brought_back_by_who_remembers_a_newer_one() -> None:
    old = put(Sheet(), "me", 5.0, {})
    newer = put(old, "another", 7.0, {})
    begun = put(Sheet(), "newcomer", 2.0, {}, at=NOW + 1)
    for sheet in (Sheet(), old, begun):
        back = as_of(sheet, newer, NOW + 0.3)
        assert {"me", "another"} <= back.members.keys()
        assert requests(back) == 12.0
        assert back.writes >= newer.writes
    assert "newcomer" in as_of(begun, newer, NOW + 1).members
    assert as_of(newer, old, NOW + 0.3).members.keys() == {"me", "another"}


def test_a_server_whose_clock_was_put_back_blocks_nobody_for_longer_than_a_window() -> None:
    sheet = put(Sheet(), "dead", 0.0, {}, at=NOW + 3600)
    seen = as_of(sheet, Sheet(), NOW)
    assert seen.members["dead"].member.until == pytest.approx(NOW + 0.6)
    assert as_of(seen, Sheet(), NOW + 200).members == {}


def test_pauses_come_back_as_they_were_and_leases_never_earlier() -> None:
    part = Part(dimension="tokens", window_seconds=60.0, amount=1.0, held=1.0, curve=[], need=1.0, need_since=3.0)
    before = Member(at=5.0, until=6.0, parts=[part], paused_until=7.0)
    there = moved(before, 1000.0, late=0.1)
    again = moved(there, -1000.0, late=0.2)
    assert (again.paused_until, again.parts[0].need_since) == (7.0, 3.0)
    assert (again.at, again.until) == pytest.approx((5.3, 6.3))


def test_added_leaves_what_was_as_it_is() -> None:
    used = {DAY: Spent(1.0, 2.0)}
    assert added(used, {DAY: Spent(1.0, 1.0), "x": Spent(1.0, 0.0)}) == {DAY: Spent(2.0, 3.0), "x": Spent(1.0, 0.0)}
    assert used == {DAY: Spent(1.0, 2.0)}


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=30))
def test_the_servers_clock_is_known_as_well_as_answers_are_quick(asked: list[tuple[float, float, float]]) -> None:
    clock, now, offset = ServerClock(), 100.0, 1e6
    for wait, there, back in asked:
        now += wait
        clock.hear(now, now + there + offset, now + there + back)
        now += there + back
        assert abs(clock.offset - offset) <= clock.error + 1e-4
    assert clock.late(now) == clock.error
    assert clock.error <= min((there + back) / 2 for _, there, back in asked) + 5e-4 * (now - 100.0) + 1e-9


def test_a_quick_answer_is_trusted_for_a_while_against_slow_ones() -> None:
    clock = ServerClock()
    clock.hear(10.0, 110.001, 10.002)
    clock.hear(11.0, 111.0, 12.0)
    assert (clock.offset, clock.error) == pytest.approx((100.0, 0.001))


def test_what_others_wrote_before_a_clock_was_put_forward_has_not_ended_for_that() -> None:
    clock = ServerClock()
    clock.hear(10.0, 110.001, 10.002)
    clock.hear(11.0, 3711.001, 11.002)
    assert clock.offset == pytest.approx(3700.0)
    assert clock.late(11.1) == pytest.approx(3600.001)
    assert clock.late(12.0 + STEPPED_SECONDS) == pytest.approx(0.001)


def test_a_clock_that_was_put_back_holds_at_once() -> None:
    clock = ServerClock()
    clock.hear(10.0, 3710.001, 10.002)
    clock.hear(11.0, 111.001, 11.002)
    assert (clock.offset, clock.late(11.1)) == pytest.approx((100.0, 0.001))
