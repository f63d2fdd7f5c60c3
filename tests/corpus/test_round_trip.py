"""A table that is written in any dialect comes back value for value, or its rows are rejected: never a third thing.

The tables are of typed values, awkward texts, blanks and the token that clears; the files are CSVs in random dialects
that the feed declares, and workbooks by two programs.
"""

# ruff: noqa: E501 - tables read best with a line to each entry
from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, time
from decimal import Decimal
from functools import cache
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from hazard import FEED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.dictionary import Dictionary
from contrib_watch.core.model import Feed
from contrib_watch.core.quotes import read_quotes
from contrib_watch.errors import UnreadableFile

unhurried = settings(suppress_health_check=list(HealthCheck))

Row = dict[str, Any]
Tokens = dict[str, str | None]
FIELDS = ("BID", "PROD_PERM", "DSPLY_NAME", "MATUR_DATE", "QUOTIM", "CURRENCY")
CLEAR = "#CLEAR"
CALM = re.compile(r"[ -~]*")
"""Texts that no layout can be in doubt about."""

ERRORS = ["#N/A", "#REF!", "########", "Retrieving...", "#N/A N/A"]
AWKWARD = [
    "NA",
    "NULL",
    "nan",
    "TRUE",
    "0012",
    "1E5",
    "-",
    "n/v",
    "a,b;c",
    'a "b"',
    "two\nlines",
    "=1+1",
    "'",
    " x ",
    "",
    " ",
]
awkward_texts = st.one_of(
    st.sampled_from(
        [*AWKWARD, *ERRORS, CLEAR, "_x0041_", "\u00a0", "ü", "a\rb", "sep=;", "\ufeff", "seventeen letters"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    st.text(max_size=8),
)
rics = st.one_of(
    st.from_regex(r"[A-Z0-9][A-Z0-9.=/ ]{0,8}[A-Z0-9=]", fullmatch=True),
    st.sampled_from(
        ["NA", "NULL", "nan", "005930", "1E5", "TRUE", "#N/A", "a\\b", "Ä=X", "A\u200b=X", "=cmd", "-1", "@x"]
    ),
)
numbers = st.builds(
    lambda digits, scale: Decimal(digits).scaleb(-scale), st.integers(-(10**17), 10**17), st.integers(0, 14)
)
short_numbers = st.builds(
    lambda digits, scale: Decimal(digits).scaleb(-scale), st.integers(-(10**6), 10**6), st.integers(0, 4)
)
values = {
    "BID": numbers | short_numbers,
    "PROD_PERM": st.integers(0, 65535),
    "DSPLY_NAME": awkward_texts,
    "MATUR_DATE": st.dates(date(1900, 1, 1)),
    "QUOTIM": st.times().map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
    | st.times().map(lambda at: at.replace(microsecond=0)),
    "CURRENCY": st.sampled_from(["EUR", "USD", "JPY"]),
}
rows = st.fixed_dictionaries(
    {"RIC": rics, **{field: st.one_of(st.none(), st.just(CLEAR), *[values[field]] * 4) for field in FIELDS}}
)
tables = st.lists(rows, min_size=1, max_size=6, unique_by=lambda row: row["RIC"].strip(" "))


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written; ``feed`` declares all of it."""

    feed: Feed
    end: str
    final_end: bool
    quoting: Any
    grouped: bool
    exponents: bool
    blank: str
    mark: str

    def number(self, value: Decimal | int) -> str:
        if self.exponents:
            digits, exponent = f"{Decimal(value):e}".split("e")
            return digits.replace(".", self.feed.decimal) + f"e{exponent}"
        text = f"{value:,f}" if self.grouped and self.feed.thousands else f"{value:f}"
        return text.translate({ord("."): self.feed.decimal, ord(","): self.feed.thousands})


@st.composite
def dialects(draw: Callable[..., Any]) -> Dialect:
    decimal = draw(st.sampled_from(".,"))
    encoding = draw(st.sampled_from(["utf-8", "cp1252", "utf-16", "latin-1"]))
    final_end = draw(st.booleans())
    feed = replace(
        FEED,
        decimal=decimal,
        thousands=draw(st.sampled_from(["", ",", ".", "'", "\u00a0"]).filter(lambda mark: mark != decimal)),
        delimiter=draw(st.sampled_from([",", ";", "\t", "|"])),
        encoding=encoding,
        date_format=draw(st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d", "%d %b %Y"])),
        header_row=draw(st.integers(1, 3)),
        final_newline="required" if final_end else draw(st.sampled_from(["required", "optional"])),
        blank=draw(st.sampled_from([(), ("n/v", "-")])),
    )
    return Dialect(
        feed=feed,
        end=draw(st.sampled_from(["\r\n", "\n", "\r"])),
        final_end=final_end,
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        grouped=draw(st.booleans()),
        exponents=draw(st.booleans()),
        blank=draw(st.sampled_from(["", "  ", *feed.blank])),
        mark=draw(st.sampled_from(["", "\ufeff"])) if encoding == "utf-8" else "",
    )


@cache
def dictionary() -> Dictionary:
    return load_dictionary(Fields())


def published(content: bytes, filename: str, feed: Feed) -> dict[str, Tokens] | None:
    """RIC -> its tokens by field, None for a blank; None where the file is refused."""
    try:
        quotes = read_quotes(read_cells(content, filename, feed), feed, dictionary())
    except UnreadableFile:
        return None
    records = quotes.values.astype(object).to_dict("records")
    assert len(records) + len({problem.row for problem in quotes.problems}) == quotes.rows_read
    return {
        str(ric): {str(field): token if isinstance(token, str) else None for field, token in record.items()}
        for ric, record in zip(quotes.values.index, records, strict=True)
    }


def expected(row: Row, feed: Feed, number: Callable[[Any], Decimal] = Decimal) -> Tokens | None:
    """The tokens of a row; None where it must be rejected."""
    ric = row["RIC"].strip(" ")
    if not re.fullmatch(r"[ !#-\[\]-~]{1,255}", ric) or is_error(ric):
        return None
    tokens: Tokens = {}
    for field in FIELDS:
        value = row[field]
        if value is None:
            tokens[field] = None
        elif value == CLEAR:
            tokens[field] = "null"
        elif isinstance(value, str):
            if (token := expected_text(value, feed)) is Ellipsis:
                return None
            tokens[field] = token
        elif isinstance(value, date):
            tokens[field] = f'"{value.isoformat()}"'
        elif isinstance(value, time):
            tokens[field] = json.dumps(value.isoformat().rstrip("0") if value.microsecond else value.isoformat())
        else:
            exact = number(value)
            text = f"{exact:f}".rstrip("0").rstrip(".") if "." in f"{exact:f}" else f"{exact:f}"
            if len(text.partition(".")[2]) > 14 or abs(int(text.replace(".", ""))) >= 2**63:
                return None
            tokens[field] = "0" if text == "-0" else text
    return tokens


def expected_text(text: str, feed: Feed) -> Any:
    """A token, None for a blank, or Ellipsis where the text cannot be sent."""
    if text.strip(" ") in ("", *feed.blank):
        return None
    if text.strip(" ") == CLEAR:
        return "null"
    if not CALM.fullmatch(text) or len(text) > 16 or is_error(text.strip(" ")):
        return ...
    return json.dumps(text)


def is_error(text: str) -> bool:
    """What a spreadsheet shows where it has no value: of those above, or the like of any language (``#WERT!``)."""
    inner = text[1:-1]
    of_a_language = text.startswith("#") and text.endswith(("!", "?")) and inner and not set(inner) & set("# ")
    return text in ERRORS or bool(of_a_language) or (len(text) > 1 and not text.strip("#"))


def check(found: dict[str, Tokens] | None, wanted: dict[str, Tokens], *, certain: bool) -> None:
    """Every published row is as it was written; where nothing is in doubt, every sound row is published."""
    for ric, tokens in (found or {}).items():
        assert tokens == wanted.get(ric), ric
    if certain:
        assert found == wanted or (found is None and not wanted)


@unhurried
@given(tables, dialects())
def test_a_csv_in_any_dialect(table: list[Row], dialect: Dialect) -> None:
    feed = dialect.feed
    table = [{field: _encodable(value, feed.encoding) for field, value in row.items()} for row in table]
    content = as_csv(table, dialect)
    sound = table if dialect.final_end or feed.final_newline == "optional" else table[:-1]
    wanted = {row["RIC"].strip(" "): tokens for row in sound if (tokens := expected(row, feed)) is not None}
    is_calm = all(CALM.fullmatch(value) for row in table for value in row.values() if isinstance(value, str))
    check(published(content, "prices.csv", feed), wanted, certain=is_calm)


def _encodable(value: Any, encoding: str) -> Any:
    return value.encode(encoding, "replace").decode(encoding) if isinstance(value, str) else value


def as_csv(table: list[Row], dialect: Dialect) -> bytes:
    feed = dialect.feed
    text = io.StringIO()
    writer = csv.writer(text, delimiter=feed.delimiter, quoting=dialect.quoting, lineterminator=dialect.end)
    for _ in range(feed.header_row - 1):
        text.write(f"a title{dialect.end}")
    writer.writerow(["RIC", *FIELDS])
    for row in table:
        writer.writerow([row["RIC"], *(_written(row[field], dialect) for field in FIELDS)])
    body = text.getvalue()
    return (dialect.mark + (body if dialect.final_end else body.removesuffix(dialect.end))).encode(feed.encoding)


def _written(value: Any, dialect: Dialect) -> str:
    match value:
        case None:
            return dialect.blank
        case str():
            return value
        case date():
            return value.strftime(dialect.feed.date_format)
        case time():
            return value.isoformat()
        case _:
            return dialect.number(value)


@unhurried
@pytest.mark.parametrize("program", ["openpyxl", "xlsxwriter"])
@given(table=tables)
def test_a_workbook_by_any_program(program: str, table: list[Row]) -> None:
    table = [{field: _storable(value, program) for field, value in row.items()} for row in table]
    content = {"openpyxl": by_openpyxl, "xlsxwriter": by_xlsxwriter}[program](table)
    wanted = {row["RIC"].strip(" "): tokens for row in table if (tokens := expected(row, FEED, as_excel_has_it))}
    found = published(content, "prices.xlsx", FEED)
    # A fraction of a second is a fraction of a day in binary; if it does not come back to the millisecond, it is refused.
    in_doubt = {
        row["RIC"].strip(" ") for row in table if row["QUOTIM"] not in (None, CLEAR) and row["QUOTIM"].microsecond
    }
    # Neither program knows that 1900 had no 29 February.
    in_doubt |= {
        row["RIC"].strip(" ")
        for row in table
        if row["MATUR_DATE"] not in (None, CLEAR) and row["MATUR_DATE"].year == 1900
    }
    check(found, wanted, certain=False)
    assert set(wanted) - set(found or {}) <= in_doubt


def _storable(value: Any, program: str) -> Any:
    """XML has no control characters; openpyxl refuses them, and writes an escape sequence as it is."""
    if not isinstance(value, str):
        return value
    value = re.sub("[\x00-\x1f\ud800-\udfff\ufffe\uffff]", "?", value)
    return value.replace("_x", "-x") if program == "openpyxl" else value


def as_excel_has_it(value: Decimal | int) -> Decimal:
    """The number at 15 significant digits, of the 16 digits of its binary form that both programs write."""
    return Decimal(f"{float(f'{float(value):.16g}'):.15g}")


def by_openpyxl(table: list[Row]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["RIC", *FIELDS])
    for number, row in enumerate(table, 2):
        for column, value in enumerate((row[field] for field in ("RIC", *FIELDS)), 1):
            cell = sheet.cell(number, column)
            cell.value = float(value) if isinstance(value, Decimal) else value
            if isinstance(value, str):
                cell.data_type = "s"  # neither a formula nor an error
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def by_xlsxwriter(table: list[Row]) -> bytes:
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet()
    formats = {
        date: book.add_format({"num_format": "yyyy-mm-dd"}),
        time: book.add_format({"num_format": "hh:mm:ss.000"}),
    }
    sheet.write_row(0, 0, ["RIC", *FIELDS])
    for number, row in enumerate(table, 1):
        for column, value in enumerate(row[field] for field in ("RIC", *FIELDS)):
            if isinstance(value, str):
                sheet.write_string(number, column, value)
            elif isinstance(value, date | time):
                sheet.write_datetime(number, column, value, formats[type(value)])
            elif value is not None:
                sheet.write_number(number, column, float(value))
    book.close()
    return file.getvalue()
