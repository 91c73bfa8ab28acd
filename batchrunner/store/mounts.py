"""Which file system a folder is on. SQLite's log and locks need a local one: over a network two machines may both
believe that they hold a lock, and what was synced may not be there.

Read from /proc/self/mountinfo on Linux and from `mount` on macOS; elsewhere nothing is known and nothing refused.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from batchrunner.errors import StorageError
from batchrunner.store.private import refuse_foreign

NETWORK = frozenset(
    {
        *("9p", "acfs", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "fhgfs", "fuse.ceph", "fuse.cephfs"),
        *("fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.mount-s3"),
        *("fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "macfuse", "ncpfs"),
        *("nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "osxfuse", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf"),
        *("webdav", "wekafs"),
    }
)
_LINUX = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")
_MACOS = re.compile(r".* on (?P<place>.+) \((?P<kind>[^,)]+)[,)].*")


def check_place(folder: Path, option: str) -> None:
    """StorageError where a folder can't keep what is trusted: it, or the nearest one above it that exists, is on a
    network file system, or it is there and not this user's alone."""
    refuse_foreign(folder, option)
    kind = kind_of(folder.absolute(), mounted())
    if kind in NETWORK:
        raise StorageError(
            f"{folder} is on a network file system ({kind}), where locks and logs can't be trusted: "
            f"name a local folder with {option}."
        )


def mounted() -> list[tuple[Path, str]]:
    """What is mounted where, in the order of mounting: the place and the kind of file system."""
    try:
        if _LINUX.exists():
            return list(parse_mountinfo(_LINUX.read_text(errors="surrogateescape")))
        if sys.platform == "darwin":
            told = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False, timeout=10)
            return list(parse_mount(told.stdout))
    except (OSError, subprocess.SubprocessError):
        pass
    return []


def parse_mountinfo(text: str) -> Iterator[tuple[Path, str]]:
    """Lines of /proc/self/mountinfo; see proc(5)."""
    for line in text.splitlines():
        before, found, after = line.partition(" - ")
        fields = before.split(" ")
        if found and len(fields) > 4:  # noqa: PLR2004 - the fifth is the place
            yield Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[4])), after.split(" ")[0]


def parse_mount(text: str) -> Iterator[tuple[Path, str]]:
    """Lines of macOS's mount: `server:/x on /Volumes/x (nfs, nodev)`."""
    for found in filter(None, map(_MACOS.fullmatch, text.splitlines())):
        yield Path(found["place"]), found["kind"]


def kind_of(folder: Path, mounts: list[tuple[Path, str]]) -> str | None:
    """The kind of the file system that the folder is on: of the deepest place above it, the one mounted last."""
    resolved = folder.resolve()
    above = [
        (len(place.parts), number, kind)
        for number, (place, kind) in enumerate(mounts)
        if resolved.is_relative_to(place)
    ]
    return max(above)[2] if above else None
