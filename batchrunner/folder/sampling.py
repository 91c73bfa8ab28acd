"""Rows at random: the same for the same seed, and a larger sample contains every smaller one. Pure.

Every row has a key of eight bytes, drawn from the seed and its number alone; the rows with the smallest keys are
chosen. Rows that are appended to an input may thus take the place of some that were chosen before.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from batchrunner.store.bitmap import Bitmap

_AT_ONCE = 8192  # keys that are drawn in one go
_KEY_BYTES = 8


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """So many rows at random, all where there are fewer."""

    rows: int
    seed: int = 0

    def chosen(self, total: int) -> Bitmap:
        """The numbers chosen below `total`, a bit for each. Ten million take some seconds.

        Were two keys alike at the very border, there would be one row more.
        """
        found = Bitmap(total)
        last = self._largest_key(total)
        if last is not None:
            for number, key in self._keys(total, 0, last[0]):
                if key <= last:
                    found.add(number)
        return found

    def _largest_key(self, total: int) -> bytes | None:
        """The largest key of a row that is chosen, if any is: its first byte is counted out, then it is looked for
        among those that begin so."""
        wanted = min(self.rows, total)
        by_byte: Counter[int] = Counter()
        for first, keys in self._drawn(total):
            by_byte.update(keys[::_KEY_BYTES][: total - first])
        for byte in sorted(by_byte):
            if by_byte[byte] >= wanted > 0:
                return sorted(key for _, key in self._keys(total, byte, byte))[wanted - 1]
            wanted -= by_byte[byte]
        return None

    def _keys(self, total: int, low: int, high: int) -> Iterator[tuple[int, bytes]]:
        """Number and key of the rows whose key's first byte is from `low` to `high`."""
        wanted = re.compile(b"[\\x%02x-\\x%02x]" % (low, high))
        for first, keys in self._drawn(total):
            for match in wanted.finditer(keys[::_KEY_BYTES][: total - first]):
                place = match.start()
                yield first + place, keys[place * _KEY_BYTES : (place + 1) * _KEY_BYTES]

    def _drawn(self, total: int) -> Iterator[tuple[int, bytes]]:
        """The keys of all rows, some at a time, with the number of the first of these."""
        seed = self.seed.to_bytes(_KEY_BYTES, "big")
        for first in range(0, total, _AT_ONCE):
            drawn = hashlib.shake_128(seed + first.to_bytes(_KEY_BYTES, "big"))
            yield first, drawn.digest(_KEY_BYTES * _AT_ONCE)
