"""Files that wait for a marker beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from folder_site import SETTLE_S, Clock, contents, let_time_tick, open_folder, posix_only, scan_settled

from contrib_watch.adapters.folder import FileStatus, Folder


@pytest.fixture
def folder(inbox: Path, clock: Clock) -> Folder:
    return open_folder(inbox, clock, done_marker=".done")


def mark(path: Path) -> Path:
    marker = path.with_name(f"{path.name}.done")
    let_time_tick(path.parent)
    marker.touch()
    return marker


def test_a_file_is_taken_once_its_marker_is_there(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"x")
    for _ in range(3):
        scan = folder.scan()
        assert scan.files == ()
        assert scan.states["prices.csv"].state is FileStatus.UNMARKED
        assert scan.states["prices.csv"].reason == "waits for its marker prices.csv.done"
        assert scan.next_look_s is None  # no time will help: `run --once` does not wait for it
        clock.now_s += SETTLE_S
    marker = mark(path)
    scan = folder.scan()
    assert contents(scan) == {"prices.csv": b"x"}
    assert scan.states["prices.csv.done"].state is FileStatus.IGNORED
    assert scan.states["prices.csv.done"].reason == "the marker of prices.csv"
    assert folder.scan().files == ()
    assert marker.exists()


def test_the_case_of_a_marker_plays_no_part_and_the_newest_counts(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"x")
    let_time_tick(inbox)
    (inbox / "prices.csv.DONE").touch()
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x"}
    let_time_tick(inbox)
    path.write_bytes(b"y")
    assert scan_settled(folder, clock).states["prices.csv"].state is FileStatus.UNMARKED
    mark(path)
    scan = folder.scan()
    assert contents(scan) == {"prices.csv": b"y"}
    assert scan.states["prices.csv.DONE"].reason == "the marker of prices.csv"


def test_a_marked_file_still_settles(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    mark(inbox / "prices.csv")
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x"}


def test_yesterdays_marker_says_nothing_of_todays_file(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"yesterday")
    mark(path)
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"yesterday"}
    let_time_tick(inbox)
    path.write_bytes(b"today, half of i")
    scan = scan_settled(folder, clock)
    assert scan.states["prices.csv"].state is FileStatus.UNMARKED
    assert "changed after its marker prices.csv.done" in scan.states["prices.csv"].reason
    path.write_bytes(b"today, all of it")
    mark(path)
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"today, all of it"}


@pytest.mark.parametrize("file_mtime_s", [1, 2_000_000_000])
@pytest.mark.parametrize("marker_mtime_s", [1, 2_000_000_000])
def test_mtimes_that_a_copy_kept_or_another_hosts_clock_made_play_no_part(
    folder: Folder, inbox: Path, clock: Clock, file_mtime_s: int, marker_mtime_s: int
) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    os.utime(inbox / "prices.csv", (file_mtime_s, file_mtime_s))
    os.utime(mark(inbox / "prices.csv"), (marker_mtime_s, marker_mtime_s))
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x"}
    let_time_tick(inbox)
    (inbox / "prices.csv").write_bytes(b"being written")
    os.utime(inbox / "prices.csv", (file_mtime_s, file_mtime_s))
    assert scan_settled(folder, clock).states["prices.csv"].state is FileStatus.UNMARKED


def test_a_file_that_was_taken_stays_taken_when_its_marker_is_cleared_away(
    folder: Folder, inbox: Path, clock: Clock
) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    marker = mark(inbox / "prices.csv")
    scan_settled(folder, clock)
    marker.unlink()
    scan = scan_settled(folder, clock)
    assert scan.states["prices.csv"].state is FileStatus.KNOWN


def test_a_marker_is_never_a_drop_whatever_the_patterns(inbox: Path, clock: Clock) -> None:
    folder = open_folder(inbox, clock, done_marker=".done", patterns=("*",))
    (inbox / "gone.csv.done").touch()
    (inbox / "prices.csv").write_bytes(b"x")
    mark(inbox / "prices.csv")
    (inbox / ".done").touch()
    scan = scan_settled(folder, clock)
    assert contents(scan) == {"prices.csv": b"x"}
    assert scan.states["gone.csv.done"].reason == "a marker without its file gone.csv"
    assert scan.states[".done"].reason == "a hidden file"


@posix_only
def test_a_marker_whose_name_is_not_utf8_can_be_shown(folder: Folder, inbox: Path, clock: Clock) -> None:
    Path(os.fsdecode(os.fsencode(inbox) + b"/pr\xe9ces.csv.done")).touch()
    told = scan_settled(folder, clock).states
    assert told[r"pr\xe9ces.csv.done"].state is FileStatus.IGNORED
    "".join((*told, *(state.reason for state in told.values()))).encode()


@posix_only
@pytest.mark.parametrize("kind", ["folder", "pipe", "outside link"])
def test_what_is_no_file_is_no_marker(folder: Folder, inbox: Path, clock: Clock, kind: str) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    let_time_tick(inbox)
    marker, outside = inbox / "prices.csv.done", inbox.parent / "outside"
    outside.touch()
    if kind == "folder":
        marker.mkdir()
    elif kind == "pipe":
        os.mkfifo(marker)
    else:
        marker.symlink_to(outside)
    scan = scan_settled(folder, clock)
    assert scan.states["prices.csv"].reason == "waits for its marker prices.csv.done"
    assert scan.states["prices.csv.done"].state is FileStatus.IGNORED


def test_a_look_tells_what_waits_for_its_marker(folder: Folder, inbox: Path) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    assert folder.look().states["prices.csv"].state is FileStatus.UNMARKED
    mark(inbox / "prices.csv")
    assert folder.look().states["prices.csv"].state is FileStatus.FOUND
