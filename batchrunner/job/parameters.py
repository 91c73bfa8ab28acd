"""Names of request parameters that resemble another one's: many gateways pass over what they don't know."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

_OF_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty")
_OF_ANSWERS = ("max_tokens", "max_completion_tokens", "response_format", "logprobs", "top_logprobs", "logit_bias")
_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
_OTHERS = ("reasoning_effort", "repetition_penalty", "user", "metadata", "service_tier", "stream_options")
KNOWN = (*_OF_SAMPLING, *_OF_ANSWERS, *_OF_TOOLS, *_OTHERS)


def misspelt(names: Iterable[str]) -> Iterator[str]:
    """Words of warning for each name that is nearly a known parameter's; a gateway may know it all the same."""
    for name in names:
        near = get_close_matches(name, KNOWN, n=1, cutoff=0.85)
        if near and name not in KNOWN:
            yield f"the parameter {name!r} is sent as it is; did you mean {near[0]!r}?"
