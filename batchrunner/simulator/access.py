"""Who may ask, and on whose account. Keys are kept as hashes only."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256


class AuthScheme(StrEnum):
    """The word before the key in the Authorization header."""

    API_KEY = "Api-Key"
    BEARER = "Bearer"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """None means that any key, or any model, will do. With `one_account` all keys share the limits."""

    scheme: AuthScheme = AuthScheme.API_KEY
    key_hashes: frozenset[str] | None = None
    models: frozenset[str] | None = None
    one_account: bool = False

    def account(self, authorization: str) -> str | None:
        """The account that an Authorization header stands for, or None when it opens no door."""
        word, _, key = authorization.partition(" ")
        if not key.strip() or not self._takes(word):
            return None
        hashed = hash_key(key.strip())
        if self.key_hashes is not None and hashed not in self.key_hashes:
            return None
        return "shared" if self.one_account else hashed

    def knows(self, model: str) -> bool:
        return self.models is None or model in self.models

    def _takes(self, word: str) -> bool:
        words = (AuthScheme.API_KEY, AuthScheme.BEARER) if self.scheme is AuthScheme.ANY else (self.scheme,)
        return word.lower() in (known.lower() for known in words)


def hash_keys(keys: Iterable[str]) -> frozenset[str]:
    """Keys in the form in which `Access` keeps them."""
    return frozenset(hash_key(key) for key in keys)


def hash_key(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:16]
