"""Drift: whether what a job asks now is what its earlier run asked, unit by unit.

A unit is its number and the digest of what is asked for it. Rows that were appended are no drift: they just
run. Units that are gone from the input stay recorded, so that an input cut short by mistake costs nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from batchrunner.chat.request import RequestSettings, compose, digest_of
from batchrunner.errors import InputError
from batchrunner.records import Row
from batchrunner.store.bitmap import Bitmap

_RECORDED = {"keep": "the columns that are kept", "raw": "the gateway's bodies"}
OnDrift = Literal["stop", "rerun-changed", "keep"]
Units = Callable[[Callable[[int], bool]], Iterator[list[Row]]]
Recorded = Callable[[], Iterable[tuple[int, bytes | None]]]


def check_columns(output: Path, differing: Iterable[str], on_drift: OnDrift) -> None:
    """InputError where what is recorded of each row is not what the earlier run recorded, and this is not to be."""
    names = [words for name, words in _RECORDED.items() if name in differing]
    if not names or on_drift == "keep":
        return
    raise InputError(
        f"The earlier run of {output} was told otherwise about {' and '.join(names)}, and its rows stay as they were "
        "recorded. To go on with rows of both kinds say --on-drift keep, to start anew --resume never; another "
        "--output keeps both."
    )


def of_what_is_asked(differing: Iterable[str]) -> list[str]:
    """Those of the parts that differ which may change what is asked."""
    return [name for name in differing if name not in _RECORDED]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How many units are new, which are changed, how many are gone from the input; `first_changed` is a row's id."""

    new: int
    changed: Bitmap
    gone: int
    first_changed: str | None

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone)

    def words(self) -> str:
        """For people: `3 changed (the first: id "q17"), 10 new, 0 gone`."""
        first = "" if self.first_changed is None else f' (the first: id "{self.first_changed}")'
        return f"{len(self.changed):,} changed{first}, {self.new:,} new, {self.gone:,} gone"

    def error(self, output: Path, differing: Sequence[str]) -> InputError:
        """Why the run of this output can't go on. `differing`: the names of what is not the same."""
        return InputError(
            f"The earlier run of {output} asked something else (not the same {', '.join(differing)}): units "
            f"{self.words()}. To ask what changed again say --on-drift rerun-changed, to keep its answers "
            "--on-drift keep, to start anew --resume never; another --output keeps both."
        )


def names_that_differ(now: Mapping[str, str], earlier: Mapping[str, str]) -> list[str]:
    """What makes two runs different ones, by name."""
    return sorted(name for name in now.keys() | earlier.keys() if now.get(name) != earlier.get(name))


def compare(units: Units, arms: Sequence[RequestSettings], total: int, recorded: Recorded) -> Drift:
    """Render every recorded unit anew and hold it against its digest. `total`: units of the input as it is now, in all
    its `arms`.

    Both inputs come in order, so that memory is two bits a unit.
    """
    ended = Bitmap(total)
    gone = 0
    for number, _ in recorded():
        ended.add(number)
        gone += number >= total
    changed, first = Bitmap(total), None
    digests = iter(recorded())
    for batch in units(lambda number: number not in ended):
        for unit in batch:
            known = next(digest for number, digest in digests if number == unit.number)
            if known != digest_of(unit, compose(unit, arms[unit.arm]), arms[unit.arm]):
                changed.add(unit.number)
                first = unit.id if first is None else first
    return Drift(new=total - len(ended), changed=changed, gone=gone, first_changed=first)
