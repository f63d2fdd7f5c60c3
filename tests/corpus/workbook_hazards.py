"""Hazards of sheets in workbooks: what Excel did to a cell, and what it shows to nobody."""

# ruff: noqa: E501, PIE800 - tables read best with a line to each entry
from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

import pandas as pd
from hazard import Hazard, book
from openpyxl.styles import Font
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from workbooks import (
    GOOD,
    HEADER,
    HEADER_ROW,
    by_hand,
    by_libreoffice,
    by_openpyxl,
    by_xlsxwriter,
    calculated,
    cells,
    edited,
)

PUBLISHED = {"GOOD=X": "BID 22.1 ASK 22.3"}
LIBREOFFICE = "libreoffice"
GOOD_ROW = '<row r="3"><c r="A3" t="str"><v>GOOD=X</v></c><c r="B3"><v>22.1</v></c></row>'
"""By hand, below the row of ``cells``."""


def rows(*lines: list[Any], edit: Callable[[Any], object] = lambda sheet: None) -> Callable[[], bytes]:
    """By openpyxl: the usual header, these rows, and one in order."""
    return lambda: by_openpyxl(HEADER, *lines, GOOD, edit=edit)


def table(header: list[str], *lines: list[Any]) -> Callable[[], bytes]:
    return lambda: by_openpyxl(header, *lines)


def written(write: Callable[[Any, Any], object]) -> Callable[[], bytes]:
    """By XlsxWriter, below the usual header and row."""
    return lambda: by_xlsxwriter(write)


def sheet_hazards() -> Iterator[Hazard]:
    """Every hazard of this module, in the order of the table."""
    yield from _rics()
    yield from _formulas()
    yield from _errors()
    yield from _numbers()
    yield from _formats()
    yield from _dates()
    yield from _struck_out()
    yield from _hidden()
    yield from _sheets()
    yield from _extent()
    yield from _texts()
    yield from _programs()


def _rics() -> Iterator[Hazard]:
    yield book(
        "ric-as-number", "005930 became 5930, and 1E5 became 100000", rows([5930, 1, 2], [1e5, 1, 2]), PUBLISHED
    )
    yield book("ric-as-number-and-text", "the same RIC as a number and as a text, with other prices", rows([5930, 1, 2], ["5930", 3, 4]), PUBLISHED)  # fmt: skip
    yield book("ric-as-date", "MAR1 became the first of March", rows([date(2026, 3, 1), 1, 2]), PUBLISHED)
    yield book("ric-as-boolean", "TRUE is a boolean", rows([True, 1, 2]), PUBLISHED)
    yield book("ric-as-formula", "=BRT- is a formula without a result", rows(["=BRT-", 1, 2]), PUBLISHED)
    yield book("ric-by-formula", "a RIC put together by a formula, calculated", lambda: by_hand(f'{HEADER_ROW}<row r="2"><c r="A2" t="str"><f>"A"&amp;"=X"</f><v>A=X</v></c><c r="B2"><v>1.5</v></c></row>'), {"A=X": "BID 1.5"})  # fmt: skip
    yield book("merged-rics", "one merged RIC beside two rows", rows(["A=X", 1, 2], ["", 3, 4], edit=lambda s: s.merge_cells("A2:A3")), {**PUBLISHED, "A=X": "BID 1 ASK 2"},
        note="The first row shows the RIC; the second has none and is never filled down.")  # fmt: skip
    yield book("rics-like-values-in-cells", "RICs that readers take for nothing", table(["RIC", "BID"], ["NA", 1], ["NULL", 2], ["nan", 3], ["1E5", 4], ["TRUE", 5]), {"NA": "BID 1", "NULL": "BID 2", "nan": "BID 3", "1E5": "BID 4", "TRUE": "BID 5"})  # fmt: skip
    yield book("nbsp-in-ric-cell", "a no-break space behind a RIC", rows(["A=X\u00a0", 1, 2]), PUBLISHED)
    yield book("two-prices-in-sheet", "one RIC with two prices", rows(["A=X", 1, 2], ["A=X", 1, 3]), PUBLISHED)
    yield book("twins-in-sheet", "the same row twice, the price once as text", rows(["A=X", 1.5, 2], ["A=X", "1.50", 2]), {**PUBLISHED, "A=X": "BID 1.5 ASK 2"})  # fmt: skip


def _formulas() -> Iterator[Hazard]:
    yield book(
        "formula-without-result", "openpyxl stores a formula and no result", rows(["A=X", "=1+1", 2]), PUBLISHED
    )
    yield book("formula-nobody-calculated", "XlsxWriter stores 0 for a result and asks for a recalculation", written(lambda b, s: s.write_formula("B2", "=1+1")))  # fmt: skip
    yield book("result-nobody-calculated", "XlsxWriter stores a result that its caller gave", written(lambda b, s: s.write_formula("B2", "=1+1", None, 2)))  # fmt: skip
    yield book("array-nobody-calculated", "the same for an array formula over two rows", written(lambda b, s: (s.write_row(2, 0, ["A=X", 0, 1]), s.write_array_formula("B2:B3", "{=C2:C3*2}", None, 44.6))))  # fmt: skip
    yield book("formula-with-result", "a formula with its result", lambda: cells('<c r="B2"><f>1+1</f><v>2.5</v></c>'), {"A=X": "BID 2.5"})  # fmt: skip
    yield book("formula-without-result-calculated", "one formula of a calculated workbook lacks its result", lambda: cells('<c r="B2"><f>1+1</f></c>'))  # fmt: skip
    yield book("formula-with-empty-text", "a formula whose result is an empty text", lambda: cells('<c r="B2" t="str"><f>IF(1,"","x")</f><v></v></c>'), {"A=X": ""},
        note="The row has no value; the diff rejects it where the RIC is new.")  # fmt: skip
    yield book("formula-with-text-number", "a formula whose result is the text 1,5", lambda: cells('<c r="B2" t="str"><f>"1,5"</f><v>1,5</v></c>'))  # fmt: skip
    yield book("shared-formula", "results of a shared formula", lambda: by_hand(HEADER_ROW + "".join(f'<row r="{n}"><c r="A{n}" t="str"><v>R{n}=X</v></c><c r="B{n}"><f t="shared" si="0"{ref}</f><v>{n}.5</v></c></row>' for n, ref in ((2, ' ref="B2:B3">A1'), (3, ">")))), {"R2=X": "BID 2.5", "R3=X": "BID 3.5"})  # fmt: skip
    yield book("calculation-not-completed", "saved in manual mode with results that were out of date", lambda: edited(cells('<c r="B2"><f>1+1</f><v>2.5</v></c>'), _not_completed))  # fmt: skip
    yield book("table-with-totals", "a table whose totals row stands below", written(_with_totals), PUBLISHED)
    yield book("table-with-calculated-totals", "the same, calculated", lambda: calculated(by_xlsxwriter(_with_totals)), PUBLISHED)  # fmt: skip


def _not_completed(name: str, part: bytes) -> bytes:
    return part.replace(b"<calcPr ", b'<calcPr calcMode="manual" calcCompleted="0" calcOnSave="0" ') if name == "xl/workbook.xml" else part  # fmt: skip


def _with_totals(workbook: Any, sheet: Any) -> None:
    columns = [
        {"header": "RIC", "total_string": "Total"},
        {"header": "BID", "total_function": "sum"},
        {"header": "ASK"},
    ]
    sheet.add_table("A1:C3", {"data": [GOOD], "columns": columns, "total_row": True})


def _errors() -> Iterator[Hazard]:
    codes = ["#N/A", "#DIV/0!", "#REF!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!"]
    data = "".join(f'<row r="{n}"><c r="A{n}" t="str"><v>R{n}=X</v></c><c r="B{n}" t="e"><v>{code}</v></c></row>' for n, code in enumerate(codes, 2))  # fmt: skip
    yield book("error-cells", "every error that Excel stores", lambda: by_hand(HEADER_ROW + data))
    yield book(
        "error-results",
        "an error as a formula's result",
        lambda: cells('<c r="B2" t="e"><f>1/0</f><v>#DIV/0!</v></c>'),
    )
    yield book("error-in-ric", "an error where the RIC should be", lambda: by_hand(f'{HEADER_ROW}<row r="2"><c r="A2" t="e"><v>#N/A</v></c><c r="B2"><v>1</v></c></row>'))  # fmt: skip
    yield book(
        "unknown-error",
        "an error that only newer programs know",
        lambda: cells('<c r="B2" t="e"><v>#SPILL!</v></c>', more=GOOD_ROW),
        {"GOOD=X": "BID 22.1"},
    )
    yield book("error-beside-price", "an error in another column of the row", rows(["A=X", 1, "#N/A"]), PUBLISHED)
    yield book("placeholders", "texts of add-ins that have no value yet", rows(["A=X", "Retrieving...", 2], ["B=X", "#N/A N/A", 2], ["C=X", "Loading...", 2]), PUBLISHED)  # fmt: skip
    yield book("error-in-ignored-column", "an error in a column that is not contributed", table(["RIC", "BID", "Note"], ["A=X", 1.5, "#N/A"]), {"A=X": "BID 1.5"}, feed={"ignore_columns": ("Note",)})  # fmt: skip


def _numbers() -> Iterator[Hazard]:
    yield book(
        "binary-noise", "0.1 + 0.2", rows(["A=X", 0.1 + 0.2, 1.1 * 3]), {**PUBLISHED, "A=X": "BID 0.3 ASK 3.3"}
    )
    yield book("number-as-text", "numbers stored as text", rows(["A=X", "1.5", "1,6"], ["B=X", " 1.5 ", "1.60"]), {**PUBLISHED, "B=X": "BID 1.5 ASK 1.6"})  # fmt: skip
    yield book("text-as-number", "a text that Excel made a number", table(["RIC", "DSPLY_NAME"], ["A=X", 12], ["B=X", "0012"]), {"B=X": 'DSPLY_NAME "0012"'})  # fmt: skip
    yield book("boolean-price", "TRUE in a price cell", rows(["A=X", True, 2]), PUBLISHED)
    yield book("huge-and-tiny", "numbers beyond a REAL", rows(["A=X", 1e300, 1e-15], ["B=X", 1e18, 1e-14]), {**PUBLISHED, "B=X": "BID 1000000000000000000 ASK 0.00000000000001"})  # fmt: skip
    yield book("one-third", "a number without an end", rows(["A=X", 1 / 3, 2], ["B=X", 100 / 3, 2]), {**PUBLISHED, "B=X": "BID 33.3333333333333 ASK 2"},
        note="Excel's 15 digits of 1/3 are 15 decimals, one more than a REAL has: the analyst rounds, not the program.")  # fmt: skip
    for name, story, feed, shown in (
        ("percent", "4.5 % in a percent format, undeclared", {}, {}),
        ("percent-as-points", "the same, declared as points", {"percent": "points"}, {"A=X": "BID 4.5 ASK 4.5"}),
        (
            "percent-as-fraction",
            "the same, declared as a fraction",
            {"percent": "fraction"},
            {"A=X": "BID 0.045 ASK 4.5"},
        ),
    ):
        yield book(
            name, story, rows(["A=X", 0.045, 4.5], edit=_format("B2", "0.0%")), {**PUBLISHED, **shown}, feed=feed
        )
    yield book("percent-of-negatives", "a percent format for negative numbers alone, declared as points", rows(["A=X", 0.045, -0.045], edit=_format("B2:C2", "0.00;-0.00%")), {**PUBLISHED, "A=X": "BID 0.045 ASK -4.5"}, feed={"percent": "points"})  # fmt: skip
    yield book("rounded-by-format", "1.23456 shown as 1.23", rows(["A=X", 1.23456, 2], edit=_format("B2", "0.00")), {**PUBLISHED, "A=X": "BID 1.23456 ASK 2"},
        note="What Excel calculates with is sent, not what fits the column.")  # fmt: skip
    yield book("no-number-at-all", "a number cell with a word in it", lambda: cells('<c r="B2"><v>x</v></c>'))
    yield book("infinite-number", "a number cell with INF in it", lambda: cells('<c r="B2"><v>INF</v></c>'))
    yield book("endless-number", "a number cell with 1e400 in it", lambda: cells('<c r="B2"><v>1e400</v></c>'))


def _format(cells: str, number_format: str) -> Callable[[Any], None]:
    """Gives one cell, or the cells of one row, the format."""

    def edit(sheet: Any) -> None:
        for cell in sheet[cells][0] if ":" in cells else [sheet[cells]]:
            cell.number_format = number_format

    return edit


def _formats() -> Iterator[Hazard]:
    both = "BID 1234.5 ASK -1234.5"
    for name, story, number_format, shown in (
        ("literal-percent", "a percent sign that is only written", '0.0"%"', ""),
        ("escaped-percent", "the same, escaped", r"0.0\%", ""),
        ("thousands", "shown in thousands", "#,##0,", ""),
        ("millions", "shown in millions", '0.0,,"M"', ""),
        ("multiplier-word", "a word for a million beside the stored number", '0.0" mio"', ""),
        ("literal-digits", "zeros that are only written", '0"00"', ""),
        ("literal-point", "a point that is only written", '0"."00', ""),
        ("forced-sign", "a minus sign that is only written", "-0.0", ""),
        ("hidden-sign", "negative numbers without their sign", "0.0;0.0", "BID 1234.5"),
        ("hidden-by-format", "values that nobody sees", ";;;", ""),
        ("empty-section", "negative numbers that nobody sees", "0.0;", "BID 1234.5"),
        ("conditional-format", "large numbers in thousands", '[>=1000]0.0,"k";0.0', ""),
        ("fractions", "numbers as fractions", "# ?/?", ""),
        ("accounting-format", "accountants' notation", '_-* #,##0.00_-;-* #,##0.00_-;_-* "-"??_-;_-@_-', both),
        ("currency-format", "a currency beside the number", "[$€-407] #,##0.00", both),
        ("unit-format", "a unit behind the number", '0.00" USD"', both),
        ("brackets-format", "negative numbers in brackets", "#,##0.00_);[Red](#,##0.00)", both),
        ("scientific-format", "scientific notation", "0.00E+00", both),
    ):
        # A row with a cell in disguise is rejected as a whole, so each of the two values has a row of its own.
        given = [["UP=X", 1234.5, None], ["DOWN=X", None, -1234.5]]
        bid, _, ask = shown.partition(" ASK ")
        published = {**({"UP=X": bid} if bid else {}), **({"DOWN=X": f"ASK {ask}"} if ask else {})}
        yield book(name, story, rows(*given, edit=_both(number_format)), {**PUBLISHED, **published})
    yield book("disguised-ric", "a RIC of which a part is only shown", rows(["A", 1, 2], edit=_format("A2", '@"=X"')), PUBLISHED)  # fmt: skip
    yield book("zeros-not-shown", "a sheet that shows no zeros", rows(["A=X", 0, 2], ["B=X", 1, 2], edit=lambda s: _set(s.sheet_view, showZeros=False)), {**PUBLISHED, "B=X": "BID 1 ASK 2"})  # fmt: skip
    yield book("rule-with-format", "conditional formatting with a number format", written(_with_rule))


def _both(number_format: str) -> Callable[[Any], None]:
    def edit(sheet: Any) -> None:
        sheet["B2"].number_format = sheet["C3"].number_format = number_format

    return edit


def _with_rule(workbook: Any, sheet: Any) -> None:
    shown = workbook.add_format({"num_format": '0.0,"k"'})
    sheet.conditional_format("B2:C9", {"type": "cell", "criteria": ">=", "value": 1000, "format": shown})


def _dates() -> Iterator[Hazard]:
    header = ["RIC", "MATUR_DATE", "QUOTIM"]
    day, at = date(2026, 11, 22), time(16, 30)
    yield book("dates-and-times", "real dates and times", table(header, ["A=X", day, at]), {"A=X": 'MATUR_DATE "2026-11-22" QUOTIM "16:30:00"'})  # fmt: skip
    yield book(
        "price-as-date",
        "a price in a date format",
        rows(["A=X", 101.5, 2], edit=_format("B2", "yyyy-mm-dd")),
        PUBLISHED,
    )
    yield book(
        "price-as-time", "a price in a time format", rows(["A=X", 0.5, 2], edit=_format("B2", "hh:mm")), PUBLISHED
    )
    yield book("date-as-number", "a date's number without a date format", table(header, ["A=X", 46348, at]))
    yield book(
        "date-with-time", "a moment where a date should be", table(header, ["A=X", datetime(2026, 11, 22, 9, 30), at])
    )
    yield book("midnight", "a date that was saved as its midnight", table(header, ["A=X", datetime(2026, 11, 22), at]), {"A=X": 'MATUR_DATE "2026-11-22" QUOTIM "16:30:00"'})  # fmt: skip
    yield book("thirty-hours", "a duration of 30 hours", table(header, ["A=X", day, timedelta(hours=30)]))
    yield book("dates-of-1904", "dates of a Macintosh workbook", lambda: by_openpyxl(header, ["A=X", day, at], edit=_of_1904), {"A=X": 'MATUR_DATE "2026-11-22" QUOTIM "16:30:00"'})  # fmt: skip
    yield book("29-february-1900", "Excel's day that never was, and the days around it", table(header, *([f"R{n}=X", n, at] for n in (59, 60, 61))), {},
        note="Without a date format these are numbers.")  # fmt: skip
    yield book("29-february-1900-shown", "the same in a date format", lambda: by_openpyxl(header, *([f"R{n}=X", n, at] for n in (59, 60, 61)), edit=_dated), {"R59=X": 'MATUR_DATE "1900-02-28" QUOTIM "16:30:00"', "R61=X": 'MATUR_DATE "1900-03-01" QUOTIM "16:30:00"'})  # fmt: skip
    yield book("negative-date", "a date before Excel's first", lambda: by_openpyxl(header, ["A=X", -1, at], edit=_format("B2", "yyyy-mm-dd")))  # fmt: skip
    yield book("date-texts", "dates stored as text", table(header, ["A=X", "22.11.2026", "16:30"], ["B=X", "2026-11-22", "16:30"]), {"B=X": 'MATUR_DATE "2026-11-22" QUOTIM "16:30:00"'})  # fmt: skip


def _of_1904(sheet: Any) -> None:
    sheet.parent.epoch = CALENDAR_MAC_1904


def _dated(sheet: Any) -> None:
    for cell in ("B2", "B3", "B4"):
        sheet[cell].number_format = "yyyy-mm-dd"


def _struck_out() -> Iterator[Hazard]:
    given = (["A=X", 1, 2], ["B=X", 3, 4])
    b = {"B=X": "BID 3 ASK 4"}
    yield book("struck-out-price", "a price that is struck out", rows(*given, edit=_strike("B2")), {**PUBLISHED, **b})
    yield book("struck-out-row", "a whole row", rows(*given, edit=_strike("A2", "B2", "C2")), {**PUBLISHED, **b})
    yield book("struck-out-copy", "an old row, struck out, above the new one of the RIC", rows(*given, ["A=X", 5, 6], edit=_strike("A2", "B2", "C2")), {**PUBLISHED, **b, "A=X": "BID 5 ASK 6"})  # fmt: skip
    yield book("struck-out-ric", "a RIC that is struck out", rows(*given, edit=_strike("A2")), {**PUBLISHED, **b})
    yield book("struck-out-column", "the name of a column that is struck out", rows(*given, edit=_strike("C1")))
    yield book("struck-out-note", "a text that is struck out in a column that is not contributed", lambda: by_openpyxl(["RIC", "BID", "Note"], ["A=X", 1, "check"], edit=_strike("C2")), {"A=X": "BID 1"}, feed={"ignore_columns": ("Note",)})  # fmt: skip
    yield book("struck-out-by-rule", "conditional formatting that strikes out", written(_with_striking_rule))
    yield book("footnote-behind-price", "a price as text with a footnote's sign", written(_with_footnote), PUBLISHED)


def _strike(*names: str) -> Callable[[Any], None]:
    def edit(sheet: Any) -> None:
        for name in names:
            sheet[name].font = Font(strike=True)

    return edit


def _with_striking_rule(workbook: Any, sheet: Any) -> None:
    struck = workbook.add_format({"font_strikeout": True})
    sheet.conditional_format("B2:C9", {"type": "cell", "criteria": ">=", "value": 1000, "format": struck})


def _with_footnote(workbook: Any, sheet: Any) -> None:
    sheet.write_string("A3", "A=X")
    sheet.write_rich_string("B3", "101.5", workbook.add_format({"font_script": 1}), "1")


def _hidden() -> Iterator[Hazard]:
    three = (["A=X", 1, 2], ["B=X", 3, 4])
    a, b = {"A=X": "BID 1 ASK 2"}, {"B=X": "BID 3 ASK 4"}
    yield book(
        "hidden-row",
        "a hidden row",
        rows(*three, edit=lambda s: _set(s.row_dimensions[2], hidden=True)),
        {**PUBLISHED, **b},
    )
    yield book("hidden-copy", "a hidden row with another price of a RIC", rows(["A=X", 9, 9], *three, edit=lambda s: _set(s.row_dimensions[2], hidden=True)), {**PUBLISHED, **b})  # fmt: skip
    yield book("filtered-rows", "rows that a filter hides", written(_filtered), {})
    yield book(
        "flat-row", "a row without height", lambda: cells('<c r="B2"><v>1.5</v></c>', row=' ht="0" customHeight="1"')
    )
    yield book("flat-rows", "rows that are as high as the sheet says, which is nothing", lambda: edited(cells('<c r="B2"><v>1.5</v></c>', more=GOOD_ROW.replace(">", ' ht="15">', 1)), _sheet_format('defaultRowHeight="0"')), {"GOOD=X": "BID 22.1"})  # fmt: skip
    yield book("unused-rows-hidden", "all rows without values are hidden", written(lambda b, s: s.set_default_row(hide_unused_rows=True)), PUBLISHED,
        note="`zeroHeight` hides the rows that are not written: as the standard has it, and XlsxWriter and LibreOffice.")  # fmt: skip
    yield book("narrow-columns", "columns that are as wide as the sheet says, which is nothing", lambda: edited(cells('<c r="B2"><v>1.5</v></c>'), _sheet_format('defaultColWidth="0"')))  # fmt: skip
    yield book(
        "hidden-column",
        "a hidden column of prices",
        rows(*three, edit=lambda s: _set(s.column_dimensions["C"], hidden=True)),
    )
    yield book("narrow-column", "a column without width", lambda: by_hand(f'{HEADER_ROW}<row r="2"><c r="A2" t="str"><v>A=X</v></c><c r="B2"><v>1</v></c></row>', before='<cols><col min="2" max="2" width="0" customWidth="1"/></cols>'))  # fmt: skip
    yield book("collapsed-columns", "columns folded away in a group", rows(*three, edit=lambda s: s.column_dimensions.group("B", "C", hidden=True)))  # fmt: skip
    yield book("hidden-empty-column", "a hidden column that holds nothing", rows(*three, edit=lambda s: _set(s.column_dimensions["F"], hidden=True)), {**PUBLISHED, **a, **b})  # fmt: skip
    yield book("hidden-ignored-column", "a hidden column that is not contributed", lambda: by_openpyxl(["RIC", "BID", "Note"], ["A=X", 1, "n"], edit=lambda s: _set(s.column_dimensions["C"], hidden=True)), {}, feed={"ignore_columns": ("Note",)},
        note="Refused all the same: who hides columns may look at others than are read.")  # fmt: skip
    yield book(
        "hidden-header",
        "the header's row is hidden",
        rows(*three, edit=lambda s: _set(s.row_dimensions[1], hidden=True)),
    )
    yield book("white-on-white", "a price in white on white", rows(["A=X", 1, 2], edit=lambda s: _set(s["B2"], font=Font(color="FFFFFF"))), {**PUBLISHED, **a},
        note="Colours are no hiding that a reader could know.")  # fmt: skip
    yield book("value-beneath-merge", "a value that a merged cell covers", lambda: by_hand(HEADER_ROW + "".join(f'<row r="{n}"><c r="A{n}" t="str"><v>R{n}=X</v></c><c r="B{n}"><v>{n}</v></c></row>' for n in (2, 3, 4)), after='<mergeCells count="1"><mergeCell ref="B2:B3"/></mergeCells>'), {"R2=X": "BID 2", "R4=X": "BID 4"})  # fmt: skip
    yield book("merged-prices", "one merged price beside two RICs", rows(["A=X", 1, 2], ["B=X", None, 4], edit=lambda s: s.merge_cells("B2:B3")), {**PUBLISHED, **a},
        note="The second RIC has no price of its own, and a person sees the first one's beside it.")  # fmt: skip


def _sheet_format(attribute: str) -> Callable[[str, bytes], bytes]:
    """Gives the sheet this attribute, and the header a height of its own."""

    def edit(name: str, part: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return part
        part = re.sub(rb"<sheetFormatPr[^>]*/>", f"<sheetFormatPr {attribute}/>".encode(), part)
        return part.replace(b'<row r="1"', b'<row r="1" ht="15"')

    return edit


def _set(target: Any, **attributes: Any) -> None:
    for name, value in attributes.items():
        setattr(target, name, value)


def _filtered(workbook: Any, sheet: Any) -> None:
    sheet.autofilter("A1:C2")
    sheet.filter_column("B", "x > 30")
    sheet.set_row(1, options={"hidden": True})


def _sheets() -> Iterator[Hazard]:
    second = [["RIC", "BID"], ["OTHER=X", 7]]
    yield book("two-sheets", "two visible sheets, none named", lambda: _two("visible", "visible"))
    yield book(
        "two-sheets-named",
        "the feed names one of two",
        lambda: _two("visible", "visible"),
        PUBLISHED,
        feed={"sheet": "Prices"},
    )
    yield book(
        "hidden-first-sheet", "the first sheet is hidden", lambda: _two("hidden", "visible"), {"OTHER=X": "BID 7"}
    )
    yield book("very-hidden-first-sheet", "hidden so that Excel's menu does not show it", lambda: _two("veryHidden", "visible"), {"OTHER=X": "BID 7"})  # fmt: skip
    yield book(
        "named-sheet-hidden",
        "the feed's sheet is hidden",
        lambda: _two("hidden", "visible"),
        feed={"sheet": "Prices"},
    )
    yield book(
        "named-sheet-gone",
        "the feed's sheet was renamed",
        lambda: by_openpyxl(*second),
        feed={"sheet": "Evaluations"},
    )
    yield book(
        "sheet-in-other-case",
        "the feed's sheet in other letters",
        lambda: by_openpyxl(*second),
        feed={"sheet": "prices"},
    )
    yield book("empty-sheet", "a sheet without a cell", lambda: by_openpyxl())
    yield book("chart-sheet", "a chart before the sheet", written(_with_chart), PUBLISHED)
    yield book("protected-sheet", "a sheet that is locked, but readable", rows(edit=lambda s: s.protection.set_password("x")), PUBLISHED)  # fmt: skip


def _two(first: str, second: str) -> bytes:
    def edit(sheet: Any) -> None:
        other = sheet.parent.create_sheet("Other")
        other.append(["RIC", "BID"])
        other.append(["OTHER=X", 7])
        sheet.sheet_state, other.sheet_state = first, second

    return by_openpyxl(HEADER, GOOD, edit=edit)


def _with_chart(workbook: Any, sheet: Any) -> None:
    chart = workbook.add_chart({"type": "line"})
    chart.add_series({"values": "=Prices!$B$2:$C$2"})
    workbook.add_chartsheet("Chart").set_chart(chart)


def _extent() -> Iterator[Hazard]:
    yield book("styled-blanks", "blank cells with borders to the end of the world", lambda: by_hand(HEADER_ROW + '<row r="2"><c r="A2" t="str"><v>A=X</v></c><c r="B2"><v>1.5</v></c><c r="XFD2" s="0"/></row><row r="1048576"><c r="A1048576" s="0"/></row>'), {"A=X": "BID 1.5"})  # fmt: skip
    yield book("many-styled-blanks", "100,000 blank styled rows", lambda: by_hand(HEADER_ROW + '<row r="2"><c r="A2" t="str"><v>A=X</v></c><c r="B2"><v>1.5</v></c></row>' + "".join(f'<row r="{n}"><c r="A{n}" s="0"/></row>' for n in range(3, 100_003))), {"A=X": "BID 1.5"})  # fmt: skip
    yield book("far-value", "one value in the last cell of the sheet", lambda: by_hand(HEADER_ROW + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'))  # fmt: skip
    yield book("far-empty-text", "an empty text in the last cell of the sheet", lambda: by_hand(HEADER_ROW + '<row r="1048576"><c r="XFD1048576" t="str"><v></v></c></row>'))  # fmt: skip
    yield book("cell-of-another-row", "a cell in row 2 that says it is the last of the sheet", lambda: cells('<c r="XFD1048576"><v>1</v></c>'))  # fmt: skip
    yield book("cell-outside-rows", "the same between the rows, in XML that is not well-formed", lambda: by_hand(HEADER_ROW + '<rowr="9"><c r="XFD1048576"><v>1</v></c></row>'))  # fmt: skip
    yield book("value-beside-table", "a note beside the table", rows(["A=X", 1, 2, "check!"]), PUBLISHED)
    yield book("column-beside-table", "a whole column without a header", table(HEADER, [*GOOD, 1], ["A=X", 1, 2, 3]))
    yield book("note-below-table", "a note below the table", lambda: by_openpyxl(HEADER, GOOD, [], ["Source: desk 4"]), {**PUBLISHED, "Source: desk 4": ""},
        note="A row with a RIC and no value: the diff rejects it as a new RIC without any value.")  # fmt: skip
    yield book("table-further-in", "the table begins in C4", lambda: by_openpyxl([], ["", "", "Prices"], [], ["", "", *HEADER], ["", "", *GOOD]), PUBLISHED, feed={"header_row": 4})  # fmt: skip
    yield book(
        "title-rows-in-sheet",
        "a title above the header, undeclared",
        lambda: by_openpyxl(["Prices of the day"], HEADER, GOOD),
    )
    yield book("too-many-rows-in-sheet", "more rows than `max_rows`", lambda: by_openpyxl(HEADER, *[["A=X", 1, 2]] * 11), feed={"max_rows": 10})  # fmt: skip
    yield book("cells-out-of-order", "B2 before A2", lambda: by_hand(f'{HEADER_ROW}<row r="2"><c r="B2"><v>1</v></c><c r="A2" t="str"><v>A=X</v></c></row>'))  # fmt: skip
    yield book(
        "cell-twice",
        "two cells that say they are B2",
        lambda: cells('<c r="B2"><v>1</v></c>', '<c r="B2"><v>2</v></c>'),
    )
    yield book("row-twice", "two rows that say they are row 2", lambda: by_hand(HEADER_ROW + '<row r="2"><c r="A2" t="str"><v>A=X</v></c><c r="B2"><v>1</v></c></row>' * 2))  # fmt: skip


def _texts() -> Iterator[Hazard]:
    yield book("escaped-characters", "_x0041_ and _x0009_ in texts", table(["RIC", "DSPLY_NAME"], ["A=X", "a_x0041_"], ["B=X", "tab_x0009_"]), {"A=X": 'DSPLY_NAME "aA"'},
        note="An escaped character is what Excel shows for it, also where the program that wrote it meant otherwise.")  # fmt: skip
    yield book("rich-text", "a text in two colours, with a phonetic guide", lambda: cells('<c r="B2" t="inlineStr"><is><r><t>1</t></r><r><t>.5</t></r><rPh sb="0" eb="1"><t>9</t></rPh></is></c>'), {"A=X": "BID 1.5"})  # fmt: skip
    yield book("spaces-in-cells", "spaces around a RIC, a price and a name", table(["RIC", "BID", "DSPLY_NAME"], [" A=X ", " 1.5", " two "]), {"A=X": 'BID 1.5 DSPLY_NAME " two "'})  # fmt: skip
    yield book("clearing-in-sheet", "the token that clears, and blanks", rows(["A=X", "#CLEAR", 2], ["B=X", None, 2], ["C=X", " ", 2]), {**PUBLISHED, "A=X": "BID null ASK 2", "B=X": "ASK 2", "C=X": "ASK 2"})  # fmt: skip
    yield book("two-values-in-a-cell", "a cell with a value and a text", lambda: cells('<c r="B2" t="inlineStr"><v>1</v><is><t>2</t></is></c>'))  # fmt: skip
    yield book(
        "header-by-formula",
        "a header that is a formula without a result",
        lambda: by_openpyxl(["RIC", '="B"&"ID"'], ["A=X", 1]),
    )
    yield book("header-as-number", "years as headers", lambda: by_openpyxl(["RIC", 2026], ["A=X", 1]))
    yield book("names-in-two-rows", "names merged into the header from the row above", lambda: by_openpyxl(["RIC", "Prices", None], [None, "BID", "ASK"], GOOD, edit=_merged("A1:A2", "B1:C1")), feed={"header_row": 2})  # fmt: skip
    yield book("groups-above-names", "groups above the names, which tell them apart", lambda: by_openpyxl([None, "Bid", None, "Ask", None], ["RIC", "Price", "Yield", "Price", "Yield"], ["A=X", 1, 2, 3, 4], edit=_merged("B1:C1", "D1:E1")), feed={"header_row": 2, "columns": {"Price": "BID", "Yield": "YIELD"}})  # fmt: skip
    yield book(
        "same-header-twice", "the same header twice", lambda: by_openpyxl(["RIC", "BID", "BID"], ["A=X", 1, 2])
    )


def _merged(*areas: str) -> Callable[[Any], None]:
    def edit(sheet: Any) -> None:
        for area in areas:
            sheet.merge_cells(area)

    return edit


OPEN_DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" xmlns:of="urn:oasis:names:tc:opendocument:xmlns:of:1.2"
 xmlns:number="urn:oasis:names:tc:opendocument:xmlns:datastyle:1.0" office:version="1.2">
<office:automatic-styles>
<number:percentage-style style:name="P"><number:number number:decimal-places="2"/><number:text>%</number:text></number:percentage-style>
<number:date-style style:name="D"><number:year number:style="long"/><number:text>-</number:text><number:month number:style="long"/>
<number:text>-</number:text><number:day number:style="long"/></number:date-style>
<style:style style:name="percent" style:family="table-cell" style:data-style-name="P"/>
<style:style style:name="day" style:family="table-cell" style:data-style-name="D"/>
</office:automatic-styles>
<office:body><office:spreadsheet><table:table table:name="Prices">@</table:table></office:spreadsheet></office:body>
</office:document-content>"""


def sheet_of_troubles() -> str:
    """A sheet for LibreOffice: texts, a number, formulas, an error, a percentage, a date, a hidden row, merged cells."""

    def text(value: str, more: str = "") -> str:
        return f'<table:table-cell office:value-type="string"{more}><text:p>{value}</text:p></table:table-cell>'

    def number(value: str, more: str = "") -> str:
        return f'<table:table-cell office:value-type="float" office:value="{value}"{more}/>'

    def formula(value: str) -> str:
        return f'<table:table-cell table:formula="of:={value}"/>'

    day = '<table:table-cell table:style-name="day" office:value-type="date" office:date-value="2026-11-22"/>'
    percent = '<table:table-cell table:style-name="percent" office:value-type="percentage" office:value="0.045"/>'
    blank = "<table:table-cell/>"
    lines = [
        ("", text("RIC") + text("BID") + text("MATUR_DATE")),
        ("", text("NA") + number("22.1") + day),
        ("", text("SUM=X") + formula("0.1+0.2") + day),
        ("", text("ERROR=X") + formula("1/0") + day),
        ("", text("PERCENT=X") + percent + day),
        (' table:visibility="collapse"', text("HIDDEN=X") + number("1") + day),
        ("", number("5930") + number("1") + day),
        ("", text("MERGED=X", ' table:number-rows-spanned="2"') + number("1") + day),
        ("", "<table:covered-table-cell/>" + number("2") + day),
        ("", text("TEXT=X") + text("1,5") + day),
        ("", text("EMPTY=X") + formula("&quot;&quot;") + blank),
        ("", text("LAST=X") + number("0.30000000000000004") + text("2026-11-23")),
    ]
    return OPEN_DOCUMENT.replace(
        "@", "".join(f"<table:table-row{how}>{line}</table:table-row>" for how, line in lines)
    )


def _programs() -> Iterator[Hazard]:
    day = 'MATUR_DATE "2026-11-22"'
    yield book(
        "by-libreoffice",
        "a sheet calculated and saved by LibreOffice, with one of each trouble",
        lambda: by_libreoffice(sheet_of_troubles(), "xlsx"),
        {
            **{"NA": f"BID 22.1 {day}", "SUM=X": f"BID 0.3 {day}", "MERGED=X": f"BID 1 {day}", "EMPTY=X": ""},
            "LAST=X": 'BID 0.3 MATUR_DATE "2026-11-23"',
        },
        needs=LIBREOFFICE,
    )
    yield book("by-pandas", "a frame written by pandas, with its index", lambda: _by_pandas(index=True))
    yield book("by-pandas-without-index", "a frame written by pandas: NaN is a blank", lambda: _by_pandas(index=False), {**PUBLISHED, "NA": "ASK 2"})  # fmt: skip
    yield book(
        "macros", "a workbook with macros", lambda: by_xlsxwriter(_with_macros), PUBLISHED, filename="prices.xlsm"
    )
    yield book("constant-memory", "inline texts, as XlsxWriter streams them", lambda: by_xlsxwriter(lambda b, s: None, constant_memory=True), PUBLISHED)  # fmt: skip
    yield book("decorated", "comments, colours, validations, a frozen header", written(_decorated), PUBLISHED)


def _by_pandas(*, index: bool) -> bytes:
    file = io.BytesIO()
    frame = pd.DataFrame({"RIC": ["GOOD=X", "NA"], "BID": [22.1, float("nan")], "ASK": [22.3, 2.0]})
    frame.to_excel(file, sheet_name="Prices", index=index)
    return file.getvalue()


def _with_macros(workbook: Any, sheet: Any) -> None:
    workbook.add_vba_project(io.BytesIO(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)), is_stream=True)


def _decorated(workbook: Any, sheet: Any) -> None:
    sheet.freeze_panes(1, 0)
    sheet.write_comment("B2", "checked", {"author": "desk"})
    sheet.data_validation("B2:B9", {"validate": "decimal", "criteria": ">", "value": 0})
    sheet.conditional_format("B2:C9", {"type": "3_color_scale"})
    sheet.set_column("A:C", 20, workbook.add_format({"border": 1}))
