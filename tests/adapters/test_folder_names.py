"""Names that somebody else chose: each is an ordinary file, or ignored with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from folder_site import Clock, contents, open_folder, posix_only, scan_settled

from contrib_watch.adapters.folder import FileStatus, Folder

NAMES = {
    "newline": "a\nb.csv",
    "carriage return": "a\rb.csv",
    "escape sequence": "a\x1b[2Jb.csv",
    "quotes": "'\"; drop `x` $(y).csv",
    "HTML": "<script>alert(1)<script>&amp;.csv",
    "markup": "[red]a[bold].csv",
    "255 bytes": "x" * 251 + ".csv",
    "255 bytes of two each": "я" * 125 + "y.csv",
    "other scripts": "Кириллица 価格.csv",
    "combining": "e\u0301.csv",
    "bidi": "prices\u202evsc.csv",
    "zero width": "a\u200bb.csv",
    "dashes": "--config=x.csv",
    "spaces": "  a  .csv",
    "dots": "a...csv",
    "backslashes": "a\\..\\..\\b.csv",
    "percent": "%2e%2e%2fa%00.csv",
    "formula": "=1+1.csv",
    "glob": "*.csv",
    "Windows' own": "CON.csv",
}
"""Names that are ordinary files on Linux."""


@posix_only
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_awkward_name_is_an_ordinary_file(folder: Folder, inbox: Path, clock: Clock, name: str) -> None:
    (inbox / name).write_bytes(name.encode())
    scan = scan_settled(folder, clock)
    assert contents(scan) == {name: name.encode()}
    (file,) = scan.files
    assert file.path == inbox / name
    assert file.spooled is not None
    assert file.spooled.is_relative_to(inbox.parent / "spool")
    assert [path.name for path in inbox.iterdir()] == [name]


@posix_only
def test_a_hard_link_is_a_file_of_its_own(folder: Folder, inbox: Path, clock: Clock) -> None:
    """Whoever can make one could as well copy the file; Linux refuses one to a file that the user may not write."""
    (inbox.parent / "outside.csv").write_bytes(b"x")
    (inbox / "prices.csv").hardlink_to(inbox.parent / "outside.csv")
    (inbox / "again.csv").hardlink_to(inbox.parent / "outside.csv")
    assert contents(scan_settled(folder, clock)) == {"prices.csv": b"x", "again.csv": b"x"}


@posix_only
def test_a_link_through_a_folder_that_leaves_is_refused(folder: Folder, inbox: Path, clock: Clock) -> None:
    (inbox.parent / "away").mkdir()
    (inbox.parent / "away" / "secret.csv").write_bytes(b"x")
    (inbox / "door").symlink_to(inbox.parent / "away")
    (inbox / "prices.csv").symlink_to("door/secret.csv")
    (inbox / "absolute.csv").symlink_to("/etc/passwd")
    scan = scan_settled(folder, clock)
    assert scan.files == ()
    for name in ("prices.csv", "absolute.csv"):
        assert scan.states[name].state is FileStatus.IGNORED
        assert "leaves the folder" in scan.states[name].reason


@posix_only
def test_a_link_that_is_turned_around_between_look_and_reading_is_not_followed(inbox: Path, clock: Clock) -> None:
    (inbox / "inside.txt").write_bytes(b"inside")
    (inbox.parent / "secret").write_bytes(b"secret")
    link = inbox / "prices.csv"
    link.symlink_to("inside.txt")

    def turn() -> None:
        link.unlink()
        link.symlink_to(inbox.parent / "secret")

    clock.then = turn
    folder = open_folder(inbox, clock, settle_seconds=0.0)
    assert folder.scan().files == ()
    assert "leaves the folder" in folder.scan().states["prices.csv"].reason
