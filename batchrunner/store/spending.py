"""What all tries of a store took of a budget, by model: what is known of it, and the most that the rest may be."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_SPENDING = """
SELECT coalesce(model, ''),
    total(CASE WHEN most_prompt_tokens IS NULL THEN total_tokens END),
    total(CASE WHEN most_prompt_tokens IS NULL THEN cost END),
    total(CASE WHEN most_prompt_tokens IS NULL AND cost IS NULL THEN prompt_tokens END),
    total(CASE WHEN most_prompt_tokens IS NULL AND cost IS NULL THEN min(prompt_tokens, cached_tokens) END),
    total(CASE WHEN most_prompt_tokens IS NULL AND cost IS NULL THEN completion_tokens END),
    total(most_prompt_tokens), total(most_completion_tokens)
FROM tries GROUP BY 1
"""


class Spending(NamedTuple):
    """Tries to one model, whose name is "" where nobody recorded it. Those whose usage is known: all their tokens,
    their costs as far as these are known, and the tokens of the others; and what the tries may have used of which
    nobody knows what they did."""

    model: str
    tokens: float
    costs: float
    unpriced_prompt: float
    unpriced_cached: float
    unpriced_completion: float
    most_prompt: float
    most_completion: float


def spending_in(rows: Callable[[str], list[Any]]) -> Iterator[Spending]:
    """By model; `rows` executes SQL."""
    return map(Spending._make, rows(_SPENDING))
