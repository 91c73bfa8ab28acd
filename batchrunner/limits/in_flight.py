"""The tries of a lane that are out: how many, for how long, and by how much their estimates may be off together."""

import math
from dataclasses import dataclass

from batchrunner.limits.estimate import Estimate
from batchrunner.limits.window import Slot, Window

_FOREVER = float("inf")


@dataclass(slots=True, eq=False)
class Lease:
    """Leave to send one try, from the instant it was taken until the try is over."""

    taken_at: float
    estimate: Estimate
    entries: list[tuple[Window, Slot]]
    day: str
    counted: float = 0.0  # tokens, once it was answered


class InFlight:
    """The leases that are out, in the order in which they were taken. Instants are those of the lane's clock."""

    __slots__ = ("_leases", "_shared_error", "_taken_at_sum", "_variance")

    def __init__(self) -> None:
        self._leases: dict[Lease, None] = {}
        self._taken_at_sum = 0.0
        self._variance = 0.0
        self._shared_error = 0.0

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, lease: Lease) -> None:
        """One more is out."""
        self._leases[lease] = None
        self._taken_at_sum += lease.taken_at
        self._variance += lease.estimate.variance
        self._shared_error += lease.estimate.shared_error

    def remove(self, lease: Lease) -> None:
        """It is over. The sums start anew where none is left, so that what rounding leaves does not stay."""
        del self._leases[lease]
        if self._leases:
            self._taken_at_sum -= lease.taken_at
            self._variance -= lease.estimate.variance
            self._shared_error -= lease.estimate.shared_error
        else:
            self._taken_at_sum = self._variance = self._shared_error = 0.0

    def mean_age(self, now: float) -> float:
        """Seconds for which they have been out, in the mean."""
        return now - self._taken_at_sum / len(self._leases) if self._leases else 0.0

    def error(self, estimate: Estimate, rows: float) -> float:
        """Standard error, in tokens, of the estimates of this try and of those out that a window weighs, which holds so
        many rows: where answers take longer than the window, the others have left it."""
        share = min(1.0, rows / max(1, len(self._leases)))
        shared = share * self._shared_error + estimate.shared_error
        return math.sqrt(max(0.0, share * self._variance) + estimate.variance + shared * shared)

    def before(self, instant: float) -> int:
        """How many of them were taken before that."""
        return next((n for n, lease in enumerate(self._leases) if lease.taken_at >= instant), len(self._leases))

    def longest(self, now: float) -> float:
        """Seconds for which the first of them has been out."""
        first = next(iter(self._leases), None)
        return 0.0 if first is None else now - first.taken_at

    def first_since(self, began: float) -> float:
        """When the first try was taken of those out that were taken since then; infinity where none was."""
        first = _FOREVER
        for lease in reversed(self._leases):
            if lease.taken_at < began:
                break
            first = lease.taken_at
        return first
