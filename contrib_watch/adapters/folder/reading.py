"""Looking at one file and reading it, such that what was read is what was looked at."""

from __future__ import annotations

import os
from pathlib import Path

from contrib_watch.core.settle import Signature

# A FIFO or a link that takes a file's place after it was looked at must neither block nor be followed.
_READ_FLAGS = os.O_RDONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"):
    _READ_FLAGS |= getattr(os, _flag, 0)


LINK_OUT = "a symbolic link that leaves the folder: copy the file itself into the folder"
LINK_NOWHERE = "a symbolic link that leads to no file"


class LinkRefusedError(Exception):
    """A symbolic link that must not be followed; the text says why."""


class DisturbedError(Exception):
    """A file that is not, or no longer, what the scan saw; ``signature`` is what is at its path now."""

    def __init__(self, signature: Signature) -> None:
        super().__init__("changed while it was read")
        self.signature = signature


def signature_of(status: os.stat_result) -> Signature:
    """What decides whether a file has changed."""
    return Signature(
        size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns, inode=status.st_ino
    )


def target(folder: Path, name: str) -> Path:
    """The file itself: a link is followed as far as it stays inside the folder, else LinkRefusedError is raised."""
    path = folder / name
    if not path.is_symlink():
        return path
    file = Path(os.path.realpath(path))
    if not file.is_relative_to(os.path.realpath(folder)):
        raise LinkRefusedError(LINK_OUT)
    if file.is_symlink() or not file.exists():
        raise LinkRefusedError(LINK_NOWHERE)
    return file


def read(path: Path, expected: Signature) -> tuple[bytes, int]:
    """The bytes and the owner's uid of a file that was ``expected`` before, during and after the reading.

    The path is looked at again too, because a file that was renamed over it is not seen through the descriptor.
    Raises DisturbedError, or OSError.
    """
    descriptor = os.open(path, _READ_FLAGS)
    try:
        before = os.fstat(descriptor)
        content = b""
        if signature_of(before) == expected:
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(expected.size_bytes + 1)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    there = signature_of(path.lstat())
    same = signature_of(before) == signature_of(after) == there == expected
    if not same or len(content) != expected.size_bytes:
        raise DisturbedError(there)
    return content, before.st_uid


def uid(path: Path, expected: Signature) -> int:
    """The owner's uid of a file that is not read. Raises DisturbedError where it is no longer ``expected``."""
    status = path.lstat()
    if signature_of(status) != expected:
        raise DisturbedError(signature_of(status))
    return status.st_uid


def check_readable(path: Path) -> None:
    """Raise OSError where the file may not be read; none of it is read."""
    os.close(os.open(path, _READ_FLAGS))
