"""Whose a folder is: what stands in a run folder or a state folder is believed, written over and answered from, so that
nobody else may have made it or put anything there, a link to another place say."""

import os
import stat
from pathlib import Path

from batchrunner.errors import StorageError


def refuse_foreign(folder: Path, option: str) -> None:
    """StorageError where this folder, if it is there, is another user's, or others may write in it."""
    try:
        status = folder.stat()
    except OSError:
        return
    if status.st_uid != os.geteuid():
        raise StorageError(f"{folder} belongs to another user: name a folder of your own with {option}.")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            f"Others may write in {folder}: take that away with `chmod go-w {folder}`, or name another folder with "
            f"{option}."
        )


def refuse_link(path: Path) -> None:
    """OSError where a link stands at the path of a file that is to be opened for writing."""
    if path.is_symlink():
        raise OSError(f"it is a link to {path.readlink()}, and not followed")
