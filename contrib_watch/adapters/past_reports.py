"""Which state wrote the reports that lie in a folder, and to what they testify."""

from __future__ import annotations

import hashlib
import os
import re
from heapq import nlargest
from pathlib import Path
from typing import NamedTuple

from contrib_watch.core.settle import REPORT_NAME

_STATE = re.compile(rb"\bstate ([0-9a-f]{32})\b")
_WITNESS = re.compile(rb"\bRecord (\d+) ([0-9a-f]{64})(?: \xc2\xb7 CSV ([0-9a-f]{64}))?")
_FOOT_BYTES = 4096
"""The page names its record and its state in its last lines."""
PAGES_READ = 200
"""Of how many pages, the newest by their mtime, :func:`newest_testimonies` reads the last lines."""


class PastReport(NamedTuple):
    """A report of an earlier run."""

    path: Path
    state: str
    """The state that wrote it, as its page says; empty where only the CSV is left, or the page is damaged."""


class Testimony(NamedTuple):
    """What a report's page says of the record behind it."""

    path: Path
    state: str
    number: int
    """Of the record; 0: the page names none."""
    sha256: str
    csv_sha256: str
    """Of the CSV beside it, by the page; empty: it does not say."""

    def files(self) -> dict[str, str]:
        """File name to SHA-256 (hex) of the page and its CSV as they are now; raises OSError.

        What is not there is left out.
        """
        there = (path for path in (self.path, self.path.with_suffix(".csv")) if path.exists())
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in there}


def pages(folder: Path) -> list[Path]:
    """Every page of a report below a folder, by name."""
    return sorted(folder.rglob("*.ack.html"))


def newest_testimonies(folder: Path) -> list[Testimony]:
    """What the newest pages in a folder say; raises OSError where it, or one of them, cannot be read."""
    with os.scandir(folder) as entries:
        found = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(".ack.html")]
    return [testimony(Path(path)) for _, path in nlargest(PAGES_READ, found)]


def testimony(page: Path) -> Testimony:
    """What a page says; raises OSError."""
    foot = _foot(page)
    states, found = _STATE.findall(foot), _WITNESS.findall(foot)
    number, sha256, told = found[-1] if found else (b"0", b"", b"")
    return Testimony(page, states[-1].decode() if states else "", int(number), sha256.decode(), told.decode())


def newest_report(folder: Path, *, simulated: bool) -> PastReport | None:
    """The newest report in a folder, of those against a simulated ADS or of the others; None: there is none.

    Raises OSError where the folder cannot be read: that is not none.
    """
    with os.scandir(folder) as entries:
        named = [match for entry in entries if (match := REPORT_NAME.fullmatch(entry.name))]
    wanted = [match for match in named if bool(match["simulated"]) == simulated]
    if not wanted:
        return None
    # Of the newest, the page before the CSV.
    newest = max(wanted, key=lambda match: (match["time"], match["kind"].lower(), match[0]))
    path = folder / newest[0]
    return PastReport(path, _state_of(path) if newest["kind"].lower() == "html" else "")


def _state_of(page: Path) -> str:
    try:
        return testimony(page).state
    except OSError:
        return ""


def _foot(page: Path) -> bytes:
    with page.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _FOOT_BYTES))
        return file.read()
