"""Every entry of a folder has a state and a reason, whatever its name and whatever it is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from folder_site import (
    SETTLE_S,
    Clock,
    as_somebody_else,
    contents,
    open_folder,
    posix_only,
    scan_settled,
)

from contrib_watch.adapters.folder import FileStatus, Folder


@posix_only
def test_what_is_never_a_drop_says_why(
    folder: Folder, inbox: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "~$book.xlsx").write_bytes(b"x")
    (inbox / "notes.txt").write_bytes(b"x")
    (inbox / "prices.csv.20261122T163000Z.ack.csv").write_bytes(b"x")
    (inbox / "sub.csv").mkdir()
    (inbox / "sub.csv" / "inner.csv").write_bytes(b"x")
    os.mkfifo(inbox / "pipe.csv")
    (inbox.parent / "secret.csv").write_bytes(b"x")
    (inbox / "out.csv").symlink_to(inbox.parent / "secret.csv")
    (inbox / "up.csv").symlink_to("../secret.csv")
    (inbox / "dangling.csv").symlink_to("nowhere")
    (inbox / "loop.csv").symlink_to("loop.csv")
    monkeypatch.chdir(inbox)  # a socket's path is at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.csv")
        Path(os.fsdecode(os.fsencode(inbox) + b"/pr\xe9ces.csv")).write_bytes(b"x")
        scan = scan_settled(folder, clock)
    assert scan.files == ()
    expected = {
        "~$book.xlsx": "Excel's owner file",
        "notes.txt": "matches none of the feed's patterns (*.csv, *.xlsx, *.xlsm)",
        "prices.csv.20261122T163000Z.ack.csv": "a report of this program",
        "sub.csv": "a folder",
        "pipe.csv": "not a regular file",
        "socket.csv": "not a regular file",
        "out.csv": "leaves the folder",
        "up.csv": "leaves the folder",
        "dangling.csv": "leads to no file",
        "loop.csv": "leads to no file",
        r"pr\xe9ces.csv": "not valid UTF-8",
    }
    assert scan.states.keys() == expected.keys()
    for name, reason in expected.items():
        assert scan.states[name].state is FileStatus.IGNORED
        assert reason in scan.states[name].reason, name
    "\n".join(scan.states).encode()  # every name can be shown and stored


@posix_only
def test_a_link_that_stays_inside_is_followed(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices_20261122.txt").write_bytes(b"x")
    (inbox / "latest.csv").symlink_to("prices_20261122.txt")
    assert contents(scan_settled(folder, clock)) == {"latest.csv": b"x"}


def test_a_file_that_is_too_large_is_handed_out_unread_and_again_once_it_shrinks(inbox: Path, clock: Clock) -> None:
    folder = open_folder(inbox, clock, max_bytes=1000)
    with (inbox / "big.csv").open("wb") as file:
        file.truncate(1 << 40)  # a file with a hole: reading it whole would not end within this test
    (inbox / "fits.csv").write_bytes(b"x" * 1000)
    (inbox / "just above.csv").write_bytes(b"x" * 1001)
    scan = scan_settled(folder, clock)
    assert contents(scan).keys() == {"fits.csv"}
    unread = {file.name: file for file in scan.files if file.spooled is None}
    assert unread.keys() == {"big.csv", "just above.csv"}
    assert unread["big.csv"].size_bytes == 1 << 40
    assert unread["big.csv"].sha256 == ""
    assert folder.scan().files == ()
    (inbox / "big.csv").write_bytes(b"x")
    assert contents(scan_settled(folder, clock)) == {"big.csv": b"x"}


def test_a_file_that_is_too_large_and_still_grows_is_waited_for(inbox: Path, clock: Clock) -> None:
    folder = open_folder(inbox, clock, max_bytes=10)
    for size in (20, 30, 40):
        (inbox / "big.csv").write_bytes(b"x" * size)
        assert folder.scan().files == ()
        clock.now_s += SETTLE_S * 0.9
    assert folder.scan().states["big.csv"].state is FileStatus.BEING_WRITTEN
    clock.now_s += SETTLE_S
    assert [file.size_bytes for file in folder.scan().files] == [40]


def test_a_file_that_was_rewritten_is_told_from_one_that_settles(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    assert folder.scan().states["prices.csv"].state is FileStatus.SETTLING
    (inbox / "prices.csv").write_bytes(b"longer")
    scan = folder.scan()
    assert scan.states["prices.csv"].state is FileStatus.BEING_WRITTEN
    assert "not changed for 2 s" in scan.states["prices.csv"].reason
    clock.now_s += 1.5
    assert folder.scan().states["prices.csv"].due_s == 0.5


# --- a look without a history


@posix_only
def test_a_look_tells_every_file_and_changes_nothing(inbox: Path, clock: Clock) -> None:
    first = open_folder(inbox, clock, settle_seconds=0.0)
    (inbox / "known.csv").write_bytes(b"x")
    known = {file.name: file.signature for file in first.scan().files}
    (inbox / "changed.csv").write_bytes(b"x")
    (inbox / "new.csv").write_bytes(b"x")
    (inbox / "big.csv").write_bytes(b"x" * 100)
    (inbox / "notes.txt").write_bytes(b"x")
    spool = inbox.parent / "untouched"
    known["changed.csv"] = known["known.csv"]
    folder = open_folder(inbox, clock, known=known, spool=spool, settle_seconds=0.0, max_bytes=50)
    for _ in range(2):
        look = folder.look()
        assert {name: state.state.value for name, state in look.states.items()} == {
            "known.csv": "known",
            "changed.csv": "found",
            "new.csv": "found",
            "big.csv": "found",
            "notes.txt": "ignored",
        }
        assert look.files == ()
    assert not spool.exists()
    assert {file.name for file in folder.scan().files} == {"changed.csv", "new.csv", "big.csv"}


def test_a_look_at_a_missing_folder_is_an_outage(tmp_path: Path, clock: Clock) -> None:
    assert "does not exist" in open_folder(tmp_path / "gone", clock).look().outage


@posix_only
def test_a_file_that_may_not_be_read_is_tried_again_and_told(clock: Clock) -> None:
    with as_somebody_else(54321) as place:
        (place / "inbox").mkdir()
        path = place / "inbox" / "prices.csv"
        path.write_bytes(b"x")
        path.chmod(0)
        folder = open_folder(place / "inbox", clock)
        assert folder.look().states["prices.csv"].state is FileStatus.UNREADABLE
        scan = scan_settled(folder, clock)
        assert scan.files == ()
        assert scan.next_look_s is None
        assert scan.states["prices.csv"].state is FileStatus.UNREADABLE
        assert "permission denied" in scan.states["prices.csv"].reason
        path.chmod(0o600)
        assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x"}


@posix_only
def test_a_folder_that_may_not_be_read_is_an_outage(clock: Clock) -> None:
    with as_somebody_else(54321) as place:
        (place / "inbox").mkdir(mode=0)
        assert "permission denied" in open_folder(place / "inbox", clock).scan().outage
