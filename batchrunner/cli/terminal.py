"""Words on their way to a terminal or a file: those that are not ours made safe, so that nothing in them moves the
cursor, colours or hides; and what can't be written, a full disk or a closed pipe, ends no run."""

import os
import re
import sys

import click

_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


def safe_text(text: str, longest: int = 200) -> str:
    """Control and direction characters as visible escapes, cut to `longest` characters."""
    shown = _UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def safe_json(text: str) -> str:
    """The same JSON, with these characters escaped as JSON has it: they stand within its strings only."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: str, *, err: bool = False) -> bool:
    """A line on stdout or stderr; False where it can't be written. Then nothing more is tried on that stream."""
    try:
        click.echo(text, err=err)
    except UnicodeEncodeError:  # a locale that knows few signs
        return say(text.encode("ascii", "backslashreplace").decode(), err=err)
    except OSError:
        silence(err=err)
        return False
    return True


def silence(*, err: bool) -> None:
    """Let what is still written to a stream that takes nothing go nowhere, also at the interpreter's exit."""
    stream = sys.stderr if err else sys.stdout
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
