"""Whether there is room to record what would be accepted."""

from __future__ import annotations

import shutil
from pathlib import Path

_MB = 1024 * 1024


def shortage(folder: Path, min_free_bytes: int) -> str:
    """Why nothing more may be recorded in ``folder``; empty: there is room.

    A folder whose file system does not say how much is free counts as one with room: writing to it will tell.
    """
    if not min_free_bytes:
        return ""
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError:
        return ""
    if free_bytes >= min_free_bytes:
        return ""
    free, needed = f"{free_bytes / _MB:,.1f} MB", f"{min_free_bytes / _MB:,.1f} MB"
    return f"only {free} are free in {folder} (min_free is {needed}): make room there, and it goes on by itself"
