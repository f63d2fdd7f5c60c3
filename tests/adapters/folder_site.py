"""Folders with real files, and a clock that the test turns."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contrib_watch.adapters.folder import Folder, Scan
from contrib_watch.core.model import Feed
from contrib_watch.core.settle import Signature

SETTLE_S = 2.0
LIMIT_S = 10.0
"""How long a test waits for what must come."""

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


class Clock:
    """Monotonic seconds that pass when the test says so; ``then`` runs once, the next time it is read."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.then: Callable[[], object] | None = None

    def __call__(self) -> float:
        then, self.then = self.then, None
        if then:
            then()
        return self.now_s


def whole(content: bytes, name: str) -> str:
    """A stand-in for the check of a structure."""
    return "a NUL byte" if b"\0" in content else ""


def open_folder(
    inbox: Path,
    clock: Callable[[], float],
    *,
    known: dict[str, Signature] | None = None,
    spool: Path | None = None,
    **options: object,
) -> Folder:
    """A Folder of feed ``bonds``; ``options`` are keys of the feed."""
    feed = Feed(name="bonds", folder=inbox, service="NIPROV", **{"settle_seconds": SETTLE_S, **options})
    return Folder(feed, spool or inbox.parent / "spool", known or {}, whole, clock)


def scan_settled(folder: Folder, clock: Clock) -> Scan:
    """A scan that sees what is there, and one after the settle time."""
    assert folder.scan().files == ()
    clock.now_s += SETTLE_S
    return folder.scan()


def contents(scan: Scan) -> dict[str, bytes]:
    """The copied bytes of the files that a scan handed out, by name."""
    return {file.name: file.spooled.read_bytes() for file in scan.files if file.spooled}


def let_time_tick(inbox: Path) -> None:
    """Wait until the file system's own clock has moved on, so that two writes have two times."""
    probe = inbox.parent / "probe"
    probe.write_bytes(b"")
    first_ns, deadline_s = probe.stat().st_ctime_ns, time.monotonic() + LIMIT_S
    while probe.stat().st_ctime_ns == first_ns:
        assert time.monotonic() < deadline_s
        probe.write_bytes(b"")


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Another file system is mounted on the folder."""
    mount = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("to mount needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def as_somebody_else(uid: int) -> Iterator[Path]:
    """A folder of a user without privileges, and this process acting as that user (root may read anything)."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("acting as another user needs root")
    before = os.umask(0o022)
    place = Path(tempfile.mkdtemp())
    os.chown(place, uid, uid)
    os.seteuid(uid)
    try:
        yield place
    finally:
        os.seteuid(0)
        os.umask(before)
        shutil.rmtree(place)
