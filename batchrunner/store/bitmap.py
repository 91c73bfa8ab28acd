"""A set of unit numbers as one bit each: ten million take 1.25 MB."""

from collections.abc import Iterable, Iterator

_INVERTED = bytes(255 - byte for byte in range(256))


class Bitmap:
    """Numbers below `size`; larger ones are passed over when they are added and are never in it."""

    __slots__ = ("_bits", "_count", "_size")

    def __init__(self, size: int, numbers: Iterable[int] = ()) -> None:
        self._size = size
        self._bits = bytearray((size + 7) // 8)
        self._count = 0
        for number in numbers:
            self.add(number)

    @property
    def size(self) -> int:
        """What every number in it is below."""
        return self._size

    def add(self, number: int) -> None:
        """Put a number in."""
        if number < self._size and number not in self:
            self._bits[number >> 3] |= 1 << (number & 7)
            self._count += 1

    def others(self) -> "Bitmap":
        """The numbers below `size` that are not in it."""
        found = Bitmap(self._size)
        found._bits = self._bits.translate(_INVERTED)
        found._count = self._size - self._count
        if self._size % 8:
            found._bits[-1] &= (1 << self._size % 8) - 1
        return found

    def __contains__(self, number: int) -> bool:
        return number < self._size and bool(self._bits[number >> 3] >> (number & 7) & 1)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        """The numbers in it, in order."""
        for place, byte in enumerate(self._bits):
            if byte:
                yield from (8 * place + bit for bit in range(8) if byte >> bit & 1)
