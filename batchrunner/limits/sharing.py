"""How the processes that share a lane divide its limits. Pure: what each one wrote last, and now, come in.

Each member holds a part of every limit and admits within it, by its own exact log. The parts never sum up to more than
the limit, so neither do the logs. A member that should have less gives back what its log forgets; one that should
have more takes what is free: so the rates change hands at once, and no window is passed. A member whose lease has
run out, killed or ended, holds what its log and its last lease may still weigh, until those windows have passed.

Fair is: everybody gets what he wants, or an equal part of what the modest ones leave. He whose next unit needs more
than his part has it in the order of waiting, so that a large unit comes through and small limits go round.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from batchrunner.limits.window import CURVE_POINTS, GUARD_SECONDS, Dimension, Key

_LEAST_SHARE = 1e-6


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One limit as one member sees it. `held`: its part, never less than it may use until it writes again;
    `curve`: what weighs now and later (see Window.curve); `pending`: what may come to it before the lease ends;
    `want`: None for as much as there is; `need`: what its next unit weighs, waiting since `need_since`."""

    dimension: Dimension
    window_seconds: float
    amount: float
    held: float
    curve: list[float]
    pending: float = 0.0
    want: float | None = None
    need: float = 0.0
    need_since: float | None = None

    @property
    def key(self) -> Key:
        """What tells a lane's limits apart."""
        return (self.dimension, self.window_seconds)

    @property
    def span(self) -> float:
        """Seconds for which an admission weighs."""
        return self.window_seconds + GUARD_SECONDS


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What one process wrote of itself at `at`; it admits nothing after `until` unless it writes again.

    Instants are monotonic seconds of this boot. `day_*`: what it may still take from its day before it writes again.
    """

    at: float
    until: float
    parts: list[Part] = []
    paused_until: float | None = None
    day: str = ""
    day_requests: float = 0.0
    day_tokens: float = 0.0
    day_hungry: bool = False

    def part(self, key: Key) -> Part | None:
        """Its part of a limit."""
        return next((part for part in self.parts if part.key == key), None)


@dataclass(frozen=True, slots=True)
class Share:
    """What the meeting gives one member of a limit: the amount in force, what it holds, its part of the rate."""

    amount: float
    held: float
    rate_share: float


@dataclass(frozen=True, slots=True)
class _Claim:
    want: float
    held: float = 0.0
    need: float = 0.0
    since: float | None = None


def meet(me: Member, others: Sequence[Member], now: float) -> dict[Key, Share]:
    """What `me` gets of every limit that any live member knows, given what the others wrote last."""
    live = [other for other in others if other.until > now]
    gone = [other for other in others if other.until <= now]
    keys = dict.fromkeys(part.key for member in (me, *live) for part in member.parts)
    return {key: _share(key, me, live, gone, now) for key in keys}


def weighs(part: Part, member: Member, now: float) -> float:
    """What of a member that writes no more still weighs on a window that ends now; never less."""
    passed = now - member.at
    point = max(0, int(passed / (part.span / CURVE_POINTS)))
    logged = part.curve[point] if point < len(part.curve) else 0.0
    pending = part.pending if now < member.until + part.span else 0.0
    return min(logged + pending, max(part.held, logged))


def _share(key: Key, me: Member, live: Iterable[Member], gone: Iterable[Member], now: float) -> Share:
    with_part = [part for member in live if (part := member.part(key)) is not None]
    mine = me.part(key)
    amount = min(part.amount for part in (*with_part, *([mine] if mine else ())))
    dead = sum(weighs(part, member, now) for member in gone if (part := member.part(key)) is not None)
    capacity = max(0.0, amount - dead)
    claim = _claim(mine) if mine is not None else _Claim(want=float("inf"))
    target = _target(capacity, claim, [_claim(part) for part in with_part])
    free = amount - dead - sum(part.held for part in with_part)
    in_use = max(mine.curve[0], min(mine.held, amount)) if mine is not None else 0.0
    held = max(in_use, min(target, free)) if mine is not None else 0.0  # nothing that others have not been told of
    return Share(amount, held, max(_LEAST_SHARE, target / capacity) if capacity else _LEAST_SHARE)


def _claim(part: Part) -> _Claim:
    return _Claim(float("inf") if part.want is None else part.want, part.held, part.need, part.need_since)


def _target(capacity: float, mine: _Claim, others: Sequence[_Claim]) -> float:
    """What the member with claim `mine` should hold."""
    claims = [mine, *others]
    while True:
        targets = _filled(capacity, [claim.want for claim in claims])
        waiting = [
            (claim.since, place)
            for place, (claim, target) in enumerate(zip(claims, targets, strict=True))
            if claim.since is not None and target < claim.need <= capacity
        ]
        if not waiting:
            return targets[0]
        _, place = min(waiting)
        if place == 0:
            return mine.need
        first = claims.pop(place)
        capacity -= first.need
        if first.held < first.need:  # what is given back is his: who has to wait behind him keeps nothing ready
            target = _filled(capacity, [claim.want for claim in claims])[0]
            return target if mine.since is None or target >= mine.need else 0.0


def _filled(capacity: float, wants: Sequence[float]) -> list[float]:
    """Max-min fairness: the modest have what they want, the others equal parts of the rest."""
    targets = [0.0] * len(wants)
    left, count = capacity, len(wants)
    for place in sorted(range(len(wants)), key=wants.__getitem__):
        targets[place] = min(wants[place], left / count)
        left -= targets[place]
        count -= 1
    return targets
