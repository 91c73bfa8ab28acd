"""What a try cost: by the gateway's own word where it has one, else by the job's prices. Unknown is None, never zero.

Pure. Prices are those of the model that was asked, whatever name the gateway answers with.
"""

from collections.abc import Callable
from functools import lru_cache

from batchrunner.job.schema import ModelPrices, PricesTable
from batchrunner.records import Usage, money

PriceOf = Callable[[str], ModelPrices | None]
_A_MILLION = 1_000_000


def finder_of(prices: PricesTable) -> PriceOf:
    """What finds the prices of a model; None where they don't say what its prompts and completions cost."""
    if prices == PricesTable():
        return lambda _: None

    @lru_cache(maxsize=1024)
    def price_of(model: str) -> ModelPrices | None:
        found = prices.for_model(model)
        return None if found.prompt is None or found.completion is None else found

    return price_of


def cost_of(usage: Usage, price: ModelPrices | None) -> float | None:
    """The cost of so many tokens. Cached ones are among those of the prompt, and reasoning among the completion's."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if price is None or price.prompt is None or price.completion is None or prompt is None or completion is None:
        return None
    cached = min(usage.cached_tokens or 0, prompt)
    of_cached = price.prompt if price.cached is None else price.cached
    return money(((prompt - cached) * price.prompt + cached * of_cached + completion * price.completion) / _A_MILLION)
