"""The in-flight marks: which units a kill may have cost, in a small memory-mapped file beside the store.

A page that was written outlives SIGKILL (in the page cache, not a power loss), so a mark costs a memory write.
A mark is set before the first byte of a try is sent and cleared when what came of it is committed.
"""

import errno
import mmap
import os
import struct
from pathlib import Path

from batchrunner.errors import StorageError

_SLOT = struct.Struct("<q")  # unit number + 1; 0 is a free slot
_SLOTS_AT_FIRST = 4096


def marked_units(path: Path) -> list[int]:
    """The units that are marked in this file now, read beside whoever sets the marks; none where there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror}.") from error
    whole = len(content) // _SLOT.size * _SLOT.size
    return sorted({value - 1 for (value,) in _SLOT.iter_unpack(content[:whole]) if value > 0})


class Marks:
    """Slots by index. One writer."""

    def __init__(self, path: Path) -> None:
        """Open or create; StorageError where that fails."""
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._fd).st_size
            self._map = self._mapped(max(-(-size // _SLOT.size), _SLOTS_AT_FIRST))
        except OSError as error:
            raise self._storage_error(error) from error
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
        try:
            grown = self._mapped(2 * slots)
        except OSError as error:
            raise self._storage_error(error) from error
        self._map.close()
        self._map = grown
        self._free = list(range(2 * slots - 1, slots - 1, -1))

    def _mapped(self, slots: int) -> mmap.mmap:
        """Map so many slots, with room for them on the disk before a page is touched."""
        size = os.fstat(self._fd).st_size
        missing = bytes(max(0, slots * _SLOT.size - size))
        if os.pwrite(self._fd, missing, size) < len(missing):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return mmap.mmap(self._fd, slots * _SLOT.size)

    def _storage_error(self, error: OSError) -> StorageError:
        return StorageError(f"{self._path} can't be used: {error.strerror}.")
