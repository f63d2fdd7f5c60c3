"""What makes thousands of sites quick: a database in memory, and a reader in this process, that they share.

Both run the product's own code. What is left out (opening a state, the file system's flushing, the process that
reads) has tests of its own, and real processes with real kills.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.agreement import Difference, compare, compared_headers
from contrib_watch.adapters.sheets.second import read_again
from contrib_watch.config import Settings
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import Cells, Feed, Quotes
from contrib_watch.pipeline.desk import Clock, Desk
from contrib_watch.store import Drops, Ledger, State

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""


@contextmanager
def folder_in_memory():
    """A temporary folder whose flushing costs nothing, where the system has such a place."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


class SharedParts:
    """Lends its database to one site at a time."""

    def __init__(self, settings: Settings, dictionary: Dictionary) -> None:
        in_memory = replace(settings, state=replace(settings.state, url="sqlite://"))
        self._desk = replace(DeskHere.open(in_memory, dictionary, accept_empty=True), reader=ReaderHere())
        # Never given back: what a site leaves behind may be collected in another thread, which closes it.
        self._connection = self._desk.state._engine.connect()
        tables = self.database().execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        self._rows = {name: self.database().execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}
        """Of the state before its first drop."""

    def lend(self, settings: Settings, clock: Clock) -> Desk:
        """A desk with the state as it was before its first drop; whoever had it before has it no more."""
        self._make_empty()
        state = self._desk.state
        state.folder, state._utc = settings.state.folder, clock.utc
        feeds = {feed.name: feed for feed in settings.feeds}
        return replace(self._desk, settings=settings, clock=clock, feeds=feeds)

    def _make_empty(self) -> None:
        """By its rows: where one database is copied over another, all statements have to be prepared anew."""
        database = self.database()
        for table, rows in self._rows.items():
            database.execute(f"DELETE FROM {table}")
            for row in rows:
                database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def database(self) -> sqlite3.Connection:
        """What is lent."""
        found = self._connection.connection.dbapi_connection
        assert isinstance(found, sqlite3.Connection)
        return found


_PARTS: list[SharedParts] = []


def shared_desk(settings: Settings, dictionary: Dictionary, clock: Clock) -> Desk:
    """The desk that the sites of this process share, lent to a new one; of one dictionary."""
    if not _PARTS:
        _PARTS.append(SharedParts(settings, dictionary))
    return _PARTS[0].lend(settings, clock)


def reopened(desk: Desk) -> Desk:
    """The desk of a new process, which remembers nothing but what is recorded."""
    old = desk.state
    if old._kept is not None:
        old._kept.close()
        old._kept = None
    state = State(old._engine, old.folder, old._utc, reading=False)
    return replace(desk, state=state, drops=Drops(state), ledger=Ledger(state))


def copied(path: Path) -> None:
    """Copy the database that is lent into a file, in the place of what was there."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as copy:
        _PARTS[0].database().backup(copy)


def put_back(path: Path) -> None:
    """Have the database that is lent be what a file holds."""
    with closing(sqlite3.connect(path)) as copy:
        copy.backup(_PARTS[0].database())


class DeskHere(Desk):
    """Types what ReaderHere has read, and remembers that, too."""

    def typed(self, cells: Cells, feed: Feed) -> Quotes:
        return self.reader.typed(cells, feed, super().typed)


class ReaderHere:
    """Reads as contrib_watch.adapters.sheets.reader does, in this process, and remembers what it has read.

    Feeds are told apart by their name: those of one name must have the same rules.
    """

    def __init__(self) -> None:
        self._read = lru_cache(maxsize=256)(self._read_anew)
        self._typed: dict[int, tuple[Cells, Quotes]] = {}  # by the identity of the cells, which it keeps
        self._feeds: dict[str, Feed] = {}

    def read_cells(self, path: Path, filename: str, feed: Feed) -> Cells:
        self._feeds[feed.name] = feed
        return self._read(path.read_bytes(), filename, feed.name)

    def typed(self, cells: Cells, feed: Feed, anew: Callable[[Cells, Feed], Quotes]) -> Quotes:
        if id(cells) not in self._typed:
            if len(self._typed) >= 256:
                self._typed.clear()
            self._typed[id(cells)] = cells, anew(cells, feed)
        return self._typed[id(cells)][1]

    def second_reading(
        self, path: Path, filename: str, feed: Feed, cells: Cells, rows: Sequence[int]
    ) -> tuple[Difference, ...]:
        headers = compared_headers(cells, feed)
        return compare(cells, read_again(path, filename, feed, headers, rows), headers, rows)

    def _read_anew(self, content: bytes, filename: str, feed: str) -> Cells:
        return read_cells(content, filename, self._feeds[feed])
