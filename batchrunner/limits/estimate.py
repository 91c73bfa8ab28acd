"""How many tokens a try will use, before it is sent. Learned from the `usage` of the answers so far.

Prompt: characters times the tokens per character seen. Completion: the mean seen plus a margin for its
spread, never more than `max_tokens`; before anything was seen, `max_tokens` itself or a round guess.
"""

from dataclasses import dataclass

from batchrunner.records import Request, Usage

FIRST_TOKENS_PER_CHAR = 0.3
FIRST_COMPLETION_TOKENS = 512
MARGIN = 1.02
_FEW = 20


@dataclass(slots=True)
class Estimator:
    """Sums over the answers of one lane."""

    _answers: int = 0
    _chars: int = 0
    _prompt_tokens: int = 0
    _completion_tokens: int = 0

    def tokens(self, request: Request) -> int:
        """What to reserve for this request, in tokens; at least one."""
        return max(1, round(self._prompt(request) + self._completion(request)))

    def learn(self, request: Request, usage: Usage) -> None:
        """Take in what an answer really used."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return
        self._answers += 1
        self._chars += request.prompt_chars
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens

    def _prompt(self, request: Request) -> float:
        if self._answers < _FEW or not self._chars:
            return request.prompt_chars * FIRST_TOKENS_PER_CHAR
        return request.prompt_chars * self._prompt_tokens / self._chars * MARGIN

    def _completion(self, request: Request) -> float:
        if self._answers < _FEW:
            return request.max_tokens or FIRST_COMPLETION_TOKENS
        seen = self._completion_tokens / self._answers * MARGIN
        return min(seen, request.max_tokens or seen)
