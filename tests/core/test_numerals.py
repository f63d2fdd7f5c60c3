"""Columns of numbers against a plain reading of one cell with decimal.Decimal."""

from __future__ import annotations

import re
from decimal import Decimal, localcontext

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contrib_watch.core.dictionary import FieldDef, Kind
from contrib_watch.core.numerals import NumberReader


def number_field(kind: Kind = Kind.REAL, rwf_length: int = 7) -> FieldDef:
    return FieldDef("X", 1, kind, "INTEGER", 15, f"{kind}64", rwf_length)


REAL = NumberReader.of(number_field())


def read(reader: NumberReader, *texts: str) -> list[str | None]:
    return reader.read(pa.array(texts, pa.string())).to_pylist()


def one_cell(reader: NumberReader, text: str) -> str | None:
    """The reference: the token of one cell, written for clearness and not for speed."""
    text = text.strip(" ")
    sign, unsigned = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    body, _, exponent = re.sub("[eE]", "e", unsigned).partition("e")
    whole, point, fraction = body.partition(reader.decimal)
    if reader.thousands and reader.thousands in whole:
        first, *groups = whole.split(reader.thousands)
        if not 1 <= len(first) <= 3 or first.startswith("0") or any(len(group) != 3 for group in groups):
            return None
        whole = first + "".join(groups)
    digits = "0123456789"
    if any(character not in digits for character in whole + fraction) or not whole + fraction:
        return None
    if point and not fraction:
        return None
    if "e" in unsigned.lower() and (not exponent.lstrip("+-") or not re.fullmatch("[+-]?[0-9]+", exponent)):
        return None
    with localcontext(prec=500):
        value = Decimal(f"{sign}{whole or '0'}.{fraction or '0'}e{exponent or '0'}")
        if value == 0:
            return "0" if reader.low <= 0 <= reader.high else None
        value = value.normalize()
        decimals = max(-int(value.as_tuple().exponent), 0)
        if decimals > reader.max_decimals or value.adjusted() > 30:
            return None
        mantissa = int(value.scaleb(decimals))
    return f"{value:f}" if reader.low <= mantissa <= reader.high else None


@st.composite
def notations(draw: st.DrawFn) -> NumberReader:
    decimal, thousands = draw(
        st.sampled_from([(".", ""), (".", ","), (",", "."), (",", ""), (".", "'"), (",", " "), (",", "\u00a0")])
    )
    field = draw(
        st.sampled_from(
            [number_field(), number_field(Kind.UINT, 2), number_field(Kind.UINT, 8), number_field(Kind.INT, 1)]
        )
    )
    return NumberReader.of(field, decimal=decimal, thousands=thousands)


@st.composite
def written_numbers(draw: st.DrawFn) -> str:
    """Numbers as people and programs write them, well or badly, with marks of any dialect."""
    some_digits = st.text("0123456789", max_size=20)
    zeros = st.text("0", max_size=4)
    whole = draw(st.one_of(some_digits, st.integers(0, 10**20).map("{:,}".format), zeros))
    whole = whole.replace(",", draw(st.sampled_from(["", ",", ".", "'", " ", "\u00a0", "_"])))
    fraction = draw(st.sampled_from(["", ".", ","])) + draw(some_digits) + draw(zeros)
    exponent = draw(st.sampled_from(["", "", "", "e-5", "E+3", "e0", "e", "e400", "e-14", "e-99999"]))
    padding = draw(st.sampled_from(["", "", " ", "\t"]))
    return padding + draw(st.sampled_from(["", "", "-", "+", "\u2212", "("])) + whole + fraction + exponent + padding


@given(reader=notations(), texts=st.lists(written_numbers(), max_size=20))
@example(reader=REAL, texts=["-0", "-0.0", ".5", "-.5", "5.", ".", "-", "+", "", "00", "1e", "e5", "1e-14", "1e-15"])
@example(
    reader=REAL, texts=["9223372036854775807", "9223372036854775808", "-9223372036854775808", "92233720368547.75808"]
)
@example(reader=REAL, texts=["0.00000000000001", "0.000000000000010", "10000.00000000000001", "1234.12345678901234"])
def test_a_column_reads_like_its_cells_one_by_one(reader: NumberReader, texts: list[str]) -> None:
    assert read(reader, *texts) == [one_cell(reader, text) for text in texts]


@given(
    value=st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12),
    marks=st.sampled_from([(".", ""), (".", ","), (",", "."), (",", ""), (",", " "), (".", "'")]),
    grouped=st.booleans(),
)
def test_a_token_is_exactly_the_written_value(value: Decimal, marks: tuple[str, str], grouped: bool) -> None:
    decimal, thousands = marks
    text = f"{value:,f}" if grouped and thousands else f"{value:f}"
    text = text.translate({ord("."): decimal, ord(","): thousands})
    reader = NumberReader.of(number_field(), decimal=decimal, thousands=thousands)
    (token,) = read(reader, text)
    assert token is not None
    assert Decimal(token) == value
    assert re.fullmatch(r"0|-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", token)
    assert token != "-0"


@given(reader=notations(), texts=st.lists(written_numbers(), min_size=1, max_size=10))
def test_every_refusal_can_be_explained(reader: NumberReader, texts: list[str]) -> None:
    for text, token in zip(texts, read(reader, *texts), strict=True):
        if token is None:
            complaint = reader.explain(text)
            assert complaint.cause
            assert complaint.mend


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_refused(text: str) -> None:
    assert read(REAL, text) == [one_cell(REAL, text)]


@pytest.mark.parametrize(
    "text",
    [
        *("5.", ".", "1.2.3", "--1", "+-1", "1e", "1e5.0", "1_000", "1,234", "1 000", "0x1A", "1/2", "101-16"),
        *("inf", "-inf", "Infinity", "nan", "NaN", "TRUE", "$1", "\u20ac1", "4.5%", "(3.2)"),
        *("\u22121", "\u0661", "\uff11", "1\n", "\t1", "1\u00a0"),
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    assert read(REAL, text) == [None]
    assert REAL.explain(text).cause == "is not a number"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("0.30000000000000004", "has more than 14 decimals"),
        ("1e-15", "has more than 14 decimals"),
        ("9223372036854775808", "has more digits than a REAL can hold"),
        ("-9223372036854775809", "has more digits than a REAL can hold"),
        ("92233720368547758.08", "has more digits than a REAL can hold"),
        ("1e400", "has more digits than a REAL can hold"),
        ("1e" + "9" * 5000, "has more digits than a REAL can hold"),
        ("1e-" + "9" * 5000, "has more than 14 decimals"),
        ("1" * 5000, "has more digits than a REAL can hold"),
    ],
)
def test_a_refusal_says_which_limit(text: str, cause: str) -> None:
    assert read(REAL, text) == [None]
    assert REAL.explain(text).cause == cause


@pytest.mark.parametrize(
    ("kind", "length", "low", "high"),
    [
        (Kind.UINT, 1, 0, 255),
        (Kind.UINT, 2, 0, 65535),
        (Kind.UINT, 4, 0, 2**32 - 1),
        (Kind.UINT, 8, 0, 2**64 - 1),
        (Kind.UINT, 0, 0, 2**64 - 1),
        (Kind.INT, 1, -128, 127),
        (Kind.INT, 6, -(2**47), 2**47 - 1),
        (Kind.INT, 8, -(2**63), 2**63 - 1),
    ],
)
def test_whole_numbers_have_the_range_of_their_bytes(kind: Kind, length: int, low: int, high: int) -> None:
    reader = NumberReader.of(number_field(kind, length))
    assert read(reader, str(low), str(high), f"{high}.00") == [str(low), str(high), str(high)]
    assert read(reader, str(low - 1), str(high + 1)) == [None, None]
    assert reader.explain(str(high + 1)).cause == f"is outside {low} to {high}"
    assert read(reader, "12.5") == [None]
    assert reader.explain("12.5").cause == "is not a whole number"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1.234,5", 'set in the feed decimal = "," and thousands = "."'),
        ("98,75", 'set in the feed decimal = ","'),
        ("1,234", 'set in the feed thousands = ",", or decimal = ","'),
        ("1'000", 'set in the feed thousands = "\'"'),
        ("4.5%", 'set percent = "points"'),
        ("\u22121", 'with the "-" of the keyboard'),
        ("(3.2)", 'with a "-" in front'),
        ("abc", "digits alone, like 1234.5"),
    ],
)
def test_a_refusal_says_what_to_do(text: str, advice: str) -> None:
    assert advice in REAL.explain(text).mend
