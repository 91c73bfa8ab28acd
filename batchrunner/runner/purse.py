"""What the units of a run pay from: prices, a budget where there is one, and what they have paid so far."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from batchrunner.chat.request import compose
from batchrunner.job.schema import Job
from batchrunner.records import Outcome, Paid, Request
from batchrunner.runner.budget import Gate, gate_of
from batchrunner.runner.folder import RunFolder
from batchrunner.runner.money import PriceOf, finder_of
from batchrunner.runner.preparing import Prepared


@dataclass(slots=True, kw_only=True)
class Purse:
    """`price_of` finds a model's prices; `paid` is what rejected answers used and cost, by the numbers of units that
    have not ended, in this run and earlier ones; `gate` lets tries out that fit into the budget."""

    price_of: PriceOf
    paid: dict[int, Paid]
    gate: Gate | None = None

    def pay(self, number: int, paid: Paid | None) -> None:
        """A try of a unit that goes on is over."""
        if paid is not None:
            self.paid[number] = paid.plus(self.paid.get(number, Paid()))

    def close(self, number: int, outcome: Outcome) -> Paid | None:
        """All that an ended unit paid; None where that is what its outcome says, which knows of the last try only."""
        before = self.paid.pop(number, None)
        return None if before is None else before.plus(Paid(usage=outcome.usage, cost=outcome.cost))


def purse_of(job: Job, folder: RunFolder, prepared: Prepared) -> Purse:
    """The purse of a run. Where it has a budget, what earlier runs took of that is read from the store; units that they
    left in doubt count with the worst that they can have cost."""
    price_of, gate = finder_of(job.prices), None
    if job.run.has_budget:
        gate = gate_of(job.run, folder.store.spending(), price_of)
        for request, times in _doubted(folder, prepared):
            for _ in range(times):
                gate.lose(request)
    return Purse(price_of=price_of, paid=folder.store.paid_for_pending(), gate=gate)


def _doubted(folder: RunFolder, prepared: Prepared) -> Iterator[tuple[Request, int]]:
    """What was asked of the units in doubt, and how often each was left so."""
    doubted = Counter(folder.doubted)
    if not doubted:
        return
    for batch in prepared.units(lambda number: number not in doubted, prepared.rows):
        for row in batch:
            request = compose(row, prepared.settings[row.arm])
            if isinstance(request, Request):
                yield request, doubted[row.number]
