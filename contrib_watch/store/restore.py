"""Putting a backup in the place of a database that is lost or damaged.

The backup is older than what the ADS holds. What was acknowledged after it is not known any more, and nobody
pretends to know.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from contrib_watch.errors import StateError
from contrib_watch.store import in_flight, schema
from contrib_watch.store.backup import copy_database, database_of, free_name
from contrib_watch.store.record import HEAD, chained, last_number, utc_text
from contrib_watch.store.state import Lock

POST_KEY_STEP = 1_000_000_000
"""How far the numbers of posts jump: beyond what can have been posted since the backup."""
DROP_STEP = 10_000
"""The same for the numbers of drops, which stand in reports."""
REPAIR_STEP = 10_000_000
"""The same for the numbers of repairs, of which one may be of everything; what ``audit export`` wrote has them."""
RECORD_STEP = 1_000_000
"""The same for the numbers of records, so that a report of the time after the backup names none of the new ones."""

_MAKE_DIRTY = """
    INSERT INTO dirty (service, ric, feed, drop_id, "full", attempts)
    SELECT service, ric, feed, drop_id, fields, 0 FROM snapshot AS known
    WHERE NOT EXISTS (SELECT 1 FROM dirty WHERE service = known.service AND ric = known.ric)
"""
_HOLD_UNFINISHED = """
    UPDATE drops SET approved = 0, {why} = CASE {why} WHEN '' THEN ? ELSE {why} END
    WHERE status IN ('waiting', 'sending')
"""
_END_REPAIRS = (
    """
    UPDATE dirty SET drop_id = (SELECT known.drop_id FROM snapshot AS known
                                WHERE known.service = dirty.service AND known.ric = dirty.ric) WHERE drop_id = 0
    """,
    "DELETE FROM meta WHERE key = 'suspect'",
)
"""A repair that was under way would go on by itself, and post what is older than what the ADS holds."""
_BEGIN_NUMBERS = """
    INSERT INTO sqlite_sequence (name, seq)
    SELECT :table, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = :table)
"""
"""A backup without any drop, or repair, has no number of the last one yet."""
_NUMBER_ANEW = "UPDATE sqlite_sequence SET seq = max(seq, :replaced) + :step WHERE name = :table"
_NUMBER_POSTS_ANEW = "UPDATE meta SET value = max(CAST(value AS INTEGER), ?) + ? WHERE key = 'next_post_key'"
_LAST_NUMBERS = """
    SELECT (SELECT value FROM meta WHERE key = ?),
           (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'next_post_key'),
           (SELECT seq FROM sqlite_sequence WHERE name = 'drops'),
           (SELECT seq FROM sqlite_sequence WHERE name = 'repairs')
"""


class _Replaced(NamedTuple):
    """How far the database has come that is replaced, which may itself have been restored from the same backup."""

    record: str = ""
    """Number and hash of its last record; empty where it cannot be read."""
    post_key: int = 0
    drop: int = 0
    repair: int = 0


def restore(file: Path, *, url: str, target: str, now_utc: datetime) -> Path | None:
    """Put a backup in the database's place; returns where the replaced one is kept, None: there was none.

    In the restored state

    - every RIC is dirty: its next post is a full Refresh, whether or not its values seem changed;
    - a drop that was not over is to be held, because newer prices may have gone out since;
    - the numbers of posts, drops and repairs have jumped, beyond those of the database that is replaced, so that
      none is given twice.

    Raises StateError: a process uses the state; the file is no backup, one of a newer program or for another target;
    or it cannot be copied. Nothing is replaced then.
    """
    database = database_of(url)
    prepared = _prepared(database)
    lock = Lock(url)
    try:
        remove_interrupted(url)
        copy_database(file, prepared)
        version = _checked_version(prepared, file, target)
        replaced = _replaced(database)
        _give_up_posts(prepared)
        _make_uncertain(prepared, version, now_utc, replaced)
        _record(prepared, file, now_utc, replaced)
        kept = _set_aside(database, now_utc)
        prepared.replace(database)
    except (OSError, sqlite3.Error, DBAPIError, msgspec.DecodeError) as error:
        hint = "See that the file is a backup, and that this user can write the state's folder"
        raise StateError(f"it cannot be restored: {error}", where=str(file), hint=hint) from error
    finally:
        prepared.unlink(missing_ok=True)
        lock.release()
    return kept


def remove_interrupted(url: str) -> None:
    """Take away what a restore that was killed left; for who has the state's lock. Raises OSError."""
    prepared = _prepared(database_of(url))
    for left in prepared.parent.glob(f"*{escape(prepared.name)}*"):
        left.unlink()


def _prepared(database: Path) -> Path:
    """Where a database is made ready before it has its name."""
    return database.with_name(f".{database.name}.restoring")


def _checked_version(prepared: Path, file: Path, target: str) -> int:
    """The schema version of what is a backup of a state for this target."""
    with closing(sqlite3.connect(prepared)) as connection:
        try:
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            made_for, version = meta["target"], int(meta["schema_version"])
        except (sqlite3.Error, KeyError, ValueError) as error:
            hint = "Backups are in the backups folder of the state, and where `contrib-watch state backup` put them"
            raise StateError("it is no backup of a state", where=str(file), hint=hint) from error
    if version > schema.VERSION:
        what = f"the backup has schema version {version}, this program knows {schema.VERSION}"
        raise StateError(what, where=str(file), hint="Use the newer program")
    if made_for != target:
        what = f"the backup was made for the target {made_for!r}, and the configuration says {target!r}"
        raise StateError(what, where=str(file), hint="Give each target a state.folder of its own")
    return version


def _give_up_posts(prepared: Path) -> None:
    """What was in flight is dirty, as after any start."""
    with _connected(prepared) as connection:
        schema.with_batches(connection)
        in_flight.lose_all(connection)


def _make_uncertain(prepared: Path, version: int, now_utc: datetime, replaced: _Replaced) -> None:
    reason = f"not over in the backup that was restored on {now_utc:%Y-%m-%d}: newer prices may have gone out since"
    with closing(sqlite3.connect(prepared)) as connection, connection:
        for statement in _END_REPAIRS:
            connection.execute(statement)
        connection.execute(_MAKE_DIRTY)
        why = "held_because" if version >= schema.HELD_APART else "reason"  # which the next start will move
        connection.execute(_HOLD_UNFINISHED.format(why=why), [reason])
        for table, last, step in (("drops", replaced.drop, DROP_STEP), ("repairs", replaced.repair, REPAIR_STEP)):
            connection.execute(_BEGIN_NUMBERS, {"table": table})
            connection.execute(_NUMBER_ANEW, {"table": table, "replaced": last, "step": step})
        connection.execute(_NUMBER_POSTS_ANEW, [replaced.post_key, POST_KEY_STEP])


def _record(prepared: Path, file: Path, now_utc: datetime, replaced: _Replaced) -> None:
    """Say in the restored record what it is restored from, and what the replaced one ended with."""
    with _connected(prepared) as connection:
        if not inspect(connection).has_table("record"):
            return  # older than the record, which then begins with the migration
        with file.open("rb") as backup:
            body = {"backup": file.name, "sha256": hashlib.file_digest(backup, "sha256").hexdigest()}
        facts = {**body, "replaced": replaced.record}
        number = int(replaced.record.partition(" ")[0] or 0)
        step = RECORD_STEP + max(0, number - last_number(connection))  # beyond what reports of both name
        chained(connection, utc_text(now_utc), "restored", facts, step=step)


@contextmanager
def _connected(prepared: Path) -> Iterator[Connection]:
    """A transaction of the database that is made ready."""
    engine = create_engine(f"sqlite:///{prepared}")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _replaced(database: Path) -> _Replaced:
    """What can be read of the database that is replaced."""
    if not database.exists():
        return _Replaced()
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            record, *last = connection.execute(_LAST_NUMBERS, [HEAD]).fetchone()
    except sqlite3.Error:
        return _Replaced()  # damaged, which is why it is replaced
    return _Replaced(str(record or ""), *(number or 0 for number in last))


def _set_aside(database: Path, now_utc: datetime) -> Path | None:
    """Rename the database, and what SQLite keeps beside it, to a name that tells when it was replaced.

    A left-over journal beside the restored database would be played back into it.
    """
    aside = free_name(database.with_stem(f"{database.stem}-replaced-{now_utc:%Y%m%dT%H%M%SZ}"))
    there = database.exists()
    for ending in ("", "-wal", "-shm"):  # in this order: a database without its journal would miss its last commits
        part = database.with_name(database.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside if there else None
