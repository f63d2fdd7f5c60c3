"""The tables of the state, and the numbered steps that bring an older state up to date.

Times are ISO 8601 in UTC as text (``2026-11-22T16:30:00.123Z``), so that they sort, and read well in any SQL client.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)
"""``state_id``, ``target``, ``schema_version``, ``next_post_key``, and what the daemon tells ``status``."""

feeds = Table(
    "feeds",
    metadata,
    Column("name", String, primary_key=True),
    Column("first_scan_utc", String, nullable=False),
)
"""Feeds whose folder was scanned at least once: what lay in it before that is backlog."""

files = Table(
    "files",
    metadata,
    Column("feed", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("path", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", String, nullable=False),  # beyond 64 bits for a file that is dated 2300 by mistake
    Column("ctime_ns", BigInteger, nullable=False),
    Column("inode", String, nullable=False),  # unsigned 64 bits, which SQL's integers cannot hold
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sha256", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("drop_id", Integer),
)
"""Each file as it was last looked at, with what was decided about it."""

drops = Table(
    "drops",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("feed", String, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("owner_source", String, nullable=False, default="file owner"),
    Column("origin", String, nullable=False, default=""),
    Column("seen_at_utc", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("held_because", Text, nullable=False, default="", server_default=""),
    Column("run", Integer, nullable=False, default=1),
    Column("approved", Boolean, nullable=False, default=False),
    Column("adopted", Boolean, nullable=False, default=False),
    Column("has_problem_rows", Boolean, nullable=False, default=False),
    Column("totals", Text, nullable=False, default="{}"),
    Column("findings", Text, nullable=False, default="{}"),
    Column("finished_at_utc", String),
    Index("drops_by_status", "status", "feed"),
    Index("drops_by_path", "feed", "path"),
    Index("drops_by_content", "feed", "sha256", "mtime_ns"),
    sqlite_autoincrement=True,
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("service", String, primary_key=True),
    Column("ric", String, primary_key=True),
    Column("feed", String, nullable=False),
    Column("fields", Text, nullable=False),
    Column("carried", Text, nullable=False),
    Column("drop_id", Integer, nullable=False),
    Column("acked_at_utc", String, nullable=False),
    Index("snapshot_by_feed", "feed", "service"),
    sqlite_with_rowid=False,
)
"""What the ADS acknowledged, and nothing else. ``fields`` is the JSON object that a full Refresh would carry."""

in_flight = Table(
    "in_flight",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("service", String, nullable=False),
    Column("feed", String, nullable=False),
    Column("drop_id", Integer, nullable=False),
    Column("rics", Text, nullable=False),
    Column("posts", Text, nullable=False),
)
"""Posts recorded before they go on the wire, some hundreds a row: ``posts`` are columns as a JSON object, ``rics`` a
JSON array of those RICs that have no answer yet. A RIC has one outstanding post at most."""

dirty = Table(
    "dirty",
    metadata,
    Column("service", String, primary_key=True),
    Column("ric", String, primary_key=True),
    Column("feed", String, nullable=False),
    Column("drop_id", Integer, nullable=False),
    Column("full", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""RICs whose last post had no answer, with all the values that the ADS may now hold."""

outcomes = Table(
    "outcomes",
    metadata,
    Column("drop_id", Integer, primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("ric", String, nullable=False),
    Column("status", String, nullable=False),
    Column("action", String, nullable=False),
    Column("post_id", BigInteger),
    Column("changes", Text, nullable=False),
    Column("nak_code", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("sent_at_utc", String, nullable=False),
    Column("acked_at_utc", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("full", Text, nullable=False, default="", server_default=""),
    Column("changed", Text, nullable=False, default="", server_default=""),
    Index("outcomes_by_ric", "ric", "acked_at_utc"),
    sqlite_with_rowid=False,
)
"""What became of each row that was not unchanged; the unchanged ones are told from the drop's own bytes."""

runs = Table(
    "runs",
    metadata,
    Column("drop_id", Integer, primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("service", String, nullable=False),
    Column("sheet", String, nullable=False),
    Column("places", Text, nullable=False),
    Column("record", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""The processings of drops that are over: the Service that each posted to, where in the file its values stand (the
sheet, and as a JSON object each field's column), and the number of its record."""

record = Table(
    "record",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("drop_id", Integer),
    Column("sha256", String, nullable=False),
    Column("text", Text, nullable=False),
    Index("record_by_kind", "kind", "number"),
    Index("record_by_drop", "drop_id", "number"),
)
"""The chain of core.chain, which only grows: ``text`` is what counts; ``kind`` and ``drop_id`` stand in it, too."""

reports = Table(
    "reports",
    metadata,
    Column("drop_id", Integer, primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("folder", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("whole", Boolean, nullable=False, default=False),
)
"""The report's name, reserved before it is written, so that a restart finishes the same file."""

repairs = Table(
    "repairs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("service", String, nullable=False),
    Column("ric", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("fields", Text, nullable=False),
    Column("status", String, nullable=False),
    Column("post_id", BigInteger),
    Column("nak_code", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("sent_at_utc", String, nullable=False),
    Column("acked_at_utc", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Index("repairs_by_ric", "ric", "acked_at_utc"),
    sqlite_autoincrement=True,
)
"""What was posted for no drop's sake: the ADS did not hold it, or a person asked; and what the ADS said.

``acked_at_utc`` of what had no answer when the program was stopped is when the next process saw that.
"""


absences = Table(
    "absences",
    metadata,
    Column("feed", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("due_utc", String, nullable=False),
    Column("told_at_utc", String, nullable=False),
)
"""Days of a feed's calendar on which no file had come by the time at which one was expected."""


def _first(connection: Connection) -> None:
    metadata.create_all(connection)


def _with_repairs(connection: Connection) -> None:
    repairs.create(connection, checkfirst=True)


def _with_record(connection: Connection) -> None:
    """What is older than this has no record, and its outcomes do not tell the values that were sent."""
    known = {column["name"] for column in inspect(connection).get_columns("outcomes")}
    for name in [name for name in ("full", "changed") if name not in known]:
        connection.exec_driver_sql(f"ALTER TABLE outcomes ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
    for table in (runs, record):
        table.create(connection, checkfirst=True)
    for index in (*outcomes.indexes, *repairs.indexes):
        index.create(connection, checkfirst=True)


def _with_held_because(connection: Connection) -> None:
    """Until then, ``reason`` was also why a drop that was not over was to be held."""
    if "held_because" not in {column["name"] for column in inspect(connection).get_columns("drops")}:
        connection.execute(text("ALTER TABLE drops ADD COLUMN held_because TEXT NOT NULL DEFAULT ''"))
    unfinished = "UPDATE drops SET held_because = reason, reason = '' WHERE status IN ('waiting', 'sending')"
    connection.execute(text(unfinished + " AND reason <> ''"))


def _with_origin(connection: Connection) -> None:
    """What is older was dropped as files, and known by their owners."""
    known = {column["name"] for column in inspect(connection).get_columns("drops")}
    for name, value in (("owner_source", "file owner"), ("origin", "")):
        if name not in known:
            connection.exec_driver_sql(f"ALTER TABLE drops ADD COLUMN {name} VARCHAR NOT NULL DEFAULT '{value}'")
    absences.create(connection, checkfirst=True)


_ROWS_IN_FLIGHT_ARE_DIRTY = (
    """
    DELETE FROM dirty WHERE EXISTS
    (SELECT 1 FROM in_flight WHERE in_flight.service = dirty.service AND in_flight.ric = dirty.ric)
    """,
    """
    INSERT INTO dirty (service, ric, feed, drop_id, "full", attempts)
    SELECT service, ric, feed, drop_id, "full", attempts FROM in_flight
    """,
)


def with_batches(connection: Connection) -> None:
    """Until then, each post in flight had a row of its own; whoever recorded them will hear no answer any more."""
    if "ric" not in {column["name"] for column in inspect(connection).get_columns("in_flight")}:
        return
    for statement in _ROWS_IN_FLIGHT_ARE_DIRTY:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("DROP TABLE in_flight")
    in_flight.create(connection)


def _with_contents(connection: Connection) -> None:
    for index in drops.indexes:
        index.create(connection, checkfirst=True)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    _first,
    _with_repairs,
    _with_record,
    _with_held_because,
    _with_origin,
    with_batches,
    _with_contents,
)
"""Step N brings schema version N to N + 1; a new state takes them all."""

VERSION = len(MIGRATIONS)
RECORDED = MIGRATIONS.index(_with_record) + 1
"""The first version with a record."""
HELD_APART = MIGRATIONS.index(_with_held_because) + 1
"""The first version with ``held_because``."""
