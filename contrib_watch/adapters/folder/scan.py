"""One look at a feed's folder: every file's state, and a private copy of each file that is complete."""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from contrib_watch.adapters.folder import mounts, reading, spool, states
from contrib_watch.adapters.folder.reading import DisturbedError, LinkRefusedError, signature_of
from contrib_watch.adapters.folder.states import FileState, FileStatus
from contrib_watch.core import settle
from contrib_watch.core.model import Feed
from contrib_watch.core.settle import Signature, Wait


@dataclass(frozen=True, slots=True)
class CompleteFile:
    """A complete file and the private copy of its bytes. Only the copy is to be parsed."""

    name: str
    path: Path
    """The file in the feed's folder."""
    signature: Signature
    sha256: str
    """Of the copied bytes, in hex; it identifies the content. Empty for a file above ``max_bytes``."""
    size_bytes: int
    owner: str
    """The user's name; ``unknown`` where the mount decides or the system does not know the user."""
    spooled: Path | None
    """The copy. None for a file above the feed's ``max_bytes``: none of it was read."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at a folder found."""

    files: tuple[CompleteFile, ...] = ()
    """The files that are complete and were not handed out before, in the order of their (mtime, name)."""
    states: Mapping[str, FileState] = field(default_factory=dict)
    """Every entry of the folder by name, but for what this program keeps there for itself.

    A name that is not valid UTF-8 is shown with backslash escapes.
    """
    outage: str = ""
    """Why the folder could not be read; nothing is then known about its files."""
    next_look_s: float | None = None
    """Seconds from now until the next file settles; None where none is waited for."""
    postponed: str = ""
    """Why complete files were left where they are; empty: there were none, or they were taken."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """The entries of a folder: ``files`` can be drops, the rest is told why."""

    files: Mapping[str, Signature]
    marked_ns: Mapping[str, int]
    """The ctime of the newest done-marker by the name of the file that it marks."""
    states: Mapping[str, FileState]
    """Of all but ``files``."""


Ahead = Callable[[str, bytes, Path], object]
"""Is told of a file that is about to be handed out: its name, its content, and where its copy is to be."""


def _nobody(name: str, content: bytes, copy: Path) -> None:
    """Nobody wants to know."""


class Folder:
    """The folder of one feed. One thread at a time scans; any thread may call :meth:`forget`.

    ``spool`` is the folder of private copies. ``known`` are the files that earlier runs have dealt with (name to
    signature). ``whole(content, name)`` says in what way a content is broken in structure, or ``""``; a file that
    is broken is read once more a little later and then handed out all the same. ``clock`` gives monotonic seconds.
    ``closed()`` says why nothing may be taken at present, or ``""``; complete files then wait. ``ahead`` is told of
    a file that a scan takes alone.
    """

    def __init__(
        self,
        feed: Feed,
        spool: Path,
        known: Mapping[str, Signature],
        whole: Callable[[bytes, str], str],
        clock: Callable[[], float] = time.monotonic,
        closed: Callable[[], str] = lambda: "",
        ahead: Ahead = _nobody,
    ) -> None:
        self.feed = feed
        self.path = Path(feed.folder)
        self.answered_s = time.monotonic()
        """When the file system last answered, by the machine's monotonic clock; any thread may read it."""
        self._spool = spool
        self._known = dict(known)
        self._whole = whole
        self._clock = clock
        self._closed = closed
        self._ahead = ahead
        self._waits: dict[str, Wait] = {}
        self._forgotten: deque[str] = deque()
        self._mount_point = ""  # the folder's real path, once it was seen to be one

    def forget(self, name: str) -> None:
        """Have the next scans treat the file as one that was never seen, so that it is handed out again."""
        self._forgotten.append(name)

    def scan(self) -> Scan:
        """Look at the folder once, without sleeping.

        Every complete file is handed out once for each signature that it has; one above ``max_bytes`` too, though
        none of it is read. A folder that is missing or cannot be read is an outage and never an empty folder.
        Raises StateError where the spool cannot be written; no file counts as handed out then.
        """
        while self._forgotten:
            name = self._forgotten.popleft()
            self._known.pop(name, None)
            self._waits.pop(name, None)
        try:
            listing = self._list()
        except OSError as error:
            # Whoever was writing may have been cut off too: all waits begin anew when the folder is back.
            self._waits.clear()
            return Scan(outage=states.outage(self.path, error))
        # Read after the listing, which can be slow on a share: a wait must not begin before its file was seen.
        return self._take_settled(listing, self._clock())

    def look(self) -> Scan:
        """The state of every file as far as one look can tell. Hands out, copies and remembers nothing."""
        try:
            listing = self._list()
        except OSError as error:
            return Scan(outage=states.outage(self.path, error))
        return Scan(states=_shown({**listing.states, **{n: self._first_sight(n, listing) for n in listing.files}}))

    def _list(self) -> _Listing:
        with os.scandir(self.path) as entries:
            names = {entry.name for entry in entries if not entry.name.startswith(settle.OWN_PREFIX)}
        self._refuse_unmounted()
        self._answered()
        files: dict[str, Signature] = {}
        marked_ns: dict[str, int] = {}
        told: dict[str, FileState] = {}
        for name in names:
            marked = settle.marked_file(name, self.feed.done_marker)
            match self._look(name, is_marker=bool(marked)):
                case Signature() as signature if marked:
                    marked_ns[marked] = max(marked_ns.get(marked, 0), signature.ctime_ns)
                    told[name] = states.marker(marked, names)
                case Signature() as signature:
                    files[name] = signature
                case FileState() as state:
                    told[name] = state
            self._answered()
        return _Listing(files, marked_ns, told)

    def _refuse_unmounted(self) -> None:
        """Raise UnmountedError where a share was mounted on the folder, and is not any more."""
        place = os.path.realpath(self.path)
        if os.path.ismount(place):
            self._mount_point = place
        elif place == self._mount_point:
            raise mounts.UnmountedError

    def _look(self, name: str, *, is_marker: bool) -> Signature | FileState | None:
        """The signature of a file that can be a drop or a marker, the state of any other; None: it vanished."""
        reason = "" if is_marker else settle.candidate(name, self.feed.patterns)
        if reason:
            return FileState(FileStatus.IGNORED, reason)
        try:
            status = (self.path / name).lstat()
            if stat.S_ISLNK(status.st_mode):
                status = reading.target(self.path, name).lstat()
        except FileNotFoundError:
            return None
        except LinkRefusedError as refusal:
            return FileState(FileStatus.IGNORED, str(refusal))
        except OSError as error:
            return states.unreadable(error)
        return signature_of(status) if stat.S_ISREG(status.st_mode) else states.not_a_file(status.st_mode)

    def _unmarked(self, name: str, signature: Signature, listing: _Listing) -> FileState | None:
        """The state of a file whose marker is missing; None where none is asked for, or it is there."""
        suffix = self.feed.done_marker
        reason = settle.lacks_marker(name, signature, suffix, listing.marked_ns) if suffix else ""
        return FileState(FileStatus.UNMARKED, reason, signature=signature) if reason else None

    def _first_sight(self, name: str, listing: _Listing) -> FileState:
        """The state of a file that could be a drop, without a history of looks at it."""
        signature = listing.files[name]
        if self._known.get(name) == signature:
            return FileState(FileStatus.KNOWN)
        if unmarked := self._unmarked(name, signature, listing):
            return unmarked
        try:
            if signature.size_bytes <= self.feed.max_bytes:
                reading.check_readable(reading.target(self.path, name))
        except LinkRefusedError as refusal:
            return FileState(FileStatus.IGNORED, str(refusal))
        except OSError as error:
            return states.unreadable(error)
        reason = self._closed()
        return states.postponed(reason, signature) if reason else FileState(FileStatus.FOUND, signature=signature)

    def _take_settled(self, listing: _Listing, now_s: float) -> Scan:
        known = {name: sig for name, sig in self._known.items() if listing.files.get(name) == sig}
        fresh = {name: sig for name, sig in listing.files.items() if name not in known}
        waits = settle.observe(self._waits, fresh, now_s, self.feed.settle_seconds)
        unmarked = {name: state for name, sig in fresh.items() if (state := self._unmarked(name, sig, listing))}
        told = {**listing.states, **dict.fromkeys(known, FileState(FileStatus.KNOWN)), **unmarked}

        files = []
        due = [name for name in settle.settled(waits, now_s) if name not in unmarked]
        postponed = self._closed() if due else ""
        if postponed:
            told |= {name: states.postponed(postponed, waits[name].signature) for name in due}
            due = []
        kind = mounts.file_system(self.path) if due else ""
        ahead = self._ahead if len(due) == 1 else _nobody
        for name in due:
            match self._take(name, waits[name], now_s, kind, ahead):
                case CompleteFile() as file:
                    files.append(file)
                    told[name] = FileState(FileStatus.TAKEN)
                    del waits[name]
                case Wait() as wait:
                    waits[name] = wait
                case FileState() as state:
                    told[name] = state
                case None:
                    del waits[name]
            self._answered()

        settling = {name: wait for name, wait in waits.items() if name not in told}
        told |= {name: states.settling(wait, now_s, self.feed.settle_seconds) for name, wait in settling.items()}
        # Only now: had the spool failed half-way, nothing would have been handed out.
        self._waits = waits
        self._known = known | {file.name: file.signature for file in files}
        next_due_s = settle.next_due_s(settling.values(), now_s)
        return Scan(
            files=tuple(files),
            states=_shown(told),
            next_look_s=None if next_due_s is None else max(0.0, next_due_s - self._clock()),
            postponed=postponed,
        )

    def _take(
        self, name: str, wait: Wait, now_s: float, kind: str, ahead: Ahead
    ) -> CompleteFile | Wait | FileState | None:
        """Copy a settled file: the copy, a further wait, the state of a file that refuses; None: it vanished."""
        signature, settle_s = wait.signature, self.feed.settle_seconds
        sha256, spooled = "", None
        try:
            path = reading.target(self.path, name)
            if signature.size_bytes > self.feed.max_bytes:
                uid = reading.uid(path, signature)
            else:
                content, uid = reading.read(path, signature)
                if not wait.doubt and (doubt := self._doubt(content, name)):
                    return settle.doubted(wait, doubt, now_s, settle_s)
                sha256, spooled = spool.keep(self._spool, content, partial(ahead, name, content))
        except (FileNotFoundError, LinkRefusedError):
            return None  # the next scan sees what is there by then
        except DisturbedError as changed:
            return settle.disturbed(changed.signature, now_s, settle_s)
        except OSError as error:
            return states.unreadable(error)
        return CompleteFile(
            name=name,
            path=self.path / name,
            signature=signature,
            sha256=sha256,
            size_bytes=signature.size_bytes,
            owner=mounts.owner(uid, kind),
            spooled=spooled,
        )

    def _doubt(self, content: bytes, name: str) -> str:
        try:
            return self._whole(content, name)
        except Exception as error:  # noqa: BLE001 - it meets hostile bytes; one file must not stop its whole folder
            return f"the check of its structure failed: {error!r}"

    def _answered(self) -> None:
        self.answered_s = time.monotonic()


def _shown(told: Mapping[str, FileState]) -> dict[str, FileState]:
    """States by names that can be shown and stored."""
    return {
        name.encode(errors="surrogateescape").decode(errors="backslashreplace"): state for name, state in told.items()
    }
