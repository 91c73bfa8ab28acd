"""An input as one: its files in order, their rows numbered through."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

from batchrunner.records import Row
from batchrunner.source.files import InputFile
from batchrunner.source.ids import PlacedId, SeenIds
from batchrunner.source.packed import fingerprint_of
from batchrunner.source.scan import NAMED_ROWS, Reader, Scan, Skip, Survey


class Source:
    """An input that stays as it is while it is read. `listing` looks anew which files it is of, `reader` opens one;
    `has_texts_only` where every value is a text, whatever it means.

    Every method raises InputError where a file can't be read at all.
    """

    def __init__(
        self,
        listing: Callable[[], Sequence[InputFile]],
        reader: Callable[[InputFile, str], Reader],
        unit: str,
        *,
        has_texts_only: bool = False,
    ) -> None:
        self.has_texts_only = has_texts_only
        self._listing = listing
        self._files = listing()
        self._unit = unit
        alone = len(self._files) == 1
        self._prefixes = ["" if alone else f"{file.name}, " for file in self._files]
        self._readers = [reader(file, prefix) for file, prefix in zip(self._files, self._prefixes, strict=True)]

    @property
    def files(self) -> Sequence[InputFile]:
        """Its files as they were when it was opened."""
        return self._files

    def size(self) -> int:
        """Bytes of all its files, as they are now."""
        return sum(file.size() for file in self._listing())

    def version(self) -> str:
        """What changes when a file is changed, comes or goes, without a look at their contents."""
        return _as_one([f"{file.name} {file.version()}" for file in self._listing()])

    def fingerprint(self) -> str:
        """See Scan: as its files are now, with nothing decoded."""
        return _as_one([fingerprint_of(file) for file in self._listing()])

    def scan(self) -> Scan:
        """Count, fingerprint, and refuse doubled ids with InputError. Bad rows are counted, not judged."""
        seen = SeenIds()
        surveys = [reader.survey(seen) for reader in self._readers]
        rows = sum(survey.rows for survey in surveys)
        if seen.may_be_numbers and sum(survey.bearing_ids for survey in surveys) < rows:
            seen = SeenIds()  # with the numbers of rows that bear no id: another may bear that as its own
            for batch in _batches(self._ids(surveys)):
                seen.add_all([placed.id for placed in batch])
        seen.refuse_doubled(lambda: self._ids(surveys))
        return Scan(
            rows=rows,
            blank_lines=sum(survey.blank_lines for survey in surveys),
            fingerprint=_as_one([survey.fingerprint for survey in surveys]),
            columns=self._columns(),
        )

    def header(self) -> frozenset[str] | None:
        """The names of all columns, where the format tells them before the rows."""
        headers = [reader.header() for reader in self._readers]
        told = [header for header in headers if header is not None]
        return frozenset().union(*told) if len(told) == len(headers) else None

    def rows(self, skip: Skip, limit: int | None) -> Iterator[list[Row]]:
        """Batches of rows in input order: of the input's first `limit` rows those that `skip` does not want left out.

        `skip` is asked by row number, from 0. A row that can't be read comes with its `failure`.
        """
        first = 0
        for reader in self._readers:
            if limit is not None and first >= limit:
                return
            first = yield from reader.rows(skip, first, limit)

    def _ids(self, surveys: Sequence[Survey]) -> Iterator[PlacedId]:
        first = 0
        for reader, prefix, survey in zip(self._readers, self._prefixes, surveys, strict=True):
            for place, row_id in reader.ids(first):
                yield PlacedId(f"{prefix}{self._unit} {place}", row_id)
            first += survey.rows

    def _columns(self) -> tuple[str, ...]:
        rows = chain.from_iterable(self.rows(lambda _: False, NAMED_ROWS))
        return tuple(dict.fromkeys(name for row in rows for name in row.columns))


def _batches(ids: Iterator[PlacedId]) -> Iterator[list[PlacedId]]:
    while batch := list(islice(ids, 10_000)):
        yield batch


def _as_one(texts: Sequence[str]) -> str:
    """One text as it is, several as their SHA-256."""
    return texts[0] if len(texts) == 1 else hashlib.sha256("\n".join(texts).encode()).hexdigest()
