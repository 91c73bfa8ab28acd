"""How a row that can't be read is told: one line of printable text.

Refuses to repeat the input: of what a row or a foreign message says, at most a hundred characters come through, with
control, bidi and other unprintable characters escaped, so that no row can write to a terminal or forge a log line.
"""

from batchrunner.records import Failure, Kind, Row

SHOWN_CHARS = 100


def failed_row(number: int, place: str, reason: str) -> Row:
    """A row that goes on as a failed one: no columns, its number as id. `place` is where it stands: "line 17"."""
    failure = Failure(kind=Kind.INVALID_ROW, message=f"{place}: {reason}")
    return Row(number=number, id=str(number), columns={}, failure=failure)


def reason_of(error: Exception) -> str:
    """What a decoder said, fit to be shown. The three that decoders raise for any bytes get words of their own."""
    match error:
        case UnicodeDecodeError():
            return f"not UTF-8 ({shown(error.reason)})"
        case RecursionError():
            return "nested too deep"
        case _:
            return shown(str(error) or type(error).__name__)


def shown(text: str) -> str:
    """At most a hundred characters of `text`, each of them printable."""
    escaped = "".join(char if char.isprintable() else _escaped(char) for char in text[: SHOWN_CHARS + 1])
    return escaped if len(escaped) <= SHOWN_CHARS else escaped[: SHOWN_CHARS - 1] + "…"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
