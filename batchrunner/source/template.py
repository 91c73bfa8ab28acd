"""Prompt templates: Jinja2 over a row's columns (sandbox.py says what they may do).

The text is the operator's, never a row's. Refuses to compile what is no template or reads other templates
(UsageError), and to give a prompt that needs a column the row has not, fails in any other way, or is longer than 4 Mi
characters (Failure).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from jinja2 import meta, nodes

from batchrunner.errors import UsageError
from batchrunner.records import Failure, Kind, Row
from batchrunner.source.failed import shown
from batchrunner.source.sandbox import MAX_CHARS, PromptEnvironment

_UNDEFINED_NAME = re.compile(r"'(\w+)' is undefined")  # what StrictUndefined says of a name, not of an attribute


class Template:
    """A compiled template. `names` are the columns it speaks of, needed or not; `place` is where it stands."""

    def __init__(self, compiled: jinja2.Template, names: frozenset[str], place: str = "") -> None:
        self._compiled = compiled
        self.names = names
        self.place = place

    def render(self, columns: Mapping[str, Any]) -> str | Failure:
        """The prompt for one row, or why there is none. Whatever a row makes a template raise is the row's failure."""
        try:
            return self._text(columns)
        except jinja2.UndefinedError as error:
            return _failure(f"the template needs what the row has not: {shown(str(error))}")
        except Exception as error:  # noqa: BLE001 - any operation on any value: one bad row is one failed row
            return _failure(f"the template fails on this row: {type(error).__name__}: {shown(str(error))}")

    def unmet(self, columns: Mapping[str, Any]) -> frozenset[str]:
        """The names without which this row can't be rendered: `{{ x | default('') }}` does without x."""
        given = dict(columns)
        while (name := self._first_undefined(given)) is not None:
            given[name] = ""
        return frozenset(given.keys() - columns.keys())

    def _first_undefined(self, columns: Mapping[str, Any]) -> str | None:
        try:
            self._text(columns)
        except jinja2.UndefinedError as error:
            found = _UNDEFINED_NAME.fullmatch(str(error))
            return found[1] if found and found[1] not in columns else None
        except Exception:  # noqa: BLE001 - told by `render`, row by row
            return None
        return None

    def _text(self, columns: Mapping[str, Any]) -> str:
        pieces: list[str] = []
        chars = 0
        for piece in self._compiled.generate(columns):
            chars += len(piece)
            if chars > MAX_CHARS:
                raise OverflowError(f"the prompt is longer than {MAX_CHARS} characters")
            pieces.append(piece)
        return "".join(pieces)


def compile_template(text: str, place: str = "") -> Template:
    """Compile the operator's text, which stands at this place (`nightly.toml:14: request.prompt`), if at any.

    UsageError with the place, and the line within the text, where it is no template.
    """
    environment = PromptEnvironment()
    before = f"{place}: " if place else ""
    try:
        tree = environment.parse(text)
        _refuse_other_templates(tree, before)
        return Template(environment.from_string(tree), frozenset(meta.find_undeclared_variables(tree)), place)
    except jinja2.TemplateSyntaxError as error:
        told = f"{before}the template is wrong in line {error.lineno}: {shown(error.message or '')}"
        raise UsageError(told) from error
    except (SyntaxError, RecursionError) as error:  # Python's own limits, met by the code Jinja2 makes of it
        raise UsageError(f"{before}the template is nested too deep: {shown(str(error))}") from error


def missing_columns(template: Template, rows: Sequence[Row]) -> frozenset[str]:
    """The names that no row has and without which not one of them can be rendered; empty where one row can.

    Meant for the first rows of an input, before anything is sent. Rows that can't be read are no witnesses.
    """
    readable = [row for row in rows if row.failure is None]
    unmet = [template.unmet(row.columns) for row in readable]
    if not all(unmet):
        return frozenset()
    return frozenset().union(*unmet).difference(*(row.columns for row in readable))


def _refuse_other_templates(tree: nodes.Template, before: str) -> None:
    for node in tree.find_all((nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)):
        raise UsageError(f"{before}the template reads another one in line {node.lineno}: it must stand alone")


def _failure(message: str) -> Failure:
    return Failure(kind=Kind.INVALID_ROW, message=message)
