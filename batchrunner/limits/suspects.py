"""Requests or tokens: which of the two a gateway limits, told by which varies least at its refusals.

A limit refuses when it is full: what it counts is then the same each time, to a row or to the error of the estimates,
while what it doesn't count varies with the rows. To keep to both
would be to use neither: so the better suspect alone is kept to, requests at first. Where both vary too much for either
to be the only one, both are kept to.
"""

from batchrunner.limits.cap import MINUTE, SECOND, Cap
from batchrunner.limits.window import Dimension, Key

_REQUESTS_VARY, _TOKENS_VARY = 0.04, 0.06  # requests are counted, tokens estimated
_REQUESTS_FIRST = 1.25
_A_ROW = 1.0


def choose(caps: dict[Key, Cap], idle: dict[Key, Cap], now: float) -> None:
    """Keep to the better suspect of each window (`caps`), lay the other one aside (`idle`)."""
    for window in (SECOND, MINUTE):
        keys: tuple[Key, Key] = (("requests", window), ("tokens", window))
        both = {key: cap for key in keys if (cap := caps.get(key) or idle.get(key)) and not cap.told}
        suspects = suspected(both[keys[0]], both[keys[1]]) if len(both) == len(keys) else ("requests", "tokens")
        for key, cap in both.items():
            if key[0] in suspects and key in idle:
                cap.resume(now)
                caps[key] = idle.pop(key)
            elif key[0] not in suspects and key in caps:
                idle[key] = caps.pop(key)


def suspected(requests: Cap, tokens: Cap) -> tuple[Dimension, ...]:
    """Which of two limits of one window are to be kept to."""
    row = _A_ROW / max(1.0, requests.seen)
    of_requests = requests.varied / max(_REQUESTS_VARY, row)
    of_tokens = tokens.varied / max(_TOKENS_VARY, row)
    if min(of_requests, of_tokens) > 1:
        return ("requests", "tokens")
    return ("requests",) if of_requests <= _REQUESTS_FIRST * of_tokens else ("tokens",)
