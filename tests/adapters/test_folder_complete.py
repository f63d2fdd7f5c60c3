"""Complete files are handed out once and whole; what is still being written is waited for."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_site import (
    SETTLE_S,
    Clock,
    contents,
    let_time_tick,
    open_folder,
    posix_only,
    scan_settled,
)

from contrib_watch.adapters.folder import FileStatus, Folder, Scan
from contrib_watch.adapters.folder.reading import DisturbedError, read, signature_of
from contrib_watch.core.model import Feed

# --- complete files are handed out, once and whole


def test_a_file_that_was_there_before_is_handed_out_once(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"RIC,BID\nA,1\n")
    scan = scan_settled(folder, clock)
    (file,) = scan.files
    assert file.name == "prices.csv"
    assert file.path == inbox / "prices.csv"
    assert file.sha256 == hashlib.sha256(b"RIC,BID\nA,1\n").hexdigest()
    assert file.size_bytes == 12
    assert file.signature == signature_of((inbox / "prices.csv").stat())
    assert file.spooled == inbox.parent / "spool" / file.sha256[:2] / file.sha256
    assert file.spooled.read_bytes() == b"RIC,BID\nA,1\n"
    assert scan.states["prices.csv"].state is FileStatus.TAKEN
    for _ in range(3):
        clock.now_s += 100
        scan = folder.scan()
        assert scan.files == ()
        assert scan.states["prices.csv"].state is FileStatus.KNOWN


def test_the_source_is_left_as_it_was(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"x")
    before = signature_of(path.stat())
    scan_settled(folder, clock)
    assert signature_of(path.stat()) == before
    assert list(inbox.iterdir()) == [path]


def test_six_hundred_files_at_once_are_six_hundred_drops(folder: Folder, inbox: Path, clock: Clock) -> None:
    for number in range(600):
        (inbox / f"{number:03}.csv").write_bytes(b"%d" % number)
    scan = scan_settled(folder, clock)
    assert contents(scan) == {f"{number:03}.csv": b"%d" % number for number in range(600)}
    assert folder.scan().files == ()


def test_files_come_in_the_order_of_mtime_and_name(folder: Folder, inbox: Path, clock: Clock) -> None:
    for name, mtime_s in [("c.csv", 5), ("b.csv", 9), ("a.csv", 9), ("d.csv", 1)]:
        (inbox / name).write_bytes(b"x")
        os.utime(inbox / name, (mtime_s, mtime_s))
    assert [file.name for file in scan_settled(folder, clock).files] == ["d.csv", "c.csv", "a.csv", "b.csv"]


def test_a_file_renamed_in_is_found(folder: Folder, inbox: Path, clock: Clock) -> None:
    outside = inbox.parent / "elsewhere.csv"
    outside.write_bytes(b"x")
    folder.scan()
    outside.rename(inbox / "prices.csv")
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x"}


def test_excels_way_of_saving_is_one_drop_a_save(folder: Folder, inbox: Path, clock: Clock) -> None:
    book = inbox / "book.xlsx"
    (inbox / "~$book.xlsx").write_bytes(b"owner")
    book.write_bytes(b"first")
    assert contents(scan_settled(folder, clock)) == {"book.xlsx": b"first"}
    (inbox / "5A3F2B10").write_bytes(b"second")
    assert folder.scan().files == ()
    book.rename(inbox / "1C2D3E4F.tmp")
    assert folder.scan().files == ()
    (inbox / "5A3F2B10").rename(book)
    (inbox / "1C2D3E4F.tmp").unlink()
    assert contents(scan_settled(folder, clock)) == {"book.xlsx": b"second"}


def test_a_slow_append_is_handed_out_whole(folder: Folder, inbox: Path, clock: Clock) -> None:
    for number in range(20):
        with (inbox / "prices.csv").open("ab") as file:
            file.write(b"row %d\n" % number)
        assert folder.scan().files == ()
        clock.now_s += SETTLE_S * 0.9
    clock.now_s += SETTLE_S * 0.1
    assert contents(folder.scan()) == {"prices.csv": b"".join(b"row %d\n" % number for number in range(20))}


def test_a_rewrite_that_keeps_size_and_mtime_is_seen(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"1.25")
    scan_settled(folder, clock)
    kept = path.stat()
    let_time_tick(inbox)
    with path.open("r+b") as file:
        file.write(b"1.52")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert path.stat().st_mtime_ns == kept.st_mtime_ns
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"1.52"}


def test_a_file_put_in_the_place_of_another_is_seen(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"1.25")
    scan_settled(folder, clock)
    kept = path.stat()
    (inbox.parent / "other").write_bytes(b"1.52")
    os.utime(inbox.parent / "other", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    (inbox.parent / "other").replace(path)
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"1.52"}


def test_settling_turned_off_hands_out_at_once(inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    assert contents(open_folder(inbox, clock, settle_seconds=0.0).scan()) == {"prices.csv": b"x"}


def test_deleting_a_file_withdraws_nothing_and_the_same_name_is_found_again(
    folder: Folder, inbox: Path, clock: Clock
) -> None:
    (inbox / "prices.csv").write_bytes(b"A")
    scan_settled(folder, clock)
    (inbox / "prices.csv").unlink()
    assert folder.scan() == Scan()
    let_time_tick(inbox)
    (inbox / "prices.csv").write_bytes(b"A")
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"A"}


def test_an_empty_file_is_handed_out(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "empty.csv").touch()
    assert contents(scan_settled(folder, clock)) == {"empty.csv": b""}


@posix_only
def test_awkward_names_are_ordinary_files(folder: Folder, inbox: Path, clock: Clock) -> None:
    names = {"a\nb.csv", "'\"; drop <b>&amp;.csv", "x" * 251 + ".csv", "Кириллица 価格.csv", " .csv", "..a.csv"[1:]}
    names.discard(".a.csv")
    for name in names:
        (inbox / name).write_bytes(name.encode())
    assert contents(scan_settled(folder, clock)) == {name: name.encode() for name in names}


@posix_only
def test_a_feed_folder_can_be_a_link(inbox: Path, clock: Clock) -> None:
    (inbox.parent / "link").symlink_to(inbox)
    (inbox / "prices.csv").write_bytes(b"x")
    assert contents(open_folder(inbox.parent / "link", clock, settle_seconds=0.0).scan()) == {"prices.csv": b"x"}


# --- what is still being written


def test_the_next_look_is_when_the_next_file_settles(folder: Folder, inbox: Path, clock: Clock) -> None:
    assert folder.scan().next_look_s is None
    (inbox / "a.csv").write_bytes(b"x")
    assert folder.scan().next_look_s == SETTLE_S
    clock.now_s += 1.5
    (inbox / "b.csv").write_bytes(b"x")
    scan = folder.scan()
    assert scan.next_look_s == 0.5
    assert scan.states["a.csv"].state is FileStatus.SETTLING
    assert scan.states["a.csv"].due_s == 0.5
    assert scan.states["b.csv"].due_s == 2.0
    clock.now_s += 0.5
    assert folder.scan().next_look_s == 1.5


def test_a_broken_file_is_read_once_more_and_then_taken(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"A,1\n\0\0\0")
    scan = scan_settled(folder, clock)
    assert scan.files == ()
    assert scan.next_look_s == SETTLE_S
    assert "a NUL byte" in scan.states["prices.csv"].reason
    clock.now_s += SETTLE_S
    assert contents(folder.scan()) == {"prices.csv": b"A,1\n\0\0\0"}


def test_a_broken_file_waits_two_seconds_even_with_settling_off(inbox: Path, clock: Clock) -> None:
    folder = open_folder(inbox, clock, settle_seconds=0.0)
    (inbox / "prices.csv").write_bytes(b"\0")
    assert folder.scan().next_look_s == 2.0
    clock.now_s += 2.0
    assert contents(folder.scan()) == {"prices.csv": b"\0"}


def test_a_late_tail_is_waited_for(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"A,1\n\0\0\0\0")
    assert scan_settled(folder, clock).files == ()
    clock.now_s += SETTLE_S / 2
    let_time_tick(inbox)
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"B,2\n")
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"A,1\nB,2\n"}


def test_a_check_that_fails_holds_up_its_own_file_only(inbox: Path, clock: Clock) -> None:
    def hostile(content: bytes, name: str) -> str:
        if name == "bad.csv":
            raise RecursionError("too deep")
        return ""

    feed = Feed(name="bonds", folder=inbox, service="NIPROV", settle_seconds=0.0)
    folder = Folder(feed, inbox.parent / "spool", {}, hostile, clock)
    for name in ("bad.csv", "good.csv"):
        (inbox / name).write_bytes(b"x")
    scan = folder.scan()
    assert contents(scan) == {"good.csv": b"x"}
    assert "too deep" in scan.states["bad.csv"].reason
    clock.now_s += 2.0
    assert contents(folder.scan()) == {"bad.csv": b"x"}


def test_a_file_that_changed_since_it_was_looked_at_starts_over(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"old")
    folder.scan()
    clock.now_s += SETTLE_S
    clock.then = lambda: path.write_bytes(b"new!")
    scan = folder.scan()
    assert scan.files == ()
    assert scan.next_look_s == SETTLE_S
    clock.now_s += SETTLE_S
    assert contents(folder.scan()) == {"prices.csv": b"new!"}


@posix_only
@pytest.mark.parametrize("becomes", ["nothing", "pipe", "outside link", "folder"])
def test_a_file_that_turns_into_something_else_is_let_go(
    folder: Folder, inbox: Path, clock: Clock, becomes: str
) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"old")
    (inbox.parent / "secret").write_bytes(b"secret")

    def turn() -> None:
        path.unlink()
        if becomes == "pipe":
            os.mkfifo(path)
        elif becomes == "outside link":
            path.symlink_to(inbox.parent / "secret")
        elif becomes == "folder":
            path.mkdir()

    folder.scan()
    clock.now_s += SETTLE_S
    clock.then = turn
    assert folder.scan().files == ()
    clock.now_s += SETTLE_S
    scan = folder.scan()
    assert scan.files == ()
    assert not scan.states or scan.states["prices.csv"].state is FileStatus.IGNORED


while_reading: list[Callable[[], object]] = []
"""Run once each, after the scan has opened and checked a file and before it reads it."""


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    # The scan wraps an open descriptor, which Python announces with the number in place of a path.
    if event == "open" and while_reading and isinstance(arguments[0], int):
        while_reading.pop()()


sys.addaudithook(_audit)


def rewritten_in_place(path: Path) -> None:
    let_time_tick(path.parent)
    kept = path.stat()
    with path.open("r+b") as file:
        file.write(b"new")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def appended_to(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b" and more")


def replaced(path: Path) -> None:
    (path.parent.parent / "other").write_bytes(b"new")
    (path.parent.parent / "other").replace(path)


@posix_only
@pytest.mark.parametrize("change", [rewritten_in_place, appended_to, replaced, lambda path: os.truncate(path, 1)])
def test_a_file_that_changes_while_it_is_read_starts_over(
    folder: Folder, inbox: Path, clock: Clock, change: Callable[[Path], object]
) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"old")
    folder.scan()
    clock.now_s += SETTLE_S
    while_reading.append(lambda: change(path))
    scan = folder.scan()
    assert while_reading == []
    assert scan.files == ()
    assert scan.states["prices.csv"].state is FileStatus.BEING_WRITTEN
    clock.now_s += SETTLE_S
    assert contents(folder.scan()) == {"prices.csv": path.read_bytes()}


@posix_only
def test_a_file_deleted_while_it_is_read_is_gone(folder: Folder, inbox: Path, clock: Clock) -> None:
    path = inbox / "prices.csv"
    path.write_bytes(b"old")
    folder.scan()
    clock.now_s += SETTLE_S
    while_reading.append(path.unlink)
    assert folder.scan() == Scan()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux: files that say they are empty")
def test_more_bytes_than_the_file_system_announced_are_not_believed() -> None:
    path = Path("/proc/self/status")
    with pytest.raises(DisturbedError):
        read(path, signature_of(path.stat()))
