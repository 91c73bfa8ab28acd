"""Inputs elsewhere: s3://, gs://, hf:// and whatever else fsspec knows; an object, a glob or a folder of them.

fsspec and what it needs for a scheme are extras: nothing here is imported before such a URL is read. Refuses schemes
that nothing installed knows (UsageError, with the extra to install). Whatever a store raises becomes an InputError.
"""

import importlib.util
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any

from batchrunner.errors import InputError, UsageError
from batchrunner.source.failed import shown
from batchrunner.source.files import is_glob

BLOCK_BYTES = 4 * 1024 * 1024  # read ahead at a time; a block or two are held
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}
# What stores call that which tells a content from others: S3, GCS, Azure, Hugging Face; the strongest first.
_CONTENT_KEYS = ("ETag", "etag", "md5Hash", "sha256", "blob_id", "generation")
_TIME_KEYS = ("LastModified", "last_modified", "mtime", "updated", "created")


def is_remote(place: str) -> bool:
    """Whether this is a URL."""
    return _URL.match(place) is not None


class RemoteFile:
    """An object in a store that fsspec speaks to. `details` is what the store said of it when it was listed."""

    def __init__(self, store: Any, path: str, name: str, details: Mapping[str, Any]) -> None:
        self._store = store
        self._path = path
        self._details = details
        self.name = name

    def size(self) -> int:
        """See InputFile."""
        return int(self._details.get("size") or 0)

    def version(self) -> str:
        """See InputFile."""
        times = [str(self._details[key]) for key in _TIME_KEYS if key in self._details]
        return " ".join([str(self.size()), self.known_fingerprint() or "", *times[:1]])

    def known_fingerprint(self) -> str | None:
        """See InputFile: the store's ETag or what it has in its place, with the size."""
        told = next((self._details[key] for key in _CONTENT_KEYS if self._details.get(key)), None)
        return None if told is None else f"{self.size()} {str(told).strip(chr(34))}"

    @contextmanager
    def opened(self) -> Iterator[io.RawIOBase]:
        """See InputFile."""
        with _told(self.name):
            file = self._store.open(self._path, "rb", block_size=BLOCK_BYTES, cache_type="readahead")
        guarded = _Guarded(file, self.name)
        try:
            yield guarded
        finally:
            with suppress(Exception):
                file.close()


def remote_files(url: str) -> tuple[list[RemoteFile], bool]:
    """What the URL names, in order, and whether it named it alone. InputError where nothing is there."""
    store, path = _store(url)
    with _told(url):
        store.invalidate_cache()
        if is_glob(path):
            return _named(store, store.glob(path, detail=True), _root(path)), False
        details = store.info(path)
        if details["type"] != "directory":
            return [RemoteFile(store, path, PurePosixPath(path).name, details)], True
        inside = {one["name"]: one for one in store.ls(path, detail=True)}
        return _named(store, inside, path.rstrip("/")), False


def _named(store: Any, found: Mapping[str, Mapping[str, Any]], root: str) -> list[RemoteFile]:
    files = {path: details for path, details in sorted(found.items()) if details["type"] == "file"}
    return [RemoteFile(store, path, path.removeprefix(root).lstrip("/"), each) for path, each in files.items()]


def _root(path: str) -> str:
    """What stands before the first sign of a glob, up to a slash."""
    fixed = re.split(r"[*?\[]", path, maxsplit=1)[0]
    return fixed.rpartition("/")[0]


def _store(url: str) -> tuple[Any, str]:
    """The file system that speaks to the store, and the path in it."""
    scheme = url.partition("://")[0].lower()
    if importlib.util.find_spec("fsspec") is None:
        raise UsageError(_missing(scheme))
    import fsspec  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415 - an extra

    try:
        filesystem = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise UsageError(_missing(scheme)) from error
    except ValueError as error:
        raise UsageError(f"{shown(scheme)}:// is no scheme that an input can be read from: try s3, gs or hf") from error
    with _told(url):
        options = filesystem._get_kwargs_from_urls(url)  # noqa: SLF001 - as fsspec's own url_to_fs does
        return filesystem(**options), filesystem._strip_protocol(url)  # noqa: SLF001 - as above


def _missing(scheme: str) -> str:
    extra = _EXTRAS.get(scheme)
    if extra is None:
        return f"Reading {shown(scheme)}:// needs fsspec and its package for that scheme: pip install both"
    return f"Reading {scheme}:// needs an extra: pip install 'batchrunner[{extra}]'"


class _Guarded(io.RawIOBase):
    """A file in a store, whose errors of any kind are InputErrors."""

    def __init__(self, file: Any, name: str) -> None:
        super().__init__()
        self._file = file
        self._name = name

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes."""
        with _told(self._name):
            return bytes(self._file.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go there."""
        with _told(self._name):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Where it is."""
        return int(self._file.tell())


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Each store has its own exceptions: whatever one raises is why an input can't be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{shown(name)} doesn't exist: check the URL, and the rights of whoever reads it") from error
    except Exception as error:
        reason = shown(str(error) or type(error).__name__)
        raise InputError(f"{shown(name)} can't be read: {reason}") from error
