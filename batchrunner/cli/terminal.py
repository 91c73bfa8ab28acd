"""Words on their way to a terminal or a file: what can't be written, a full disk or a closed pipe, ends no run."""

import os
import sys

import click

from batchrunner.report.safe import safe_output


def say(text: str, *, err: bool = False) -> bool:
    """A line on stdout or stderr, in which nothing paints; False where it can't be written. Then nothing more is tried
    on that stream."""
    text = safe_output(text)
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
