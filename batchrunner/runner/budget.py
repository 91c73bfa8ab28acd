"""Budgets: the most that all runs of an output may cost, or use of tokens. Never overshot.

What is in flight counts with its worst case: a prompt of as many tokens as it can have, and `max_tokens`. Who does not
fit beside it waits until some of it is over, which mostly took less; when nothing is in flight and the next still does
not fit, the budget is used up. The rule (Budget) is pure; Gate is its edge.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import anyio

from batchrunner.folder.ending import End, Ending
from batchrunner.job.schema import ModelPrices, RunTable
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.limiter import SendingStoppedError
from batchrunner.records import Request, Usage
from batchrunner.runner.money import PriceOf, cost_of
from batchrunner.runner.outcome import Came, most_prompt_tokens
from batchrunner.store.spending import Spending

NO_BOUND = float("inf")
_ROUNDING = 1e-9

Sent = tuple[Came, int, Lease]


class Amount(NamedTuple):
    """Tokens, and money."""

    tokens: float = 0.0
    cost: float = 0.0

    def plus(self, other: "Amount") -> "Amount":
        """Both together."""
        return Amount(self.tokens + other.tokens, self.cost + other.cost)

    def minus(self, other: "Amount") -> "Amount":
        """This without the other."""
        return Amount(self.tokens - other.tokens, self.cost - other.cost)


_NOTHING = Amount()


@dataclass(slots=True, kw_only=True)
class Budget:
    """What may be spent in all, what was, and what is in flight at its worst."""

    most: Amount
    spent: Amount = _NOTHING
    at_worst: Amount = _NOTHING
    in_flight: int = 0

    def fits(self, worst: Amount) -> bool:
        """Whether a try that takes so much at worst can't overshoot it, whatever becomes of those in flight."""
        total = self.spent.plus(self.at_worst).plus(worst)
        return total.tokens <= self.most.tokens and total.cost <= self.most.cost * (1 + _ROUNDING)

    def take(self, worst: Amount) -> None:
        """A try goes out."""
        self.at_worst = self.at_worst.plus(worst)
        self.in_flight += 1

    def settle(self, worst: Amount, spent: Amount) -> None:
        """It is over."""
        self.in_flight -= 1
        self.at_worst = self.at_worst.minus(worst) if self.in_flight else _NOTHING
        self.spent = self.spent.plus(spent)

    def words(self, worst: Amount) -> str:
        """Why a try that takes so much at worst is not sent when nothing is in flight, for people."""
        if self.spent.tokens + worst.tokens > self.most.tokens:
            used, whole = f"{self.spent.tokens:,.0f} of --budget-tokens {self.most.tokens:,.0f} are used", worst.tokens
            return f"{used}, and the next try may take {whole:,.0f}"
        used = f"{self.spent.cost:,.6g} of --budget-cost {self.most.cost:,.6g} are spent"
        return f"{used}, and the next try may cost {worst.cost:,.6g}"


class Gate:
    """Lets tries out that fit into a budget. `used_up` is told when it is used up."""

    def __init__(self, budget: Budget, price_of: PriceOf) -> None:
        self.budget = budget
        self.used_up: Callable[[Ending], None] | None = None
        self._price_of = price_of
        self._changed = anyio.Event()
        self._is_closed = False
        self._longer = 0  # tokens by which a prompt was longer than it could have been: what nobody sees in a request

    def lacks(self, request: Request) -> str | None:
        """What is not known of a request that its worst case needs, in words."""
        return lacking(request, self._price_of(request.model), has_cost=self.budget.most.cost < NO_BOUND)

    async def around(self, request: Request, send: Callable[[Request], Awaitable[Sent | None]]) -> Sent | None:
        """Send when it fits; SendingStoppedError where the budget is used up, or nothing more is sent."""
        worst = self._worst(request)
        await self._enter(worst)
        sent = None
        try:
            sent = await send(request)
        finally:
            self.budget.settle(worst, _NOTHING if sent is None else self._spent(request, sent[0], worst))
            self._wake()
        return sent

    def lose(self, request: Request) -> None:
        """It was sent by a run that did not live to see its answer."""
        self.budget.spent = self.budget.spent.plus(self._worst(request))

    def close(self) -> None:
        """Let nothing more out."""
        self._is_closed = True
        self._wake()

    async def _enter(self, worst: Amount) -> None:
        while not self._is_closed and not self.budget.fits(worst):
            if self.budget.in_flight:
                await self._changed.wait()
            elif self.used_up is not None:
                self.used_up(Ending(end=End.SPENT, message=f"{End.SPENT}: {self.budget.words(worst)}"))
                break
        if self._is_closed:
            raise SendingStoppedError
        self.budget.take(worst)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _worst(self, request: Request) -> Amount:
        prompt = most_prompt_tokens(request) + self._longer
        return worst_of(prompt, request.max_tokens or 0, self._price_of(request.model))

    def _spent(self, request: Request, came: Came, worst: Amount) -> Amount:
        """What a try that is over took: at worst, where nobody knows."""
        if came.usage is not None and came.usage.prompt_tokens is not None:
            self._longer = max(self._longer, came.usage.prompt_tokens - most_prompt_tokens(request))
        tokens, cost = came.used_tokens, came.cost
        if tokens is None or not came.is_known:
            return Amount(worst.tokens, max(worst.cost, cost or 0.0))
        return Amount(tokens, worst.cost if cost is None else cost)


def lacking(request: Request, price: ModelPrices | None, *, has_cost: bool) -> str | None:
    """What a budget, of cost or of tokens alone, needs to know and a request does not say; in words."""
    if request.max_tokens is None:
        return "a budget needs max_tokens: say --param max_tokens=512, for instance"
    if has_cost and price is None:
        return f"a budget of cost needs the prices of {request.model}: say `prompt` and `completion` in [prices]"
    return None


def worst_of(prompt: float, completion: float, price: ModelPrices | None) -> Amount:
    """The most that so many tokens may be, and cost."""
    if price is None or price.prompt is None or price.completion is None:
        return Amount(prompt + completion)
    of_prompt = max(price.prompt, price.cached or 0.0)
    return Amount(prompt + completion, (prompt * of_prompt + completion * price.completion) / 1e6)


def gate_of(run: RunTable, spending: Iterable[Spending], price_of: PriceOf) -> Gate:
    """The gate of a run with a budget, of which the tries of earlier ones have taken so much."""
    return Gate(budget_of(run, spending, price_of), price_of)


def budget_of(run: RunTable, spending: Iterable[Spending], price_of: PriceOf) -> Budget:
    """The budget of a run, of which the tries of earlier ones have taken so much."""
    most = Amount(
        NO_BOUND if run.budget_tokens is None else run.budget_tokens,
        NO_BOUND if run.budget_cost is None else run.budget_cost,
    )
    spent = _NOTHING
    for one in spending:
        spent = spent.plus(_spent_on(one, price_of(one.model)))
    return Budget(most=most, spent=spent)


def _spent_on(one: Spending, price: ModelPrices | None) -> Amount:
    """Tries whose cost was not known when they were made cost what they would now."""
    unpriced = Usage(
        prompt_tokens=int(one.unpriced_prompt),
        completion_tokens=int(one.unpriced_completion),
        cached_tokens=int(one.unpriced_cached),
    )
    known = Amount(one.tokens, one.costs + (cost_of(unpriced, price) or 0.0))
    return known.plus(worst_of(one.most_prompt, one.most_completion, price))
