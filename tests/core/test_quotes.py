"""Raw cells to quotes: the header's rules, RICs, copies of a RIC, and rows that are rejected whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import CellKind, Cells, Feed, Malformed, Quotes
from contrib_watch.core.quotes import read_quotes
from contrib_watch.core.readers import error_text, matches, shell_pattern
from contrib_watch.core.tokens import TOKENS
from contrib_watch.errors import UnreadableFile

DATA = resources.files("contrib_watch") / "data"
DICTIONARY = Dictionary.parse((DATA / "RDMFieldDictionary").read_text(), (DATA / "enumtype.def").read_text())

Row = Sequence[str | None]


def feed(**keys: Any) -> Feed:
    return Feed(name="desk", folder=PurePath("inbox"), service="NIPROV", **keys)


def csv(header: str, *rows: Row, malformed: Sequence[Malformed] = ()) -> Cells:
    """Cells of a CSV whose header is in row 1."""
    names = tuple(header.split(","))
    columns = tuple(pa.array([row[i] for row in rows], pa.string()) for i in range(len(names)))
    return Cells("", names, 1, columns, None, pa.array(range(2, len(rows) + 2), pa.int64()), tuple(malformed))


def workbook(header: str, *rows: Sequence[tuple[CellKind, str | None]]) -> Cells:
    """Cells of a sheet whose header is in row 3, from column B."""
    names = tuple(header.split(","))
    columns = tuple(pa.array([row[i][1] for row in rows], pa.string()) for i in range(len(names)))
    kinds = tuple(pa.array([row[i][0] for row in rows], pa.uint8()) for i in range(len(names)))
    numbers = pa.array(range(4, len(rows) + 4), pa.int64())
    return Cells("Prices", names, 3, columns, kinds, numbers, letters=tuple("BCDEFGH"[: len(names)]))


def read(cells: Cells, **keys: Any) -> Quotes:
    quotes = read_quotes(cells, feed(**keys), DICTIONARY)
    rejected = {problem.row for problem in quotes.problems}
    twins = sum(map(len, quotes.twins.values()))
    assert quotes.rows_read == len(quotes.values) + twins + len(rejected)
    assert quotes.values.index.is_unique
    assert list(quotes.rows.index) == list(quotes.values.index)
    assert rejected.isdisjoint(quotes.rows)
    assert [problem.row for problem in quotes.problems] == sorted(problem.row for problem in quotes.problems)
    return quotes


def table(quotes: Quotes) -> dict[str, list[str | None]]:
    rows = quotes.values.astype(object).where(quotes.values.notna(), None)
    return {ric: list(row) for ric, row in zip(rows.index, rows.itertuples(index=False), strict=True)}


def refusal(cells: Cells, **keys: Any) -> str:
    with pytest.raises(UnreadableFile) as error:
        read_quotes(cells, feed(**keys), DICTIONARY)
    assert error.value.hint
    return str(error.value)


def causes(quotes: Quotes) -> list[tuple[str, str]]:
    return [(problem.where, problem.cause) for problem in quotes.problems]


# the table


@pytest.mark.parametrize(
    ("ric", "is_one"),
    [
        ("Total", False),
        ("GRAND TOTAL", False),
        ("Sub-total EUR", False),
        ("Average:", False),
        ("Gesamtergebnis", False),
        ("Zwischensumme", False),
        ("Mittelwert", False),
        ("TOTAL=X", True),
        ("TOTF.PA", True),
        ("SUM", True),
        ("AVG", True),
    ],
)
def test_a_total_is_no_ric(ric: str, is_one: bool) -> None:
    quotes = read(csv("RIC,BID", ("A=X", "1"), (ric, "2")))
    assert (ric in quotes.values.index) is is_one
    told = [] if is_one else ["is the row of a total or a mean, not a RIC"]
    assert [problem.cause for problem in quotes.problems] == told


def test_values_are_tokens_by_ric_and_field_in_file_order() -> None:
    cells = csv("ASK,RIC,CURRENCY,BID", ["2.50", "B", "USD", None], ["", "A", "", "#CLEAR"])
    quotes = read(cells)
    assert list(quotes.values.columns) == ["ASK", "CURRENCY", "BID"]
    assert table(quotes) == {"B": ["2.5", '"USD"', None], "A": [None, None, "null"]}
    assert quotes.rows.to_dict() == {"B": 2, "A": 3}
    assert (quotes.rows_read, quotes.problems, quotes.twins, quotes.warnings) == (2, (), {}, ())


def test_columns_may_be_typed_in_any_order_beside_one_another() -> None:
    def last_first(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return [function(item) for item in reversed(list(items))][::-1]

    cells = csv("RIC,BID,ASK", ["A=X", "1.50", "x"], ["B=X", "y", "2"], ["C=X", "3", "4"])
    quotes, plain = read_quotes(cells, feed(), DICTIONARY, each=last_first), read_quotes(cells, feed(), DICTIONARY)
    assert table(quotes) == table(plain) == {"C=X": ["3", "4"]}
    assert quotes.problems == plain.problems != ()


def test_the_dtypes_do_not_depend_on_the_cells() -> None:
    for cells in (
        csv("RIC,BID", ["A", "1"]),
        csv("RIC,BID", ["A", None]),
        csv("RIC,BID", ["A", "x"]),
        csv("RIC,BID", malformed=[Malformed(2, "A", "is short", "complete it")]),
    ):
        quotes = read(cells)
        assert set(quotes.values.dtypes) == {TOKENS}
        assert quotes.values.index.dtype == "str"
        assert quotes.rows.dtype == "int64"


def test_a_row_without_values_is_no_problem_here() -> None:
    assert table(read(csv("RIC,BID", ["A", None]))) == {"A": [None]}


def test_rows_of_spaces_are_not_counted() -> None:
    quotes = read(csv("RIC,BID,Note", ["A", "1", ""], [None, "  ", None], ["", "", " "]), ignore_columns=("Note",))
    assert (quotes.rows_read, list(quotes.values.index)) == (1, ["A"])


def test_warnings_and_the_sheets_name_are_handed_on() -> None:
    cells = replace(workbook("RIC,BID", [(CellKind.TEXT, "A"), (CellKind.NUMBER, "1")]), warnings=("seen",))
    quotes = read(cells)
    assert (quotes.sheet, quotes.warnings, quotes.label(4)) == ("Prices", ("seen",), "Prices!4")


# the header


def test_headers_are_mapped_ignored_or_fields() -> None:
    cells = csv(" Code ,Bid Price,BID,\ufeffASK ,Note,", ["A", "1", "x", "2", "hello", " "])
    quotes = read(
        cells, ric_column="Code", columns={"Bid Price": "BID"}, ignore_columns=("Note", "BID"), blank=("hello",)
    )
    assert list(quotes.values.columns) == ["BID", "ASK"]
    assert table(quotes) == {"A": ["1", "2"]}


def test_a_mapping_goes_before_a_field_of_that_name() -> None:
    assert list(read(csv("RIC,BID", ["A", "1"]), columns={"BID": "ASK"}).values.columns) == ["ASK"]


@pytest.mark.parametrize(
    ("header", "keys", "words"),
    [
        ("Code,BID", {}, ['no column "RIC"', '"Code" and "BID"', "ric_column"]),
        ("BID;RIC;ASK", {}, ['no column "RIC"', 'Set delimiter = ";"']),
        ("RIC\tBID", {}, ['no column "RIC"', 'Set delimiter = "\\t"']),
        ("RICS;BID", {}, ['the headers are "RICS;BID"']),
        ("RIC,Bid Price", {}, ['"Bid Price" is neither a field', '"Bid Price" = "BID"', "ignore_columns"]),
        ("RIC,bid,Zzz", {}, ['"bid" and "Zzz" are neither', '"bid" = "BID", "Zzz" = "FIELD"']),
        ("RIC,BID,BID", {}, ['"BID" stands twice']),
        ("RIC,BID, BID ", {}, ['"BID" stands twice']),
        ("RIC,RIC,BID", {}, ['"RIC" stands twice']),
        ("RIC,BID,Price", {"columns": {"Price": "BID"}}, ['"BID" and "Price" are both BID']),
        ("RIC,Price", {"columns": {"Price": "BIDD"}}, ['maps the column "Price" to BIDD', "Did you mean BID?"]),
        ("RIC,Note", {"ignore_columns": ("Note",)}, ["no column holds a field"]),
        ("RIC", {}, ["no column holds a field"]),
        ("RIC,BID,", {}, ["column 3 has values but no header"]),
    ],
)
def test_a_doubtful_header_rejects_the_file(header: str, keys: dict[str, Any], words: list[str]) -> None:
    message = refusal(csv(header, ["1"] * len(header.split(","))), **keys)
    assert message.startswith("row 1: ")
    assert not [word for word in words if word not in message]


def test_a_doubtful_header_of_a_workbook_has_its_cell() -> None:
    row = [(CellKind.TEXT, "A"), (CellKind.NUMBER, "1"), (CellKind.NUMBER, "2")]
    assert refusal(workbook("RIC,BID,Bidd", row)).startswith("Prices!D3: ")
    assert refusal(workbook("Code,BID,ASK", row)).startswith("Prices!3: ")


def test_an_error_under_a_blank_header_is_a_value() -> None:
    row = [(CellKind.TEXT, "A"), (CellKind.NUMBER, "1"), (CellKind.NO_VALUE, None)]
    assert "no header" in refusal(workbook("RIC,BID,", row))


def test_a_field_of_a_type_that_cells_cannot_give_rejects_the_file() -> None:
    dictionary = Dictionary.parse('BID "BID" 22 NULL PRICE 17 REAL64 7\nRAW "RAW" 23 NULL NONE 0 BUFFER 8\n', "")
    with pytest.raises(UnreadableFile, match="RAW of type BUFFER"):
        read_quotes(csv("RIC,BID,RAW", ["A", "1", None]), feed(), dictionary)


@pytest.mark.parametrize("rows", [[], [[None, ""], [" ", None]]])
def test_a_file_without_a_data_row_is_rejected(rows: list[Row]) -> None:
    assert "no data row" in refusal(csv("RIC,BID", *rows))


def test_mapped_columns_that_are_missing_are_told() -> None:
    quotes = read(csv("RIC,BID", ["A", "1"]), columns={"Ask Price": "ASK", "Bid": "BID"})
    assert quotes.missing_columns == ("Ask Price",)
    assert quotes.warnings == ('the column "Ask Price" is missing: nothing is contributed to ASK',)


# RICs


def test_any_text_can_be_a_ric() -> None:
    rics = [
        "NA",
        "NULL",
        "nan",
        "None",
        "n/a",
        "1E5",
        "005930",
        "TRUE",
        "-",
        "#CLEAR",
        "0#.FTSE",
        "EUR=",
        "A B",
        "a" * 255,
    ]
    quotes = read(csv("RIC,BID", *[[ric, "1"] for ric in rics]), blank=("n/a", "NA"))
    assert list(quotes.values.index) == rics


def test_spaces_around_a_ric_are_trimmed() -> None:
    assert list(read(csv("RIC,BID", ["  A ", "1"])).values.index) == ["A"]


@pytest.mark.parametrize(
    ("ric", "cause"),
    [
        (None, "is a row without a RIC"),
        ("  ", "is a row without a RIC"),
        ("A\u00a0", "contains NO-BREAK SPACE (U+00A0)"),
        ("\u200bA", "contains ZERO WIDTH SPACE (U+200B)"),
        ("\u0410", "contains CYRILLIC CAPITAL LETTER A (U+0410)"),
        ("A\t", "contains a control character (U+0009)"),
        ("A\n", "contains a control character (U+000A)"),
        ("a" * 256, "is longer than the 255 bytes of a RIC"),
        ('A"', "contains a quotation mark or backslash, which the ADS does not take in a RIC"),
        ("A\\", "contains a quotation mark or backslash, which the ADS does not take in a RIC"),
    ],
)
def test_what_cannot_be_a_ric_rejects_its_row(ric: str | None, cause: str) -> None:
    quotes = read(csv("RIC,BID", ["GOOD", "1"], [ric, "2"]))
    assert list(quotes.values.index) == ["GOOD"]
    assert causes(quotes) == [("row 3, RIC", cause)]
    assert quotes.problems[0].text == (ric or "")


@pytest.mark.parametrize(
    ("kind", "text", "cause"),
    [
        (CellKind.NUMBER, "5930", "is not a text cell, as a RIC must be"),
        (CellKind.BOOLEAN, "TRUE", "is not a text cell, as a RIC must be"),
        (CellKind.DATE, "2026-03-01", "is not a text cell, as a RIC must be"),
        (CellKind.ERROR, "#NAME?", "is not a text cell, as a RIC must be"),
        (CellKind.NO_VALUE, None, "is not a text cell, as a RIC must be"),
        (CellKind.BLANK, None, "is a row without a RIC"),
    ],
)
def test_a_ric_of_a_workbook_is_a_text_cell(kind: CellKind, text: str | None, cause: str) -> None:
    good = [(CellKind.TEXT, "A"), (CellKind.NUMBER, "1")]
    quotes = read(workbook("RIC,BID", good, [(kind, text), (CellKind.NUMBER, "2")]))
    assert list(quotes.values.index) == ["A"]
    assert causes(quotes) == [("Prices!B5", cause)]


def test_a_row_whose_only_cell_is_an_error_is_counted_and_rejected() -> None:
    row = [(CellKind.BLANK, None), (CellKind.ERROR, "#N/A")]
    quotes = read(workbook("RIC,BID", [(CellKind.TEXT, "A"), (CellKind.NUMBER, "1")], row))
    assert causes(quotes) == [("Prices!B5", "is a row without a RIC"), ("Prices!C5", "is the error #N/A")]


# rejected rows


def test_a_bad_cell_rejects_its_row_and_every_bad_cell_is_named() -> None:
    cells = csv(
        "RIC,BID,ASK,CURRENCY",
        ["A", "1", "2", "USD"],
        ["B", "x", "2", "usd"],
        ["C", "1,5", "2", ""],
        ["D", "4", "", ""],
    )
    quotes = read(cells)
    assert list(quotes.values.index) == ["A", "D"]
    assert causes(quotes) == [
        ("row 3, BID", "is not a number"),
        ("row 3, CURRENCY", "is not a value of CURRENCY"),
        ("row 4, BID", "is not a number"),
    ]
    assert [(problem.ric, problem.text) for problem in quotes.problems] == [("B", "x"), ("B", "usd"), ("C", "1,5")]
    assert str(quotes.problems[2]) == (
        'row 4, BID "1,5" is not a number: write it like 1234.5, or set in the feed decimal = ","'
    )


def test_malformed_lines_are_problems_in_their_place() -> None:
    line = Malformed(3, "B,1,2,3", "has 4 cells and the header 2", "quote cells that hold a comma")
    cells = replace(csv("RIC,BID", ["A", "x"], ["C", "y"], malformed=[line]), rows=pa.array([2, 4], pa.int64()))
    quotes = read(cells)
    assert quotes.rows_read == 3
    assert [problem.where for problem in quotes.problems] == ["row 2, BID", "row 3", "row 4, BID"]
    assert (quotes.problems[1].text, quotes.problems[1].cause) == (line.text, line.cause)
    of_workbook = replace(workbook("RIC,BID", [(CellKind.TEXT, "A"), (CellKind.NUMBER, "1")]), malformed=(line,))
    assert [problem.where for problem in read(of_workbook).problems] == ["row Prices!3"]


# copies of a RIC


def test_equal_copies_are_twins() -> None:
    cells = csv("RIC,BID", ["A", "1.5"], ["B", "2"], ["A ", "1.50"], ["A", "+1.5"])
    quotes = read(cells)
    assert table(quotes) == {"A": ["1.5"], "B": ["2"]}
    assert quotes.rows["A"] == 2
    assert quotes.twins == {"A": (4, 5)}
    assert quotes.warnings == ("equal rows are posted once: A in rows 2, 4, 5",)


@pytest.mark.parametrize("other", ["2", None, "#CLEAR"])
def test_copies_that_differ_are_all_rejected(other: str | None) -> None:
    quotes = read(csv("RIC,BID,ASK", ["A", "1", "1"], ["B", "1", "1"], ["A", other, "1"], ["A", "1", "1"]))
    assert table(quotes) == {"B": ["1", "1"]}
    assert [problem.where for problem in quotes.problems] == ["row 2, RIC", "row 4, RIC", "row 5, RIC"]
    assert {problem.cause for problem in quotes.problems} == {"stands in several rows that differ"}
    assert "also in rows 4, 5" in quotes.problems[0].mend


def test_a_copy_that_cannot_be_read_rejects_the_others() -> None:
    quotes = read(csv("RIC,BID", ["A", "1"], ["A", "x"]))
    assert quotes.values.empty
    assert {problem.row for problem in quotes.problems} == {2, 3}


def test_rics_differ_by_case() -> None:
    assert list(read(csv("RIC,BID", ["a", "1"], ["A", "2"])).values.index) == ["a", "A"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["A", "B", "C ", "", "\u00e9"]), st.sampled_from(["1", "1.0", "2", "x", "", None])),
        min_size=1,
        max_size=12,
    )
)
def test_every_row_is_a_value_a_twin_or_rejected(rows: list[tuple[str, str | None]]) -> None:
    counted = [(number, ric.strip(), bid) for number, (ric, bid) in enumerate(rows, start=2) if ric or bid]
    if not counted:
        assert refusal(csv("RIC,BID", *rows))
        return
    quotes = read(csv("RIC,BID", *rows))
    assert quotes.rows_read == len(counted)
    for ric in "ABC":
        copies = [(number, bid) for number, name, bid in counted if name == ric]
        values = {Decimal(bid) if bid and bid != "x" else bid or None for _, bid in copies}
        certain = len(values) == 1 and "x" not in values
        assert (ric in quotes.values.index) == certain
        if certain:
            token = table(quotes)[ric][0]
            assert (token and Decimal(token)) == next(iter(values))
            assert (quotes.rows[ric], *quotes.twins.get(ric, ())) == tuple(number for number, _ in copies)
        else:
            assert {number for number, _ in copies} <= {problem.row for problem in quotes.problems}


# whose RICs


def test_a_ric_that_is_not_the_feeds_is_rejected() -> None:
    quotes = read(csv("RIC,BID", ["A=ACME", "1"], ["B=OTHER", "2"], ["a=acme", "3"]), ric_pattern="*=ACME")
    assert list(quotes.values.index) == ["A=ACME"]
    cause = 'is not a RIC of this feed, whose ric_pattern is "*=ACME"'
    assert causes(quotes) == [("row 3, RIC", cause), ("row 4, RIC", cause)]


def test_without_a_pattern_any_ric_is_the_feeds() -> None:
    assert list(read(csv("RIC,BID", ["A=ACME", "1"], ["B.L", "2"])).values.index) == ["A=ACME", "B.L"]


def test_a_ric_has_no_second_complaint_for_the_pattern() -> None:
    quotes = read(csv("RIC,BID", ["A\u00a0=ACME", "1"], ["", "2"]), ric_pattern="*=ACME")
    assert [problem.cause for problem in quotes.problems] == [
        "contains NO-BREAK SPACE (U+00A0)",
        "is a row without a RIC",
    ]


@pytest.mark.parametrize("ric", ["#N/A", "#REF!", "#NAME?", "Retrieving..."])
def test_an_error_as_text_is_no_ric(ric: str) -> None:
    quotes = read(csv("RIC,BID", ["A", "1"], [ric, "2"]))
    assert causes(quotes) == [("row 3, RIC", "is an error or placeholder of a spreadsheet, not a value")]


@given(st.text("ab=.[]!*?-^\\ ", max_size=8), st.text("ab=.-!^ ", max_size=6))
def test_patterns_are_those_of_the_shell(pattern: str, ric: str) -> None:
    try:
        expression = shell_pattern(pattern)
    except ValueError:
        return
    assert matches(pa.array([ric]), expression)[0].as_py() == fnmatchcase(ric, pattern)


# every line of the list of hazards that is about typing: published exactly, or rejected


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(
            ("BID", text)
            for text in ("$1", "(3.2)", "101-16", "\u22121.5", "inf", "1e400", "nan", "1.234,5", "1,234")
        ),
        *(("BID", text) for text in ("4.5%", "TRUE", "2026-11-22", "1.5 USD", "1\u00a0234", "\u0661", "12O.5", "-")),
        ("TRADE_DATE", "03/04/2026"),
        ("TRADE_DATE", "2026-11-31"),
        ("CURRENCY", "usd"),
        ("DSPLY_NAME", "caf\u00e9"),
        ("DSPLY_NAME", "zero\u200bwidth"),
    ],
)
def test_what_cannot_be_read_with_certainty_rejects_its_row_with_its_cell(field: str, text: str) -> None:
    quotes = read(csv(f"RIC,{field}", ["A", text]))
    assert quotes.values.empty
    assert [(problem.where, problem.text) for problem in quotes.problems] == [(f"row 2, {field}", text)]


@pytest.mark.parametrize("ric", ["NA", "NULL", "nan", "None", "n/a", "005930", "1E5", "TRUE", "MAR1"])
def test_rics_that_other_programs_take_for_something_else(ric: str) -> None:
    assert list(read(csv("RIC,BID", [ric, "1"])).values.index) == [ric]


def test_a_header_of_thousands_of_names_is_told_in_a_short_message() -> None:
    names = [f"Column {number}" for number in range(16_000)]
    row = ["A=X", *["1"] * len(names)]
    assert len(refusal(csv(",".join(["RIC", *names]), row))) < 2_000
    assert len(refusal(csv(",".join(["Code", *names]), row))) < 2_000


def test_an_endless_ric_is_cut_in_its_problems() -> None:
    (problem,) = read(csv("RIC,BID", ["A" * 150_000, "1"])).problems
    assert len(str(problem)) + len(problem.ric) < 3_000


def test_numbers_that_a_double_cannot_hold_are_warned_about_once() -> None:
    cells = csv(
        "RIC,BID,ASK,BIDSIZE",
        ["A=X", "123456789012345", "-0.00123456789012345e1", "1234567890123456789"],
        ["B=X", "1234567890123450", "12345678901234.56", "1"],
        ["C=X", "100000000000000000", "12.34567890123456", "1"],
        ["D=X", "no", "12.34567890123456", "1"],
    )
    (warning,) = read(cells).warnings
    assert warning.startswith("2 values have more than 15 significant digits (ASK of B=X, 12345678901234.56)")


def test_numbers_of_15_digits_need_no_warning() -> None:
    assert not read(csv("RIC,BID,ASK", ["A=X", "0.0000123456789", "99999999999.9999"], ["B=X", None, None])).warnings


@pytest.mark.parametrize("lookalike", ["A=X\u00a0", "A=X\u200b", "\tA=X", "A=X\x7f", "A\u2009=X"])
def test_a_row_whose_ric_looks_like_one_that_is_refused_is_rejected(lookalike: str) -> None:
    quotes = read(csv("RIC,BID", ["A=X", "1"], [lookalike, "2"], ["B=X", "1"], ["\u00a0", "3"]))
    assert table(quotes) == {"B=X": ["1"]}
    found = [(one.row, one.cause, one.mend) for one in quotes.problems]
    assert found[0] == (2, "also stands in a row that is not read", "mend or remove row 3")
    assert [row for row, *_ in found] == [2, 3, 5]


def test_a_ric_that_is_refused_in_two_rows_is_refused_once_in_each() -> None:
    quotes = read(csv("RIC,BID", ["A=X\u00a0", "1"], ["A=X\u200b", "2"]))
    assert [one.row for one in quotes.problems] == [2, 3]


def test_a_row_whose_ric_stands_in_a_malformed_line_is_rejected_with_its_copies() -> None:
    line = Malformed(5, "A=X,1", "has 2 cells, and the header has 3", "mend it", rics=("A=X", "C=X"))
    rows = [["A=X", "1", "2"], ["A=X", "1", "2"], ["B=X", "1", "2"]]
    quotes = read(csv("RIC,BID,ASK", *rows, malformed=[line]))
    assert table(quotes) == {"B=X": ["1", "2"]}
    assert [(one.row, one.cause) for one in quotes.problems] == [
        (2, "also stands in a row that is not read"),
        (3, "also stands in a row that is not read"),
        (5, "has 2 cells, and the header has 3"),
    ]


def test_a_long_cell_of_spaces_costs_no_time() -> None:
    """Quadratic, this would take minutes; the test's time limit is what fails."""
    assert error_text("#N/A " + " " * 3_000_000 + "\nx") is None
    assert error_text("#N/A " + " " * 3_000_000) is not None
