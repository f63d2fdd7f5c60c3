"""Real files cut short at every byte, and files whose tail is not written yet: no other value is ever read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from folder_site import SETTLE_S, Clock, contents, let_time_tick

from contrib_watch.adapters.folder import Folder
from contrib_watch.adapters.sheets import is_whole, read_cells
from contrib_watch.config import load, load_dictionary
from contrib_watch.core.dictionary import Dictionary
from contrib_watch.core.model import Feed, Quotes
from contrib_watch.core.quotes import read_quotes
from contrib_watch.errors import UnreadableFile

ROOT = Path(__file__).parents[2]
FX = "fx_fixing_2026-11-19.csv"
FUNDS = "fund_navs_2026-11-19.csv"
BONDS = "bond_evaluations_2026-11-19.xlsx"

Row = tuple[object, ...]


@dataclass(frozen=True)
class Sample:
    """A file of sample_data, and what a whole reading of it finds."""

    feed: Feed
    dictionary: Dictionary
    name: str
    content: bytes

    def rows(self, content: bytes) -> dict[str, Row]:
        """RIC to the tokens of the accepted rows of ``content``; none where the file is refused."""
        try:
            return _rows(self.read(content))
        except UnreadableFile:
            return {}

    def read(self, content: bytes) -> Quotes:
        return read_quotes(read_cells(content, self.name, self.feed), self.feed, self.dictionary)


@cache
def sample(feed_name: str, name: str) -> Sample:
    settings = load(ROOT / "config.toml", {})
    feed = next(feed for feed in settings.feeds if feed.name == feed_name)
    content = (ROOT / "sample_data" / feed_name / name).read_bytes()
    return Sample(feed, load_dictionary(settings.fields), name, content)


def _rows(quotes: Quotes) -> dict[str, Row]:
    fields = sorted(quotes.values.columns)
    table = quotes.values[fields].astype(object)
    tokens = table.where(table.notna(), None).itertuples(index=False, name=None)
    return dict(zip(quotes.values.index, ((*zip(fields, row, strict=True),) for row in tokens), strict=True))


def whole_lines(content: bytes) -> int:
    """Data rows of a CSV without quoted line ends whose line end is there."""
    return max(0, content.count(b"\n") - 1)


def wrong(found: dict[str, Row], whole: dict[str, Row]) -> dict[str, Row]:
    """The rows that the whole file does not have like this."""
    return {ric: row for ric, row in found.items() if whole.get(ric) != row}


def as_it_is(content: bytes) -> bytes:
    return content


def with_unix_line_ends(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n")


def ending_in_a_price(content: bytes) -> bytes:
    """RIC, Bid and Ask alone: a row that is cut in its last cell has the right width."""
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig")))
    return "".join(f"{row[0]},{row[2]},{row[3]}\r\n" for row in rows).encode()


@pytest.mark.parametrize(
    ("feed", "name", "form", "every"),
    [
        ("fx", FX, as_it_is, 7),
        ("fx", FX, ending_in_a_price, 1),
        ("fx", FX, with_unix_line_ends, 29),
        ("funds", FUNDS, as_it_is, 67),
    ],
)
def test_a_csv_cut_at_any_byte_gives_its_whole_rows_and_no_other(
    feed: str, name: str, form: Callable[[bytes], bytes], every: int
) -> None:
    sheet = sample(feed, name)
    content = form(sheet.content)
    whole = sheet.rows(content)
    rics = list(whole)
    assert len(rics) == whole_lines(content) >= 20
    for cut in cuts(content, every=every):
        found = sheet.rows(content[:cut])
        assert not wrong(found, whole), cut
        in_quotes = content[:cut].count(b'"') % 2  # nobody knows where the open cell ends: the file is refused
        assert list(found) == ([] if in_quotes else rics[: whole_lines(content[:cut])]), cut


def test_a_feed_that_needs_no_final_line_end_reads_cut_prices() -> None:
    """What the rule is for: without it, the cuts above give other prices."""
    strict = sample("fx", FX)
    sheet = replace(strict, feed=replace(strict.feed, final_newline="optional"))
    content = ending_in_a_price(sheet.content)
    whole = sheet.rows(content)
    assert any(wrong(sheet.rows(content[:cut]), whole) for cut in range(len(content) - 20, len(content)))


@pytest.mark.parametrize(("feed", "name"), [("fx", FX), ("funds", FUNDS)])
def test_a_csv_with_an_unwritten_tail_or_hole_is_refused_whole(feed: str, name: str) -> None:
    sheet = sample(feed, name)
    size = len(sheet.content)
    for cut in cuts(sheet.content, every=1):
        tail = sheet.content[:cut] + bytes(size - cut)
        hole = sheet.content[:cut] + bytes(1) + sheet.content[cut + 1 :]
        for damaged in (tail, hole):
            assert sheet.rows(damaged) == {}, cut
            assert is_whole(damaged, name) or cut < 4, cut  # a NUL among the first four may be UTF-16


def test_a_workbook_cut_at_any_byte_is_refused_whole() -> None:
    book = sample("bonds", BONDS)
    assert len(book.rows(book.content)) == 26
    for cut in cuts(book.content, every=1):
        assert book.rows(book.content[:cut]) == {}, cut
        assert is_whole(book.content[:cut], book.name) or cut < 4, cut  # before the zip's magic number is there


def test_a_workbook_with_an_unwritten_tail_gives_no_other_value() -> None:
    book = sample("bonds", BONDS)
    whole, size = book.rows(book.content), len(book.content)
    for cut in cuts(book.content, every=1):
        damaged = book.content[:cut] + bytes(size - cut)
        if damaged != book.content:
            assert not wrong(book.rows(damaged), whole), cut


@pytest.mark.parametrize("hole_bytes", [1, 512])
def test_a_workbook_with_an_unwritten_hole_gives_no_other_value(hole_bytes: int) -> None:
    book = sample("bonds", BONDS)
    whole = book.rows(book.content)
    for start in cuts(book.content, every=31):
        damaged = book.content[:start] + bytes(hole_bytes) + book.content[start + hole_bytes :]
        assert not wrong(book.rows(damaged), whole), start


def cuts(content: bytes, *, every: int) -> Iterable[int]:
    """The lengths of the beginnings of a file, from one byte to all but the last."""
    return range(1, len(content), every)


# --- a copy with its full size and an unwritten tail


@pytest.mark.parametrize(("feed", "name"), [("fx", FX), ("bonds", BONDS)])
@pytest.mark.parametrize("written", [0.1, 0.5, 0.9, 0.999])
def test_a_tail_that_comes_within_the_doubt_time_is_taken_once_and_whole(
    tmp_path: Path, clock: Clock, feed: str, name: str, written: float
) -> None:
    whole = sample(feed, name).content
    folder = watched(tmp_path, clock)
    path, there = tmp_path / "inbox" / name, int(len(whole) * written)
    path.write_bytes(whole[:there] + bytes(len(whole) - there))
    assert folder.scan().files == ()
    clock.now_s += SETTLE_S
    scan = folder.scan()
    assert scan.files == ()
    assert "looks incomplete" in scan.states[name].reason
    clock.now_s += SETTLE_S * 0.9
    let_time_tick(path.parent)
    with path.open("r+b") as file:
        file.seek(there)
        file.write(whole[there:])
    taken = []
    for _ in range(10):
        taken += folder.scan().files
        clock.now_s += SETTLE_S / 2
    assert [(file.name, file.spooled.read_bytes()) for file in taken if file.spooled] == [(name, whole)]


def test_a_tail_that_never_comes_is_taken_once_and_refused(tmp_path: Path, clock: Clock) -> None:
    book = sample("bonds", BONDS)
    folder = watched(tmp_path, clock)
    damaged = book.content[:5000] + bytes(len(book.content) - 5000)
    (tmp_path / "inbox" / BONDS).write_bytes(damaged)
    for waited_s in (0.0, SETTLE_S):
        clock.now_s += waited_s
        assert folder.scan().files == ()
    clock.now_s += SETTLE_S
    assert contents(folder.scan()) == {BONDS: damaged}
    assert folder.scan().files == ()
    with pytest.raises(UnreadableFile):
        book.read(damaged)


def watched(place: Path, clock: Clock) -> Folder:
    """A folder with the real check of structures."""
    (place / "inbox").mkdir()
    feed = Feed(name="any", folder=place / "inbox", service="NIPROV", settle_seconds=SETTLE_S)
    return Folder(feed, place / "spool", {}, is_whole, clock)
