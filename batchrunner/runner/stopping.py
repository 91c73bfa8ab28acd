"""What in the units' ends stops a run: the first ones all failing alike, or too many failing. Pure."""

import msgspec

from batchrunner.chat.verdict import ALIKE_FAILURES
from batchrunner.folder.ending import End, Ending
from batchrunner.records import Outcome

FEWEST_FINISHED = 200  # before a share of failed units says anything


class MaxFailed(msgspec.Struct, frozen=True, kw_only=True):
    """How many units may fail in a run: so many, or a share of those that finished; None is no bound."""

    count: int | None = None
    share: float | None = None

    def passed_by(self, failed: int, finished: int) -> bool:
        """Whether so many are more."""
        if self.count is not None:
            return failed > self.count
        return self.share is not None and finished >= FEWEST_FINISHED and failed > self.share * finished

    def words(self) -> str:
        """As it is said on the command line."""
        return f"{100 * (self.share or 0):.4g}%" if self.count is None else str(self.count)


class Stopping:
    """Counts how the units of this run end, as they are judged. `answered_before`: earlier runs had answers.

    `not_to_blame`: failed units whose failing tells of the gateway, so that they are to be asked again.
    """

    def __init__(self, max_failed: MaxFailed, *, answered_before: bool) -> None:
        self.not_to_blame: list[int] = []
        self._max_failed = max_failed
        self._differing = answered_before  # whether units have ended in more than one way
        self._finished = self._failed = 0
        self._alike: list[int] = []
        self._kind: str | None = None

    def take(self, number: int, outcome: Outcome, *, asked: bool) -> Ending | None:
        """The unit of this number has ended, `asked` of the gateway or not; why the run stops, if it does."""
        self._finished += 1
        if outcome.error is None:
            self._differing = True
            return None
        self._failed += 1
        if asked and not self._differing:
            self._differing = self._kind not in (None, outcome.error.kind)
            self._kind = outcome.error.kind
            self._alike.append(number)
        return self._all_alike() or self._too_many()

    def _all_alike(self) -> Ending | None:
        if self._differing or len(self._alike) < ALIKE_FAILURES:
            return None
        self.not_to_blame = self._alike
        return Ending(end=End.UNREACHABLE, message=f"the first {len(self._alike)} units all failed alike: {self._kind}")

    def _too_many(self) -> Ending | None:
        if not self._max_failed.passed_by(self._failed, self._finished):
            return None
        told = f"{self._failed:,} of {self._finished:,} units failed, more than --max-failed {self._max_failed.words()}"
        return Ending(end=End.TOO_MANY_FAILED, message=told)
