"""Which rows are wanted, as an address says it and as the store is asked. Pure; nonsense in one is passed over."""

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from batchrunner.store.browsing import Choice

LONGEST_WORDS = 500
_OK = {"ok": True, "failed": False}


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's units are: how many, so many `arms` of each row, of which so many are `samples` of one variant."""

    total: int
    arms: int
    samples: int
    variants: tuple[str | None, ...]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with these words in id, prompt, answer or error, that ended so, failed of this kind, are of the variant at
    this place; each is empty where it doesn't matter."""

    words: str = ""
    status: str = ""
    kind: str = ""
    variant: str = ""

    def choice(self, shape: Shape) -> Choice:
        """The same for the store, but for the words."""
        place = int(self.variant) if self.variant else None
        return Choice(
            total=shape.total,
            ok=_OK.get(self.status),
            kind=self.kind or None,
            variant=place,
            arms=shape.arms,
            samples=shape.samples,
        )

    def address(self, path: str, **more: object) -> str:
        """This path with the question, and more, behind it."""
        said = {"q": self.words, "status": self.status, "kind": self.kind, "variant": self.variant, **more}
        query = urlencode({name: str(value) for name, value in said.items() if value not in ("", None)})
        return f"{path}?{query}" if query else path


def question_of(query: Mapping[str, str]) -> Question:
    """What the query of an address asks."""
    status, variant = query.get("status", ""), query.get("variant", "")
    return Question(
        words=query.get("q", "")[:LONGEST_WORDS].strip().encode(errors="replace").decode(),
        status=status if status in _OK else "",
        kind=query.get("kind", "")[:LONGEST_WORDS].encode(errors="replace").decode(),
        variant=variant if _number(variant) is not None else "",
    )


def number_in(query: Mapping[str, str], name: str) -> int | None:
    """The number that an address says; None where it says none."""
    return _number(query.get(name, ""))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None  # noqa: PLR2004 - fits SQLite
