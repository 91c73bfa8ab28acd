"""A conversation as a template: `messages` of a job, in which every text of a message's content is one.

So are the texts in the parts of a content: `{ type = "image_url", image_url = { url = "{{ picture }}" } }`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from batchrunner.records import Failure
from batchrunner.source.template import Template, compile_template

Fill = Callable[[Mapping[str, Any]], Any]


class Conversation:
    """Compiled messages. `templates` are those in it."""

    def __init__(self, messages: list[dict[str, Any]], places: Mapping[str, str]) -> None:
        """UsageError where a text is no template, with its place, which `places` has by the text."""
        self._messages = messages
        self._contents = [_compiled(message.get("content"), places) for message in messages]
        self.templates = tuple(template for content in self._contents for template in _templates_in(content))

    def render(self, columns: Mapping[str, Any]) -> list[dict[str, Any]] | Failure:
        """The conversation for one row, or why there is none."""
        made = []
        for message, content in zip(self._messages, self._contents, strict=True):
            filled = _filled(content, columns)
            if isinstance(filled, Failure):
                return filled
            made.append({**message, "content": filled} if "content" in message else message)
        return made


def _compiled(content: Any, places: Mapping[str, str]) -> Any:
    """The content with a template in the place of every text."""
    match content:
        case str():
            return compile_template(content, places.get(content, ""))
        case list():
            return [_compiled(inner, places) for inner in content]
        case dict():
            return {key: inner if key == "type" else _compiled(inner, places) for key, inner in content.items()}
        case _:
            return content


def _templates_in(content: Any) -> Iterator[Template]:
    match content:
        case Template():
            yield content
        case list():
            for inner in content:
                yield from _templates_in(inner)
        case dict():
            yield from _templates_in(list(content.values()))
        case _:
            pass


def _filled(content: Any, columns: Mapping[str, Any]) -> Any:
    """The content with every template rendered, or the first Failure."""
    match content:
        case Template():
            return content.render(columns)
        case list():
            made = [_filled(inner, columns) for inner in content]
            return next((one for one in made if isinstance(one, Failure)), made)
        case dict():
            values = _filled(list(content.values()), columns)
            return values if isinstance(values, Failure) else dict(zip(content, values, strict=True))
        case _:
            return content
