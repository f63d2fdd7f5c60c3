"""One look at a feed's folder: every file's state, and a private copy of each file that is complete."""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from contrib_watch.adapters.folder import mounts, spool
from contrib_watch.core import settle
from contrib_watch.core.model import Feed
from contrib_watch.core.settle import Signature, Wait

# A FIFO or a link that takes a file's place after it was looked at must neither block nor be followed.
_READ_FLAGS = os.O_RDONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"):
    _READ_FLAGS |= getattr(os, _flag, 0)


class FileStatus(StrEnum):
    """Where a file of the folder stands."""

    SETTLING = "settling"
    """It may still be being written."""
    TAKEN = "taken"
    """Complete, and handed out by this very scan."""
    KNOWN = "known"
    """Handed out before and unchanged since; not read again."""
    IGNORED = "ignored"
    """Never a drop: its name, or what it is, rules it out."""
    TOO_LARGE = "too large"
    """Above the feed's ``max_bytes``; not read."""
    UNREADABLE = "unreadable"
    """The file system refuses to show it; tried again with every scan."""


@dataclass(frozen=True, slots=True)
class FileState:
    """The answer to "why was my file not picked up?"."""

    state: FileStatus
    reason: str = ""
    """A sentence for a person: the rule that ignores it, how long it still waits, what to do."""


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A complete file and the private copy of its bytes. Only the copy is to be parsed."""

    name: str
    path: Path
    """The file in the feed's folder."""
    signature: Signature
    sha256: str
    """Of the copied bytes, in hex; it identifies the content."""
    size_bytes: int
    owner: str
    """The user's name; ``unknown`` where the mount decides or the system does not know the user."""
    spooled: Path


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at a folder found."""

    files: tuple[SpooledFile, ...] = ()
    """The files that are complete and were not handed out before, in the order of their (mtime, name)."""
    states: Mapping[str, FileState] = field(default_factory=dict)
    """Every entry of the folder by name. A name that is not valid UTF-8 is shown with backslash escapes."""
    outage: str = ""
    """Why the folder could not be read; nothing is then known about its files."""
    next_look_s: float | None = None
    """Seconds from now until the next file settles; None where none is waited for."""


class Folder:
    """The folder of one feed. One thread at a time scans; any thread may call :meth:`forget`.

    ``spool`` is the folder of private copies. ``known`` are the files that earlier runs have dealt with (name to
    signature). ``whole(content, name)`` says in what way a content is broken in structure, or ``""``; a file that
    is broken is read once more a little later and then handed out all the same. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self,
        feed: Feed,
        spool: Path,
        known: Mapping[str, Signature],
        whole: Callable[[bytes, str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed = feed
        self.path = Path(feed.folder)
        self._spool = spool
        self._known = dict(known)
        self._whole = whole
        self._clock = clock
        self._waits: dict[str, Wait] = {}
        self._forgotten: deque[str] = deque()

    def forget(self, name: str) -> None:
        """Have the next scans treat the file as one that was never seen, so that it is handed out again."""
        self._forgotten.append(name)

    def scan(self) -> Scan:
        """Look at the folder once, without sleeping.

        Every complete file is handed out once for each signature that it has. A folder that is missing or cannot
        be read is an outage and never an empty folder. Raises StateError where the spool cannot be written; no
        file counts as handed out then.
        """
        while self._forgotten:
            name = self._forgotten.popleft()
            self._known.pop(name, None)
            self._waits.pop(name, None)
        try:
            looks = self._look_at_all()
        except OSError as error:
            # Whoever was writing may have been cut off too: all waits begin anew when the folder is back.
            self._waits.clear()
            return Scan(outage=_outage(self.path, error))
        # Read after the listing, which can be slow on a share: a wait must not begin before its file was seen.
        now_s = self._clock()
        states = {name: look for name, look in looks.items() if isinstance(look, FileState)}
        signatures = {name: look for name, look in looks.items() if isinstance(look, Signature)}
        return self._take_settled(signatures, states, now_s)

    def _look_at_all(self) -> dict[str, Signature | FileState]:
        with os.scandir(self.path) as entries:
            names = [entry.name for entry in entries]
        looks = {name: self._look(name) for name in names}
        return {name: look for name, look in looks.items() if look is not None}

    def _look(self, name: str) -> Signature | FileState | None:
        """The signature of a file that can be a drop, the state of one that cannot; None: it vanished."""
        reason = settle.candidate(name, self.feed.patterns)
        if reason:
            return FileState(FileStatus.IGNORED, reason)
        try:
            status = (self.path / name).lstat()
            if stat.S_ISLNK(status.st_mode):
                status = self._target(name).lstat()
        except FileNotFoundError:
            return None
        except _LinkRefusedError as refusal:
            return FileState(FileStatus.IGNORED, str(refusal))
        except OSError as error:
            return _unreadable(error)
        if not stat.S_ISREG(status.st_mode):
            return FileState(FileStatus.IGNORED, _what_it_is(status.st_mode))
        if status.st_size > self.feed.max_bytes:
            return FileState(
                FileStatus.TOO_LARGE,
                f"{status.st_size:,} bytes; the feed takes at most {self.feed.max_bytes:,} (max_bytes)",
            )
        return _signature(status)

    def _target(self, name: str) -> Path:
        """The file itself: a link is followed as far as it stays inside the folder."""
        path = self.path / name
        if not path.is_symlink():
            return path
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(os.path.realpath(self.path)):
            raise _LinkRefusedError("a symbolic link that leaves the folder: copy the file itself into the folder")
        if target.is_symlink() or not target.exists():
            raise _LinkRefusedError("a symbolic link that leads to no file")
        return target

    def _take_settled(self, signatures: Mapping[str, Signature], states: dict[str, FileState], now_s: float) -> Scan:
        still_known = {name: sig for name, sig in self._known.items() if signatures.get(name) == sig}
        fresh = {name: sig for name, sig in signatures.items() if name not in still_known}
        waits = settle.observe(self._waits, fresh, now_s, self.feed.settle_seconds)
        states |= dict.fromkeys(still_known, FileState(FileStatus.KNOWN))

        files = []
        due = settle.settled(waits, now_s)
        kind = mounts.file_system(self.path) if due else ""
        for name in due:
            match self._take(name, waits[name], now_s, kind):
                case SpooledFile() as file:
                    files.append(file)
                    states[name] = FileState(FileStatus.TAKEN)
                    del waits[name]
                case Wait() as wait:
                    waits[name] = wait
                case FileState() as state:
                    states[name] = state
                case None:
                    del waits[name]

        states |= {name: _settling(wait, now_s) for name, wait in waits.items() if name not in states}
        # Only now: had the spool failed half-way, nothing would have been handed out.
        self._waits = waits
        self._known = still_known | {file.name: file.signature for file in files}
        next_due_s = settle.next_due_s(waits.values(), now_s)
        return Scan(
            files=tuple(files),
            states={_shown(name): state for name, state in states.items()},
            next_look_s=None if next_due_s is None else max(0.0, next_due_s - self._clock()),
        )

    def _take(self, name: str, wait: Wait, now_s: float, kind: str) -> SpooledFile | Wait | FileState | None:
        """Copy a settled file: the copy, a further wait, the state of a file that refuses; None: it vanished."""
        settle_s = self.feed.settle_seconds
        try:
            path = self._target(name)
            content, uid = _read(path, wait.signature)
        except (FileNotFoundError, _LinkRefusedError):
            return None  # the next scan sees what is there by then
        except _DisturbedError as changed:
            return settle.disturbed(changed.signature, now_s, settle_s)
        except OSError as error:
            return _unreadable(error)
        if not wait.doubt and (doubt := self._doubt(content, name)):
            return settle.doubted(wait, doubt, now_s, settle_s)
        sha256, spooled = spool.keep(self._spool, content)
        return SpooledFile(
            name=name,
            path=self.path / name,
            signature=wait.signature,
            sha256=sha256,
            size_bytes=len(content),
            owner=mounts.owner(uid, kind),
            spooled=spooled,
        )

    def _doubt(self, content: bytes, name: str) -> str:
        try:
            return self._whole(content, name)
        except Exception as error:  # noqa: BLE001 - it meets hostile bytes; one file must not stop its whole folder
            return f"the check of its structure failed: {error!r}"


class _LinkRefusedError(Exception):
    """A symbolic link that must not be followed; the text says why."""


class _DisturbedError(Exception):
    """A file that is not, or no longer, what the scan saw; ``signature`` is what is at its path now."""

    def __init__(self, signature: Signature) -> None:
        super().__init__("changed while it was read")
        self.signature = signature


def _read(path: Path, expected: Signature) -> tuple[bytes, int]:
    """The bytes and the owner's uid of a file that was ``expected`` before, during and after the reading.

    The path is looked at again too, because a file that was renamed over it is not seen through the descriptor.
    """
    descriptor = os.open(path, _READ_FLAGS)
    try:
        before = os.fstat(descriptor)
        content = b""
        if _signature(before) == expected:
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(expected.size_bytes + 1)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    there = _signature(path.lstat())
    if not _signature(before) == _signature(after) == there == expected or len(content) != expected.size_bytes:
        raise _DisturbedError(there)
    return content, before.st_uid


def _signature(status: os.stat_result) -> Signature:
    return Signature(
        size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns, inode=status.st_ino
    )


def _settling(wait: Wait, now_s: float) -> FileState:
    remaining_s = max(0.0, wait.due_s - now_s)
    if wait.doubt:
        reason = f"looks incomplete ({wait.doubt}); read once more in {remaining_s:.1f} s and then taken as it is"
    else:
        reason = f"may still be being written; taken in {remaining_s:.1f} s if it stays as it is"
    return FileState(FileStatus.SETTLING, reason)


def _unreadable(error: OSError) -> FileState:
    if isinstance(error, PermissionError):
        return FileState(
            FileStatus.UNREADABLE,
            "permission denied: let the user that this program runs as read it, or close it where it is open",
        )
    return FileState(FileStatus.UNREADABLE, f"cannot be read: {error.strerror or error}; tried again with every scan")


def _what_it_is(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder: only files directly in the feed's folder are read"
    return "not a regular file (a pipe, socket or device)"


def _outage(folder: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"folder {folder} does not exist: was it deleted, or its share unmounted?"
    if isinstance(error, NotADirectoryError):
        return f"{folder} is not a folder"
    if isinstance(error, PermissionError):
        return f"folder {folder} may not be read: permission denied"
    return f"folder {folder} cannot be read: {error.strerror or error}"


def _shown(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
