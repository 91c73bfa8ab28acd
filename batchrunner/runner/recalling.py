"""What was asked for a unit, put together again: the run store holds answers, the input and the job hold questions.

Whether it is what was asked is told by the digest that was recorded with the answer. Inputs in a bucket are left alone:
reading them costs.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from batchrunner.chat.request import RequestSettings, compose, digest_of
from batchrunner.chat.shapes import body_of
from batchrunner.errors import BatchrunnerError, InputError
from batchrunner.folder.about import About
from batchrunner.job.schema import Job, is_url
from batchrunner.job.sweep import arms_of
from batchrunner.records import Failure, Row
from batchrunner.runner.preparing import LOOKED_AT, settings_of
from batchrunner.source import Source, open_source


class Likeness(StrEnum):
    """How what can be put together now relates to what was asked."""

    SAME = "same"
    CHANGED = "changed"
    UNKNOWN = "unknown"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for a unit: the columns of its row and the request's body, each None where it can't be had; and why
    it can't."""

    columns: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    likeness: Likeness = Likeness.UNKNOWN
    trouble: str = ""


class Recall:
    """The questions of one run. `job` is None where there is none to be had, and `trouble` says why; `base_url` is what
    stands in its digests. Threads may share it: what it keeps is made once."""

    def __init__(self, about: About, job: Job | None, base_url: str, trouble: str = "") -> None:
        self._about = about
        self._job = job
        self._base_url = base_url
        self._trouble = trouble
        self._settings: Sequence[RequestSettings] = ()

    def asked(self, units: Mapping[int, bytes | None]) -> dict[int, Asked]:
        """What is asked for these units, by number. Their values: the digests that were recorded with the answers, None
        where it needn't be told whether this is what was asked."""
        wanted = {number // self._about.arms for number in units}
        try:
            source = self._source()
            batches = source.rows(lambda row: row not in wanted, max(wanted, default=-1) + 1)
            rows = {row.number: row for batch in batches for row in batch}
        except (BatchrunnerError, OSError) as error:
            return dict.fromkeys(units, Asked(trouble=str(error)))
        return {
            number: self._asked(number, digest, rows.get(number // self._about.arms), source)
            for number, digest in units.items()
        }

    def rows(self) -> Iterator[list[Row]]:
        """All rows of the input, in order. InputError where it can't be read."""
        return self._source().rows(lambda _: False, self._about.rows)

    def _source(self) -> Source:
        if is_url(self._about.input):
            raise InputError(f"The input is {self._about.input}, which is not read here: reading it costs.")
        return open_source(self._about.input)

    def _asked(self, number: int, digest: bytes | None, row: Row | None, source: Source) -> Asked:
        if row is None:
            return Asked(trouble=f"{self._about.input} has no such row any more.")
        if row.failure is not None:
            return Asked(trouble=f"It can't be read: {row.failure.message}.")
        try:
            return self._composed(msgspec.structs.replace(row, number=number, arms=self._about.arms), digest, source)
        except (BatchrunnerError, OSError) as error:
            return Asked(columns=row.columns, trouble=str(error))

    def _composed(self, unit: Row, digest: bytes | None, source: Source) -> Asked:
        if self._job is None:
            return Asked(columns=unit.columns, trouble=self._trouble)
        if not self._settings:
            self._settings = self._settings_of(self._job, source)
        if len(self._settings) != self._about.arms:
            return Asked(columns=unit.columns, trouble="The job file has another sweep by now.")
        settings = self._settings[unit.arm]
        body = body_of(unit.columns, settings)
        if isinstance(body, Failure):
            return Asked(columns=unit.columns, likeness=_likeness(unit, settings, digest), trouble=body.message)
        return Asked(columns=unit.columns, body=body, likeness=_likeness(unit, settings, digest))

    def _settings_of(self, job: Job, source: Source) -> Sequence[RequestSettings]:
        first = next(source.rows(lambda _: False, LOOKED_AT), [])
        arms = arms_of(job.request, job.sweep)
        return settings_of(job, arms, first, self._base_url, from_texts=source.has_texts_only, keeps_raw=False)


def _likeness(unit: Row, settings: RequestSettings, digest: bytes | None) -> Likeness:
    if digest is None:
        return Likeness.UNKNOWN
    return Likeness.SAME if digest_of(unit, compose(unit, settings), settings) == digest else Likeness.CHANGED
