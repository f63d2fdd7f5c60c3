"""Which state wrote the reports that lie in a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

_REPORT = re.compile(r".+\.(\d{8}T\d{6}Z)(?:-\d+)?(\.simulated)?\.ack\.(csv|html)", re.DOTALL)
_STATE = re.compile(rb"\bstate ([0-9a-f]{32})\b")
_FOOT_BYTES = 4096
"""The page names its state in its last line."""


class PastReport(NamedTuple):
    """A report of an earlier run."""

    path: Path
    state: str
    """The state that wrote it, as its page says; empty where only the CSV is left, or the page is damaged."""


def newest_report(folder: Path, *, simulated: bool) -> PastReport | None:
    """The newest report in a folder, of those against a simulated ADS or of the others; None: there is none.

    A folder that cannot be read has none.
    """
    try:
        with os.scandir(folder) as entries:
            found = [
                (match[1], match[3], entry.name) for entry in entries if (match := _REPORT.fullmatch(entry.name))
            ]
    except OSError:
        return None
    wanted = [(time, kind, name) for time, kind, name in found if (".simulated.ack." in name) == simulated]
    if not wanted:
        return None
    _, kind, name = max(wanted)  # of the newest, the page before the CSV
    path = folder / name
    return PastReport(path, _state_of(path) if kind == "html" else "")


def _state_of(page: Path) -> str:
    try:
        with page.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _FOOT_BYTES))
            named = _STATE.findall(file.read())
    except OSError:
        return ""
    return named[-1].decode() if named else ""
