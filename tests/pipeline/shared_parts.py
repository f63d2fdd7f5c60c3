"""What makes thousands of sites quick: a database in memory, and a reader in this process, that they share.

Both run the product's own code. What is left out (opening a state, the file system's flushing, the process that
reads) has tests of its own, and real processes with real kills.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.agreement import Difference, compare, compared_headers
from contrib_watch.adapters.sheets.second import read_again
from contrib_watch.core.model import Cells, Feed
from contrib_watch.store import State

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""


@contextmanager
def folder_in_memory():
    """A temporary folder whose flushing costs nothing, where the system has such a place."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


class SharedParts:
    """Lends its database to one site at a time."""

    def __init__(self) -> None:
        with folder_in_memory() as folder:
            self._state = State.open(url="sqlite://", folder=folder, target="default", accept_empty=True)
        self.reader = ReaderHere()
        self._empty = sqlite3.connect(":memory:")
        self._database().backup(self._empty)

    def new_state(self, folder: Path) -> State:
        """The state as it was before its first drop; whoever had it before has it no more."""
        self._empty.backup(self._database())
        self._state.folder = folder
        return self._state

    def _database(self) -> sqlite3.Connection:
        with self._state._engine.connect() as connection:
            found = connection.connection.dbapi_connection
        assert isinstance(found, sqlite3.Connection)
        return found


@cache
def shared_parts() -> SharedParts:
    """Those of this process."""
    return SharedParts()


class ReaderHere:
    """Reads as contrib_watch.adapters.sheets.reader does, in this process, and remembers what it has read.

    Feeds are told apart by their name: those of one name must have the same rules.
    """

    def __init__(self) -> None:
        self._read = lru_cache(maxsize=256)(self._read_anew)
        self._feeds: dict[str, Feed] = {}

    def read_cells(self, path: Path, filename: str, feed: Feed) -> Cells:
        self._feeds[feed.name] = feed
        return self._read(path.read_bytes(), filename, feed.name)

    def second_reading(
        self, path: Path, filename: str, feed: Feed, cells: Cells, rows: Sequence[int]
    ) -> tuple[Difference, ...]:
        headers = compared_headers(cells, feed)
        return compare(cells, read_again(path, filename, feed, headers, rows), headers, rows)

    def _read_anew(self, content: bytes, filename: str, feed: str) -> Cells:
        return read_cells(content, filename, self._feeds[feed])
