"""The watched folders of all feeds."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contrib_watch.adapters.folder import FileStatus, Folder, Scan, Watch
from contrib_watch.adapters.sheets import is_whole
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import names, utc_text

SCAN_INTERVAL_S = 5.0


class Inbox:
    """Watches every feed's folder and hands each scan to ``on_scan(feed, scan)``, from threads of its own."""

    def __init__(self, desk: Desk, on_scan: Callable[[str, Scan], None]) -> None:
        self._on_scan = on_scan
        self._lock = threading.Lock()
        self._last: dict[str, Scan] = {}
        spool = desk.settings.state.folder / "spool"
        self._watches = [
            Watch(Folder(feed, spool, names(desk.drops.files(feed.name)), is_whole), SCAN_INTERVAL_S, self._scanned)
            for feed in desk.settings.feeds
        ]

    def start(self) -> None:
        """Scan, and go on watching."""
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """End the threads."""
        for watch in self._watches:
            watch.stop()

    def quiet(self) -> bool:
        """Every folder has been looked at, and no file in any of them still settles."""
        with self._lock:
            last = list(self._last.values())
        return len(last) == len(self._watches) and all(scan.next_look_s is None for scan in last)

    def outages(self) -> dict[str, str]:
        """Feeds whose folder cannot be read, and why."""
        with self._lock:
            return {feed: scan.outage for feed, scan in self._last.items() if scan.outage}

    def _scanned(self, feed: str, scan: Scan) -> None:
        self._on_scan(feed, scan)
        with self._lock:
            self._last[feed] = scan


def record_scan(desk: Desk, feed: str, scan: Scan) -> None:
    """Leave what a scan saw where ``status`` finds it: when, the outage, and each file that is not a drop yet."""
    told = {FileStatus.KNOWN, FileStatus.TAKEN}
    files = {name: [seen.state, seen.reason] for name, seen in scan.states.items() if seen.state not in told}
    seen = {"at_utc": utc_text(desk.clock.utc()), "outage": scan.outage, "files": files}
    desk.state.put(f"scan {feed}", json.dumps(seen))


def last_scan(desk: Desk, feed: str) -> dict[str, Any]:
    """What record_scan left: ``at_utc`` (empty: never scanned), ``outage``, ``files``."""
    text = desk.state.get(f"scan {feed}")
    return dict(json.loads(text)) if text else {"at_utc": "", "outage": "", "files": {}}


def make_folders(desk: Desk) -> list[Path]:
    """Make the feeds' folders that are not there; for trying the program out, where none can be an outage."""
    made = [Path(feed.folder) for feed in desk.settings.feeds if not Path(feed.folder).exists()]
    for folder in made:
        folder.mkdir(parents=True)
    return made
