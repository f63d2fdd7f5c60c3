"""What the mount table says of a folder: whether other hosts write to it, and whether its files' owners are real."""

from __future__ import annotations

import re
from pathlib import Path

from contrib_watch.core.model import UNKNOWN

_MOUNT_TABLE = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")

_NETWORK = re.compile(
    r"9p|afs|autofs|beegfs|ceph|cifs|davfs|drvfs|fuse|fuse\..+|glusterfs|gpfs|lustre|ncpfs|nfs|nfs4|prl_fs|smb2|smb3"
    r"|smbfs|vboxsf|virtiofs|vmhgfs"
)
_OWNER_IS_THE_MOUNTS = re.compile(
    r"9p|cifs|davfs|drvfs|exfat|fuse|fuse\..+|fuseblk|hfs|msdos|ntfs|ntfs3|prl_fs|smb2|smb3|smbfs|vboxsf|vfat|vmhgfs"
)


class UnmountedError(OSError):
    """A folder on which a share was mounted is the bare mount point now."""


def file_system(folder: Path, table: Path = _MOUNT_TABLE) -> str:
    """The type of the file system that holds ``folder`` (``ext4``, ``cifs``, ...); empty where it cannot be told.

    ``table`` has the format of Linux's ``/proc/self/mountinfo`` (proc(5)): the fifth word of a line is the mount
    point, the first word after `` - `` the type. The deepest mount point above the folder decides, of several at
    one point the last.
    """
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux: there is no such table
        return ""
    within = f"{folder.resolve()}/"
    deepest, found = -1, ""
    for line in lines:
        place, _, kind = line.partition(" - ")
        mount_point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), place.split(" ")[4]).rstrip("/") + "/"
        if len(mount_point) >= deepest and within.startswith(mount_point):
            deepest, found = len(mount_point), kind.split(" ")[0]
    return found


def is_network(kind: str) -> bool:
    """Whether another host may write to it, which inotify does not see. Every FUSE file system counts."""
    return _NETWORK.fullmatch(kind) is not None


def owner(uid: int, kind: str) -> str:
    """The name of the user who owns a file on a file system of this type.

    ``unknown`` where the mount's options decide (Windows shares, FAT), or the system knows no such user.
    """
    if _OWNER_IS_THE_MOUNTS.fullmatch(kind):
        return UNKNOWN
    try:
        import pwd  # not there on Windows

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return UNKNOWN
