"""The in-flight marks: which units a kill may have cost, in a small memory-mapped file beside the store.

A page that was written outlives SIGKILL (in the page cache, not a power loss), so a mark costs a memory write.
A mark is set before the first byte of a try is sent and cleared when what came of it is committed.
"""

import mmap
import os
import struct
from pathlib import Path

from batchrunner.errors import StorageError

_SLOT = struct.Struct("<q")  # unit number + 1; 0 is a free slot
_SLOTS_AT_FIRST = 4096


class Marks:
    """Slots by index. One writer."""

    def __init__(self, path: Path) -> None:
        """Open or create; StorageError where that fails."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._fd).st_size
            self._map = self._mapped(max(size // _SLOT.size, _SLOTS_AT_FIRST))
        except OSError as error:
            raise StorageError(f"{path} can't be used: {error.strerror}.") from error
        self._free = [i for i in range(len(self._map) // _SLOT.size) if not self._unit_in(i)]
        self._free.reverse()

    def units(self) -> list[int]:
        """The units that are marked, in order; on opening, those an earlier process left in flight."""
        marked = (self._unit_in(i) for i in range(len(self._map) // _SLOT.size))
        return sorted(value - 1 for value in marked if value)

    def set(self, unit: int) -> int:
        """Mark the unit; returns the slot to clear."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        _SLOT.pack_into(self._map, slot * _SLOT.size, unit + 1)
        return slot

    def clear(self, slot: int) -> None:
        """Take the mark away."""
        _SLOT.pack_into(self._map, slot * _SLOT.size, 0)
        self._free.append(slot)

    def clear_all(self) -> None:
        """Start anew, once what was marked has been counted."""
        slots = len(self._map) // _SLOT.size
        self._map[:] = bytes(len(self._map))
        self._free = list(range(slots - 1, -1, -1))

    def close(self) -> None:
        """Unmap; the marks stay in the file."""
        self._map.close()
        os.close(self._fd)

    def _unit_in(self, slot: int) -> int:
        value: int = _SLOT.unpack_from(self._map, slot * _SLOT.size)[0]
        return value

    def _grow(self) -> None:
        slots = len(self._map) // _SLOT.size
        self._map.close()
        self._map = self._mapped(2 * slots)
        self._free = list(range(2 * slots - 1, slots - 1, -1))

    def _mapped(self, slots: int) -> mmap.mmap:
        size = os.fstat(self._fd).st_size
        os.pwrite(self._fd, bytes(slots * _SLOT.size - size), size)  # room on the disk before a page is touched
        return mmap.mmap(self._fd, slots * _SLOT.size)
