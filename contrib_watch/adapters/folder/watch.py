"""When to look at a folder: a thread that scans it, and an observer that tells the thread not to wait."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePath

import structlog
from watchdog.events import (
    DirDeletedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from contrib_watch.adapters.folder import mounts
from contrib_watch.adapters.folder.scan import Folder, Scan
from contrib_watch.core.model import Feed

POLLING_INTERVAL_S = 1.0
"""How often the polling observer lists a folder."""

_GATHER_S = 0.05
"""How long the thread lets further events come before it scans, so that 600 events are not 600 scans; after one that
says that a file is complete it scans at once."""

_HINTS: list[type[FileSystemEvent]] = [
    # Not "opened" and "closed without writing": the scan's own reading raises these.
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    FileClosedEvent,
    DirDeletedEvent,
]
_COMPLETE = (FileClosedEvent, FileMovedEvent)

# It calls an ordinary stop an error, where an event arrives just then. Whether it works is asked of its threads, and
# what it misses the next scan finds.
logging.getLogger("watchdog").setLevel(logging.CRITICAL)


class Watch:
    """Scans one folder in a daemon thread of its own and hands each Scan to ``on_scan(feed_name, scan)``.

    It scans at start, when the observer or :meth:`wake` says so, when a file is due to settle, and every
    ``interval_s`` seconds whatever the observer does. What goes wrong inside a scan is reported as its ``outage``.
    Where ``on_scan`` raises, the files of that scan are forgotten and so handed out again.
    """

    def __init__(self, folder: Folder, interval_s: float, on_scan: Callable[[str, Scan], None]) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._on_scan = on_scan
        self._wake = threading.Event()
        self._at_once = threading.Event()
        self._stopping = threading.Event()
        self._listener: _Listener | None = None
        self._looking_since_s: float | None = None
        self._outage = ""
        self._deafness = ""
        self._log = structlog.get_logger(feed=folder.feed.name)
        self._thread = threading.Thread(target=self._run, name=f"watch {folder.feed.name}", daemon=True)

    def start(self) -> None:
        """Begin; a Watch is started once."""
        self._thread.start()

    def wake(self) -> None:
        """Scan now. Safe from any thread."""
        self._at_once.set()
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the thread and wait for it; False where it still hangs (in a dead share, say) after ``timeout_s``."""
        self._stopping.set()
        self.wake()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def silent_s(self) -> float:
        """For how long a look at the folder has been under way without an answer of the file system; 0 between looks.

        Safe from any thread.
        """
        since_s = self._looking_since_s
        return 0.0 if since_s is None else time.monotonic() - max(since_s, self._folder.answered_s)

    def _run(self) -> None:
        try:
            while True:
                # Cleared before anything is looked at, so that nothing that happens from here on is slept over.
                self._at_once.clear()
                self._wake.clear()
                if self._stopping.is_set():
                    return
                self._looking_since_s = time.monotonic()
                self._listen()
                scan = self._scan()
                self._looking_since_s = None
                self._deliver(scan)
                self._rest(scan)
        finally:
            self._close_listener()

    def _rest(self, scan: Scan) -> None:
        due_s = self._interval_s if scan.next_look_s is None else min(self._interval_s, scan.next_look_s)
        if self._wake.wait(max(due_s, _GATHER_S)):
            self._at_once.wait(_GATHER_S)

    def _scan(self) -> Scan:
        try:
            scan = self._folder.scan()
        except Exception as error:  # noqa: BLE001 - the thread must live; the outage carries the fault to status
            scan = Scan(outage=str(error) or type(error).__name__)
        if scan.outage and scan.outage != self._outage:
            self._log.warning("folder cannot be read", reason=scan.outage)
        elif self._outage and not scan.outage:
            self._log.info("folder can be read again")
        self._outage = scan.outage
        return scan

    def _deliver(self, scan: Scan) -> None:
        try:
            self._on_scan(self._folder.feed.name, scan)
        except Exception:  # noqa: BLE001 - the thread must live; nothing is lost, and the log has the fault
            self._log.exception("files found but not accepted, will be offered again", files=len(scan.files))
            for file in scan.files:
                self._folder.forget(file.name)

    def _listen(self) -> None:
        """Have an observer that hears the folder as it is now; without one, the interval alone goes on."""
        if self._listener is not None:
            if self._listener.hears(self._folder.path):
                return
            self._close_listener()
            self._log.info("observer went deaf, building another")
        try:
            self._listener = _Listener(self._folder.path, polling=_polls(self._folder.feed), heard=self._heard)
        except FileNotFoundError:
            return  # the scan reports the outage
        except Exception as error:  # noqa: BLE001 - inotify's limits, no more threads: an observer is only a comfort
            if str(error) != self._deafness:
                self._log.warning("no observer, scanning by interval", reason=str(error), every_s=self._interval_s)
            self._deafness = str(error)
        else:
            self._deafness = ""

    def _heard(self, event: FileSystemEvent) -> None:
        """Never raises, which would end the observer's thread."""
        if isinstance(event, _COMPLETE):
            self._at_once.set()
        self._wake.set()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def _polls(feed: Feed) -> bool:
    """Whether the polling observer is to be used: ``auto`` asks the mount table where the folder lies."""
    if feed.observer == "auto":
        return mounts.is_network(mounts.file_system(Path(feed.folder)))
    return feed.observer == "polling"


class _Hint(FileSystemEventHandler):
    """Passes on what happened, unless all of it is hidden: this program's own lease and unfinished reports, say.

    Nothing here can raise, which would end the observer's thread.
    """

    def __init__(self, heard: Callable[[FileSystemEvent], None]) -> None:
        self._heard = heard

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        # The watched folder itself may have a hidden name.
        if event.is_directory or not all(PurePath(path).name.startswith(".") for path in paths):
            self._heard(event)


class _Listener:
    """One running observer on one folder. Raises OSError where it cannot be started."""

    def __init__(self, folder: Path, *, polling: bool, heard: Callable[[FileSystemEvent], None]) -> None:
        # Of the folder before the observer has it: should it be replaced in between, hears() says no.
        self._identity = _identity(folder)
        self._observer: BaseObserver = PollingObserver(timeout=POLLING_INTERVAL_S) if polling else Observer()
        try:
            # inotify watches a link itself, not what it points to.
            self._observer.schedule(_Hint(heard), str(folder.resolve()), recursive=False, event_filter=_HINTS)
            self._observer.start()
        except BaseException:
            self._observer.stop()
            raise

    def hears(self, folder: Path) -> bool:
        """Whether its threads live and the path is still the folder that it listens to, not a new one or a mount."""
        emitters = self._observer.emitters
        if not self._observer.is_alive() or not emitters or not all(emitter.is_alive() for emitter in emitters):
            return False
        try:
            return _identity(folder) == self._identity
        except OSError:
            return False

    def close(self) -> None:
        """End the observer and its threads."""
        self._observer.stop()
        self._observer.join()


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
