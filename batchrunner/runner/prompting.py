"""The prompt's template, from an option or a file."""

from pathlib import Path

from batchrunner.errors import InputError, UsageError

LARGEST_FILE = 4 * 1024 * 1024


def prompt_of(text: str | None, path: Path | None) -> str | None:
    """What --prompt says, or the file of --prompt-file holds, as it is; None where neither is given."""
    if path is None:
        return text
    if text is not None:
        raise UsageError("--prompt and --prompt-file both say what is asked: leave one out.")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"The prompt file {path} can't be read: {error.strerror}.") from error
    if len(content) > LARGEST_FILE:
        raise UsageError(f"The prompt file {path} is larger than {LARGEST_FILE} bytes: is it the right file?")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"The prompt file {path} is no UTF-8 text: {error.reason} at byte {error.start}.") from error
