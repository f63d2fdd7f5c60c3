"""Opening the state: its database, its lock, and whom it belongs to.

One process at a time may change what is sent; others may read, and record decisions, meanwhile (SQLite's WAL). The
lock is the operating system's, so that no stale file can block a start.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, bindparam, create_engine, event, func, select
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, ProgrammingError

from contrib_watch.core.chain import Link
from contrib_watch.errors import StateError, StateLocked, StateUnavailable
from contrib_watch.store import schema
from contrib_watch.store.backup import backups_folder, copy_database, daily_backups, database_of, free_name
from contrib_watch.store.prepared import execute, scalar
from contrib_watch.store.record import PUT_META, chained, utc_text

LOCK_TIMEOUT_S = 0.2
"""How long a start waits for the lock: longer than a look at who holds it takes."""
_PAGE_BYTES, _LEAST_JOURNAL_PAGES = 4_096, 1_000
"""SQLite's own page, and its own limit of the journal."""
OLDEST_SQLITE = (3, 32)
"""Takes the thousands of values that store.bulk binds in one statement (3.32), and FILTER on aggregates (3.30)."""
BUSY_TIMEOUT_S = 30
"""How long the database may be locked by another process before that is an error."""

_FAULTS_OF_OURS = (
    IntegrityError,
    ProgrammingError,
    DataError,
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)
"""What the database rightly refuses: the program is at fault, not the state."""

_VALUE = select(schema.meta.c.value).where(schema.meta.c.key == bindparam("of"))

CHECKED_BYTES = 256_000_000
"""A database up to this size is looked through at each start."""
_RESTORE = (
    "Keep the file for the record and put back a backup with `contrib-watch state restore FILE`; an empty state "
    "would post everything again"
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class State:
    """One open state, for one thread. Use :meth:`transaction` around everything that belongs together."""

    def __init__(self, engine: Engine, folder: Path, utc: Callable[[], datetime], *, reading: bool) -> None:
        """Use :meth:`open`."""
        self.folder = folder
        self.next_post_key: int | None = None
        """The next post's key, where posts have been numbered that are not recorded yet; None: as the record says."""
        self.undone = 0
        """How many transactions were undone: what is remembered of what was done within them did not happen."""
        self._utc = utc
        self._engine = engine
        # Python's sqlite3 begins on its own only before a change; a read and the change after it belong together.
        self._begin = "BEGIN" if reading else "BEGIN IMMEDIATE"
        self._kept: Connection | None = None
        """Stays open: to get one from the engine each time costs more than most statements."""
        self._current: Connection | None = None
        """Of the transaction that is under way."""
        self._file = Path(engine.url.database) if engine.url.database else None
        """None: a look at a state that does not exist yet."""
        self._was_left_open = self._file is not None and _size_bytes(_journal_of(self._file)) > 0
        self._identity: tuple[int, int] | None = None

    @classmethod
    def open(
        cls,
        *,
        url: str,
        folder: Path,
        target: str,
        reading: bool = False,
        accept_empty: bool = False,
        utc: Callable[[], datetime] = _utc_now,
        journal_bytes: int = 0,
    ) -> State:
        """Open the state, or make a new one for ``target``; ``reading`` changes nothing on the disk.

        ``utc`` tells the time of what is recorded. A commit that finds more than ``journal_bytes`` in the journal (at
        least SQLite's own 4 MB) brings them into the database before it returns, see :meth:`checkpoint`.
        ``accept_empty``: make a new one where the old one was lost, too. An older state is backed up before it is
        brought up to date. Raises StateError: the folder cannot be written, the database is damaged or gone, of
        another version than this program's, or was made for another target.
        """
        database = database_of(url)
        # Before the database, which another process may just be making; and a journal without one goes by an opening.
        left = not accept_empty and _left_by_drops(folder)
        journal = not accept_empty and _journal_of(database).is_file()
        absent = _is_absent(database)
        if absent and (left or journal):
            raise _lost(folder)

        def engine() -> Engine:
            return _engine(url, reading=reading, journal_bytes=journal_bytes)

        if not reading:
            _make_folders(database, folder)
        elif absent or _is_being_made(cls(engine(), folder, utc, reading=True)):
            url, reading = "sqlite://", False  # a look at a state that does not exist yet must not make one
        state = cls(engine(), folder, utc, reading=reading)
        try:
            if not reading:
                state._keep_older_version(database)
            state._prepare(target, reading=reading, may_be_empty=not left)
            state._identity = _identity(state._file) if state._file and not reading else None
        except StateError:
            state.close()
            raise
        return state

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction; inside another one, a part of it. Committed at the end, undone by an exception.

        Raises StateUnavailable where the database cannot be used for a reason outside of it, or its file was
        replaced, and what was committed is lost.
        """
        outer = self._current
        return nullcontext(outer) if outer is not None else self._whole_transaction()

    @contextmanager
    def _whole_transaction(self) -> Iterator[Connection]:
        try:
            with self._begun() as connection:
                yield connection
        except _FAULTS_OF_OURS as error:
            self.blame(error)
            raise
        except (json.JSONDecodeError, msgspec.DecodeError) as error:
            what = f"the database is damaged: a stored text is not what was written: {error}"
            raise StateUnavailable(what, where=self._engine.url.render_as_string(), hint=_RESTORE) from error
        except (DatabaseError, sqlite3.DatabaseError) as error:
            raise _unusable(error, self._engine.url.render_as_string()) from error
        self.refuse_replaced()

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        kept = self._kept = self._kept or self._engine.connect()
        driver: Any = kept.connection.driver_connection  # SQLAlchemy's own begin and commit cost ten times as much
        try:
            driver.execute(self._begin)
            self._current = kept
            yield kept
            driver.commit()
        except BaseException:
            self._kept = None
            self.undone += 1
            with suppress(sqlite3.Error):  # where that fails, closing undoes what was begun
                driver.rollback()
            kept.close()
            raise
        finally:
            self._current = None

    def get(self, key: str) -> str | None:
        """A value of the ``meta`` table."""
        with self.transaction() as connection:
            value: str | None = scalar(connection, _VALUE, of=key)
            return value

    def put(self, key: str, value: str) -> None:
        """Set a value of the ``meta`` table."""
        with self.transaction() as connection:
            execute(connection, PUT_META, key=key, value=value)

    def append(self, kind: str, body: Mapping[str, Any], drop_id: int | None = None) -> Link:
        """Add a record to the chain; within a transaction, as a part of it. ``body`` is of JSON's types."""
        with self.transaction() as connection:
            return chained(connection, utc_text(self._utc()), kind, body, drop_id)

    @property
    def state_id(self) -> str:
        """Names this state; every report carries it."""
        return self.get("state_id") or ""

    def checkpoint(self) -> None:
        """Bring into the database what commits have left in its journal, or as much as readers allow.

        It is for when nothing else is to be done: a commit that finds the journal full has to do it itself.
        """
        if self._kept is None:
            return
        try:
            driver: Any = self._kept.connection.driver_connection
            driver.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.DatabaseError as error:
            raise _unusable(error, self._engine.url.render_as_string()) from error

    def refuse_damaged(self) -> None:
        """Raise StateUnavailable where the database is damaged; as far as a second or so can tell.

        A large one is only looked through after a process that did not end in good order, which leaves its journal.
        """
        database = self._file
        if database is None:
            return
        is_large = database.stat().st_size > CHECKED_BYTES
        if not is_large or self._was_left_open:
            self._check("quick_check")

    def blame(self, error: Exception) -> None:
        """Raise StateUnavailable if a damaged database may be what caused an error that nobody expected."""
        if self._file is not None:
            self._check("integrity_check", because=error)

    def refuse_replaced(self) -> None:
        """Raise StateUnavailable where the database is not the file any more that was opened to be changed."""
        if self._file is None or self._identity is None or _identity(self._file) == self._identity:
            return
        hint = "Put the folder back, or a backup with `contrib-watch state restore FILE`, and start again"
        what = "the database was deleted or replaced while this process used it, so nothing more is sent"
        raise StateUnavailable(what, where=str(self._file), hint=hint)

    def _check(self, pragma: str, *, because: Exception | None = None) -> None:
        where = self._engine.url.render_as_string()
        try:
            with closing(sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=ro", uri=True)) as connection:  # type: ignore[union-attr]
                found = connection.execute(f"PRAGMA {pragma}(1)").fetchone()[0]
        except sqlite3.OperationalError:
            return  # locked, or gone: what it is used for next tells so
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found != "ok":
            raise StateUnavailable(f"the database is damaged: {found}", where=where, hint=_RESTORE) from because

    def close(self) -> None:
        """Close the database."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self._engine.dispose()

    def __enter__(self) -> State:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def version(self) -> int:
        """The schema version; 0: there is none yet."""
        with self.transaction() as connection:
            has_meta = self._engine.dialect.has_table(connection, "meta")
            return int(self.get("schema_version") or 0) if has_meta else 0

    def _keep_older_version(self, database: Path) -> None:
        """Back the database up before a migration changes it."""
        version = self.version
        if 0 < version < schema.VERSION:
            path = backups_folder(self.folder) / f"state-before-version-{schema.VERSION}.db"
            copy_database(database, free_name(path))

    def _prepare(self, target: str, *, reading: bool, may_be_empty: bool) -> None:
        with self.transaction() as connection:
            version = self.version
            if version == 0 and not may_be_empty:
                raise _lost(self.folder)
            if version > schema.VERSION:
                hint = "Use the newer program, or another state folder"
                what = f"the state has schema version {version}, this program knows {schema.VERSION}"
                raise StateError(what, where=str(self.folder), hint=hint)
            if reading and version < schema.VERSION:
                hint = "`contrib-watch run` brings it up to date"
                what = f"the state has schema version {version}, this program reads {schema.VERSION}"
                raise StateError(what, where=str(self.folder), hint=hint)
            for step in schema.MIGRATIONS[version:]:
                step(connection)
            if version == 0:
                self.put("state_id", uuid.uuid4().hex)
                self.put("target", target)
                self.put("next_post_key", "1")
            if version < schema.RECORDED:
                facts = {"state_id": self.state_id, "target": self.get("target")}
                older = connection.scalar(select(func.max(schema.drops.c.id))) or 0
                self.append("state", {**facts, "drops_before": older})
            if version < schema.VERSION:
                self.put("schema_version", str(schema.VERSION))
            made_for = self.get("target")
            if made_for != target:
                same = f"only if it is the very same system, set ads.target = {json.dumps(made_for)}"
                hint = f"Give {target!r} a state.folder of its own; {same}"
                what = f"this state was made for the target {made_for!r}, and the configuration says {target!r}"
                raise StateError(what, where=str(self.folder), hint=hint)


class Lock:
    """Held by the one process that sends. The lock dies with its process.

    It lies beside the database, which two state folders may name.
    """

    def __init__(self, url: str) -> None:
        """Take the lock of a state; raises StateError with the holder's pid where it is taken."""
        lock, self._pid = _lock_files(url)
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(lock)
            self._lock.acquire(timeout=LOCK_TIMEOUT_S, poll_interval=LOCK_TIMEOUT_S / 10)
            try:
                self._pid.write_text(str(os.getpid()), encoding="ascii")
            except OSError:
                self._lock.release()
                raise
        except Timeout as error:
            hint = "Stop it first, or use another state.folder"
            what = f"the state is in use by process {_written_pid(self._pid) or 'unknown'}"
            raise StateError(what, where=str(lock.parent), hint=hint) from error
        except OSError as error:
            raise _unwritable(lock.parent, error) from error

    def release(self) -> None:
        """Let the next process in."""
        self._lock.release()

    @classmethod
    def holder(cls, url: str) -> int | None:
        """The pid of the process that holds a state's lock now; None where nobody does."""
        lock, pid = _lock_files(url)
        if not lock.exists() or not pid.exists():
            return None
        try:
            with FileLock(lock).acquire(timeout=0):
                return None
        except (Timeout, PermissionError):  # a user who may only read cannot ask: the pid is all there is
            return _written_pid(pid)


def _lock_files(url: str) -> tuple[Path, Path]:
    """The lock, and the file with its holder's pid."""
    guarded = database_of(url).resolve()
    return guarded.with_name(f"{guarded.name}.lock"), guarded.with_name(f"{guarded.name}.pid")


def _written_pid(path: Path) -> int | None:
    """The pid in a lock's second file; None where its holder is just writing it."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None: there is no such file. Raises StateUnavailable where that cannot be told."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # the share that it is on is away
        what = f"the database cannot be looked at: {error.strerror}"
        hint = "See that the folder is there and this user can read it, and start again"
        raise StateUnavailable(what, where=str(path), hint=hint) from error
    return status.st_dev, status.st_ino


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_absent(database: Path) -> bool:
    """There is no such database, or nothing in it."""
    return not database.is_file() or database.stat().st_size == 0


def _is_being_made(look: State) -> bool:
    """Another process has set SQLite's journal, and not committed the tables yet: nothing to read."""
    with look:
        return look.version == 0


def _left_by_drops(folder: Path) -> bool:
    """There are files that only a state with drops, or with a backup, leaves beside its database."""
    backups = backups_folder(folder).glob("*.db")
    left = chain((folder / "spool").rglob("*"), (folder / "reports").glob("*"), backups)
    return any(path.is_file() for path in left)


def _lost(folder: Path) -> StateError:
    """An empty database beside what its drops left was not empty: taken as new, it would post everything again."""
    newest = [str(path) for path in daily_backups(folder)[-1:]] or ["FILE"]
    hint = (
        f"`contrib-watch state restore {newest[0]}` puts back a backup; to start anew, where every file that is no "
        "older than max_age is posted again, `contrib-watch run --accept-empty-state`"
    )
    return StateError("the database is empty, but drops were recorded in it", where=str(folder), hint=hint)


def _journal_of(database: Path) -> Path:
    """What SQLite keeps beside a database in use; where it is alone, the database was taken away."""
    return database.with_name(f"{database.name}-wal")


def _make_folders(database: Path, folder: Path) -> None:
    try:
        (folder / "spool").mkdir(parents=True, exist_ok=True)
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> StateError:
    hint = "Make the folder writable for this user, or set state.folder to another one"
    return StateError(f"the state folder cannot be used: {error.strerror}", where=str(folder), hint=hint)


def _unusable(error: DatabaseError | sqlite3.DatabaseError, where: str) -> StateUnavailable:
    cause = error.orig if isinstance(error, DatabaseError) else error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # without what the extended codes add
    if code == sqlite3.SQLITE_BUSY:
        hint = "Close the program that has it open (an SQL client, a copy under way); a daemon goes on then by itself"
        what = f"the database was locked by another program for {BUSY_TIMEOUT_S:g} s"
        return StateLocked(what, where=where, hint=hint)
    if isinstance(cause, sqlite3.OperationalError):  # a full disk, no permission: the operator's to mend
        hint = "Nothing is lost: make room, or see that the database is there and this user can write it"
        return StateUnavailable(f"the state cannot be read or written: {cause}", where=where, hint=hint)
    return StateUnavailable(f"the database cannot be used: {cause}", where=where, hint=_RESTORE)


def _engine(url: str, *, reading: bool, journal_bytes: int) -> Engine:
    _refuse_old_sqlite()
    engine = create_engine(url)
    pages = max(journal_bytes // _PAGE_BYTES, _LEAST_JOURNAL_PAGES)
    event.listen(engine, "connect", lambda one, _: _read_sqlite(one) if reading else _tune_sqlite(one, pages))
    return engine


def _refuse_old_sqlite() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        what = f"Python's SQLite is version {sqlite3.sqlite_version}, and at least {oldest} is needed"
        raise StateError(what, hint="Use a Python with a newer SQLite, such as one from python.org or conda")


def _tune_sqlite(connection: object, journal_pages: int) -> None:
    """Readers beside the writer, every commit on the disk before it returns, and patience with other processes."""
    _set(connection, _patience())
    until_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            _set(connection, "journal_mode=WAL", "synchronous=FULL", f"wal_autocheckpoint={journal_pages}")
        except sqlite3.OperationalError as error:  # two that make a state at once: SQLite does not wait here itself
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
            time.sleep(0.01)
        else:
            return


def _read_sqlite(connection: object) -> None:
    """Patience with the writer, and no change by mistake."""
    _set(connection, _patience(), "query_only=ON")


def _patience() -> str:
    return f"busy_timeout={BUSY_TIMEOUT_S * 1000:.0f}"


def _set(connection: object, *pragmas: str) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
