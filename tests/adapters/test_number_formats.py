"""Number formats: which of them show another number than the one that is stored."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any

import pytest
import xlsxwriter
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.formats import NumberFormat
from contrib_watch.adapters.sheets.second_formats import kind_shown
from contrib_watch.core.model import CellKind, Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV")
N, P, D = CellKind.NUMBER, CellKind.PERCENT, CellKind.DISGUISED

KINDS = {
    # What everybody uses.
    "General": (N, N, N),
    "0.00": (N, N, N),
    "#,##0.00": (N, N, N),
    "@": (N, N, N),
    "0000": (N, N, N),
    "0.00E+00": (N, N, N),
    "##0.0E+0": (N, N, N),
    "[Red]0.00": (N, N, N),
    "[Green]+0.00;[Red]-0.00;0.00": (N, N, N),
    "0.00_ ;[Red]\\-0.00\\ ": (N, N, N),
    "0.00;[Red]0.00": (N, N, N),
    "[Red]0.00;[Red]-0.00": (N, N, N),
    "[Red]0.00;[Red]0.00": (N, D, N),
    "[red]0.00;0.00": (N, D, N),
    "0;(0)": (N, N, N),
    "#,##0.00_);[Red](#,##0.00)": (N, N, N),
    '_-* #,##0.00 "€"_-;-* #,##0.00 "€"_-;_-* "-"?? "€"_-;_-@_-': (N, N, N),
    '_("$"* #,##0.00_);_("$"* \\(#,##0.00\\);_("$"* "-"??_);_(@_)': (N, N, N),
    "[$-407]#,##0.00": (N, N, N),
    "#,##0.00 [$€-407]": (N, N, N),
    '0.00" USD"': (N, N, N),
    '0.00" (US-Dollar)"': (N, N, N),
    '"Fr. "0.00': (N, N, N),
    '0.00" per MWh"': (N, N, N),
    'General" EUR"': (N, N, N),
    "#\\ ##0.00": (N, N, N),
    "#\\'##0.00": (N, N, N),
    # Percentages.
    "0.0%": (P, P, P),
    "0.00%;[Red]-0.00%": (P, P, P),
    "0.00;-0.00%": (N, P, N),
    "0.00%%": (D, D, D),
    '0.00"%"': (D, D, D),
    "0\\%": (D, D, D),
    '0.0" pct"': (D, D, D),
    '0.0"‰"': (D, D, D),
    '0.0" bp"': (D, D, D),
    # Another scale.
    "#,##0,": (D, D, D),
    "0,.00": (D, D, D),
    '0.0,,"M"': (D, D, D),
    '0.0"k"': (D, D, D),
    '0.0 "TEUR"': (D, D, D),
    "0.0,%": (D, D, D),
    '0"万"': (D, D, D),
    '0.0" млн"': (D, D, D),
    '0.0" µUSD"': (D, D, D),
    '0.0" mEUR"': (D, D, D),
    '0.0" EURm"': (D, D, D),
    '0.0" eurm"': (D, D, D),
    '0.0" USDmn"': (D, D, D),
    '0.0" EURbn"': (D, D, D),
    '0.0" kSEK"': (D, D, D),
    '0.0" MAUD"': (D, D, D),
    '0.0" ARSmn"': (D, D, D),
    '0.0" thsd"': (D, D, D),
    '0.0" ppm"': (D, D, D),
    '0.0" USD/MMBtu"': (N, N, N),
    '0.0" bond"': (N, N, N),
    '0.0" Zł"': (N, N, N),
    # Other digits.
    '"1"0': (D, D, D),
    '0"00"': (D, D, D),
    '0" ½"': (D, D, D),
    "*1#": (D, D, D),
    '0"."00': (D, D, D),
    "0\\.00": (D, D, D),
    '"."0': (D, D, D),
    '"Fr."0': (D, D, D),
    '0" Stk."': (N, N, N),
    "000-000": (D, D, D),
    "0 0": (D, D, D),
    "# ?/?": (D, D, D),
    "# ??/32": (D, D, D),
    "[DBNum1]0": (D, D, D),
    # Another sign.
    "-0": (D, D, D),
    "(0)": (D, D, D),
    "0-": (D, D, D),
    "+0": (N, D, N),
    "0;0": (N, D, N),
    "0;+0": (N, D, N),
    '"<"0': (D, D, D),
    "[>100]0.00;0.0": (N, D, N),
    '[>=1000]0.0,"k";0': (D, D, D),
    # Nothing.
    ";;;": (D, D, D),
    "": (D, D, D),
    "0;": (N, D, N),
    "0;-0;;@": (N, N, D),
    "#,###": (N, N, D),
    '"n/a"': (D, D, D),
    '0;-0;"n/a"': (N, N, D),
    # A number instead of a date; whether a format is a date's is decided elsewhere.
    '"1.1."yyyy': (D, D, D),
    "yyyy-mm-dd": (N, N, N),
}
"""What a positive number, a negative one and zero are in each format."""

_SCALES = (
    "pct",
    "bp",
    "млн",
    "µUSD",
    "mEUR",
    "EURm",
    "eurm",
    "USDmn",
    "EURbn",
    "kSEK",
    "MAUD",
    "ARSmn",
    "thsd",
    "ppm",
)
BY_WORDS_ALONE = {*(f'0.0" {scale}"' for scale in _SCALES), '0.0"k"', '0.0 "TEUR"', "[DBNum1]0", '"<"0'}
"""Disguises that only the first reading knows; the row is rejected all the same."""


@pytest.mark.parametrize(("code", "kinds"), KINDS.items())
def test_what_a_format_makes_of_numbers(code: str, kinds: tuple[CellKind, ...]) -> None:
    assert NumberFormat.of(code).kinds == kinds
    if code not in BY_WORDS_ALONE and "y" not in code:
        assert tuple(kind_shown(code, sign) for sign in (1, -1, 0)) == kinds


@pytest.mark.parametrize(
    ("code", "number", "seen"),
    [
        ("#,##0,", "1234567", "1,235"),
        ('0.0,,"M"', "1234567", "1.2M"),
        ('0.00"%"', "4.5", "4.50%"),
        ('0"00"', "12", "1200"),
        ('0"."00', "1234", "12.34"),
        ("000-000", "1234", "001-234"),
        ("0;0", "-12", "12"),
        ("-0", "12", "-12"),
        ("0;-0;;@", "0", "nothing"),
        (";;;", "-5", "nothing"),
        ("# ?/?", "101.26", "101 1/4"),
        ("# ??/32", "101.51", "101 16/32"),
        ('[>=1000]0.0,"k";0', "2500", "2.5k"),
        ('[>=1000]0.0,"k";0', "25", "25"),
        ("#.#", "0", "."),
        (".##", "5", "5."),
        (".##", "0.25", ".25"),
        ('0.0E+0"%"', "5", "something else"),
    ],
)
def test_what_a_person_sees(code: str, number: str, seen: str) -> None:
    assert NumberFormat.of(code).seen(Decimal(number)) == seen


@pytest.mark.parametrize(
    ("code", "number", "kind"),
    [
        ("#", 0.3, D),
        ("#", -0.3, D),
        ("#", 0.5, N),
        ("#,###", 0.49, D),
        ("#,###", 1.4, N),
        ("#.##", 0.004, D),
        ("#.##", 0.3, N),
        ("??", 0.3, D),
        ("#%", 0.004, D),
        ("#%", 0.04, P),
        ("#;-0", -0.3, N),
        ("#;-0", 0.3, D),
        ("0", 0.3, N),
        ("#.00", 0.001, N),
        ("[>=1]0.0;#", 0.3, D),
    ],
)
def test_a_number_of_which_no_digit_is_shown_is_disguised(code: str, number: float, kind: CellKind) -> None:
    assert NumberFormat.of(code).kind(number) is kind


def test_a_cell_that_shows_nothing_of_its_number_says_so() -> None:
    text = "0.3 (seen as nothing in the format #,###)"
    assert column(formatted("#,###", 0.3, 1.5)) == [(text, D), ("1.5", N)]


BESIDE = st.sampled_from(
    ["", "", " ", "_-", '" USD"', "$", "[$€-407]", '"1"', "-", "(", ")", "+", "[Red]", '"."', "%", "* "]
)
DIGITS = st.sampled_from(["0", "0.00", "#,##0.00", "#", "#.##", "# ##0", "0,", "00.0", '0"0"', "0-0", "General", ""])
SECTIONS = st.tuples(BESIDE, BESIDE, DIGITS, BESIDE).map("".join)
CODES = st.lists(SECTIONS, min_size=1, max_size=3).map(";".join) | st.sampled_from(list(KINDS))


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(code=CODES, number=st.decimals(-(10**6), 10**6, places=3))
@example(code="0.0E+0%;", number=Decimal("1.5"))
def test_an_accepted_format_shows_the_number_itself(code: str, number: Decimal) -> None:
    shown = NumberFormat.of(code)
    seen = shown.seen(number)
    assume(shown.kind(float(number)) is N and seen not in ("something else", "-"))
    sign = -1 if re.search(r"-(?!Dollar)|\(.*\d", seen) or ("[Red]" in code and number < 0) else 1
    digits = re.sub(r"Fr\.|[^\d.]", "", seen).rstrip(".") or "0"
    places = len(digits.partition(".")[2])
    assert abs(sign * Decimal(digits) - number) <= Decimal("0.5").scaleb(-places)


def workbook(write: Callable[[Any, Any], object], header: tuple[str, ...] = ("RIC", "BID")) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("Prices")
        sheet.write_row(0, 0, header)
        write(book, sheet)
    return file.getvalue()


def formatted(code: str, *values: float | str) -> bytes:
    def write(book: Any, sheet: Any) -> None:
        for row, value in enumerate(values, 1):
            sheet.write_string(row, 0, f"R{row}=X")
            sheet.write(row, 1, value, book.add_format({"num_format": code}))

    return workbook(write)


def column(content: bytes) -> list[tuple[str, CellKind]]:
    cells = read_cells(content, "prices.xlsx", FEED)
    assert cells.kinds is not None
    return list(zip(cells.columns[1].to_pylist(), map(CellKind, cells.kinds[1].to_pylist()), strict=True))


def test_a_disguised_cell_says_what_is_stored_and_seen_and_in_which_format() -> None:
    assert column(formatted("0.0;-0.0;", 1.5, 0, -1.5)) == [
        ("1.5", N),
        ("0 (seen as nothing in the format 0.0;-0.0;)", D),
        ("-1.5", N),
    ]


def test_texts_are_seen_as_they_are_stored_or_disguised() -> None:
    assert column(formatted('@"=X"', "A")) == [('A (not seen so in the format @"=X")', D)]
    assert column(formatted(";;;", "A"))[0][1] is D
    assert column(formatted("0.00;-0.00;0;_-@_-", "A")) == [("A", CellKind.TEXT)]


def test_the_format_of_cells_without_a_style_counts() -> None:
    plain = workbook(lambda book, sheet: sheet.write_row(1, 0, ["A=X", 1234.5]))
    assert column(plain) == [("1234.5", N)]
    file = io.BytesIO()
    before, after = (b'<cellXfs count="1"><xf numFmtId="%d"' % number for number in (0, 12))
    with zipfile.ZipFile(io.BytesIO(plain)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(before, after))
    assert column(file.getvalue()) == [("1234.5 (seen as 1234 1/2 in the format # ?/?)", D)]


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
@pytest.mark.timeout(120)
def test_formats_that_libreoffice_has_saved(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    codes = {
        "0.00": N,
        "0.0%": P,
        '0.0"%"': D,
        "#,##0,": D,
        "# ?/?": D,
        '0.00" USD"': N,
        "0;0": N,
        '"1"0': D,
        ";;;": D,
    }

    def write(book: Any, sheet: Any) -> None:
        for row, code in enumerate(codes, 1):
            sheet.write_string(row, 0, f"R{row}=X")
            sheet.write(row, 1, 1234.5, book.add_format({"num_format": code}))

    (tmp_path / "in" / "prices.xlsx").write_bytes(workbook(write))
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    line = [
        "soffice",
        profile,
        "--headless",
        "--convert-to",
        "xlsx:Calc MS Excel 2007 XML",
        "--outdir",
        str(tmp_path),
    ]
    subprocess.run([*line, str(tmp_path / "in" / "prices.xlsx")], check=True, capture_output=True, timeout=100)
    saved = column((tmp_path / "prices.xlsx").read_bytes())
    assert [kind for _, kind in saved] == list(codes.values())


def test_conditional_formatting_with_a_harmless_format_is_none_of_the_readers_business() -> None:
    def write(code: str) -> Callable[[Any, Any], None]:
        def rule(book: Any, sheet: Any) -> None:
            sheet.write_row(1, 0, ["A=X", 1234.5])
            shown = book.add_format({"num_format": code, "font_color": "red"})
            sheet.conditional_format("B2:B9", {"type": "cell", "criteria": ">", "value": 0, "format": shown})

        return rule

    assert column(workbook(write("0.00"))) == [("1234.5", N)]
    with pytest.raises(UnreadableFile, match='the number format "0,"'):
        column(workbook(write("0,")))
