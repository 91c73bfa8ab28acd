"""Failed units by what they failed of: messages that differ in numbers, names in quotes and the like are one cause."""

import re
from collections.abc import Iterable

import msgspec

from batchrunner.records import Outcome

MOST_CAUSES = 100
OTHER_WORDS = "(other messages)"
_VARYING = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{20,}"  # a UUID
    r"|\b(?=\w*\d)\w{10,}\b"  # the id of a request
    r"|\"[^\"]{0,200}\"|'[^']{0,200}'|`[^`]{0,200}`"
    r"|\d+(?:[.,]\d+)*"
)
_LONGEST = 300


class Cause(msgspec.Struct, kw_only=True):
    """Units that failed alike. `words`: their message without what varies; `first`: number and message of the first of
    them, and its output row where it can still be read."""

    kind: str
    words: str
    units: int
    first: int
    message: str
    row: Outcome | None = None


def causes_of(failed: Iterable[tuple[int, str, str]]) -> list[Cause]:
    """The causes of these failed units (number, kind, message), the most frequent first. Of more than a hundred, the
    later ones are one a kind."""
    causes: dict[tuple[str, str], Cause] = {}
    for number, kind, message in failed:
        words = _VARYING.sub("…", message[:_LONGEST])
        if (kind, words) not in causes and len(causes) >= MOST_CAUSES:
            words = OTHER_WORDS
        cause = causes.get((kind, words))
        if cause is None:
            causes[kind, words] = Cause(kind=kind, words=words, units=1, first=number, message=message)
        else:
            cause.units += 1
    return sorted(causes.values(), key=lambda cause: (-cause.units, cause.first))
