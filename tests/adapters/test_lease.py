"""Leases on folders: one installation at a time, whatever clocks say, and nothing else is disturbed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_site import LIMIT_S, as_somebody_else, open_folder
from structlog.testing import capture_logs

from contrib_watch.adapters.folder import Scan, Watch
from contrib_watch.adapters.lease import LEASE_NAME, Leases
from contrib_watch.errors import StateError

OURS, OTHER = "a" * 32, "b" * 32
HEARTBEAT_S = 0.05
LAPSE_S = 0.6


def leases(*folders: Path, state: str = OURS) -> Leases:
    return Leases(folders, state, heartbeat_s=HEARTBEAT_S, lapse_s=LAPSE_S)


def eventually(true: Callable[[], object]) -> None:
    until_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def told(folder: Path) -> dict[str, object]:
    found = json.loads((folder / LEASE_NAME).read_text())
    assert isinstance(found, dict)
    return found


def state_in(folder: Path) -> object:
    return told(folder)["state"]


def write_other(folder: Path, **keys: object) -> None:
    lease = {
        "host": "farm7",
        "pid": 4711,
        "state": OTHER,
        "token": "dead",
        "heartbeat_utc": "2026-11-22T16:30:00.000+00:00",
        **keys,
    }
    (folder / LEASE_NAME).write_text(json.dumps(lease))


def test_it_names_host_process_and_state_and_is_taken_away_at_the_end(tmp_path: Path) -> None:
    with leases(tmp_path) as held:
        found = told(tmp_path)
        assert (found["host"], found["pid"], found["state"]) == (socket.gethostname(), os.getpid(), OURS)
        eventually(lambda: told(tmp_path)["heartbeat_utc"] != found["heartbeat_utc"])
        assert held.lost is None
        assert held.contested(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_second_installation_is_refused_with_who_has_it(tmp_path: Path) -> None:
    with leases(tmp_path), pytest.raises(StateError) as caught, leases(tmp_path, state=OTHER):
        pass
    message = str(caught.value)
    assert caught.value.exit_code == 2
    for word in (socket.gethostname(), str(os.getpid()), OURS, str(tmp_path), "lapses"):
        assert word in message


def test_who_was_refused_leaves_all_folders(tmp_path: Path) -> None:
    free, taken = tmp_path / "free", tmp_path / "taken"
    free.mkdir()
    taken.mkdir()
    with leases(taken):
        with pytest.raises(StateError), leases(free, taken, state=OTHER):
            pass
        assert list(free.iterdir()) == []
        assert state_in(taken) == OURS


def test_one_folder_by_two_names_is_not_another_installation(tmp_path: Path) -> None:
    folder, link = tmp_path / "inbox", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    with leases(folder, link) as held:
        first = told(folder)["heartbeat_utc"]
        eventually(lambda: told(folder)["heartbeat_utc"] != first)
        assert (held.lost, held.contested(folder), held.contested(link)) == (None, "", "")
        write_other(folder)
        eventually(lambda: held.contested(link))
        assert held.contested(folder)


@pytest.mark.parametrize("year", ["1999", "2099"])
def test_a_dead_ones_lease_lapses_whatever_time_it_says(tmp_path: Path, year: str) -> None:
    write_other(tmp_path, heartbeat_utc=f"{year}-01-01T00:00:00.000+00:00")
    began_s = time.monotonic()
    with leases(tmp_path):
        assert time.monotonic() - began_s >= LAPSE_S
        assert state_in(tmp_path) == OURS


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[1]", b"null", b'{"host": "x"}', b'{"pid": "x"}'])
def test_a_lease_that_cannot_be_read_is_somebodys_until_it_lapses(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LEASE_NAME).write_bytes(content)
    began_s = time.monotonic()
    with leases(tmp_path):
        assert time.monotonic() - began_s >= LAPSE_S
        assert state_in(tmp_path) == OURS


def test_a_holder_that_writes_the_same_again_lives(tmp_path: Path) -> None:
    """Its clock may stand still; that the file was written is enough."""
    write_other(tmp_path)
    lease = (tmp_path / LEASE_NAME).read_bytes()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            temporary = tmp_path / ".written"
            temporary.write_bytes(lease)
            temporary.replace(tmp_path / LEASE_NAME)  # in one step: half a lease names nobody

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(StateError, match="process 4711 on farm7"), leases(tmp_path):
            pass
    finally:
        ended.set()
        thread.join()


def dead_pid() -> int:
    """The pid of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_killed_process_of_the_same_state_on_this_machine_is_not_waited_for(tmp_path: Path) -> None:
    write_other(tmp_path, state=OURS, host=socket.gethostname(), pid=dead_pid())
    with leases(tmp_path):
        assert told(tmp_path)["pid"] == os.getpid()
        assert told(tmp_path)["token"] != "dead"
    began_s = time.monotonic()
    write_other(tmp_path, state=OURS)  # on another machine, nobody can tell
    with leases(tmp_path):
        assert time.monotonic() - began_s >= LAPSE_S


def test_a_copy_of_the_state_is_another_installation(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), OURS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=f"a copy of this state .*process {holder.pid} on "), leases(tmp_path):
            pass
        assert told(tmp_path)["pid"] == holder.pid
        holder.communicate("\n", timeout=LIMIT_S)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_does_not_wait_for_a_lease_to_lapse(tmp_path: Path) -> None:
    write_other(tmp_path)
    held = Leases([tmp_path], OURS, heartbeat_s=LIMIT_S, lapse_s=10 * LIMIT_S)
    threading.Timer(0.1, held.interrupt).start()
    began_s = time.monotonic()
    with held:
        assert time.monotonic() - began_s < LIMIT_S
        assert "farm7" in held.contested(tmp_path)
    assert state_in(tmp_path) == OTHER


HOLDER = """
import sys
from pathlib import Path
from contrib_watch.adapters.lease import Leases
with Leases([Path(sys.argv[1])], sys.argv[2], heartbeat_s=0.05, lapse_s=0.6):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_the_lease_of_a_killed_process_lapses_and_that_of_a_living_one_does_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), OTHER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(StateError, match=f"process {holder.pid} on "), leases(tmp_path):
                pass
        finally:
            os.kill(holder.pid, signal.SIGKILL)
    assert state_in(tmp_path) == OTHER
    with leases(tmp_path):
        assert state_in(tmp_path) == OURS


def test_of_many_at_once_one_has_it(tmp_path: Path) -> None:
    states = [f"{n:032x}" for n in range(8)]
    together = threading.Barrier(len(states))
    over = threading.Event()
    held, refused = [], []

    def contend(state: str) -> None:
        together.wait()
        try:
            with leases(tmp_path, state=state):
                held.append(state)
                over.wait(LIMIT_S)
        except StateError:
            refused.append(state)

    threads = [threading.Thread(target=contend, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    eventually(lambda: len(held) + len(refused) == len(states))
    assert len(held) == 1
    assert state_in(tmp_path) == held[0]
    over.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert list(tmp_path.iterdir()) == []


def test_one_of_two_takes_over_what_has_lapsed(tmp_path: Path) -> None:
    write_other(tmp_path)
    with leases(tmp_path, state=OURS) as held:
        with pytest.raises(StateError), leases(tmp_path, state="c" * 32):
            pass
        assert held.lost is None
        assert state_in(tmp_path) == OURS


def test_who_was_suspended_for_too_long_learns_that_the_folder_is_gone(tmp_path: Path) -> None:
    told_so = threading.Event()
    with leases(tmp_path) as held:
        held.when_lost(told_so.set)
        temporary = tmp_path / ".written"
        write_other(tmp_path)
        temporary.write_bytes((tmp_path / LEASE_NAME).read_bytes())
        temporary.replace(tmp_path / LEASE_NAME)  # our own heartbeat may have come between the two writes
        assert told_so.wait(LIMIT_S)
        assert "process 4711 on farm7" in str(held.lost)
        assert "farm7" in held.contested(tmp_path)
    assert state_in(tmp_path) == OTHER  # what is another's stays


def test_a_folder_that_cannot_be_written_has_none_and_says_so_once(tmp_path: Path) -> None:
    with as_somebody_else(12345) as place, capture_logs() as logs:
        folder, beside = place / "readonly", place / "beside"
        folder.mkdir()
        folder.chmod(0o500)
        beside.mkdir()
        with leases(folder, beside) as held:
            beats = [told(beside)]
            while len(beats) < 4:  # heartbeats go on, and would say it again
                eventually(lambda: told(beside) != beats[-1])
                beats.append(told(beside))
            assert held.lost is None
            assert held.contested(folder) == ""
        folder.chmod(0o700)
        assert list(folder.iterdir()) == []
    assert [line["why"] for line in logs] == ["Permission denied"]


def test_a_folder_that_comes_back_gets_its_lease(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    with leases(folder) as held:
        assert held.lost is None
        folder.mkdir()
        eventually((folder / LEASE_NAME).exists)


def test_a_folder_that_comes_back_with_another_ones_lease_is_left_alone_at_once(tmp_path: Path) -> None:
    folder, away = tmp_path / "share", tmp_path / "away"
    away.mkdir()
    write_other(away)
    with leases(folder) as held:
        away.rename(folder)
        eventually(lambda: "farm7" in held.contested(folder))
        eventually(lambda: held.contested(folder) == "")
        assert state_in(folder) == OURS


def test_heartbeats_wake_no_scan_and_are_no_drop(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    scans: list[Scan] = []
    folder = open_folder(inbox, time.monotonic, settle_seconds=0.0, observer="native", patterns=("*",))
    with leases(inbox):
        watch = Watch(folder, 60.0, lambda _, scan: scans.append(scan))
        watch.start()
        try:
            eventually(lambda: scans)
            assert scans[0].states == {}  # nothing that a person would ask about
            beats = set()
            eventually(lambda: beats.add(told(inbox)["heartbeat_utc"]) or len(beats) > 10)
            assert len(scans) == 1
            (inbox / ".hidden").write_bytes(b"1")
            (inbox / ".hidden").rename(inbox / "prices.csv")
            eventually(lambda: [file.name for scan in scans for file in scan.files] == ["prices.csv"])
        finally:
            assert watch.stop(LIMIT_S)
