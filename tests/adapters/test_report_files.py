"""The report's files: their names, their bytes, and that no file of anybody is ever overwritten."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_site import SEEN, a_report

from contrib_watch.adapters import report_files
from contrib_watch.adapters.report_files import csv_bytes, page, report_name, write_report
from contrib_watch.core.model import DropStatus, Outcome, Problem, Quotes, Status
from contrib_watch.core.report import Report, spreadsheet_raw
from contrib_watch.core.report_rows import COLUMNS
from contrib_watch.core.tokens import TOKENS
from contrib_watch.core.verified import Verified

SENT, ACKED = "2026-11-22T16:30:02.123Z", "2026-11-22T16:30:02.371Z"

FREE_TEXT = st.text(st.sampled_from("ab=+-@',;\t\r\n\"\u00e9 "), max_size=5)
"""With all characters that a CSV or a spreadsheet program takes for more than text."""


def acked(row: int) -> Outcome:
    return Outcome(row, f"R{row}", Status.ACKED, "Update", 7, "BID 22.1 -> 22.3", "", "", SENT, ACKED, 1)


def never(_: str) -> bool:
    return False


# --- names


def test_the_name_says_the_file_and_when_it_was_seen() -> None:
    assert report_name("prices.csv", SEEN, simulated=False, taken=never) == "prices.csv.20261122T163000Z"
    assert report_name("prices.csv", SEEN, simulated=True, taken=never) == "prices.csv.20261122T163000Z.simulated"


def test_the_time_is_utc_whatever_zone_it_comes_in() -> None:
    seen = SEEN.astimezone(timezone(timedelta(hours=9)))
    assert report_name("a.csv", seen, simulated=False, taken=never) == "a.csv.20261122T163000Z"
    with pytest.raises(ValueError, match="time zone"):
        report_name("a.csv", SEEN.replace(tzinfo=None), simulated=False, taken=never)


@pytest.mark.parametrize("simulated", [False, True])
def test_a_taken_name_gets_a_number(simulated: bool) -> None:
    names: set[str] = set()
    for _ in range(3):
        names.add(report_name("a.csv", SEEN, simulated=simulated, taken=names.__contains__))
    end = ".simulated" if simulated else ""
    assert names == {f"a.csv.20261122T163000Z{number}{end}" for number in ("", "-2", "-3")}


@given(
    st.text(alphabet=st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=200, max_size=255)
)
def test_a_name_of_any_length_fits_a_file_system(filename: str) -> None:
    used: list[str] = []

    def taken(base: str) -> bool:
        used.append(base)
        return len(used) < 3

    base = report_name(filename, SEEN, simulated=True, taken=taken)
    assert len(os.fsencode(f"{base}.ack.html")) <= 255


def test_a_cut_name_keeps_its_ending_and_tells_files_apart() -> None:
    one, two = (report_name("é" * 120 + end + ".xlsx", SEEN, simulated=False, taken=never) for end in "ab")
    assert one != two
    assert one.startswith("é" * 80)
    assert one.endswith(".xlsx.20261122T163000Z")


def test_file_name_bytes_that_are_not_utf_8_are_kept() -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    assert os.fsencode(report_name(name, SEEN, simulated=False, taken=never)) == b"caf\xe9.csv.20261122T163000Z"


# --- files


def test_both_files_appear_and_nothing_else(tmp_path: Path) -> None:
    report = a_report(acked(3))
    written = write_report(report, tmp_path, "prices.csv.20261122T163000Z")
    csv_path, html_path = written
    assert written == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert (csv_path.name, html_path.name) == (
        "prices.csv.20261122T163000Z.ack.csv",
        "prices.csv.20261122T163000Z.ack.html",
    )
    assert set(tmp_path.iterdir()) == {csv_path, html_path}
    assert csv_path.read_bytes() == csv_bytes(report)
    assert html_path.read_text("utf-8") == page(report)


@pytest.fixture
def umask_022() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_022")
def test_other_people_can_read_a_report(tmp_path: Path) -> None:
    for path in write_report(a_report(), tmp_path, "a"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert path.stat().st_nlink == 1


def test_finishing_a_report_that_is_there_changes_nothing(tmp_path: Path) -> None:
    report = a_report(acked(3))
    paths = write_report(report, tmp_path, "a")
    before = [path.stat().st_ino for path in paths]
    assert write_report(a_report(acked(3)), tmp_path, "a") == paths
    assert [path.stat().st_ino for path in paths] == before


def test_a_report_that_was_half_written_is_finished(tmp_path: Path) -> None:
    csv_path, html_path = write_report(a_report(), tmp_path, "a")
    html_path.unlink()
    write_report(a_report(), tmp_path, "a")
    assert set(tmp_path.iterdir()) == {csv_path, html_path}


@pytest.mark.parametrize("ending", [".ack.csv", ".ack.html"])
def test_a_foreign_file_is_never_overwritten(tmp_path: Path, ending: str) -> None:
    foreign = tmp_path / f"a{ending}"
    foreign.write_text("somebody's notes")
    with pytest.raises(FileExistsError):
        write_report(a_report(), tmp_path, "a")
    assert foreign.read_text() == "somebody's notes"
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_link_to_somewhere_else_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "a.ack.csv").symlink_to(elsewhere)
    with pytest.raises(FileExistsError):
        write_report(a_report(), folder, "a")
    assert not elsewhere.exists()


def test_a_temporary_file_that_a_stopped_start_left_is_taken_away(tmp_path: Path) -> None:
    write_report(a_report(), tmp_path, "a")
    whole = set(tmp_path.iterdir())
    left = report_files._temporary(tmp_path / "a.ack.csv")
    left.write_bytes(b"half a rep")
    assert left.name.startswith(".")
    write_report(a_report(), tmp_path, "a")
    assert set(tmp_path.iterdir()) == whole


def test_two_that_write_the_same_report_at_one_time_both_have_written_it(tmp_path: Path) -> None:
    path, seen = tmp_path / "a.ack.csv", []

    def quicker() -> Iterator[bytes]:
        yield b"a whole "
        seen.append(path.exists())
        yield b"report"

    def slower() -> Iterator[bytes]:
        yield b"a whole "
        assert report_files._publish(path, quicker())[1]
        seen.append(path.read_bytes())
        yield b"report"

    sha256, created = report_files._publish(path, slower())
    assert (sha256, created) == (hashlib.sha256(b"a whole report").hexdigest(), False)
    assert seen == [False, b"a whole report"]
    assert path.read_bytes() == b"a whole report"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_no_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        write_report(a_report(), tmp_path, "a" * 300)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        write_report(a_report(), tmp_path / "gone", "a")


class TestAShareWithoutHardLinks:
    """The way round them, taken when link() is refused."""

    @pytest.fixture
    def temporary(self, tmp_path: Path) -> Path:
        temporary = tmp_path / ".temporary"
        temporary.write_text("whole")
        return temporary

    def test_a_free_name_is_taken(self, temporary: Path) -> None:
        path = temporary.with_name("report")
        report_files._rename_over_reservation(temporary, path)
        assert path.read_text() == "whole"

    def test_its_own_empty_reservation_is_finished(self, temporary: Path) -> None:
        path = temporary.with_name("report")
        path.touch()
        report_files._rename_over_reservation(temporary, path)
        assert path.read_text() == "whole"

    def test_a_file_is_left_as_it_is(self, temporary: Path) -> None:
        path = temporary.with_name("report")
        path.write_text("foreign")
        with pytest.raises(FileExistsError):
            report_files._rename_over_reservation(temporary, path)
        assert path.read_text() == "foreign"

    def test_a_link_is_left_as_it_is(self, temporary: Path) -> None:
        path = temporary.with_name("report")
        path.symlink_to(temporary.with_name("elsewhere"))
        with pytest.raises(FileExistsError):
            report_files._rename_over_reservation(temporary, path)
        assert path.is_symlink()


# --- the CSV


def parsed(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_bytes(report).decode("utf-8"), newline="")))


def test_the_csv_has_the_columns_in_order_and_every_row() -> None:
    lines = csv_bytes(a_report(acked(3), Outcome(5, "R5", Status.REJECTED, text='row 5, BID "1,5"'), rows=4)).decode()
    assert lines.splitlines() == [
        "row,ric,action,status,post_id,changes,nak_code,text,sent_at_utc,acked_at_utc,attempts",
        '5,R5,,rejected,,,,"row 5, BID ""1,5""",,,0',
        "2,R2,,unchanged,,,,,,,0",
        f"3,R3,Update,acked,7,BID 22.1 -> 22.3,,,{SENT},{ACKED},1",
        "4,R4,,unchanged,,,,,,,0",
    ]


def test_the_csv_is_plain_utf_8_with_rfc_4180_line_ends() -> None:
    content = csv_bytes(a_report(Outcome(2, "R2", Status.NAKKED, text="café")))
    assert content.startswith(b"row,")
    assert "café".encode() in content
    assert content.count(b"\r\n") == content.count(b"\n") == 11


def test_no_cell_of_the_csv_is_a_formula_and_a_machine_gets_the_text_back() -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'x", "plain", 'quote " and\nline']
    outcomes = [
        Outcome(row, f"R{row}", Status.NAKKED, "", 1, text, text, text) for row, text in enumerate(texts, start=2)
    ]
    rows = parsed(a_report(*outcomes))[: len(texts)]
    for column in ("changes", "nak_code", "text"):
        shown = [row[column] for row in rows]
        assert not any(cell[0] in "=+-@\t\r" for cell in shown)
        assert spreadsheet_raw(pa.array(shown)).to_pylist() == texts


def test_a_sheet_or_ric_that_looks_like_a_formula_is_made_safe() -> None:
    quotes = Quotes(
        values=pd.DataFrame({"BID": pd.array(["1"], dtype=TOKENS)}, index=pd.Index(["=BRT-"], dtype=TOKENS)),
        rows=pd.Series([2], index=pd.Index(["=BRT-"], dtype=TOKENS), dtype="int64"),
        twins={},
        problems=(),
        rows_read=1,
        sheet="=Sheet",
    )
    (row,) = parsed(a_report(quotes=quotes))
    assert (row["row"], row["ric"]) == ("'=Sheet!2", "'=BRT-")


@given(st.lists(st.tuples(FREE_TEXT, FREE_TEXT, st.integers(0, 2**63 - 1)), max_size=8), st.integers(1, 9))
def test_the_csv_made_in_columns_is_the_one_of_the_csv_module(cells: list[tuple[str, str, int]], piece: int) -> None:
    kinds = dict.fromkeys(COLUMNS, pa.string()) | {"post_id": pa.int64(), "attempts": pa.int64()}
    told = [(ric, ric, "Update", "acked", number, text, "", text, SENT, "", number) for ric, text, number in cells]
    texts = pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in told], pa.schema(kinds))
    expected = io.StringIO()
    writer = csv.writer(expected)
    writer.writerow(COLUMNS)
    free = ("row", "ric", "changes", "nak_code", "text")
    for row in texts.to_pylist():
        writer.writerow([made_safe(str(row[name])) if name in free else row[name] for name in COLUMNS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_files, "_CSV_ROWS", piece)
        assert csv_bytes(replace(a_report(), rows=texts)) == expected.getvalue().encode()


def made_safe(text: str) -> str:
    return f"'{text}" if text.startswith(tuple("=+-@\t\r\n'")) else text


# --- the page's text


def test_the_page_says_what_an_auditor_asks_for() -> None:
    html = page(a_report(acked(3), config_hash="c0ffee"))
    for fact in (
        "ads-london", "NIPROV", "prices.csv", "/inbox", "unknown", "2026-11-22 17:30:00 +01:00",
        "(16:30:00 UTC)", "42 of feed bonds", "ab" * 32, "10 read = 1 acknowledged + 9 unchanged",
        "contrib-watch 1.0", "state-5d2c", "c0ffee", "BID 22.1 -&gt; 22.3",
    ):  # fmt: skip
        assert fact in html
    assert "verified" not in html


@pytest.mark.parametrize(
    ("offset_h", "told"),
    [
        (1, "2026-11-22 17:30:00 +01:00 (16:30:00 UTC)"),
        (-5.5, "2026-11-22 11:00:00 -05:30 (16:30:00 UTC)"),
        (9, "2026-11-23 01:30:00 +09:00 (2026-11-22 16:30:00 UTC)"),
        (0, "2026-11-22 16:30:00 UTC"),
    ],
)
def test_when_it_was_dropped_is_told_in_local_time_and_utc(offset_h: float, told: str) -> None:
    html = page(a_report(local_tz=timezone(timedelta(hours=offset_h))))
    (dropped,) = re.findall("<dt>Dropped</dt><dd>(.*)</dd>", html)
    assert re.sub("<[^>]+>", "", dropped) == told


def test_times_of_one_day_name_it_once() -> None:
    next_day = acked(3)._replace(acked_at_utc="2026-11-23T00:00:01.000Z")
    assert "2026-11-22 16:30:02.123 to 16:30:02.371 UTC" in page(a_report(acked(3)))
    assert "2026-11-22 16:30:02.123 to 2026-11-23 00:00:01.000 UTC" in page(a_report(next_day))


def test_a_drop_that_failed_half_way_counts_no_rows_that_were_not_sent() -> None:
    failed = replace(a_report().drop, status=DropStatus.FAILED, reason="the copy is damaged")
    html = page(a_report(acked(3), quotes=None, drop=failed))
    assert "1 acknowledged; what is not listed was not sent" in html
    assert "<b>all<small>others</small></b>" in html
    assert "read =" not in html


def test_a_row_that_is_not_as_posted_is_not_called_acknowledged() -> None:
    html = page(a_report(acked(3), acked(4), verified=Verified("yes", {"R4": "no: ASK 4.5 instead of 4"})))
    assert "<b>1<small>not as posted</small></b>" in html
    assert "row 4, R4: ASK 4.5 instead of 4" in html


def test_what_is_well_is_no_heading() -> None:
    assert "Also to know" not in page(a_report(acked(3), warnings=("second reading: agreed on 1 row",)))
    html = page(a_report(acked(3), warnings=("second reading: agreed on 1 row", "column ASK is missing")))
    assert html.count("<li>column ASK is missing</li>") == html.count("second reading: agreed on 1 row") == 1


def test_what_there_is_one_of_is_told_as_one() -> None:
    html = page(a_report(acked(3), missing=("OLD1",)))
    assert "1 known RIC missing from the file" in html
    assert "1 row acknowledged" in html


def test_the_same_report_gives_the_same_page() -> None:
    assert page(a_report(acked(3))) == page(a_report(acked(3)))


def test_rare_problems_are_shown_beside_ten_thousand_of_another_kind() -> None:
    rejected = [Outcome(row, f"R{row}", Status.REJECTED, text="bad cell") for row in range(2, 10_002)]
    rare = Outcome(10_002, "R10002", Status.NAKKED, nak_code="NotOpen", post_id=9, attempts=1)
    html = page(a_report(*rejected, rare, rows=10_001))
    assert html.count(">bad cell</td>") == report_files.ROWS_SHOWN - 1
    assert "<strong>NotOpen</strong>" in html
    assert "200 of 10,001 such rows" in html


def test_at_most_seven_causes_are_shown_and_the_rest_is_counted() -> None:
    problems = tuple(Problem(row, f"R{row}", f"row {row}", "x", f"cause {row}", "mend it") for row in range(2, 12))
    outcomes = [Outcome(row, f"R{row}", Status.REJECTED) for row in range(2, 12)]
    html = page(a_report(*outcomes, problems=problems))
    assert html.count('<li class="rejected">') == 7
    assert "And 3 smaller causes" in html


@pytest.mark.parametrize("status", list(Status))
def test_the_page_of_many_rows_stays_small(status: Status) -> None:
    text = "Unable to find item on post update." * 3
    outcomes = [
        Outcome(
            row, f"R{row}", status, "Update", row, "BID 22.1 -> 22.3; " * 20, "SymbolUnknown", text, SENT, ACKED, 1
        )
        for row in range(2, 20_002)
    ]
    report = a_report(*outcomes, rows=20_000, missing=tuple(f"OLD{number}" for number in range(20_000)))
    assert len(page(report).encode()) < 300_000
