"""Local files that rows may name: those in one folder, which the operator names.

Rows are not trusted: refused are files outside of the folder, whether by `..`, an absolute name or a symbolic link,
what is no regular file, files without a known ending, and files of more than 20 MiB.
"""

import os
import stat
from base64 import b64encode
from pathlib import Path

from batchrunner.errors import UsageError
from batchrunner.records import FileContent
from batchrunner.source.failed import shown

MOST_BYTES = 20 * 1024 * 1024
_MEDIA_TYPES = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
}


class Folder:
    """The folder under which files may be read. UsageError where there is none."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UsageError(
                f"{path} is no folder: --files (or `files` in [request]) names the one where files may be."
            )
        self._root = path.resolve()

    def read(self, name: str) -> FileContent:
        """The file of this name in the folder. ValueError, in words for people, where it can't be had."""
        media_type = _MEDIA_TYPES.get(os.path.splitext(name)[1].lower())  # noqa: PTH122 - a name may be no path at all
        if media_type is None:
            raise ValueError(f"the file {shown(name)} has no ending that tells what it is, such as .png")
        try:
            path = (self._root / name).resolve(strict=True)
            if not path.is_relative_to(self._root):
                raise ValueError(f"the file {shown(name)} is not in the folder of --files")
            return FileContent(media_type=media_type, base64=_base64(path))
        except OSError as error:
            raise ValueError(f"the file {shown(name)} can't be read: {error.strerror or 'no such file'}") from error
        except RuntimeError as error:  # what Python 3.11 and 3.12 say of links that go round in circles
            raise ValueError(f"the file {shown(name)} can't be read: its links lead nowhere") from error


def _base64(path: Path) -> str:
    """The content of a path without links in it. OSError, or ValueError where it is not to be read."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"the file {shown(path.name)} is no regular file")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"the file {shown(path.name)} has more than {MOST_BYTES:,} bytes")
    return b64encode(content).decode()
