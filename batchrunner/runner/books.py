"""Which book a run meets others in: this machine's, or one that several machines share. And both looked at only."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from batchrunner.limits.account import Book as OwnBook
from batchrunner.limits.book import Book
from batchrunner.limits.glance import Glance, glance_at
from batchrunner.limits.page import ALL_MODELS, Page
from batchrunner.limits.redis_book import RedisBook
from batchrunner.limits.redis_place import RedisPlace, redis_place


def place_of(url: str | None, *, allow_insecure: bool) -> RedisPlace | None:
    """The place of the shared book that an option, the environment or a job names; None where none does."""
    return redis_place(url, os.environ, allow_insecure=allow_insecure) if url else None


def open_book(state_dir: Path, shared: RedisPlace | None) -> Book:
    """The shared book where there is one, else this machine's. StorageError where it can't be used."""
    return OwnBook(state_dir) if shared is None else RedisBook(shared)


class SharedGlance:
    """A shared book, looked at as glance does with this machine's."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def page(self, base_url: str, account: str | None, model: str) -> Page | None:
        """See Glance.page."""
        lanes = {lane.name: lane.page for lane in self._book.lanes()}
        if account is not None:
            return lanes.get(self._book.lane_name(base_url, account, model))
        like = (
            page
            for name, page in lanes.items()
            if name.startswith(f"{base_url} ") and name.endswith(f" {model or ALL_MODELS}")
        )
        return next(like, None)


@contextmanager
def glance_into(state_dir: Path, shared: RedisPlace | None) -> Iterator[Glance | SharedGlance | None]:
    """The book as it stands, None where there is none. StorageError where it can't be read."""
    if shared is None:
        with glance_at(state_dir) as glance:
            yield glance
        return
    with closing(RedisBook(shared)) as book:
        yield SharedGlance(book)
