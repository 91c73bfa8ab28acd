"""A request asked again after an invalid answer, with that answer and what is wrong with it in the conversation."""

import msgspec

from batchrunner.records import Failure, Reply, Request

LONGEST_QUOTED = 20_000  # characters of the invalid answer


def corrected(request: Request, reply: Reply, failure: Failure) -> Request:
    """The request as it was first, and the model's last answer with the failure's words after it."""
    body = msgspec.json.decode(request.body)
    text = (reply.text or "")[:LONGEST_QUOTED]
    again = "Answer again, with nothing but JSON that is as asked." if "response_format" in body else "Answer again."
    words = f"{failure.message}. {again}"
    body["messages"] += [{"role": "assistant", "content": text}, {"role": "user", "content": words}]
    return msgspec.structs.replace(
        request, body=msgspec.json.encode(body), prompt_chars=request.prompt_chars + len(text) + len(words)
    )
