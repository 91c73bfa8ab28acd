"""The files of an input on this machine: one file, those that a glob matches, or those of a folder.

A glob's `**` enters subfolders; a folder stands for the files in it alone. Refuses what can't be read several times
(pipes, devices).
"""

import glob
import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from batchrunner.errors import InputError
from batchrunner.source.failed import shown

GLOB_SIGNS = frozenset("*?[")


class InputFile(Protocol):
    """One file of an input, here or elsewhere. Raises InputError where it can't be read."""

    @property
    def name(self) -> str:
        """What tells it from the other files of its input; its suffix tells its format."""
        ...

    def size(self) -> int:
        """In bytes."""
        ...

    def version(self) -> str:
        """What changes when the file does, without a look at its content."""
        ...

    def known_fingerprint(self) -> str | None:
        """What tells its content from others, where its store says that; else None."""
        ...

    def opened(self) -> AbstractContextManager[io.RawIOBase]:
        """Its bytes as a file that can be read and sought in."""
        ...


class LocalFile:
    """A file on this machine."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    def size(self) -> int:
        """See InputFile."""
        with _told(self.path):
            return self.path.stat().st_size

    def version(self) -> str:
        """See InputFile: size and time of change (ns)."""
        with _told(self.path):
            status = self.path.stat()
            return f"{status.st_size} {status.st_mtime_ns}"

    def known_fingerprint(self) -> str | None:
        """See InputFile."""
        return None

    @contextmanager
    def opened(self) -> Iterator[io.RawIOBase]:
        """See InputFile."""
        with _told(self.path):
            file = self.path.open("rb", buffering=0)
        with file:
            try:
                yield file
            except OSError as error:
                raise InputError(f"{shown(str(self.path))} can't be read: {error.strerror or error}") from error

    def check(self) -> None:
        """InputError where it is no regular file, or not to be read."""
        if self.path.exists() and not self.path.is_file():
            raise InputError(
                f"{shown(str(self.path))} is no regular file: the input is read more than once, so copy it into one, "
                "or pipe it into `-`"
            )
        with self.opened():
            pass


def local_files(place: str) -> tuple[list[LocalFile], bool]:
    """What `place` names, in order, and whether it named it alone: a file that stands there under this very name.

    Files of a folder or glob may be of any format. InputError where nothing is there.
    """
    path = Path(place)
    with _told(path):
        if path.is_dir():
            return _named(sorted(one for one in path.iterdir() if one.is_file()), path), False
        if path.exists() or not is_glob(place):
            file = LocalFile(path, path.name)
            file.check()
            return [file], True
        found = map(Path, glob.iglob(place, recursive=True))  # noqa: PTH207 - Path.glob takes no whole paths
        return _named(sorted(one for one in found if one.is_file()), root_of(place)), False


def matches(path: Path, place: str) -> bool:
    """Whether a glob takes in this path, be it there or not."""
    parts = Path(os.path.normpath(path.absolute())).parts
    return _match(parts, Path(os.path.normpath(Path(place).absolute())).parts)


def is_glob(place: str) -> bool:
    """Whether a name has signs that stand for others."""
    return not GLOB_SIGNS.isdisjoint(place)


def root_of(place: str) -> Path:
    """The folder in front of a glob's first sign."""
    parts = Path(place).parts
    fixed = next((at for at, part in enumerate(parts) if is_glob(part)), len(parts))
    return Path(*parts[:fixed])


def _match(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_match(parts[at:], pattern[1:]) for at in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _match(parts[1:], pattern[1:])


def _named(paths: list[Path], root: Path) -> list[LocalFile]:
    return [LocalFile(path, str(path.relative_to(root))) for path in paths]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system says becomes an InputError."""
    name = shown(str(path))
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{name} doesn't exist: check the path of the input") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} can't be read: {reason}; check its permissions") from error
