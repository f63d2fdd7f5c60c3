"""Backups, restoring one, and what an empty, lost, locked or older database makes of a start."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from contrib_watch.core.model import Action, DropStatus, Post
from contrib_watch.errors import StateError
from contrib_watch.store import (
    Drops,
    Ledger,
    Lock,
    State,
    back_up,
    back_up_daily,
    backup,
    daily_backups,
    restore,
    schema,
    shortage,
    utc_text,
)
from contrib_watch.store import state as state_module

NOW = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)
SERVICE = "NIPROV"
DEADLINE_S = 30.0


class Place:
    """A state's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "state.db"
        self.url = f"sqlite:///{self.database}"

    def open(self, **keys: bool) -> State:
        return State.open(url=self.url, folder=self.folder, target="prod", **keys)

    def post(self, bid: int, *, ric: str = "A=T", acked: bool = True, over: bool = True) -> tuple[int, int]:
        """A drop that posts one RIC; its number and its PostID."""
        with self.open() as state:
            drops, ledger = Drops(state), Ledger(state)
            drop = drops.accept(
                feed="fx",
                path="/in/fx.csv",
                sha256=f"{bid:064}",
                size_bytes=1,
                mtime_ns=bid,
                owner="anna",
                seen_at_utc=NOW,
            )
            full = f'{{"BID":{bid}}}'
            post = Post(row=2, ric=ric, action=Action.REFRESH, fields=full, full=full, changes="")
            (post_id,) = ledger.in_flight(drop, SERVICE, [post])
            if acked:
                ledger.landed(SERVICE, drop, [post], [utc_text(NOW)])
            drops.set_status(drop, DropStatus.DONE if over else DropStatus.SENDING)
        return drop.id, post_id

    def restore(self, file: Path, target: str = "prod") -> Path | None:
        return restore(file, url=self.url, target=target, now_utc=NOW)

    def known(self, *rics: str) -> dict[str, tuple[str | None, str | None]]:
        """RIC to what the ADS acknowledged and what it may hold."""
        with self.open() as state:
            table = Ledger(state).snapshot(SERVICE, list(rics) or ["A=T"])
        return {row["ric"]: (row["fields"], row["attempted"]) for row in table.to_pylist()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state")


def query(database: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


# backups


def test_a_backup_is_one_whole_file_of_what_was_committed(place: Place, tmp_path: Path) -> None:
    place.post(1)
    with place.open() as state, state.transaction():
        state.put("half", "done")
        made = back_up(place.url, tmp_path / "backups" / "now.db")
        state.put("other", "half")
    assert [path.name for path in made.parent.iterdir()] == ["now.db"]
    assert query(made, "SELECT count(*) FROM snapshot") == [(1,)]
    assert query(made, "SELECT count(*) FROM meta WHERE key IN ('half', 'other')") == [(0,)]
    assert query(made, "PRAGMA journal_mode") == [("delete",)]


def test_one_backup_a_day_and_the_last_seven_are_kept(place: Place) -> None:
    place.post(1)
    names = []
    for day in range(10):
        made = back_up_daily(place.url, place.folder, NOW + timedelta(days=day))
        assert made is not None
        names.append(made.name)
        assert back_up_daily(place.url, place.folder, NOW + timedelta(days=day, hours=5)) is None
    assert [path.name for path in daily_backups(place.folder)] == names[-7:]


def test_the_other_backups_are_not_counted(place: Place) -> None:
    place.post(1)
    by_hand = back_up(place.url, place.folder / "backups" / "state-20200101T000000Z.db")
    for day in range(9):
        back_up_daily(place.url, place.folder, NOW + timedelta(days=day))
    assert by_hand.exists()


def test_a_clock_that_was_set_back_loses_no_backup_of_today(place: Place) -> None:
    place.post(1)
    for day in range(8):
        back_up_daily(place.url, place.folder, NOW + timedelta(days=day))
    made = back_up_daily(place.url, place.folder, NOW - timedelta(days=900))
    assert made is not None
    assert made.exists()


def test_a_state_without_drops_needs_no_backup(place: Place) -> None:
    place.open().close()
    assert back_up_daily(place.url, place.folder, NOW) is None
    assert daily_backups(place.folder) == []


def test_a_damaged_database_takes_no_sound_backup_away(place: Place) -> None:
    place.post(1)
    with place.open() as state, state.transaction():
        for n in range(300):
            state.put(f"key {n}", "x" * 500)
    before = [back_up_daily(place.url, place.folder, NOW + timedelta(days=day)) for day in range(7)]
    content = bytearray(place.database.read_bytes())
    content[-20 * 4096 :] = b"\xff" * 20 * 4096
    place.database.write_bytes(content)
    with pytest.raises(StateError, match="cannot be copied"):
        back_up_daily(place.url, place.folder, NOW + timedelta(days=7))
    assert daily_backups(place.folder) == before
    assert len(list((place.folder / "backups").iterdir())) == 7


def test_a_backup_replaces_nothing(place: Place, tmp_path: Path) -> None:
    place.post(1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StateError, match="such a file already"):
        back_up(place.url, tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_of_two_that_back_up_to_one_file_none_leaves_a_part_of_one(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.post(1)
    file, copied, go_on = tmp_path / "backup.db", threading.Event(), threading.Event()
    copy = backup._copy

    def slow(source: Path, path: Path) -> None:
        copy(source, path)
        copied.set()
        assert go_on.wait(DEADLINE_S)

    def slower(source: Path, path: Path) -> None:
        path.write_bytes(b"a half")
        go_on.set()
        assert first.result(DEADLINE_S) == file
        assert query(file, "PRAGMA quick_check") == [("ok",)]
        path.unlink()
        copy(source, path)

    with ThreadPoolExecutor(1) as other:
        monkeypatch.setattr(backup, "_copy", slow)
        first = other.submit(back_up, place.url, file)
        assert copied.wait(DEADLINE_S)
        monkeypatch.setattr(backup, "_copy", slower)
        back_up(place.url, file)
    assert query(file, "PRAGMA quick_check") == [("ok",)]
    assert [path for path in tmp_path.iterdir() if "backup.db" in path.name] == [file]


def test_there_is_no_backup_of_nothing(place: Place, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be copied"):
        back_up(place.url, tmp_path / "new.db")
    assert list(tmp_path.iterdir()) == []
    assert not place.database.exists()


def test_there_is_no_backup_of_a_database_that_came_back_empty(place: Place, tmp_path: Path) -> None:
    place.database.parent.mkdir(parents=True, exist_ok=True)
    place.database.touch()
    with pytest.raises(StateError, match="cannot be copied: it is empty"):
        back_up(place.url, tmp_path / "new.db")
    assert list(tmp_path.glob("*new.db*")) == []


def test_a_state_is_backed_up_before_a_migration(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.post(1)
    before = query(place.database, "SELECT * FROM meta ORDER BY key")

    def renamed(connection: Connection) -> None:
        connection.execute(text("UPDATE meta SET value = 'changed' WHERE key = 'target'"))
        connection.execute(text("UPDATE meta SET value = 'prod' WHERE key = 'target'"))

    newer = schema.VERSION + 1
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, renamed))
    monkeypatch.setattr(schema, "VERSION", newer)
    place.open().close()
    (kept,) = (place.folder / "backups").iterdir()
    assert query(kept, "SELECT * FROM meta ORDER BY key") == before
    assert query(place.database, "SELECT value FROM meta WHERE key = 'schema_version'") == [(str(newer),)]
    place.open().close()
    assert list((place.folder / "backups").iterdir()) == [kept]


def test_a_migration_that_cannot_be_backed_up_is_not_begun(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.post(1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, lambda connection: None))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    (place.folder / "backups").write_text("in the way")
    with pytest.raises(StateError, match="the copy cannot be written"):
        place.open()
    assert query(place.database, "SELECT value FROM meta WHERE key = 'schema_version'") == [
        (str(schema.VERSION - 1),)
    ]


# restoring


def test_a_restored_state_knows_what_it_does_not_know(place: Place, tmp_path: Path) -> None:
    place.post(1)
    place.post(7, ric="LOST=T", acked=False)
    backup = back_up(place.url, tmp_path / "backup.db")
    newer_drop, newer_post_id = place.post(2)
    place.restore(backup)
    with place.open() as state:
        assert Ledger(state).all_unknown() == 0
    assert place.known("A=T", "LOST=T") == {"A=T": ('{"BID":1}', '{"BID":1}'), "LOST=T": (None, '{"BID":7}')}
    drop, post_id = place.post(3)
    assert drop > newer_drop + 1000
    assert post_id > newer_post_id + 1000
    assert place.known() == {"A=T": ('{"BID":3}', None)}  # an acknowledged Refresh ends the doubt


def test_a_backup_that_is_restored_twice_gives_no_number_twice(place: Place, tmp_path: Path) -> None:
    place.post(1)
    backup = back_up(place.url, tmp_path / "backup.db")
    place.restore(backup)
    drop, post_id = place.post(2)
    place.restore(backup)
    later_drop, later_post_id = place.post(3)
    assert later_drop > drop + 1000
    assert later_post_id > post_id + 1000


def test_a_backup_without_drops_gives_no_number_twice(place: Place, tmp_path: Path) -> None:
    with place.open():
        backup = back_up(place.url, tmp_path / "backup.db")
    drop, post_id = place.post(1)
    place.restore(backup)
    later_drop, later_post_id = place.post(2)
    assert later_drop > drop + 1000
    assert later_post_id > post_id + 1000


def test_what_a_post_may_have_left_stays_before_the_snapshot(place: Place, tmp_path: Path) -> None:
    place.post(1)
    place.post(2, acked=False)
    with place.open() as state:
        Ledger(state).all_unknown()
    place.restore(back_up(place.url, tmp_path / "backup.db"))
    assert place.known() == {"A=T": ('{"BID":1}', '{"BID":2}')}


def test_it_is_the_same_state(place: Place, tmp_path: Path) -> None:
    place.post(1)
    with place.open() as state:
        name = state.state_id
    place.restore(back_up(place.url, tmp_path / "backup.db"))
    with place.open() as state:
        assert state.state_id == name


def test_a_drop_that_was_not_over_is_to_be_held(place: Place, tmp_path: Path) -> None:
    done, _ = place.post(1)
    sending, _ = place.post(2, over=False)
    place.restore(back_up(place.url, tmp_path / "backup.db"))
    with place.open() as state:
        drops = Drops(state)
        assert drops.drop(done).reason == ""
        assert "newer prices may have gone out since" in drops.drop(sending).held_because
        assert not drops.drop(sending).approved


def test_a_drop_that_an_older_schema_was_to_hold_still_is(place: Place, tmp_path: Path) -> None:
    sending, _ = place.post(1, over=False)
    old = back_up(place.url, tmp_path / "backup.db")
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("ALTER TABLE drops DROP COLUMN held_because")
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'schema_version'")
    place.restore(old)
    with place.open() as state:
        drop = Drops(state).drop(sending)
    assert drop.reason == ""
    assert "newer prices may have gone out since" in drop.held_because


def test_the_replaced_database_is_kept_with_its_journal(place: Place, tmp_path: Path) -> None:
    place.post(1)
    backup = back_up(place.url, tmp_path / "backup.db")
    with place.open() as state:
        state.put("key", "only in the journal")
        for ending in ("", "-wal", "-shm"):
            shutil.copy(f"{place.database}{ending}", f"{tmp_path / 'crashed.db'}{ending}")
    for ending in ("", "-wal", "-shm"):
        shutil.copy(f"{tmp_path / 'crashed.db'}{ending}", f"{place.database}{ending}")
    kept = place.restore(backup)
    assert kept is not None
    assert query(kept, "SELECT value FROM meta WHERE key = 'key'") == [("only in the journal",)]
    with place.open() as state:
        assert state.get("key") is None
    assert place.restore(backup) not in (None, kept)


def test_a_journal_without_its_database_is_not_played_into_the_restored_one(place: Place, tmp_path: Path) -> None:
    place.post(1)
    backup = back_up(place.url, tmp_path / "backup.db")
    with place.open() as state:
        state.put("key", "in the journal")
        shutil.copy(f"{place.database}-wal", tmp_path / "wal")
    place.database.unlink()
    shutil.copy(tmp_path / "wal", f"{place.database}-wal")
    assert place.restore(backup) is None
    with place.open() as state:
        assert state.get("key") is None


def test_nothing_is_restored_under_a_running_process(place: Place, tmp_path: Path) -> None:
    place.post(1)
    backup = back_up(place.url, tmp_path / "backup.db")
    lock = Lock(place.url)
    with pytest.raises(StateError, match=f"in use by process {os.getpid()}"):
        place.restore(backup)
    lock.release()
    place.restore(backup)


def no_database(file: Path) -> None:
    file.write_bytes(b"RIC,BID\n" * 500)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path) -> None:
    os.truncate(file, 0)


def another_programs(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE meta (something INT)")


def newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'")


@pytest.mark.parametrize("damage", [no_database, cut, emptied, another_programs, newer, Path.unlink])
def test_what_is_no_backup_replaces_nothing(place: Place, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    place.post(1)
    backup = back_up(place.url, tmp_path / "backup.db")
    damage(backup)
    with pytest.raises(StateError) as caught:
        place.restore(backup)
    assert caught.value.hint
    assert place.known() == {"A=T": ('{"BID":1}', None)}
    left = {path.name for path in place.folder.iterdir() if "state" in path.name}
    assert left == {"state.db", "state.db.lock", "state.db.pid"}
    Lock(place.url).release()


def test_a_backup_for_another_target_is_refused(place: Place, tmp_path: Path) -> None:
    place.post(1)
    backup = back_up(place.url, tmp_path / "backup.db")
    with pytest.raises(StateError, match="made for the target 'prod'"):
        place.restore(backup, target="uat")


def test_the_backup_itself_is_left_alone(place: Place, tmp_path: Path) -> None:
    place.post(1)
    backup = back_up(place.url, tmp_path / "backup.db")
    before = backup.read_bytes()
    place.restore(backup)
    assert backup.read_bytes() == before


# a database that is gone


def left_backup(place: Place) -> None:
    back_up_daily(place.url, place.folder, NOW)


def left_journal(place: Place) -> None:
    Path(f"{place.database}-wal").write_bytes(b"not checkpointed")


def left_report(place: Place) -> None:
    (place.folder / "reports").mkdir()
    (place.folder / "reports" / "a.csv.20261122T163000Z.ack.csv").write_text("row,ric\n")


@pytest.mark.parametrize("left", [left_backup, left_journal, left_report])
@pytest.mark.parametrize("damage", [emptied, Path.unlink])
@pytest.mark.parametrize("reading", [False, True])
def test_whatever_a_lost_database_left_tells_that_there_was_one(
    place: Place, left: Callable[[Place], None], damage: Callable[[Path], None], reading: bool
) -> None:
    place.post(1)
    damage_later = left is left_journal  # an open database has a journal of its own
    if not damage_later:
        left(place)
    damage(place.database)
    if damage_later:
        left(place)
    before = sorted(path for path in place.folder.rglob("*") if path.is_file())
    with pytest.raises(StateError, match="the database is empty") as caught:
        place.open(reading=reading)
    assert "state restore" in caught.value.hint
    assert "--accept-empty-state" in caught.value.hint
    assert sorted(path for path in place.folder.rglob("*") if path.is_file()) == before


def test_the_refusal_names_the_newest_backup(place: Place) -> None:
    place.post(1)
    newest = [back_up_daily(place.url, place.folder, NOW + timedelta(days=day)) for day in range(2)][-1]
    place.database.unlink()
    with pytest.raises(StateError) as caught:
        place.open()
    assert f"state restore {newest}`" in caught.value.hint


def test_an_empty_state_may_be_accepted(place: Place) -> None:
    place.post(1)
    back_up_daily(place.url, place.folder, NOW)
    place.database.unlink()
    place.open(accept_empty=True).close()
    assert place.known() == {}  # and from now on it is the state


# a database that others hold


def test_a_locked_database_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "BUSY_TIMEOUT_S", 0.1)
    place.post(1)
    with closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match=r"locked by another program for 0\.1 s"):
            place.open()
        other.execute("ROLLBACK")
    place.open().close()


# room


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if made.returncode:
        pytest.skip("a small disk is mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_shortage(small_disk: Path) -> None:
    assert shortage(small_disk, 2 << 20) == ""
    (small_disk / "big").write_bytes(bytes(3 << 20))
    assert shortage(small_disk, 2 << 20) == (
        f"only 1.0 MB are free in {small_disk} (min_free is 2.0 MB): make room there, and it goes on by itself"
    )
    assert shortage(small_disk, 0) == ""


def test_a_backup_without_room_leaves_nothing(place: Place, small_disk: Path) -> None:
    place.post(1)
    with place.open() as state, state.transaction():
        for n in range(100):
            state.put(f"key {n}", "x" * 60_000)
    with pytest.raises(StateError, match=r"cannot be (copied|written)"):
        back_up(place.url, small_disk / "backup.db")
    assert list(small_disk.iterdir()) == []


def test_a_state_on_a_full_disk_is_not_half_made(small_disk: Path) -> None:
    (small_disk / "big").write_bytes(bytes((4 << 20) - 8192))
    full = Place(small_disk / "state")
    with pytest.raises(StateError):
        full.open()
    (small_disk / "big").unlink()
    full.post(1)
