"""What only the process at work knows, left beside its store once a second for `status`: the last picture of its loop.

It is a picture, no record: nothing is told by it that the store can tell, and nobody misses it.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread

from batchrunner.report.live import Live

_NAME = "live.json"
_EVERY_SECONDS = 1.0


async def keep_picture(run_dir: Path, picture: Callable[[], Live]) -> None:
    """Until cancelled."""
    while True:
        content = msgspec.json.encode(picture())
        await to_thread.run_sync(_write, run_dir / _NAME, content)
        await anyio.sleep(_EVERY_SECONDS)


def last_picture(run_dir: Path) -> Live | None:
    """The last one of whoever worked, or works, in this folder; None where there is none, or of another version."""
    try:
        return msgspec.json.decode((run_dir / _NAME).read_bytes(), type=Live)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; a full disk is told of by others."""
    temporary = path.with_suffix(".tmp")
    with suppress(OSError):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
