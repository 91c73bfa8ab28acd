"""The run folder: compared with the run that was here before, its in-flight marks counted, whose its output is."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import takewhile
from pathlib import Path

import msgspec

from batchrunner.folder.about import about_run, fact_of_about
from batchrunner.folder.arms import ASIDE, Renumbering, arms_in, fact_of
from batchrunner.folder.owning import PUBLISHED, PUBLISHING, owns_output, stamp_of
from batchrunner.folder.published import folder_of, layout_in, outcomes
from batchrunner.folder.publishing import take_parts_back
from batchrunner.folder.retrying import Condition, matches
from batchrunner.runner.drift import OnDrift, Recorded, check_columns, names_that_differ, of_what_is_asked
from batchrunner.runner.preparing import Prepared, Scanned
from batchrunner.sink.atomic import sync_folder
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.database import Store, peek
from batchrunner.store.heeding import Heed, heed_nobody
from batchrunner.store.marks import Marks
from batchrunner.store.renumbered import RenumberedStore

IDENTITY = "identity"
SCANNED = "scanned"
_IN_DOUBT = "in_doubt"
_DOUBTED = "doubted"


class RunFolder:
    """A run folder that this process alone works in."""

    def __init__(self, path: Path, *, output: Path, in_parts: bool, heed: Heed = heed_nobody) -> None:
        self.path = path
        self.output = output
        self.in_parts = in_parts
        self.may_overwrite = False
        self._heed = heed
        self.store = Store(path, heed=heed)
        self.marks = Marks(path / "marks")
        with suppress(OSError):  # the next commit will say what is wrong
            sync_folder(path)

    def close(self) -> None:
        """Close its files."""
        self.marks.close()
        self.store.close()

    def begin(self, job: Prepared, on_drift: OnDrift) -> None:
        """Take up the earlier run, or begin one.

        Where the input or the request are not those of the earlier run, its units are held against the job:
        InputError where some drifted and `on_drift` is "stop". Where the job has other arms they get other numbers.
        """
        known = self.store.fact(IDENTITY)
        earlier = job.identity if known is None else msgspec.json.decode(known, type=dict[str, str])
        change = Renumbering(arms_in(self.store.fact, earlier), job.known_arms, job.swept)
        if not change.moves:
            changed = self._drifted(job, earlier, self.store.digests, on_drift)
            self._count_in_doubt()
            self.store.remember(*fact_of(change.after))
        else:
            with closing(RenumberedStore(self.path, heed=self._heed)) as store:
                store.renumber_by(change.number, change.row)
                changed = self._drifted(job, earlier, store.digests_to_be, on_drift)
                self._count_in_doubt()
                self._renumber(store, change, job.total)
        if changed:
            self._renew_output()
            self.store.reopen(changed)
        self._remember_identity(job.identity)

    @property
    def has_begun(self) -> bool:
        """Whether a run was ever begun in it."""
        return self.store.fact(IDENTITY) is not None

    def choose(self, chosen: Bitmap, arms: int) -> None:
        """Ask these rows alone, each in all its arms; others that were recorded stay so, and are in no output."""
        self.store.choose(chosen, arms)

    def reopen_failed(self, total: int, conditions: Sequence[Condition]) -> int:
        """Make the failed units below `total` that meet every condition pending again; how many."""
        chosen = failed = Bitmap(total, self.store.failed(total))
        if conditions:
            rows = zip(self.store.ended(0, total), outcomes(self.store, self.path, total), strict=True)
            chosen = Bitmap(total, (number for number, row in rows if number in failed and matches(row, conditions)))
        if chosen:
            self._renew_output()
            self.store.reopen(chosen)
        return len(chosen)

    @property
    def in_doubt(self) -> int:
        """Units that were in flight when a run of this output was cut off: earlier ones, and this one if it was."""
        return self._in_doubt_before + len(set(self.marks.units()))

    @property
    def _in_doubt_before(self) -> int:
        return int(self.store.fact(_IN_DOUBT) or 0)

    @property
    def doubted(self) -> list[int]:
        """The numbers of the units that earlier runs left in doubt, once for each time."""
        return msgspec.json.decode(self.store.fact(_DOUBTED) or "[]", type=list[int])

    def remember_scanned(self, scanned: Scanned) -> None:
        """So that the same bytes need not be scanned again."""
        self.store.remember(SCANNED, msgspec.json.encode(scanned).decode())

    def distrust(self, identity: dict[str, str]) -> None:
        """The input changed while it was read: the next run holds every recorded unit against it."""
        self._remember_identity(identity | {"input": "changed while it was read"})

    @property
    def owns_output(self) -> bool:
        """Whether what stands at the output's path is of this run folder: written, or being written, by its runs."""
        return owns_output(self.store, self.path, self.output, in_parts=self.in_parts)

    def inherit_output(self) -> None:
        """The file at the output's path is of a run that was set aside for this one: it may be replaced."""
        self.store.remember(PUBLISHED, stamp_of(self.output))

    @property
    def published(self) -> str:
        """What was written last, as `publishing` was told; empty before."""
        return self.store.fact(PUBLISHED) or ""

    def is_published(self, content: str) -> bool:
        """Whether the output stands as it was written, with this content."""
        return self.output.exists() and self.store.fact(PUBLISHED) == f"{stamp_of(self.output)} {content}"

    @contextmanager
    def publishing(self, content: str) -> Iterator[None]:
        """Around the writing of the output, so that a kill in its middle leaves no doubt whose it is.

        A writing that fails leaves the output as it was, and whose it was.
        """
        before = self.store.fact(PUBLISHED) or ""
        self.store.remember(PUBLISHED, PUBLISHING)
        try:
            yield
        except BaseException:
            self.store.remember(PUBLISHED, before)
            raise
        self.store.remember(PUBLISHED, f"{stamp_of(self.output)} {content}")

    def _drifted(self, job: Prepared, earlier: dict[str, str], recorded: Recorded, on_drift: OnDrift) -> Iterable[int]:
        """The units that are to be asked again, by the numbers that they have, or will have.

        An earlier run without a single answer binds nobody: there is nothing to mix.
        """
        now = job.identity
        differing = names_that_differ(now, earlier)
        if not differing:
            return ()
        if not self.store.holds_answers():
            self._renew_output()
            self.store.reopen_all()
            return ()
        check_columns(self.output, differing, on_drift)
        if not of_what_is_asked(differing):
            return ()
        drift = job.drift_from(lambda: takewhile(lambda unit: unit[0] < ASIDE, recorded()))
        if drift and on_drift == "stop":
            raise drift.error(self.output, differing)
        return drift.changed if on_drift == "rerun-changed" else ()

    def _count_in_doubt(self) -> None:
        """Of the units whose marks an earlier process left, those that have not ended."""
        marked = set(self.marks.units())
        reach = max(marked, default=-1) + 1
        done = Bitmap(reach, self.store.ended(0, reach))
        doubted = [unit for unit in sorted(marked) if unit not in done]
        self.store.remember(_IN_DOUBT, str(self._in_doubt_before + len(doubted)))
        if doubted:
            self.store.remember(_DOUBTED, msgspec.json.encode(self.doubted + doubted).decode())
        self.marks.clear_all()

    def _renumber(self, store: RenumberedStore, change: Renumbering, total: int) -> None:
        """The units get the numbers that the job's arms give them; whoever reads them learns it at that moment."""
        self._renew_output()
        layout = layout_in(self.store)
        if layout is not None:
            take_parts_back(self.path, self.output if self.in_parts else folder_of(self.path, layout))
        about = about_run(self.store.fact)
        now = {} if about is None else fact_of_about(msgspec.structs.replace(about, total=total))
        doubted = [new for new in map(change.number, self.doubted) if new < ASIDE]
        store.renumber({**dict([fact_of(change.after)]), **now, _DOUBTED: msgspec.json.encode(doubted).decode()})

    def _renew_output(self) -> None:
        """Units are about to be asked again: the output stays ours, but is written anew even if as many end alike."""
        if self.owns_output and not self.in_parts:
            self.inherit_output()

    def _remember_identity(self, identity: dict[str, str]) -> None:
        self.store.remember(IDENTITY, msgspec.json.encode(identity).decode())


def scanned_before(path: Path) -> Scanned | None:
    """What the run in this folder, if there is one, found in its input."""
    fact = peek(path, SCANNED)
    return None if fact is None else msgspec.json.decode(fact, type=Scanned)
