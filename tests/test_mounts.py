"""A run folder on a network file system is refused, whatever the mounts look like."""

from pathlib import Path

import pytest

from batchrunner.store.mounts import NETWORK, kind_of, mounted, parse_mount, parse_mountinfo

MOUNTINFO = r"""22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
31 28 0:26 / /home rw,relatime shared:2 - nfs4 filer:/export/home rw,vers=4.2,addr=10.0.0.2
40 31 254:17 / /home/ann/scratch rw,relatime - xfs /dev/vdb rw
41 28 0:40 / /mnt/with\040blank rw master:3 propagate_from:2 - fuse.sshfs ann@host: rw,user_id=0
50 28 0:50 / /srv rw - cifs //filer/srv rw
51 50 254:18 / /srv rw - ext4 /dev/vdc rw
a line that is none
"""
MOUNT = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
filer:/export on /Volumes/team (one) (nfs, nodev, nosuid, mounted by ann)
//ann@filer/x on /Volumes/x (smbfs, nodev)
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/x", "ext4"),
        ("/home/ann/answers.run", "nfs4"),
        ("/home/ann/scratch/answers.run", "xfs"),
        ("/homely", "ext4"),
        ("/mnt/with blank/answers.run", "fuse.sshfs"),
        ("/srv/answers.run", "ext4"),
    ],
)
def test_a_folder_is_on_the_deepest_file_system_that_was_mounted_last(folder: str, kind: str) -> None:
    assert kind_of(Path(folder), list(parse_mountinfo(MOUNTINFO))) == kind


def test_the_mounts_of_macos_are_read() -> None:
    mounts = list(parse_mount(MOUNT))
    assert kind_of(Path("/Volumes/team (one)/answers.run"), mounts) == "nfs"
    assert kind_of(Path("/Volumes/x/answers.run"), mounts) in NETWORK
    assert kind_of(Path("/Users/ann"), mounts) == "apfs"


def test_where_nothing_is_known_nothing_is_refused() -> None:
    assert kind_of(Path("/anywhere"), []) is None


def test_the_file_system_of_the_tests_is_a_known_one(tmp_path: Path) -> None:
    assert kind_of(tmp_path, mounted()) is not None
