"""Where each file of a folder stands: the answer to "why was my file not picked up?"."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contrib_watch.adapters.folder.mounts import UnmountedError
from contrib_watch.adapters.folder.reading import LINK_NOWHERE, LINK_OUT
from contrib_watch.core.settle import NO_UNICODE, OTHER_WORKBOOK, Signature, Wait

REFUSED = frozenset({OTHER_WORKBOOK, NO_UNICODE, LINK_OUT, LINK_NOWHERE})
"""Why files are ignored whose prices somebody may expect to go out: each has a name that the feed asks for."""


class FileStatus(StrEnum):
    """Where a file of the folder stands."""

    SETTLING = "settling"
    """It has not changed since it was first seen, and is watched a little longer."""
    BEING_WRITTEN = "being written"
    """It changed since it was first seen; it is taken once it has stayed the same for the settle time."""
    UNMARKED = "waiting for its marker"
    """The feed has a ``done_marker``, and the file's is not there or is older than the file."""
    FOUND = "found"
    """Not handed out yet, as far as a single look can tell."""
    POSTPONED = "postponed"
    """Complete, but nothing may be taken at present; the reason says why, and it goes on by itself."""
    TAKEN = "taken"
    """Complete, and handed out by this very scan."""
    KNOWN = "known"
    """Handed out before and unchanged since; not read again."""
    IGNORED = "ignored"
    """Never a drop: its name, or what it is, rules it out."""
    UNREADABLE = "unreadable"
    """The file system refuses to show it; tried again with every scan."""


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of one file."""

    state: FileStatus
    reason: str = ""
    """A sentence for a person: the rule that ignores it, what it waits for, what to do."""
    due_s: float | None = None
    """Seconds from the scan until it is taken, if it stays as it is; None: that is not a matter of time."""
    signature: Signature | None = None
    """Of a file that can be a drop and was not handed out yet."""


def settling(wait: Wait, now_s: float, settle_s: float) -> FileState:
    """A file that may still be being written."""
    state = FileStatus.BEING_WRITTEN if wait.rewritten else FileStatus.SETTLING
    if wait.doubt:
        reason = f"looks incomplete ({wait.doubt}); is read once more and then taken as it is"
    elif wait.rewritten:
        reason = f"changed since it was first seen; is taken when it has not changed for {settle_s:g} s"
    else:
        reason = f"may still be being written; is taken when it has not changed for {settle_s:g} s"
    return FileState(state, reason, max(0.0, wait.due_s - now_s), wait.signature)


def postponed(reason: str, signature: Signature) -> FileState:
    """A complete file that is left where it is for the present."""
    return FileState(FileStatus.POSTPONED, f"not taken yet: {reason}", signature=signature)


def unreadable(error: OSError) -> FileState:
    """A file that the file system refuses."""
    if isinstance(error, PermissionError):
        return FileState(
            FileStatus.UNREADABLE,
            "permission denied: let the user that this program runs as read it, or close it where it is open",
        )
    return FileState(FileStatus.UNREADABLE, f"cannot be read: {error.strerror or error}; tried again with every scan")


def not_a_file(mode: int) -> FileState:
    """Something that has a name in the folder and no content to read."""
    if stat.S_ISDIR(mode):
        return FileState(FileStatus.IGNORED, "a folder: only files directly in the feed's folder are read")
    return FileState(FileStatus.IGNORED, "not a regular file (a pipe, socket or device)")


def marker(of: str, names: set[str]) -> FileState:
    """A done-marker, and whether the file that it speaks of (``of``) is among the ``names`` of the folder."""
    if of in names:
        return FileState(FileStatus.IGNORED, f"the marker of {of}")
    return FileState(FileStatus.IGNORED, f"a marker without its file {of}")


def outage(folder: Path, error: OSError) -> str:
    """Why a folder cannot be read."""
    if isinstance(error, UnmountedError):
        return f"nothing is mounted on folder {folder} any more: mount its share; if it has none now, restart"
    if isinstance(error, FileNotFoundError):
        return f"folder {folder} does not exist: was it deleted, or its share unmounted?"
    if isinstance(error, NotADirectoryError):
        return f"{folder} is not a folder"
    if isinstance(error, PermissionError):
        return f"folder {folder} may not be read: permission denied"
    return f"folder {folder} cannot be read: {error.strerror or error}"
