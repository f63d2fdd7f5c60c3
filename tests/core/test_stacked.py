"""A second table below the first one: its rows are not read by the first one's header."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import PurePath

import pyarrow as pa
import pytest

from contrib_watch.core.dictionary import Dictionary
from contrib_watch.core.model import Cells, Feed, Malformed
from contrib_watch.core.quotes import read_quotes

DATA = resources.files("contrib_watch") / "data"
DICTIONARY = Dictionary.parse((DATA / "RDMFieldDictionary").read_text(), (DATA / "enumtype.def").read_text())
FEED = Feed(name="desk", folder=PurePath("inbox"), service="NIPROV", columns={"Bid": "BID", "Ask": "ASK"})


def read(*lines: str, malformed: tuple[Malformed, ...] = ()) -> dict[str, str]:
    """RIC -> why its row is rejected; empty: it is read."""
    header, *rows = (line.split(",") for line in lines)
    columns = tuple(pa.array(cells, pa.string()) for cells in zip(*rows, strict=True))
    numbers = pa.array(range(2, len(rows) + 2), pa.int64())
    quotes = read_quotes(Cells("", tuple(header), 1, columns, None, numbers, malformed), FEED, DICTIONARY)
    assert quotes.rows_read == len(quotes.values) + len({problem.row for problem in quotes.problems})
    return dict.fromkeys(quotes.values.index, "") | {one.ric: one.cause for one in quotes.problems}


@pytest.mark.parametrize("header", ["RIC,Ask,Bid", "Code,Ask,Bid", "ric,Mid,Spread", "RIC,Bid,Mid", " RIC,ASK , BID"])
def test_rows_below_a_header_that_names_the_columns_otherwise_are_rejected(header: str) -> None:
    found = read("RIC,Bid,Ask", "A=X,1,2", header, "B=X,4,3", "C=X,6,5")
    assert found["A=X"] == ""
    assert found["B=X"] == found["C=X"] == "stands below another header, in row 3, which names the columns otherwise"


@pytest.mark.parametrize("line", ["RIC,Bid,Ask", "Total,,x", ",%,%", "Ric.N,n/a,n/a"])
def test_rows_below_the_same_header_or_a_line_of_words_are_read(line: str) -> None:
    found = read("RIC,Bid,Ask", "A=X,1,2", line, "B=X,3,4")
    assert found["A=X"] == found["B=X"] == ""


@pytest.mark.parametrize("text", ["RIC | Ask | Bid | Note", "RIC,Mid", '"Note","RIC"'])
def test_a_header_of_another_width_is_one_too(text: str) -> None:
    line = Malformed(2, text, "has a value outside the header's columns", "delete it")
    assert "in row 2" in read("RIC,Bid,Ask", ",,", "B=X,4,3", malformed=(line,))["B=X"]


@pytest.mark.parametrize("text", ["RIC", "RIC,,,", "B=X,no RIC,1,2"])
def test_a_line_of_another_width_without_names_is_no_header(text: str) -> None:
    line = Malformed(2, text, "has 4 cells, and the header has 3", "write the missing cells")
    assert read("RIC,Bid,Ask", ",,", "B=X,4,3", malformed=(line,))["B=X"] == ""


@pytest.mark.parametrize(
    "header",
    [
        "Instrument,Brief,Geld",
        "Code,Offer px,Bid px",
        "Kennung,Prev Bid,Prev Ask",
        "Name,High,Low",
        "x,Mid (EUR),Bid",
        ",Briefkurs,Geldkurs",
    ],
)
def test_a_header_in_words_that_the_first_one_does_not_have_is_one_too(header: str) -> None:
    found = read("RIC,Bid,Ask", "A=X,1,2", header, "B=X,4,3")
    assert found["A=X"] == ""
    assert "stands below another header, in row 3" in found["B=X"]


@pytest.mark.parametrize(
    "line",
    [
        "Instrument,Geld,Brief",  # the same in other words, as on a page in another language
        "Instrument,Geldkurs,Ask",
        "EUR=,Close,Close",
        "EUR=,Last,suspended",
        "EUR=,Last,2",
        "Total,%,in %",
        ",EUR,USD",
    ],
)
def test_a_line_of_the_same_names_in_other_words_or_of_remarks_is_no_header(line: str) -> None:
    found = read("RIC,Bid,Ask", "A=X,1,2", line, "B=X,3,4")
    assert found["A=X"] == found["B=X"] == ""


def test_a_second_line_of_a_header_is_no_other_header() -> None:
    assert read("RIC,Bid,Ask", "Code,Price,Yield", "A=X,1,2")["A=X"] == ""


def test_a_header_in_other_words_that_is_wider_is_one_too() -> None:
    wider = Malformed(
        3, "Kennung | Brief | Geld | Bemerkung", "has a value outside the header's columns", "delete it"
    )
    note = replace(wider, text="B=X | | | price by phone, volume 5")
    assert "in row 3" in read("RIC,Bid,Ask", "A=X,1,2", ",,", "B=X,4,3", malformed=(wider,))["B=X"]
    assert read("RIC,Bid,Ask", "A=X,1,2", ",,", "B=X,4,3", malformed=(note,))["B=X"] == ""


@pytest.mark.parametrize("text", ["Corporates | Bid | Ask", "Corporates,Bid", "Corporates | Bid | Ask | Remarks"])
def test_the_same_names_above_a_group_in_a_line_that_is_not_read_are_no_other_header(text: str) -> None:
    line = Malformed(3, text, "is hidden", "show the row")
    shifted = replace(line, text="Corporates | Remarks | Bid | Ask")
    assert read("RIC,Bid,Ask", "A=X,1,2", ",,", "B=X,4,3", malformed=(line,))["B=X"] == ""
    assert "in row 3" in read("RIC,Bid,Ask", "A=X,1,2", ",,", "B=X,4,3", malformed=(shifted,))["B=X"]


def test_a_ric_of_both_tables_is_read_from_neither() -> None:
    assert read("RIC,Bid,Ask", "A=X,1,1", "RIC,Ask,Bid", "A=X,1,1")["A=X"] == "stands in several rows that differ"
