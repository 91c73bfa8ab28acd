"""Which arm of the sweep has which numbers in a run store, remembered there; and what changes when the job has others.

A unit's number is its row's, times the arms that the job has now, plus the place of its arm among these: so all units
of the job are the numbers below its total, in the order of the output. The units of arms that were taken away stand
aside, beyond all these, until their arm comes back. An arm is known by what it asks for under the names that were ever
swept, and by its sample: what else the request says may drift, and is held against the digests. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from batchrunner.folder.about import Fact
from batchrunner.folder.identity import short
from batchrunner.job.sweep import Arm, values_of

ASIDE = 2**48
_ROWS_ASIDE = 2**40  # of one arm
_FACT = "arms"
_OF_NO_ARM = ("input", "base_url", "params")


class KnownArm(msgspec.Struct, frozen=True, kw_only=True):
    """An arm as its run remembers it: what its request says by name, as JSON, and the two columns of its output
    rows."""

    values: dict[str, str]
    variant: str | None = None
    sample: int | None = None

    def key(self, names: Iterable[str]) -> tuple[object, ...]:
        """What tells it from other arms, where these names are swept."""
        return (self.sample or 0, *(self.values.get(name) for name in names))


class Arms(msgspec.Struct, frozen=True, kw_only=True):
    """The arms that are asked, in their order; those aside, by their place there, None where one has come back; and
    the names that were ever swept."""

    asked: list[KnownArm]
    aside: list[KnownArm | None] = []
    swept: list[str] = []

    @property
    def samples(self) -> int:
        """How many of those that are asked are samples of one variant."""
        return sum(arm.variant == self.asked[0].variant for arm in self.asked)

    @property
    def variants(self) -> list[str | None]:
        """The names of the variants, in order."""
        return [arm.variant for arm in self.asked[:: self.samples]]


class Renumbering:
    """From the arms of the earlier run to those of the job."""

    def __init__(self, before: Arms, asked: Sequence[KnownArm], swept: Iterable[str]) -> None:
        names = sorted({*before.swept, *swept})
        places = {arm.key(names): place for place, arm in enumerate(asked)}
        self._before = before
        self._asked = asked
        self._places = [places.get(arm.key(names)) for arm in before.asked]
        self._back = [None if arm is None else places.get(arm.key(names)) for arm in before.aside]
        stays = [None if back is not None else arm for arm, back in zip(before.aside, self._back, strict=True)]
        self._leaves = {
            place: len(stays) + count
            for count, place in enumerate(place for place, to in enumerate(self._places) if to is None)
        }
        self.after = Arms(asked=list(asked), aside=stays + [before.asked[place] for place in self._leaves], swept=names)

    @property
    def moves(self) -> bool:
        """Whether any unit gets another number or another label."""
        if self._places != list(range(len(self._asked))) or any(place is not None for place in self._back):
            return True
        pairs = zip(self._before.asked, self._asked, strict=True)
        return any(_labels(before) != _labels(now) for before, now in pairs)

    def number(self, old: int) -> int:
        """What becomes of a unit's number."""
        row, place, to = self._found(old)
        if to is not None:
            return row * len(self._asked) + to
        if old >= ASIDE:
            return old
        return ASIDE + self._leaves[place] * _ROWS_ASIDE + row

    def row(self, old: int, outcome: bytes) -> bytes:
        """What becomes of the output row of the unit with this number: it may be of another variant by name."""
        _, place, to = self._found(old)
        before = (self._before.aside if old >= ASIDE else self._before.asked)[place]
        if to is None or before is None or _labels(before) == _labels(self._asked[to]):
            return outcome
        columns = msgspec.json.decode(outcome, type=dict[str, msgspec.Raw])
        labels = zip(("variant", "sample"), _labels(self._asked[to]), strict=True)
        return msgspec.json.encode(columns | {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in labels})

    def _found(self, old: int) -> tuple[int, int, int | None]:
        """Row, place of the arm among those asked or aside, and the arm's new place, if it has one."""
        if old >= ASIDE:
            place, row = divmod(old - ASIDE, _ROWS_ASIDE)
            return row, place, self._back[place]
        row, place = divmod(old, len(self._before.asked))
        return row, place, self._places[place]


def known_arms(arms: Iterable[Arm]) -> list[KnownArm]:
    """The job's arms, as they are remembered."""
    return [KnownArm(values=_encoded(values_of(arm.request)), variant=arm.variant, sample=arm.sample) for arm in arms]


def arms_in(fact: Fact, identity: Mapping[str, str]) -> Arms:
    """The arms of the earlier run. Where an older batchrunner remembered none there was one, and `identity` says what
    it asked for."""
    known = fact(_FACT)
    if known is not None:
        return msgspec.json.decode(known, type=Arms)
    said = {name: text for name, text in identity.items() if name not in _OF_NO_ARM and text != "null"}
    params = identity.get("params", "{}")
    if params.startswith("{"):
        said |= _encoded(msgspec.json.decode(params, type=dict[str, Any]))
    return Arms(asked=[KnownArm(values=said)])


def fact_of(arms: Arms) -> tuple[str, str]:
    """Name and value under which they are remembered."""
    return _FACT, msgspec.json.encode(arms).decode()


def _encoded(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: short(msgspec.json.encode(value, order="sorted").decode()) for name, value in values.items()}


def _labels(arm: KnownArm) -> tuple[str | None, int | None]:
    return arm.variant, arm.sample
