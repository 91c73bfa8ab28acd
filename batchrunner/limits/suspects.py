"""Requests or tokens: which of the two a gateway limits, told by which varies least at its refusals.

A limit refuses when it is full: what it counts is then the same each time, to a row or to the error of the estimates,
while what it doesn't count varies with the rows. To keep to both would be to use neither: so the better suspect alone
is kept to, requests at first. Where both vary too much for either to be the only one, both are kept to.
"""

from batchrunner.limits.cap import Cap
from batchrunner.limits.window import Dimension

_REQUESTS_VARY, _TOKENS_VARY = 0.04, 0.06  # requests are counted, tokens estimated
_REQUESTS_FIRST = 1.25
_A_ROW = 1.0


def suspected(requests: Cap, tokens: Cap) -> tuple[Dimension, ...]:
    """Which of two limits of one window are to be kept to."""
    rows = max(1.0, requests.seen)
    of_requests = requests.varied / max(_REQUESTS_VARY, _A_ROW / rows)
    of_tokens = tokens.varied / max(_TOKENS_VARY, _A_ROW / rows)
    if min(of_requests, of_tokens) > 1:
        return ("requests", "tokens")
    return ("requests",) if of_requests <= _REQUESTS_FIRST * of_tokens else ("tokens",)
