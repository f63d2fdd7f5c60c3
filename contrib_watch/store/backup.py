"""Copies of the database, made while others work with it: one a day, one before a migration, one by hand.

A backup holds the database alone, in one self-contained file. The bytes of the dropped files (``spool/``) are not in
it: they never change once written, and any copy of the state's folder has them.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import make_url

from contrib_watch.durable import sync_folder
from contrib_watch.errors import StateError

KEPT = 7
"""Daily backups that are kept."""


def backups_folder(folder: Path) -> Path:
    """Where a state's own backups are."""
    return folder / "backups"


def daily_backups(folder: Path) -> list[Path]:
    """A state's daily backups, the oldest first."""
    return sorted(backups_folder(folder).glob("state-????????.db"))


def back_up(url: str, path: Path) -> Path:
    """Copy the database to ``path``, where there must be nothing yet; it appears there whole, or not at all.

    Raises StateError: the database cannot be read, or is damaged; or the copy cannot be written.
    """
    if path.exists():
        raise StateError("there is such a file already", where=str(path), hint="Give the backup another name")
    copy_database(database_of(url), path)
    return path


def back_up_daily(url: str, folder: Path, now_utc: datetime) -> Path | None:
    """Make today's backup, unless it is there or no drop was ever recorded; the last KEPT stay.

    Returns its path, None where none was made. Raises StateError as back_up does; the earlier ones then stay.
    """
    path = backups_folder(folder) / f"state-{now_utc:%Y%m%d}.db"
    if path.exists() or not _has_drops(database_of(url)):
        return None
    back_up(url, path)
    for old in daily_backups(folder)[:-KEPT]:
        if old != path:  # the clock was set back, and this one is older than all others
            old.unlink()
    return path


def database_of(url: str) -> Path:
    """The file of a state's database, by its URL."""
    return Path(make_url(url).database or "")


def copy_database(source: Path, path: Path) -> None:
    """Copy a SQLite database in use, as it is between two transactions, and check the copy from end to end.

    The copy is durable and whole before it has its name, also where another process makes it at the same moment: of
    these, one may fail. Raises StateError.
    """
    temporary = usual = path.with_name(f".{path.name}.part")
    if usual.exists():  # left by a death, or just being written
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)  # a journal that was left would be played into this one
        try:
            _copy(source, temporary)
            _sync(temporary)
            temporary.replace(path)
        finally:
            _remove(temporary)
        _remove(usual)
        sync_folder(path.parent)
    except sqlite3.Error as error:
        hint = "See that it is a whole SQLite database, that it can be read, and that there is room for the copy"
        raise StateError(f"the database cannot be copied: {error}", where=str(source), hint=hint) from error
    except OSError as error:
        hint = "Make room there, or name another place that this user can write"
        raise StateError(f"the copy cannot be written: {error.strerror}", where=str(path), hint=hint) from error


def free_name(path: Path) -> Path:
    """``path``, or the same with ``-2`` and so on where it is taken."""
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found


def _copy(source: Path, path: Path) -> None:
    with closing(_opened(source)) as original, closing(sqlite3.connect(path)) as copy:
        original.backup(copy)  # in one step: a writer's commits meanwhile neither get in nor start it anew
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, which needs none beside it
        if copy.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):  # which SQLite calls sound
            raise sqlite3.DatabaseError("it is empty")
        found = [text for (text,) in copy.execute("PRAGMA quick_check")]
    if found != ["ok"]:
        raise sqlite3.DatabaseError(f"it is damaged ({found[0]})")


def _opened(database: Path) -> sqlite3.Connection:
    """A connection that does not make a database where there is none."""
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True)


def _has_drops(database: Path) -> bool:
    try:
        with closing(_opened(database)) as connection:
            return connection.execute("SELECT 1 FROM drops LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise StateError(f"the database cannot be read: {error}", where=str(database)) from error


def _remove(database: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
