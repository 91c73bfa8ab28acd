"""A run as it goes on, as one record: the bar, the lines, the log, and `status` are told from it."""

from collections.abc import Iterator

import msgspec

from batchrunner.report.bounds import LaneUse, words_of
from batchrunner.report.summary import words_of_cost


class LaneLive(msgspec.Struct, frozen=True, kw_only=True):
    """One lane at work. `may_be_in_flight`: requests in flight at most, now; `in_line`: tries that wait for its limits;
    `napping`: units that wait to be asked again; `waits_for`: what holds up the next try; `now_used`: the share of each
    limit that was used lately, of daily ones today; `paused_s`: nothing is sent for so long, and why;
    `out_of_reach`: why nothing is sent until the shared book of limits is back."""

    lane: str
    in_flight: int
    may_be_in_flight: int
    in_line: int
    napping: int
    waits_for: str | None
    now_used: dict[str, float]
    paused_s: float | None
    why: str | None
    stopped: str | None
    use: LaneUse
    out_of_reach: str | None = None


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """`at`: when that was (Unix time), in which process; the counts of `done` and `failed` units, and of `total`, are
    of all runs, `failed` and `limited` (tries answered 429) of this one. `left`: what the last units wait for;
    `stopping`: why nothing more is sent; `cost`: of all tries of this run but
    `tries_without_cost`, None where none is known."""

    at: float
    process: int
    done: int
    total: int
    failed: int
    limited: int
    units_per_s: float
    tokens_per_s: float
    cost: float | None
    tries_without_cost: int = 0
    in_flight: int
    eta_s: float | None
    left: str | None
    stopping: str | None
    lanes: list[LaneLive]

    @property
    def binding(self) -> tuple[str, float] | None:
        """The limit of which most is used now, and how much of it."""
        used = [item for lane in self.lanes for item in lane.now_used.items()]
        return max(used, key=lambda item: item[1], default=None)

    @property
    def has_to_wait(self) -> bool:
        """Whether a lane pauses, or has a daily limit: then the rate alone does not tell when all is done."""
        return any(lane.paused_s is not None or any("/day" in name for name in lane.now_used) for lane in self.lanes)


def line_of(live: Live) -> str:
    """All of it in a line, the most important first."""
    words = [f"{live.done:,} of {live.total:,}", *rates_of(live), *counts_of(live), f"ETA {clock(live.eta_s)}"]
    words += [told for lane in live.lanes if len(live.lanes) == 1 and (told := words_of(lane.use))]
    return " · ".join([*words, *news_of(live)])


def rates_of(live: Live) -> list[str]:
    """By the second."""
    return [f"{live.units_per_s:.1f}/s", f"{live.tokens_per_s:,.0f} tok/s"]


def counts_of(live: Live) -> list[str]:
    """What is out and what went wrong, and what it has cost."""
    words = [f"{live.in_flight:,} in flight", f"{live.limited:,} x 429", f"{live.failed:,} failed"]
    cost = words_of_cost(live.cost, live.tries_without_cost)
    return [*words, cost] if cost else words


def news_of(live: Live) -> list[str]:
    """What is not as usual: pauses, stopped lanes, a run that stops, its last units."""
    words = [f"{_named(live, lane)}{told}" for lane in live.lanes if (told := trouble_of(lane))]
    return words + [told for told in (live.stopping, live.left) if told]


def trouble_of(lane: LaneLive) -> str | None:
    """Why a lane sends nothing, if it does not."""
    if lane.stopped is not None:
        return f"stopped: {lane.stopped}"
    if lane.out_of_reach is not None:
        return f"nothing is sent: {lane.out_of_reach}"
    return None if lane.paused_s is None else f"paused {clock(lane.paused_s)}: {lane.why}"


def lines_of_lanes(live: Live) -> Iterator[str]:
    """Each lane in a line, as `status` tells it."""
    for lane in live.lanes:
        yield f"{lane.lane}: {'; '.join(filter(None, (words_of_now(lane), words_of(lane.use))))}"


def words_of_now(lane: LaneLive) -> str:
    """What a lane does, and what it waits for."""
    words = [f"{lane.in_flight:,} of {lane.may_be_in_flight:,} in flight"]
    words += [f"{name} at {share:.0%} now".replace("%", " %") for name, share in lane.now_used.items()]
    words += [f"{lane.in_line:,} wait for {lane.waits_for}"] if lane.waits_for else []
    words += [f"{lane.napping:,} wait to be asked again"] if lane.napping else []
    return "; ".join([*words, *filter(None, [trouble_of(lane)])])


def clock(seconds: float | None) -> str:
    """4:07, 1:04:07, 3 d 1:04:07."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    time = f"{hours}:{minutes:02}:{rest:02}" if hours or days else f"{minutes}:{rest:02}"
    return f"{days} d {time}" if days else time


def _named(live: Live, lane: LaneLive) -> str:
    return f"{lane.lane} " if len(live.lanes) > 1 else ""
