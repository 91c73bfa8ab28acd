"""How many tokens a gateway will count for a try, before it is sent. Learned from the `usage` of the answers so far.

Prompt: a straight line over its characters. Completion: the mean seen, for the request's own `max_tokens` where that
was met often enough, never more than `max_tokens`. Before anything was seen: 0.3 tokens a character and `max_tokens`
itself, or a round guess. Gateways that count `upfront` charge prompt and `max_tokens`: then only the prompt is guessed.

An estimate says how far it may be off: the variance of one, and the error that all of them share.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from batchrunner.records import Request, Usage

FIRST_TOKENS_PER_CHAR = 0.3
FIRST_COMPLETION_TOKENS = 512
FIRST_LIKELY_TOKENS = 100
TYPICAL_SHARE = 0.35
_LEAST_TOKENS_PER_CHAR = 0.1
_LEAST_OF_LEARNED = 0.9
FEW = 8
_HORIZON = 5000  # answers after which older ones have lost most of their weight
_KEPT_CAPS = 64

Accounting = Literal["settled", "upfront"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens to reserve; the variance of this one; the standard error that it shares with the others; what is likely
    where `tokens` is the most it can be."""

    tokens: float
    variance: float = 0.0
    shared_error: float = 0.0
    likely: float | None = None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Tokens of a try as a plan has them: of the prompt, of a likely completion and of the longest that is allowed
    (None where nothing bounds it), and what a limit counts in either case."""

    prompt: float
    likely: float
    most: int | None
    counted: float
    counted_most: float | None


@dataclass(slots=True)
class _Line:
    """Least squares of y over x, the older points forgotten slowly."""

    count: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        keep = 1.0 if self.count < _HORIZON else 1.0 - 1.0 / _HORIZON
        self.count = self.count * keep + 1.0
        self.x = self.x * keep + x
        self.y = self.y * keep + y
        self.xx = self.xx * keep + x * x
        self.xy = self.xy * keep + x * y

    def at(self, x: float) -> float:
        """y at x; through the origin where all x are alike or the line would fall."""
        spread = self.count * self.xx - self.x * self.x
        slope = (self.count * self.xy - self.x * self.y) / spread if spread > 1e-6 * self.xx * self.count else -1.0
        offset = (self.y - slope * self.x) / self.count
        if slope <= 0 or offset < 0:
            return x * self.y / self.x if self.x else self.y / self.count
        return offset + slope * x


@dataclass(slots=True)
class _Mean:
    count: float = 0.0
    value: float = 0.0

    def add(self, amount: float) -> None:
        self.count = min(self.count + 1, _HORIZON)
        self.value += (amount - self.value) / self.count


@dataclass(slots=True)
class Estimator:
    """What the answers of one model on one lane have taught."""

    accounting: Accounting = "settled"
    _prompts: _Line = field(default_factory=_Line)
    _completions: _Mean = field(default_factory=_Mean)
    _by_cap: dict[int | None, _Mean] = field(default_factory=dict)
    _variance: _Mean = field(default_factory=_Mean)

    def estimate(self, request: Request) -> Estimate:
        """What to reserve for this request."""
        if not self.learned:
            prompt = request.prompt_chars * FIRST_TOKENS_PER_CHAR
            most = request.max_tokens or FIRST_COMPLETION_TOKENS
            likely = most if self.accounting == "upfront" else min(most, FIRST_LIKELY_TOKENS)
            return Estimate(max(1.0, prompt + most), likely=max(1.0, prompt + likely))
        variance = self._variance.value
        return Estimate(self._learned(request), variance, math.sqrt(variance / self._variance.count))

    def least(self, request: Request) -> float:
        """What the gateway will surely count: of the prompt, and `max_tokens` where it counts upfront."""
        if self._prompts.count < FEW:
            prompt = request.prompt_chars * _LEAST_TOKENS_PER_CHAR
        else:
            prompt = self._prompts.at(request.prompt_chars) * _LEAST_OF_LEARNED
        return max(1.0, prompt + ((request.max_tokens or 0) if self.accounting == "upfront" else 0))

    def foresee(self, request: Request) -> Foreseen:
        """What a try will use. Where few answers were seen: TYPICAL_SHARE of `max_tokens` is a likely completion."""
        cap = request.max_tokens
        if self.learned:
            prompt, likely = self._prompts.at(request.prompt_chars), self._likely(cap)
        else:
            prompt = request.prompt_chars * FIRST_TOKENS_PER_CHAR
            likely = TYPICAL_SHARE * cap if cap else FIRST_COMPLETION_TOKENS
        most = None if cap is None else prompt + cap
        upfront = self.accounting == "upfront" and most is not None
        return Foreseen(prompt, likely, cap, most if upfront and most is not None else prompt + likely, most)

    @property
    def learned(self) -> bool:
        """Whether enough answers were seen to go by."""
        return self._variance.count >= FEW

    @property
    def deviation(self) -> float:
        """Standard deviation, in tokens, of what was counted from what had been estimated."""
        return math.sqrt(self._variance.value)

    def learn(self, request: Request, usage: Usage) -> None:
        """Take in what an answer really used."""
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        if prompt is None or completion is None:
            return
        counted = self.counted(request, usage)
        if self._prompts.count >= FEW and counted is not None:
            self._variance.add((counted - self._learned(request)) ** 2)
        self._prompts.add(request.prompt_chars, prompt)
        self._completions.add(completion)
        cap = request.max_tokens
        if cap in self._by_cap or len(self._by_cap) < _KEPT_CAPS:
            self._by_cap.setdefault(cap, _Mean()).add(completion)

    def counted(self, request: Request, usage: Usage) -> int | None:
        """What the gateway counted for an answer with this usage; None where it did not say."""
        if self.accounting == "upfront" and usage.prompt_tokens is not None and request.max_tokens:
            return usage.prompt_tokens + request.max_tokens
        return usage.total_tokens

    def _learned(self, request: Request) -> float:
        return max(1.0, self._prompts.at(request.prompt_chars) + self._completion(request))

    def _completion(self, request: Request) -> float:
        cap = request.max_tokens
        return cap if self.accounting == "upfront" and cap else self._likely(cap)

    def _likely(self, cap: int | None) -> float:
        own = self._by_cap.get(cap)
        mean = own if own is not None and own.count >= FEW else self._completions
        return min(mean.value, cap or mean.value)
