"""The state's database: transactions, durability, what refuses to open, readers beside the writer, the lock."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from contrib_watch.errors import StateError, StateUnavailable
from contrib_watch.store import Lock, State, schema
from contrib_watch.store import state as state_module

DEADLINE_S = 30


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/state.db"


def opened(folder: Path, target: str = "prod", *, reading: bool = False) -> State:
    return State.open(url=url_of(folder), folder=folder, target=target, reading=reading)


def test_an_old_sqlite_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 26, 0))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.26.0")
    assert "SQLite is version 3.26.0, and at least 3.32" in str(refusal(tmp_path))
    assert not (tmp_path / "state.db").exists()


def refusal(folder: Path, **keys: object) -> StateError:
    with pytest.raises(StateError) as caught:
        opened(folder, **keys)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process of this program, that says a line when it is ready and ends with its standard input."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# what it keeps


def test_a_new_state_has_a_name_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other:
        name = one.state_id
        assert len(name) == 32
        assert other.state_id != name
        assert one.get("nothing") is None
        one.put("key", "1")
        one.put("key", 'é "2"')
    with opened(tmp_path / "a") as again:
        assert (again.state_id, again.get("key")) == (name, 'é "2"')


def test_every_commit_is_on_the_disk_before_it_returns(tmp_path: Path) -> None:
    with opened(tmp_path) as state, state.transaction() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL
    with opened(tmp_path) as state:  # synchronous is not kept in the file: each connection has to ask for it
        for _ in range(3):
            with state.transaction() as connection:
                assert connection.scalar(text("PRAGMA synchronous")) == 2
            state._engine.dispose()


# transactions


def test_a_checkpoint_brings_what_is_in_the_journal_into_the_database(tmp_path: Path) -> None:
    def in_the_file_alone() -> list[tuple[str]]:
        copy = tmp_path / "copy.db"
        copy.write_bytes((tmp_path / "state.db").read_bytes())
        with contextlib.closing(sqlite3.connect(copy)) as database:
            database.execute("PRAGMA journal_mode=DELETE")
            return database.execute("SELECT value FROM meta WHERE key = 'told'").fetchall()

    with opened(tmp_path) as state:
        state.checkpoint()
        state.put("told", "1")
        assert in_the_file_alone() == []
        state.checkpoint()
        state.checkpoint()
        assert in_the_file_alone() == [("1",)]
        assert state.get("told") == "1"


def test_a_transaction_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.put("key", "before")
        with contextlib.suppress(RuntimeError), state.transaction():
            state.put("key", "after")
            assert state.get("key") == "after"
            raise RuntimeError
        assert state.get("key") == "before"


def test_an_inner_exception_undoes_the_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        with contextlib.suppress(RuntimeError), state.transaction():
            state.put("outer", "1")
            with state.transaction():
                state.put("inner", "1")
                raise RuntimeError
        assert (state.get("outer"), state.get("inner")) == (None, None)


def test_an_inner_transaction_is_not_committed_before_the_outer_one(tmp_path: Path) -> None:
    with opened(tmp_path) as state, opened(tmp_path, reading=True) as reader:
        with state.transaction():
            with state.transaction():
                state.put("inner", "1")
            assert reader.get("inner") is None
        assert reader.get("inner") == "1"


def test_a_fault_of_the_program_is_not_blamed_on_the_state(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        with pytest.raises(IntegrityError), state.transaction() as connection:
            connection.execute(schema.meta.insert().values(key="target", value="again"))
        assert state.get("target") == "prod"


# what refuses to open


def test_a_state_for_another_target_is_refused(tmp_path: Path) -> None:
    opened(tmp_path, "simulated").close()
    for reading in (False, True):
        error = refusal(tmp_path, target="prod", reading=reading)
        assert "'simulated'" in str(error)
        assert "Give 'prod' a state.folder of its own; only if" in str(error)
    opened(tmp_path, "simulated").close()


def test_a_newer_state_is_refused_and_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.put("schema_version", str(schema.VERSION + 1))
    assert f"version {schema.VERSION + 1}" in str(refusal(tmp_path))
    with sqlite3.connect(tmp_path / "state.db") as raw:
        version = raw.execute("select value from meta where key = 'schema_version'").fetchone()
    raw.close()
    assert version == (str(schema.VERSION + 1),)


def test_an_older_state_gets_the_index_by_which_a_renamed_file_is_found(tmp_path: Path) -> None:
    with opened(tmp_path) as state, state.transaction() as connection:
        connection.exec_driver_sql("DROP INDEX drops_by_content")
        state.put("schema_version", "6")
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.db") as raw:
        indexes = raw.execute("select name from pragma_index_list('drops')").fetchall()
    raw.close()
    assert ("drops_by_content",) in indexes


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_one_page(path: Path) -> None:
    os.truncate(path, 4096)


def cut_within_a_page(path: Path) -> None:
    os.truncate(path, 1000)


def other_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as raw:
        raw.execute("pragma journal_mode = wal")
        raw.execute("create table meta (something int)")
    raw.close()


DAMAGES = [garbage, cut_in_half, cut_to_one_page, cut_within_a_page, other_program]


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_refused_and_left_alone(
    tmp_path: Path, damage: Callable[[Path], None], reading: bool
) -> None:
    opened(tmp_path).close()
    database = tmp_path / "state.db"
    damage(database)
    before = database.read_bytes()
    error = refusal(tmp_path, reading=reading)
    assert "the database cannot be used" in str(error) or "cannot be read" in str(error)
    assert database.read_bytes() == before


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 0), Path.unlink], ids=["emptied", "deleted"])
def test_a_lost_database_is_not_taken_for_an_empty_one(
    tmp_path: Path, damage: Callable[[Path], None], reading: bool
) -> None:
    """An empty state would post everything again."""
    opened(tmp_path).close()
    copy = tmp_path / "spool" / "ab" / "abcdef"
    copy.parent.mkdir()
    copy.write_bytes(b"RIC,BID\n")
    damage(tmp_path / "state.db")
    assert "the database is empty" in str(refusal(tmp_path, reading=reading))


def test_a_state_that_never_had_a_drop_may_start_anew(tmp_path: Path) -> None:
    opened(tmp_path).close()
    os.truncate(tmp_path / "state.db", 0)
    with opened(tmp_path) as state:
        assert state.state_id


def test_damage_that_shows_later_is_told_in_plain_words(tmp_path: Path) -> None:
    with opened(tmp_path) as state, state.transaction():
        for i in range(200):
            state.put(f"key {i}", "x" * 500)
    database = tmp_path / "state.db"
    content = bytearray(database.read_bytes())
    content[-20 * 4096 :] = b"\xff" * 20 * 4096
    database.write_bytes(content)
    with opened(tmp_path) as state, pytest.raises(StateError, match="the database cannot be used"):
        [state.get(f"key {i}") for i in range(200)]


def test_an_error_that_damage_may_have_caused_is_the_states(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.blame(ValueError("a fault of the program"))  # nothing is wrong with the database
        with pytest.raises(StateUnavailable, match="stored text"), state.transaction():
            json.loads("{")
        with state.transaction() as connection:
            (index,) = connection.execute(
                text("SELECT rootpage FROM sqlite_master WHERE name = 'record_by_kind'")
            ).one()
    database = tmp_path / "state.db"
    content = bytearray(database.read_bytes())
    content[(index - 1) * 4096 : index * 4096] = content[(index - 1) * 4096 :][:3] + bytes(4093)
    database.write_bytes(content)
    with opened(tmp_path) as state, pytest.raises(StateUnavailable, match="is damaged"):
        state.blame(ValueError("because of what it read"))


def test_a_database_that_was_replaced_is_not_used_on(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.refuse_replaced()
        database = tmp_path / "state.db"
        database.rename(tmp_path / "moved")
        with pytest.raises(StateError, match="deleted or replaced"):
            state.refuse_replaced()
        database.write_bytes((tmp_path / "moved").read_bytes())
        with pytest.raises(StateError, match="deleted or replaced"):
            state.refuse_replaced()


def test_what_was_committed_to_a_replaced_database_is_no_success(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        (tmp_path / "state.db").rename(tmp_path / "moved")
        with pytest.raises(StateUnavailable, match="deleted or replaced"):
            state.put("key", "1")


def test_a_database_that_cannot_be_looked_at_is_no_fault_of_the_work_in_hand(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with opened(folder) as state:
        folder.rename(tmp_path / "away")
        folder.symlink_to(folder)  # to look at it is an error, as on a share that is away
        with pytest.raises(StateUnavailable, match="cannot be looked at"):
            state.put("key", "1")


def test_a_reader_may_go_on_with_a_database_that_was_replaced(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with opened(tmp_path, reading=True) as reader:
        (tmp_path / "state.db").rename(tmp_path / "moved")
        (tmp_path / "state.db").write_bytes((tmp_path / "moved").read_bytes())
        reader.refuse_replaced()
        assert reader.get("target") == "prod"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "state folder cannot be used" in str(refusal(folder))
        with pytest.raises(StateError, match="state folder cannot be used"):
            Lock(url_of(folder))


# readers


def test_a_look_at_a_state_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with opened(folder, reading=True) as state:
        assert state.get("target") == "prod"
        with state.transaction() as connection:
            assert connection.execute(schema.drops.select()).all() == []
    assert not folder.exists()


def test_a_look_at_a_state_that_is_just_being_made_finds_it_empty(tmp_path: Path) -> None:
    database = tmp_path / "state.db"
    with closing(sqlite3.connect(database)) as maker:
        maker.execute("PRAGMA journal_mode=WAL")  # as State does before it makes the tables
        maker.execute("BEGIN IMMEDIATE")
        assert database.stat().st_size
        with opened(tmp_path, reading=True) as state:
            assert state.get("target") == "prod"
        assert maker.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "spool").rmdir()
    before = (tmp_path / "state.db").read_bytes()
    with opened(tmp_path, reading=True) as reader, pytest.raises(StateError):
        reader.put("key", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]
    assert (tmp_path / "state.db").read_bytes() == before


WRITER = """
import sys
from pathlib import Path
from contrib_watch.store import State
folder = Path(sys.argv[1])
state = State.open(url=f"sqlite:///{folder}/state.db", folder=folder, target="prod")
with state.transaction():
    state.put("key", "1")
    print("in a transaction", flush=True)
    sys.stdin.readline()
print("committed", flush=True)
sys.stdin.readline()
"""


def test_a_reader_sees_the_commits_of_a_running_writer_and_never_half_of_one(tmp_path: Path) -> None:
    with child(WRITER, tmp_path) as writer:
        assert line_of(writer) == "in a transaction"
        assert writer.stdin is not None
        with opened(tmp_path, reading=True) as reader:  # does not wait for it
            assert reader.get("key") is None
            print(file=writer.stdin, flush=True)
            assert line_of(writer) == "committed"
            assert reader.get("key") == "1"


def test_a_reader_does_not_hold_up_the_writer(tmp_path: Path) -> None:
    with opened(tmp_path) as writer, opened(tmp_path, reading=True) as reader, reader.transaction():
        assert reader.get("key") is None
        writer.put("key", "1")
        assert reader.get("key") is None  # what it reads within a transaction belongs together
        assert writer.get("key") == "1"


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    """The daemon and a command that records a decision: neither loses what the other counted."""
    opened(tmp_path).close()

    def count() -> None:
        with opened(tmp_path) as state:
            for _ in range(50):
                with state.transaction():
                    state.put("count", str(int(state.get("count") or 0) + 1))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    with opened(tmp_path) as state:
        assert state.get("count") == "150"


def test_two_processes_may_make_a_state_at_once(tmp_path: Path) -> None:
    code = WRITER.replace("sys.stdin.readline()", "pass", 1)
    with child(code, tmp_path) as one, child(code, tmp_path) as two:
        for process in (one, two):
            assert [line_of(process), line_of(process)] == ["in a transaction", "committed"]
    with opened(tmp_path) as state:
        assert state.get("key") == "1"


def test_what_a_killed_writer_did_not_commit_is_gone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with child(WRITER, tmp_path) as writer:
        assert line_of(writer) == "in a transaction"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(DEADLINE_S)
    with opened(tmp_path) as state:
        assert state.get("key") is None


# the lock

LOCKER = """
import sys
from contrib_watch.store import Lock
lock = Lock(f"sqlite:///{sys.argv[1]}/state.db")
print("locked", flush=True)
sys.stdin.readline()
"""


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with child(LOCKER, tmp_path) as holder:
        assert line_of(holder) == "locked"
        with pytest.raises(StateError, match=f"in use by process {holder.pid}"):
            Lock(url_of(tmp_path))
        assert Lock.holder(url_of(tmp_path)) == holder.pid
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(DEADLINE_S)
        assert Lock.holder(url_of(tmp_path)) is None
        lock = Lock(url_of(tmp_path))  # it died with its process
        assert (tmp_path / "state.db.pid").read_text() == str(os.getpid())
        lock.release()


def test_a_released_lock_is_free(tmp_path: Path) -> None:
    for _ in range(2):
        lock = Lock(url_of(tmp_path / "new"))
        with pytest.raises(StateError, match=f"process {os.getpid()}"):
            Lock(url_of(tmp_path / "new"))
        assert Lock.holder(url_of(tmp_path / "new")) == os.getpid()
        lock.release()
    assert Lock.holder(url_of(tmp_path / "new")) is None
    assert Lock.holder(url_of(tmp_path / "never")) is None


def test_a_holder_that_is_just_writing_its_pid_is_unknown(tmp_path: Path) -> None:
    lock = Lock(url_of(tmp_path))
    (tmp_path / "state.db.pid").write_text("")
    with pytest.raises(StateError, match="in use by process unknown"):
        Lock(url_of(tmp_path))
    assert Lock.holder(url_of(tmp_path)) is None
    lock.release()


@pytest.mark.parametrize("before", ["_is_absent", "_is_being_made"])
def test_a_look_at_a_state_that_is_made_meanwhile_finds_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Another process makes it, and accepts a drop, in the very moment in which it is looked at."""
    look = getattr(state_module, before)

    def makes_it(what: Any) -> bool:
        found: bool = look(what)
        monkeypatch.undo()
        opened(tmp_path).close()
        (tmp_path / "spool" / "drop").write_text("RIC,BID\nA,1\n", encoding="utf-8")
        return found

    monkeypatch.setattr(state_module, before, makes_it)
    if before == "_is_being_made":
        with closing(sqlite3.connect(tmp_path / "state.db")) as maker:
            maker.execute("PRAGMA journal_mode=WAL")
    with opened(tmp_path, reading=True) as found:
        assert found.get("connection") is None
