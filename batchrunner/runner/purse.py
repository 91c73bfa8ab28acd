"""What the units of a run pay from: prices, a budget where there is one, and what they have paid so far."""

from dataclasses import dataclass

from batchrunner.records import Outcome, Paid
from batchrunner.runner.budget import Gate
from batchrunner.runner.money import PriceOf


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
