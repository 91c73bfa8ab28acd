"""What bound a run: how much of each limit a lane used, and what its tries waited for."""

from collections.abc import Iterable

import msgspec

from batchrunner.limits.lane import FOREVER, Lane
from batchrunner.limits.window import Key, Limit, name_of

MANY_REQUESTS = 5000  # in a window: with so many the margin for estimates is small
_SHOWN_FROM = 0.005
_AS_DECLARED = 0.999


class LimitUse(msgspec.Struct, frozen=True, kw_only=True):
    """One limit. `used`: its share over the time of the run (of today for daily ones); `margin`: the share of a token
    limit that was kept free at the end as estimates may be off; `found`: it was found out, not
    declared, or lower than that."""

    limit: str
    amount: float
    used: float
    found: bool = False
    margin: float | None = None


class LaneUse(msgspec.Struct, frozen=True, kw_only=True):
    """One lane of this run. `bound_by`: shares of `seconds` for which the next try waited for what is named;
    `estimate_error`: by how much tokens reserved in sum were off, relative to what was used; `lowered`: limits of which
    another process declares less."""

    lane: str
    seconds: float
    requests: int
    tokens: int
    limits: list[LimitUse]
    bound_by: dict[str, float]
    estimate_error: float | None = None
    lowered: dict[str, float] = {}


def use_of(label: str, lane: Lane, now: float) -> LaneUse:
    """The lane as it stands at `now` (its own clock)."""
    sums = lane.sums
    seconds = 0.0 if sums.first_at is None else now - sums.first_at
    bound = {why: waited / seconds for why, waited in sums.bound.items() if why and seconds > 0}
    return LaneUse(
        lane=label,
        seconds=round(seconds, 3),
        requests=sums.requests,
        tokens=round(sums.tokens),
        limits=[*_windows(lane), *_days(lane)],
        bound_by={why: round(min(1.0, share), 4) for why, share in sorted(bound.items(), key=lambda one: -one[1])},
        lowered={name_of(key): amount for key, amount in lane.force.lowered.items()},
        estimate_error=round(sums.reserved / sums.counted - 1, 4) if sums.counted else None,
    )


def words_of(use: LaneUse) -> str:
    """bound by tokens/minute 94 % of the time; requests/minute at 31 %."""
    parts = []
    why, share = next(iter(use.bound_by.items()), ("", 0.0))
    if share >= _SHOWN_FROM:
        parts.append(f"bound by {why} {share:.0%} of the time".replace("%", " %"))
    parts += [f"{one.limit} at {one.used:.0%}".replace("%", " %") for one in use.limits if one.limit != why]
    parts += [
        f"{one.margin:.1%} of {one.limit} kept free for estimates".replace("%", " %")
        for one in use.limits
        if one.margin is not None and one.margin >= _SHOWN_FROM
    ]
    parts += [
        f"another process declares {name} {amount:,.0f}: it holds for both" for name, amount in use.lowered.items()
    ]
    return "; ".join(parts)


def _windows(lane: Lane) -> Iterable[LimitUse]:
    for window in lane.force.limited:
        key, found = window.limit.key, is_found(lane, window.limit)
        used = _used(lane, key, window.limit.amount)
        yield LimitUse(
            limit=name_of(key),
            amount=round(window.limit.amount, 1),
            used=round(min(1.0, used) if found else used, 4),
            found=found,
            margin=_margin(lane, key, window.limit.amount),
        )


def is_found(lane: Lane, limit: Limit) -> bool:
    """Whether it is none that somebody declared, but found out, or found to be lower than declared: then it was another
    one before, and what passed may be more than it."""
    declared = lane.force.finder.declared.get(limit.key)
    return declared is None or (limit.amount < _AS_DECLARED * declared and limit.key not in lane.force.lowered)


def _used(lane: Lane, key: Key, amount: float) -> float:
    sums = lane.sums
    lasted = 0.0 if sums.first_at is None else sums.last_at - sums.first_at
    passed = sums.requests if key[0] == "requests" else sums.tokens
    return max(0.0, passed / (amount * max(1.0, lasted / key[1])))


def _margin(lane: Lane, key: Key, amount: float) -> float | None:
    """Told of where a window holds few requests."""
    if (
        key[0] != "tokens"
        or key not in lane.force.finder.declared
        or amount / max(1.0, lane.mean_tokens) >= MANY_REQUESTS
    ):
        return None
    return round(min(1.0, lane.largest_margin / amount), 4)


def _days(lane: Lane) -> Iterable[LimitUse]:
    day = lane.day
    for name, limit, left in (
        ("requests/day", day.requests_limit, day.left.requests),
        ("tokens/day", day.tokens_limit, day.left.tokens),
    ):
        if limit < FOREVER:
            yield LimitUse(limit=name, amount=limit, used=round(min(1.0, 1 - left / limit), 4))
