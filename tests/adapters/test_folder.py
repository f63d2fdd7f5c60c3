"""Real files, real inotify, and a clock that the test turns."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contrib_watch.adapters.folder import FileStatus, Folder, Scan, Watch, mounts
from contrib_watch.adapters.folder.scan import _DisturbedError, _read, _signature
from contrib_watch.core.model import Feed
from contrib_watch.core.settle import Signature
from contrib_watch.errors import StateError

SETTLE_S = 2.0
LIMIT_S = 10.0
"""How long a test waits for what must come."""

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


class Clock:
    """Monotonic seconds that pass when the test says so; ``then`` runs once, the next time it is read."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.then: Callable[[], object] | None = None

    def __call__(self) -> float:
        then, self.then = self.then, None
        if then:
            then()
        return self.now_s


def whole(content: bytes, name: str) -> str:
    return "a NUL byte" if b"\0" in content else ""


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


def open_folder(
    inbox: Path,
    clock: Callable[[], float],
    *,
    known: dict[str, Signature] | None = None,
    spool: Path | None = None,
    **options: object,
) -> Folder:
    feed = Feed(name="bonds", folder=inbox, service="NIPROV", **{"settle_seconds": SETTLE_S, **options})
    return Folder(feed, spool or inbox.parent / "spool", known or {}, whole, clock)


@pytest.fixture
def folder(inbox: Path, clock: Clock) -> Folder:
    return open_folder(inbox, clock)


def scan_settled(folder: Folder, clock: Clock) -> Scan:
    """A scan that sees what is there, and one after the settle time."""
    assert folder.scan().files == ()
    clock.now_s += SETTLE_S
    return folder.scan()


def contents(scan: Scan) -> dict[str, bytes]:
    return {file.name: file.spooled.read_bytes() for file in scan.files}


def let_time_tick(inbox: Path) -> None:
    """Wait until the file system's own clock has moved on, so that two writes have two times."""
    probe = inbox.parent / "probe"
    probe.write_bytes(b"")
    first_ns, deadline_s = probe.stat().st_ctime_ns, time.monotonic() + LIMIT_S
    while probe.stat().st_ctime_ns == first_ns:
        assert time.monotonic() < deadline_s
        probe.write_bytes(b"")


# --- complete files are handed out, once and whole


def test_a_file_that_was_there_before_is_handed_out_once(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"RIC,BID\nA,1\n")
    scan = scan_settled(folder, clock)
    (file,) = scan.files
    assert file.name == "prices.csv"
    assert file.path == inbox / "prices.csv"
    assert file.sha256 == hashlib.sha256(b"RIC,BID\nA,1\n").hexdigest()
    assert file.size_bytes == 12
    assert file.signature == _signature((inbox / "prices.csv").stat())
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
    before = _signature(path.stat())
    scan_settled(folder, clock)
    assert _signature(path.stat()) == before
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
    assert "0.5 s" in scan.states["a.csv"].reason
    assert "2.0 s" in scan.states["b.csv"].reason
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
    assert scan.states["prices.csv"].state is FileStatus.SETTLING
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
    with pytest.raises(_DisturbedError):
        _read(path, _signature(path.stat()))


# --- every file has a state and a reason


@posix_only
def test_what_is_never_a_drop_says_why(folder: Folder, inbox: Path, clock: Clock) -> None:
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
    with socket.socket(socket.AF_UNIX) as server, tempfile.TemporaryDirectory() as short:
        server.bind(f"{short}/s")  # a socket's path is at most 107 bytes
        Path(f"{short}/s").rename(inbox / "socket.csv")
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


def test_a_file_that_is_too_large_is_not_read_and_is_found_once_it_shrinks(inbox: Path, clock: Clock) -> None:
    folder = open_folder(inbox, clock, max_bytes=1000)
    (inbox / "big.csv").write_bytes(b"x" * 1001)
    (inbox / "fits.csv").write_bytes(b"x" * 1000)
    scan = scan_settled(folder, clock)
    assert contents(scan).keys() == {"fits.csv"}
    assert scan.states["big.csv"].state is FileStatus.TOO_LARGE
    assert "1,001 bytes" in scan.states["big.csv"].reason
    assert "1,000 (max_bytes)" in scan.states["big.csv"].reason
    (inbox / "big.csv").write_bytes(b"x")
    assert contents(scan_settled(folder, clock)) == {"big.csv": b"x"}


@contextmanager
def as_somebody_else(uid: int) -> Iterator[Path]:
    """A folder of a user without privileges, and this process acting as that user (root may read anything)."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("acting as another user needs root")
    before = os.umask(0o022)
    place = Path(tempfile.mkdtemp())
    os.chown(place, uid, uid)
    os.seteuid(uid)
    try:
        yield place
    finally:
        os.seteuid(0)
        os.umask(before)
        shutil.rmtree(place)


@posix_only
def test_a_file_that_may_not_be_read_is_tried_again_and_told(clock: Clock) -> None:
    with as_somebody_else(54321) as place:
        (place / "inbox").mkdir()
        path = place / "inbox" / "prices.csv"
        path.write_bytes(b"x")
        path.chmod(0)
        folder = open_folder(place / "inbox", clock)
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


# --- outages


def test_a_missing_folder_is_an_outage_and_never_empty(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    scan_settled(folder, clock)
    away = inbox.rename(inbox.parent / "away")
    scan = folder.scan()
    assert "does not exist" in scan.outage
    assert str(inbox) in scan.outage
    assert scan.states == {}
    away.rename(inbox)
    scan = folder.scan()
    assert scan.outage == ""
    assert scan.files == ()
    assert scan.states["prices.csv"].state is FileStatus.KNOWN


def test_after_an_outage_a_half_settled_file_starts_anew(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    folder.scan()
    away = inbox.rename(inbox.parent / "away")
    folder.scan()
    clock.now_s += SETTLE_S
    away.rename(inbox)
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x"}


def test_a_file_in_the_place_of_the_folder_is_an_outage(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "inbox").write_bytes(b"x")
    assert "is not a folder" in open_folder(tmp_path / "inbox", clock).scan().outage


# --- known files, and the spool


def test_what_an_earlier_run_dealt_with_is_not_read_again(inbox: Path, clock: Clock) -> None:
    first = open_folder(inbox, clock, settle_seconds=0.0)
    (inbox / "old.csv").write_bytes(b"x")
    known = {file.name: file.signature for file in first.scan().files}
    shutil.rmtree(inbox.parent / "spool")
    (inbox / "new.csv").write_bytes(b"y")
    scan = open_folder(inbox, clock, known=known, settle_seconds=0.0).scan()
    assert contents(scan) == {"new.csv": b"y"}
    assert scan.states["old.csv"].state is FileStatus.KNOWN
    assert len(list((inbox.parent / "spool").rglob("*"))) == 2


def test_a_forgotten_file_is_handed_out_again(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    (inbox / "other.csv").write_bytes(b"x")
    scan_settled(folder, clock)
    folder.forget("prices.csv")
    folder.forget("never seen.csv")
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x"}


def test_a_content_is_kept_once_and_a_damaged_copy_is_replaced(inbox: Path, clock: Clock) -> None:
    folder = open_folder(inbox, clock, settle_seconds=0.0)
    (inbox / "a.csv").write_bytes(b"same")
    (first,) = folder.scan().files
    inode = first.spooled.stat().st_ino
    (inbox / "b.csv").write_bytes(b"same")
    (second,) = folder.scan().files
    assert second.spooled == first.spooled
    assert second.spooled.stat().st_ino == inode
    second.spooled.write_bytes(b"smae")
    (inbox / "c.csv").write_bytes(b"same")
    (third,) = folder.scan().files
    assert third.spooled.read_bytes() == b"same"
    assert [path for path in (inbox.parent / "spool").rglob("*") if path.is_file()] == [first.spooled]


def test_a_spool_that_cannot_be_written_loses_nothing(inbox: Path, clock: Clock) -> None:
    spool = inbox.parent / "spool"
    spool.mkdir()
    names = {f"{number}.csv": b"%d" % number for number in range(5)}
    for name, content in names.items():
        (inbox / name).write_bytes(content)
    blocked = spool / hashlib.sha256(b"3").hexdigest()[:2]
    blocked.write_bytes(b"in the way")
    folder = open_folder(inbox, clock, settle_seconds=0.0)
    for _ in range(2):
        with pytest.raises(StateError, match="cannot be written"):
            folder.scan()
    blocked.unlink()
    assert contents(folder.scan()) == names


# --- owners and mounts


@posix_only
def test_the_owner_is_named_where_the_file_system_knows_it(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    (file,) = scan_settled(folder, clock).files
    assert file.owner == (inbox / "prices.csv").owner()


@posix_only
def test_the_owner_is_unknown_where_the_mount_decides_or_nobody_has_the_number() -> None:
    assert mounts.owner(0, "ext4") == "root"
    assert mounts.owner(0, "cifs") == "unknown"
    assert mounts.owner(0, "fuse.sshfs") == "unknown"
    assert mounts.owner(4_000_000_000, "ext4") == "unknown"


@posix_only
def test_the_deepest_and_last_mount_decides(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "40 27 0:40 / /srv rw shared:1 - xfs /dev/vdb rw\n"
        r"41 40 0:41 / /srv/price\040sheets rw - autofs systemd-1 rw" + "\n"
        r"42 41 0:42 / /srv/price\040sheets rw shared:2 master:1 - cifs //host/share rw" + "\n"
        "43 27 0:43 / /srv/later rw - nfs4 host:/later rw\n"
    )
    kinds = {
        "/srv/price sheets/bonds": "cifs",
        "/srv/price": "xfs",
        "/srv/later": "nfs4",
        "/home/x": "ext4",
    }
    assert {path: mounts.file_system(Path(path), table) for path in kinds} == kinds
    assert mounts.file_system(Path("/srv"), tmp_path / "no table") == ""


@pytest.mark.parametrize("kind", ["cifs", "smb3", "nfs", "nfs4", "fuse.sshfs", "9p", "ceph"])
def test_file_systems_of_other_hosts_are_polled(kind: str) -> None:
    assert mounts.is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", ""])
def test_local_file_systems_are_not_polled(kind: str) -> None:
    assert not mounts.is_network(kind)


# --- any history of a folder


class Histories(RuleBasedStateMachine):
    """Writers create, append, rewrite, rename and delete; a scan runs now and then; time passes.

    The model numbers every version of a path. A version is handed out once, by the first scan that finds it
    unchanged for the settle time since a scan first saw it, and with its very bytes.
    """

    names = st.sampled_from(["a.csv", "b.csv", "c.xlsx", "d.tmp"])

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.inbox = self.place / "inbox"
        self.inbox.mkdir()
        self.clock = Clock()
        self.folder = open_folder(self.inbox, self.clock)
        self.files: dict[str, tuple[int, bytes]] = {}
        self.first_seen_s: dict[tuple[str, int], float] = {}
        self.handed_out: list[tuple[str, int]] = []
        self.versions = 0
        self.doubted_s: dict[tuple[str, int], float] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    def put(self, name: str, content: bytes) -> None:
        self.versions += 1
        self.files[name] = (self.versions, content)

    @rule(name=names, content=st.binary(max_size=4))
    def rewrite(self, name: str, content: bytes) -> None:
        (self.inbox / name).write_bytes(content)
        self.put(name, content)

    @rule(name=names, content=st.binary(min_size=1, max_size=4))
    def append(self, name: str, content: bytes) -> None:
        with (self.inbox / name).open("ab") as file:
            file.write(content)
        self.put(name, self.files.get(name, (0, b""))[1] + content)

    @precondition(lambda self: any(content for _, content in self.files.values()))
    @rule(data=st.data())
    def rewrite_with_the_same_size_and_mtime(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, (_, content) in self.files.items() if content]))
        kept = (self.inbox / name).stat()
        content = bytes(byte ^ 1 for byte in self.files[name][1])
        with (self.inbox / name).open("r+b") as file:
            file.write(content)
        os.utime(self.inbox / name, ns=(kept.st_atime_ns, kept.st_mtime_ns))
        self.put(name, content)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=names)
    def rename(self, data: st.DataObject, to: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.inbox / name).rename(self.inbox / to)
        if name != to:
            self.put(to, self.files.pop(name)[1])

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.inbox / name).unlink()
        del self.files[name]

    @rule()
    def restart(self) -> None:
        """A new process that knows what the old one handed out."""
        known = {
            name: _signature((self.inbox / name).stat())
            for name, (version, _) in self.files.items()
            if (name, version) in self.handed_out
        }
        self.folder = open_folder(self.inbox, self.clock, known=known)
        self.first_seen_s.clear()
        self.doubted_s.clear()

    @rule(pause_s=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
    def scan(self, pause_s: float) -> None:
        self.clock.now_s += pause_s
        found = self.folder.scan()
        expected: dict[str, bytes] = {}
        seen = {(name, version) for name, (version, _) in self.files.items()}
        self.first_seen_s = {key: self.first_seen_s.get(key, self.clock.now_s) for key in seen}
        for name, (version, content) in self.files.items():
            settled = self.clock.now_s - self.first_seen_s[name, version] >= SETTLE_S
            if name.endswith(".tmp") or not settled or (name, version) in self.handed_out:
                continue
            if not self.waits_for_a_second_look(name, version, content):
                expected[name] = content
                self.handed_out.append((name, version))
        assert contents(found) == expected
        assert found.states.keys() == self.files.keys()
        let_time_tick(self.inbox)

    def waits_for_a_second_look(self, name: str, version: int, content: bytes) -> bool:
        """A settled content with a NUL waits for a second settle time, from the scan that finds it settled."""
        return b"\0" in content and (
            self.clock.now_s - self.doubted_s.setdefault((name, version), self.clock.now_s) < SETTLE_S
        )

    @invariant()
    def nothing_is_handed_out_twice(self) -> None:
        assert len(set(self.handed_out)) == len(self.handed_out)


Histories.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_any_history = pytest.mark.timeout(60)(Histories.TestCase)


# --- the watch


class Recorder:
    """What a Watch handed over, for a test to wait on."""

    def __init__(self) -> None:
        self.scans: list[Scan] = []
        self.found: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def __call__(self, feed: str, scan: Scan) -> None:
        with self._changed:
            assert feed == "bonds"
            self.scans.append(scan)
            self.found |= contents(scan)
            self._changed.notify_all()

    def wait(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, LIMIT_S), [scan.states for scan in self.scans[-3:]]

    def wait_for_file(self, name: str, content: bytes) -> None:
        self.wait(lambda: self.found.get(name) == content)

    def wait_for_scans(self, more: int = 1) -> None:
        count = len(self.scans) + more
        self.wait(lambda: len(self.scans) >= count)


@contextmanager
def watching(
    inbox: Path, *, interval_s: float = 60.0, settle_seconds: float = 0.05, **options: object
) -> Iterator[tuple[Watch, Recorder]]:
    """A running Watch whose first scan is over. By default its interval is too long to find anything by itself."""
    recorder = Recorder()
    folder = open_folder(inbox, time.monotonic, settle_seconds=settle_seconds, **options)
    watch = Watch(folder, interval_s, recorder)
    watch.start()
    try:
        recorder.wait(lambda: bool(recorder.scans))
        yield watch, recorder
    finally:
        assert watch.stop(LIMIT_S)


def test_files_from_before_the_start_are_found(inbox: Path) -> None:
    (inbox / "prices.csv").write_bytes(b"x")
    with watching(inbox) as (_, recorder):
        recorder.wait_for_file("prices.csv", b"x")


@pytest.mark.parametrize("observer", ["auto", "native", "polling"])
def test_the_observer_wakes_the_scan(inbox: Path, observer: str) -> None:
    with watching(inbox, observer=observer) as (_, recorder):
        (inbox / "created.csv").write_bytes(b"1")
        recorder.wait_for_file("created.csv", b"1")
        (inbox.parent / "outside").write_bytes(b"2")
        (inbox.parent / "outside").rename(inbox / "renamed.csv")
        recorder.wait_for_file("renamed.csv", b"2")
        (inbox / "4F5A").write_bytes(b"3")
        (inbox / "4F5A").replace(inbox / "created.csv")
        recorder.wait_for_file("created.csv", b"3")


def test_a_slow_writer_is_waited_for(inbox: Path) -> None:
    rows = [b"row %d\n" % number for number in range(10)]
    with watching(inbox, settle_seconds=1.5) as (_, recorder), (inbox / "prices.csv").open("wb", 0) as file:
        for row in rows:
            file.write(row)
            recorder.wait_for_scans()
            assert recorder.found == {}
        recorder.wait_for_file("prices.csv", b"".join(rows))


def test_six_hundred_files_while_watching(inbox: Path) -> None:
    with watching(inbox, settle_seconds=0.5) as (_, recorder):
        for number in range(600):
            (inbox / f"{number}.csv").write_bytes(b"%d" % number)
        recorder.wait(lambda: len(recorder.found) == 600)
        assert sum(len(scan.files) for scan in recorder.scans) == 600


def test_the_interval_alone_finds_what_the_observer_does_not_say(inbox: Path) -> None:
    with watching(inbox, interval_s=0.1) as (watch, recorder):
        watch._listener._observer.unschedule_all()
        (inbox / "prices.csv").write_bytes(b"x")
        recorder.wait_for_file("prices.csv", b"x")


def test_wake_scans_at_once(inbox: Path) -> None:
    with watching(inbox) as (watch, recorder):
        for _ in range(3):
            count = len(recorder.scans)
            watch.wake()
            recorder.wait(lambda count=count: len(recorder.scans) > count)


def hears_again(watch: Watch, recorder: Recorder, inbox: Path) -> None:
    """After one more scan, which rebuilds the observer, a file is found without waking the watch."""
    count = len(recorder.scans)
    watch.wake()
    recorder.wait(lambda: len(recorder.scans) > count and not recorder.scans[-1].outage)
    (inbox / "again.csv").write_bytes(b"back")
    recorder.wait_for_file("again.csv", b"back")


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_a_folder_that_is_deleted_and_made_again(inbox: Path, observer: str) -> None:
    with watching(inbox, observer=observer) as (watch, recorder):
        inbox.rmdir()
        recorder.wait(lambda: "does not exist" in recorder.scans[-1].outage)
        inbox.mkdir()
        hears_again(watch, recorder, inbox)


@posix_only
def test_a_folder_that_another_takes_the_place_of(inbox: Path) -> None:
    with watching(inbox) as (watch, recorder):
        inbox.rename(inbox.parent / "away")
        inbox.mkdir()
        hears_again(watch, recorder, inbox)


def test_a_folder_that_is_missing_at_the_start(tmp_path: Path) -> None:
    with watching(tmp_path / "inbox") as (watch, recorder):
        assert recorder.scans[0].outage
        (tmp_path / "inbox").mkdir()
        hears_again(watch, recorder, tmp_path / "inbox")


def test_an_observer_whose_threads_ended_is_rebuilt(inbox: Path) -> None:
    with watching(inbox) as (watch, recorder):
        for emitter in watch._listener._observer.emitters:
            emitter.stop()
            emitter.join(LIMIT_S)
        hears_again(watch, recorder, inbox)
        watch._listener._observer.stop()
        watch._listener._observer.join(LIMIT_S)
        (inbox / "again.csv").unlink()
        hears_again(watch, recorder, inbox)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_observer_whose_thread_was_ended_by_an_exception_is_rebuilt(inbox: Path) -> None:
    with watching(inbox) as (watch, recorder):
        watch._listener._observer.event_queue.put(None)  # no event: dispatching it raises
        watch._listener._observer.join(LIMIT_S)
        hears_again(watch, recorder, inbox)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify's limit on instances")
def test_without_an_observer_the_interval_goes_on_until_there_is_one() -> None:
    with as_somebody_else(54322) as place:  # the limit is a user's; nobody else must run into it
        (place / "inbox").mkdir()
        taken = []
        while (descriptor := ctypes.CDLL(None).inotify_init()) >= 0:
            taken.append(descriptor)
        try:
            with watching(place / "inbox", interval_s=0.1, observer="native") as (watch, recorder):
                assert watch._listener is None
                (place / "inbox" / "prices.csv").write_bytes(b"x")
                recorder.wait_for_file("prices.csv", b"x")
                while taken:
                    os.close(taken.pop())
                recorder.wait(lambda: watch._listener is not None)
        finally:
            for descriptor in taken:
                os.close(descriptor)


def test_files_that_could_not_be_accepted_are_offered_again(inbox: Path) -> None:
    recorder = Recorder()
    failures = [OSError("database is locked"), ValueError("once more")]

    def accept(feed: str, scan: Scan) -> None:
        if scan.files and failures:
            raise failures.pop()
        recorder(feed, scan)

    (inbox / "prices.csv").write_bytes(b"x")
    watch = Watch(open_folder(inbox, time.monotonic, settle_seconds=0.0), 0.1, accept)
    watch.start()
    recorder.wait_for_file("prices.csv", b"x")
    assert watch.stop(LIMIT_S)
    assert failures == []


def test_a_scan_that_raises_is_an_outage_and_not_the_end(inbox: Path) -> None:
    spool = inbox.parent / "spool"
    spool.write_bytes(b"in the way")
    with watching(inbox, interval_s=0.1) as (_, recorder):
        (inbox / "prices.csv").write_bytes(b"x")
        recorder.wait(lambda: "cannot be written" in recorder.scans[-1].outage)
        spool.unlink()
        recorder.wait_for_file("prices.csv", b"x")
        recorder.wait(lambda: not recorder.scans[-1].outage)


def test_stop_leaves_no_thread_behind(inbox: Path) -> None:
    before = set(threading.enumerate())
    with watching(inbox):
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) <= before


def test_the_receiver_of_a_scan_can_stop_the_watch(inbox: Path) -> None:
    ended = threading.Event()

    def stop(feed: str, scan: Scan) -> None:
        watch.stop()
        ended.set()

    watch = Watch(open_folder(inbox, time.monotonic), 60.0, stop)
    watch.start()
    assert ended.wait(LIMIT_S)
    assert watch.stop(LIMIT_S)
