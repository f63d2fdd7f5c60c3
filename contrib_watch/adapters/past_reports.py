"""Which state wrote the reports that lie in a folder, and to what they testify."""

from __future__ import annotations

import hashlib
import os
import re
<<<<<<< Updated upstream
from collections.abc import Iterator
from heapq import nlargest
=======
from collections.abc import Iterator, Mapping
>>>>>>> Stashed changes
from pathlib import Path
from typing import NamedTuple

_REPORT = re.compile(r".+\.(\d{8}T\d{6}Z)(?:-\d+)?(\.simulated)?\.ack\.(csv|html)", re.DOTALL)
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
    """What a report's page says of the record behind it, and what stands in its files now."""

    path: Path
    state: str = ""
    """As the page says; empty: it names none."""
    number: int = 0
    """Of the record; 0: the page names none."""
<<<<<<< Updated upstream
    sha256: str
    csv_sha256: str
    """Of the CSV beside it, by the page; empty: it does not say."""

    def csv_as_told(self) -> bool:
        """That CSV is there with these bytes, or the page does not name them; raises OSError."""
        table = self.path.with_suffix(".csv")
        told = self.csv_sha256
        return not told or (table.is_file() and hashlib.sha256(table.read_bytes()).hexdigest() == told)


def testimonies(folder: Path) -> Iterator[Testimony]:
    """What every page below a folder says, by name; raises OSError where one cannot be read."""
    yield from map(_testimony, sorted(folder.rglob("*.ack.html")))


def newest_testimonies(folder: Path) -> list[Testimony]:
    """What the newest pages in a folder say; raises OSError where it, or one of them, cannot be read."""
    with os.scandir(folder) as entries:
        found = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(".ack.html")]
    return [_testimony(Path(path)) for _, path in nlargest(PAGES_READ, found)]
=======
    sha256: str = ""
    csv_told: str = ""
    """SHA-256 of the CSV beside it, by the page; empty: it does not say."""
    found: Mapping[str, str] = {}
    """File name to SHA-256 of the page and of the CSV beside it; what is not there is left out."""
    unreadable: str = ""
    """Why nothing is known of it."""

    @property
    def csv_as_told(self) -> bool:
        """The CSV is there with the bytes that the page names, or the page names none."""
        return not self.csv_told or self.found.get(self.path.with_suffix(".csv").name) == self.csv_told


def testimonies(folder: Path) -> Iterator[Testimony]:
    """What every page below a folder says, by name; one that cannot be read says why."""
    for path in sorted(folder.rglob("*.ack.html")):
        try:
            yield _testimony(path)
        except OSError as error:
            yield Testimony(path, unreadable=error.strerror or str(error))
>>>>>>> Stashed changes


def _testimony(page: Path) -> Testimony:
    foot = _foot(page)
<<<<<<< Updated upstream
    states, found = _STATE.findall(foot), _WITNESS.findall(foot)
    number, sha256, told = found[-1] if found else (b"0", b"", b"")
    return Testimony(page, states[-1].decode() if states else "", int(number), sha256.decode(), told.decode())
=======
    states, told = _STATE.findall(foot), _WITNESS.findall(foot)
    number, sha256, csv_told = told[-1] if told else (b"0", b"", b"")
    state = states[-1].decode() if states else ""
    found = {one.name: _hash_of(one) for one in (page, page.with_suffix(".csv")) if one.exists()}
    return Testimony(page, state, int(number), sha256.decode(), csv_told.decode(), found)


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
>>>>>>> Stashed changes


def newest_report(folder: Path, *, simulated: bool) -> PastReport | None:
    """The newest report in a folder, of those against a simulated ADS or of the others; None: there is none.

    Raises OSError where the folder cannot be read: that is not none.
    """
    with os.scandir(folder) as entries:
        found = [(match[1], match[3], entry.name) for entry in entries if (match := _REPORT.fullmatch(entry.name))]
    wanted = [(time, kind, name) for time, kind, name in found if (".simulated.ack." in name) == simulated]
    if not wanted:
        return None
    _, kind, name = max(wanted)  # of the newest, the page before the CSV
    path = folder / name
    return PastReport(path, _state_of(path) if kind == "html" else "")


def _state_of(page: Path) -> str:
    try:
        named = _STATE.findall(_foot(page))
    except OSError:
        return ""
    return named[-1].decode() if named else ""


def _foot(page: Path) -> bytes:
    with page.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _FOOT_BYTES))
        return file.read()
