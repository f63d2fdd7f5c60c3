"""Outages, the files that earlier runs dealt with, the private copies, and whose files they are."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from folder_site import (
    SETTLE_S,
    Clock,
    contents,
    mounted,
    open_folder,
    posix_only,
    scan_settled,
    whole,
)

from contrib_watch.adapters.folder import FileStatus, Folder, mounts
from contrib_watch.core.model import Feed
from contrib_watch.errors import StateError

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


@posix_only
def test_a_mount_point_without_its_share_is_an_outage_and_never_empty(
    folder: Folder, inbox: Path, clock: Clock
) -> None:
    with mounted(inbox):
        (inbox / "prices.csv").write_bytes(b"x")
        assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x"}
    scan = folder.scan()
    assert f"nothing is mounted on folder {inbox} any more" in scan.outage
    assert scan.states == {}
    with mounted(inbox):
        assert folder.scan().outage == ""


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


def test_of_a_file_that_comes_alone_is_told_before_its_copy_is_written(inbox: Path, clock: Clock) -> None:
    told: list[tuple[str, Path, bytes]] = []

    def ahead(name: str, content: bytes, copy: Path) -> None:
        assert not copy.exists()
        told.append((name, copy, content))

    feed = Feed(name="bonds", folder=inbox, service="NIPROV", settle_seconds=0.0)
    folder = Folder(feed, inbox.parent / "spool", {}, whole, clock, ahead=ahead)
    (inbox / "a.csv").write_bytes(b"a")
    (taken,) = folder.scan().files
    assert told == [("a.csv", taken.spooled, b"a")]
    for name in ("b.csv", "c.csv"):  # two at once
        (inbox / name).write_bytes(name.encode())
    assert len(folder.scan().files) == 2
    (inbox / "d.csv").write_bytes(b"a")  # a content that was there before
    assert len(folder.scan().files) == 1
    assert len(told) == 1


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
