"""Tool calls that come in fragments, put together again."""

import json
from typing import Any


class ToolCalls:
    """Fragments in, whole calls out, in the order of their first fragments.

    A call is told by its `index`. Where gateways give every call the same one, a new id together with a name begins
    a new call; without an index a fragment belongs to the last call unless it has both. Ids and names are those that
    came first, as some gateways repeat them; arguments are joined.
    """

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._arguments: list[list[str]] = []
        self._place_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def take(self, fragments: object) -> None:
        """The `tool_calls` of one delta, whatever it holds."""
        for fragment in fragments if isinstance(fragments, list) else ():
            if isinstance(fragment, dict):
                self._take(fragment)

    def whole(self) -> list[dict[str, Any]]:
        """Each call as a completion that is not streamed has it."""
        return [
            call | {"function": call["function"] | {"arguments": "".join(arguments)}}
            for call, arguments in zip(self._calls, self._arguments, strict=True)
        ]

    def _take(self, fragment: dict[str, Any]) -> None:
        function = fragment.get("function")
        function = function if isinstance(function, dict) else {}
        name, call_id = _text(function.get("name")), _text(fragment.get("id"))
        place = self._place(fragment.get("index"), call_id if name else None)
        call = self._calls[place]
        call["id"] = call["id"] or call_id
        call["type"] = call["type"] or _text(fragment.get("type"))
        call["function"]["name"] = call["function"]["name"] or name
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments)
        if isinstance(arguments, str):
            self._arguments[place].append(arguments)

    def _place(self, index: object, new_id: str | None) -> int:
        """Where the call of a fragment stands; `new_id` is its id if it could begin a call."""
        place = self._place_of.get(index) if isinstance(index, int) else len(self._calls) - 1
        if place is not None and place >= 0 and (new_id is None or self._calls[place]["id"] in (None, new_id)):
            return place
        self._calls.append({"id": None, "type": None, "function": {"name": None}})
        self._arguments.append([])
        place = len(self._calls) - 1
        if isinstance(index, int):
            self._place_of[index] = place
        return place


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
