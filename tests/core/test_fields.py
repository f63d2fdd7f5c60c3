"""Columns of text typed by the field dictionary: every rule, every kind of workbook cell."""

from __future__ import annotations

import re
from datetime import date, time
from decimal import Decimal
from importlib import resources
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contrib_watch.core.fields import MAX_CELL_BYTES, Dictionary, FieldDef, Kind, type_column
from contrib_watch.core.model import CellKind, Feed
from contrib_watch.errors import ConfigurationError

DATA = resources.files("contrib_watch") / "data"
DICTIONARY = Dictionary.parse((DATA / "RDMFieldDictionary").read_text(), (DATA / "enumtype.def").read_text())


def feed(**keys: Any) -> Feed:
    return Feed(name="desk", folder=PurePath("inbox"), service="NIPROV", **keys)


def read(
    field: str | FieldDef, *texts: str | None, kinds: list[int] | None = None, **keys: Any
) -> tuple[list[str | None], dict[int, str]]:
    """The tokens, and the causes of the refused cells by index; every cell is one, the other or blank."""
    definition = DICTIONARY.fields[field] if isinstance(field, str) else field
    typed = type_column(definition, pa.array(texts, pa.string()), kinds and pa.array(kinds, pa.uint8()), feed(**keys))
    typed.tokens.validate(full=True)
    tokens = typed.tokens.to_pylist()
    causes = {index: cause for index, cause, _ in typed.problems}
    assert len(tokens) == len(texts)
    assert not [index for index in causes if tokens[index] is not None]
    assert list(causes) == sorted(causes)
    assert all(mend for _, _, mend in typed.problems)
    return tokens, causes


def mend(field: str | FieldDef, text: str, **keys: Any) -> str:
    definition = DICTIONARY.fields[field] if isinstance(field, str) else field
    ((_, _, mend),) = type_column(definition, pa.array([text]), None, feed(**keys)).problems
    return mend


def enumerated(values: dict[int, str]) -> FieldDef:
    return FieldDef("TICK", 14, Kind.ENUM, "ENUMERATED", 2, "ENUM", 1, values)


EVERY_KIND = ["BID", "PREF_DISP", "CURRENCY", "RDN_EXCHID", "DSPLY_NAME", "TRADE_DATE", "QUOTIM"]


# blank and clear


@pytest.mark.parametrize("field", EVERY_KIND)
def test_blank_and_clear_mean_the_same_in_every_field(field: str) -> None:
    tokens, causes = read(field, None, "", "   ", "n/a", " n/a ", "#CLEAR", " #CLEAR", blank=("n/a",))
    assert tokens == [None] * 5 + ["null"] * 2
    assert not causes


def test_blank_texts_go_before_reading_numbers() -> None:
    assert read("BID", "-999", "1", "-999.0", blank=("-999",)) == ([None, "1", "-999"], {})


def test_a_declared_blank_is_never_a_clear() -> None:
    assert read("BID", "x", blank=("x",), clear_token="x") == ([None], {})


def test_an_empty_column_has_no_problems() -> None:
    assert read("BID") == ([], {})


def test_blanks_refusals_and_values_keep_their_places() -> None:
    tokens, causes = read("BID", "1.50", None, "x", "#CLEAR", "2", "y", "+3", "1e-3")
    assert tokens == ["1.5", None, None, "null", "2", None, "3", "0.001"]
    assert causes == {2: "is not a number", 5: "is not a number"}


# numbers: their own tests are in test_numerals.py


def test_numbers_follow_the_feeds_marks() -> None:
    assert read("BID", "1.234,50", "98,75", decimal=",", thousands=".") == (["1234.5", "98.75"], {})
    assert read("BID", "98.75", decimal=",")[1] == {0: "is not a number"}


def test_number_cells_have_a_point_whatever_the_feed_declares() -> None:
    kinds = [CellKind.NUMBER, CellKind.TEXT, CellKind.TEXT, CellKind.NUMBER]
    tokens, causes = read("BID", "98.75", "98,75", "98.75", "1e-05", kinds=kinds, decimal=",")
    assert tokens == ["98.75", "98.75", None, "0.00001"]
    assert causes == {2: "is not a number"}


def test_a_field_of_an_unsupported_type_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="X is a BUFFER"):
        read(FieldDef("X", 1, Kind.UNSUPPORTED, "NONE", 0, "BUFFER", 8), "a")


# text


def test_text_is_kept_exactly() -> None:
    texts = ["0012", " padded ", 'a "quoted" \\ one', "1e5", "NA", "~ #/"]
    assert read("DSPLY_NAME", *texts)[0] == [
        '"0012"',
        '" padded "',
        '"a \\"quoted\\" \\\\ one"',
        '"1e5"',
        '"NA"',
        '"~ #/"',
    ]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("caf\u00e9", "contains LATIN SMALL LETTER E WITH ACUTE (U+00E9)"),
        ("a\u00a0b", "contains NO-BREAK SPACE (U+00A0)"),
        ("a\nb", "contains a control character (U+000A)"),
        ("a\x7f", "contains a control character (U+007F)"),
        ("\u0410BC", "contains CYRILLIC CAPITAL LETTER A (U+0410)"),
        ("12345678901234567", "is longer than 16 characters"),
    ],
)
def test_text_that_the_ads_would_spoil_is_refused(text: str, cause: str) -> None:
    assert read("DSPLY_NAME", text) == ([None], {0: cause})


def test_text_of_the_full_length_is_taken_and_quotes_count_once() -> None:
    assert read("DSPLY_NAME", '"' * 16) == (['"' + '\\"' * 16 + '"'], {})


def test_a_text_field_without_a_length_takes_what_a_cell_may_have() -> None:
    field = FieldDef("X", 1, Kind.TEXT, "ALPHANUMERIC", 0, "RMTES_STRING", 0)
    assert read(field, "x" * MAX_CELL_BYTES) == (['"' + "x" * MAX_CELL_BYTES + '"'], {})
    assert read(field, "x" * MAX_CELL_BYTES + "x")[0] == [None]


@pytest.mark.parametrize("field", ["BID", "BIDSIZE", "TRADE_DATE", "QUOTIM", "CURRENCY", "DSPLY_NAME"])
@pytest.mark.parametrize("written", ["9", " ", ",", '"', "0", "\u202e", "e"])
def test_an_endless_cell_is_refused_whatever_it_holds(field: str, written: str) -> None:
    tokens, causes = read(field, written * MAX_CELL_BYTES + "1", written * MAX_CELL_BYTES + "#CLEAR")
    assert tokens == [None, None]
    assert set(causes.values()) == {"is longer than the 1,000 bytes of a cell"}


def test_an_endless_number_cell_of_a_workbook_is_refused() -> None:
    assert read("BID", "0" * MAX_CELL_BYTES + "1.5", kinds=[CellKind.NUMBER])[0] == [None]


@given(st.lists(st.text(max_size=20)))
@example(['\\"', "\\\\", "\u0000", "\ud7ff"])
def test_text_comes_back_as_it_was_written_or_is_refused(texts: list[str]) -> None:
    tokens, causes = read("DSPLY_NAME", *texts)
    for index, (text, token) in enumerate(zip(texts, tokens, strict=True)):
        if token is not None and text.strip(" ") != "#CLEAR":
            assert re.sub(r"\\(.)", r"\1", token[1:-1]) == text  # all that the ADS undoes
        if not re.fullmatch("[ -~]{1,16}", text) and text.strip(" "):
            assert index in causes


# enumerations


def test_a_display_string_and_its_number_are_one_value() -> None:
    assert read("CURRENCY", "USD", "840", "GBP") == (['"USD"', '"USD"', '"GBP"'], {})


@pytest.mark.parametrize("text", ["usd", " USD", "USD ", "US Dollar", "99999", "0840", "840.0", "-1"])
def test_nothing_but_the_exact_display_string_is_taken(text: str) -> None:
    assert read("CURRENCY", text) == ([None], {0: "is not a value of CURRENCY"})


@pytest.mark.parametrize("text", ["usd", " USD", "USDX"])
def test_the_nearest_display_string_is_named(text: str) -> None:
    assert "write USD" in mend("CURRENCY", text)


def test_a_unit_alone_is_no_percentage() -> None:
    assert mend("BID", "%") == "write digits alone, like 1234.5"
    assert "percent =" in mend("BID", "4.5 %")


@pytest.mark.parametrize("text", ["GBX", "EUX", "RMB"])
def test_another_currency_is_not_named_for_one_that_is_not_listed(text: str) -> None:
    assert mend("CURRENCY", text) == "write one of the field's display strings, exactly"


def test_displays_that_say_nothing_certain_are_sent_as_numbers() -> None:
    field = enumerated({0: " ", 1: "\xde", 2: "same", 3: "same", 4: 'a"b', 5: "up"})
    tokens, causes = read(field, "0", "1", "2", "3", "4", "5", 'a"b', "up")
    assert tokens == ["0", "1", "2", "3", '"a\\"b"', '"up"', '"a\\"b"', '"up"']
    assert not causes
    assert read(field, "same", "\xde")[1] == dict.fromkeys(range(2), "does not name one value of TICK for certain")
    assert "2 or 3" in mend(field, "same")


def test_a_currency_with_two_values_needs_the_number() -> None:
    assert read("CURRENCY", "GBp")[1] == {0: "does not name one value of CURRENCY for certain"}
    numbers = re.findall("[0-9]+", mend("CURRENCY", "GBp"))
    assert len(numbers) == 2
    assert read("CURRENCY", *numbers) == (numbers, {})


def test_a_number_that_is_another_values_name_is_refused() -> None:
    field = enumerated({0: " ", 4: "0", 5: "5"})
    assert read(field, "0", "4", "5") == (
        [None, '"0"', '"5"'],
        {0: "does not name one value of TICK for certain"},
    )
    assert read(field, "0", "4.0", kinds=[CellKind.NUMBER] * 2) == (["0", '"0"'], {})


def test_a_number_cell_is_a_value_never_a_name() -> None:
    assert read("CURRENCY", "840", "842", kinds=[CellKind.NUMBER] * 2) == (
        ['"USD"', None],
        {1: "is not a value of CURRENCY"},
    )


def test_an_enumeration_without_values_takes_numbers_alone() -> None:
    tokens, causes = read("RDN_EXCHID", "0", "65535", "65536", "ASE", "05", "-1", "1.0")
    assert tokens == ["0", "65535", None, None, None, None, None]
    assert set(causes.values()) == {"is not a whole number from 0 to 65535"}
    assert "lists no values for RDN_EXCHID" in mend("RDN_EXCHID", "ASE")


# dates


@pytest.mark.parametrize(
    "text",
    [
        *("2026-02-31", "2023-02-29", "2026-13-01", "2026-2-3", "20261122", "2026-W47-7", "22/11/2026", "0000-01-01"),
        *("2026-11-22T00:00", "2026-11-22 16:30", "\u0662026-11-22", "2026-11-22x", "45000"),
    ],
)
def test_dates_are_strictly_iso_unless_declared(text: str) -> None:
    tokens, causes = read("TRADE_DATE", text)
    assert tokens == [None]
    assert causes


@pytest.mark.parametrize(
    ("date_format", "text"),
    [
        ("%d/%m/%Y", "22/11/2026"),
        ("%d %b %Y", "22 Nov 2026"),
        ("%Y%m%d", "20261122"),
        ("%d.%m.%Y %H:%M", "22.11.2026 00:00"),
        ("%Y-%m-%d", " 2026-11-22 "),
    ],
)
def test_dates_in_the_declared_format(date_format: str, text: str) -> None:
    assert read("TRADE_DATE", text, date_format=date_format) == (['"2026-11-22"'], {})


@pytest.mark.parametrize(
    ("date_format", "text"),
    [
        ("%d/%m/%Y", "31/02/2026"),
        ("%d/%m/%Y", "2026-11-22"),
        ("%d/%m/%Y", "\u0662\u0662/11/2026"),
        ("%Y%m%d", "2026111"),
        ("%d.%m.%Y %H:%M", "22.11.2026 16:30"),
    ],
)
def test_dates_that_are_not_certain_in_the_declared_format(date_format: str, text: str) -> None:
    assert read("TRADE_DATE", text, date_format=date_format)[0] == [None]


@pytest.mark.parametrize("date_format", ["%d/%m", "%m/%Y", "%H:%M", "", "22.11.2026", "%d/%m/%Y %Q"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.13 warns of a day without a year
def test_a_format_that_would_invent_a_part_of_the_date_is_refused(date_format: str) -> None:
    with pytest.raises(ConfigurationError, match="does not give a whole date"):
        read("TRADE_DATE", "22/11", date_format=date_format)


def test_unpadded_parts_are_certain_between_marks() -> None:
    assert read("TRADE_DATE", "3/4/2026", date_format="%d/%m/%Y") == (['"2026-04-03"'], {})


def test_a_time_of_day_in_a_date_is_named() -> None:
    assert "time of day" in read("TRADE_DATE", "2026-11-22 16:30")[1][0]


@given(
    days=st.lists(st.dates(min_value=date(1000, 1, 1))),
    date_format=st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%Y%m%d", "%d %B %Y", "%j/%Y"]),
)
def test_a_date_comes_back_as_it_was_written(days: list[date], date_format: str) -> None:
    texts = [day.strftime(date_format) for day in days]
    assert read("TRADE_DATE", *texts, date_format=date_format) == ([f'"{day}"' for day in days], {})


@given(st.lists(st.from_regex(r"\A\d{4}-\d{2}-\d{2}\Z") | st.text(max_size=12)))
def test_any_text_is_the_iso_date_that_it_reads_or_refused(texts: list[str]) -> None:
    for text, token in zip(texts, read("TRADE_DATE", *texts)[0], strict=True):
        if token not in (None, "null"):
            assert token == f'"{text.strip(" ")}"'
            date.fromisoformat(token.strip('"'))


# times


def time_field(rwf_length: int) -> FieldDef:
    return FieldDef("T", 1, Kind.TIME, "TIME_SECONDS", 8, "TIME", rwf_length)


def test_times_always_have_seconds_and_no_trailing_zeros() -> None:
    texts = ["16:30", "16:30:00", "00:00:00.000", "23:59:59.120", " 10:00 ", "10:10:10"]
    assert read("QUOTIM", *texts)[0] == [
        '"16:30:00"',
        '"16:30:00"',
        '"00:00:00"',
        '"23:59:59.12"',
        '"10:00:00"',
        '"10:10:10"',
    ]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "24:00",
            "25:00:00",
            "9:30",
            "16:60",
            "16:30:60",
            "16:30Z",
            "16:30:00+01:00",
            "4:30 PM",
            "16.30",
            "16:30:00.",
        ),
        *("2026-11-22 16:30", "16:30:00,5", "16:30:00.1234567890", "1630", "\u0661\u0666:30", "0.6875"),
    ],
)
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    assert read("QUOTIM", text) == ([None], {0: "is not a time of day from 00:00 to 23:59:59"})


@pytest.mark.parametrize(
    ("rwf_length", "finest", "too_fine", "unit"),
    [
        (2, "16:30:00", "16:30:01", "minutes"),
        (3, "16:30:01", "16:30:01.5", "seconds"),
        (5, "16:30:01.123", "16:30:01.1234", "milliseconds"),
        (7, "16:30:01.123456", "16:30:01.1234567", "microseconds"),
    ],
)
def test_a_time_may_be_as_fine_as_its_bytes(rwf_length: int, finest: str, too_fine: str, unit: str) -> None:
    tokens, causes = read(time_field(rwf_length), finest, too_fine, f"{finest[:8]}.000000000")
    assert tokens == [f'"{finest}"', None, f'"{finest[:8]}"']
    assert causes == {1: f"is finer than the {unit} that the field can hold"}


@pytest.mark.parametrize("rwf_length", [8, 0])
def test_eight_bytes_hold_nanoseconds(rwf_length: int) -> None:
    assert read(time_field(rwf_length), "16:30:01.123456789") == (['"16:30:01.123456789"'], {})


@given(st.lists(st.times()))
def test_a_time_comes_back_as_it_was_written(moments: list[time]) -> None:
    tokens, causes = read(time_field(8), *[moment.isoformat() for moment in moments])
    assert not causes
    assert [time.fromisoformat(token.strip('"')) for token in tokens if token] == moments


# workbook cells

NUMBERS = ["BID", "PREF_DISP"]


@pytest.mark.parametrize("field", EVERY_KIND)
@pytest.mark.parametrize(
    ("kind", "text", "cause"),
    [
        (CellKind.ERROR, "#N/A", "is the error #N/A"),
        (CellKind.ERROR, "#DIV/0!", "is the error #DIV/0!"),
        (CellKind.NO_VALUE, None, "is a formula without a stored result"),
        (CellKind.BOOLEAN, "TRUE", "is TRUE or FALSE, which no field takes"),
    ],
)
def test_some_cells_can_give_no_field_a_value(field: str, kind: CellKind, text: str | None, cause: str) -> None:
    # not even where their text is declared blank, or to be cleared
    assert read(field, text, kinds=[kind], blank=("#N/A", "TRUE"), clear_token="#DIV/0!") == ([None], {0: cause})


@pytest.mark.parametrize("field", EVERY_KIND)
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (CellKind.DATE, "2026-11-22"),
        (CellKind.TIME, "16:30:00"),
        (CellKind.DATETIME, "2026-11-22T16:30:00"),
        (CellKind.NUMBER, "45000"),
    ],
)
def test_a_cell_of_another_kind_is_refused(field: str, kind: CellKind, text: str) -> None:
    takes = {
        "BID": {CellKind.NUMBER},
        "PREF_DISP": {CellKind.NUMBER},
        "RDN_EXCHID": {CellKind.NUMBER},
        "TRADE_DATE": {CellKind.DATE},
        "QUOTIM": {CellKind.TIME},
    }
    tokens, causes = read(field, text, kinds=[kind])
    assert (tokens == [None]) == bool(causes) == (kind not in takes.get(field, set()))


def test_a_percentage_is_not_taken_for_a_number() -> None:
    assert read("YIELD", "0.045", kinds=[CellKind.PERCENT])[1] == {0: "is a percentage, and the field takes a number"}


def test_date_and_time_cells_need_no_declared_format() -> None:
    kinds = [CellKind.DATE, CellKind.TEXT]
    assert read("TRADE_DATE", "2026-11-22", "22.11.2026", kinds=kinds, date_format="%d.%m.%Y") == (
        ['"2026-11-22"'] * 2,
        {},
    )
    assert read("QUOTIM", "16:30:00.5", kinds=[CellKind.TIME]) == (['"16:30:00.5"'], {})


def test_text_and_blank_cells_of_a_workbook_read_like_a_csv() -> None:
    kinds = [CellKind.TEXT, CellKind.BLANK, CellKind.TEXT, CellKind.NUMBER]
    assert read("BID", "1.50", None, "", "-999", kinds=kinds, blank=("-999",)) == (["1.5", None, None, None], {})


def test_a_cell_of_a_kind_that_no_rule_knows_is_refused() -> None:
    tokens, causes = read("BID", "1", kinds=[CellKind.BLANK])
    assert tokens == [None]
    assert causes


def test_the_same_trouble_has_the_same_words() -> None:
    kinds = [CellKind.TEXT, CellKind.TEXT, CellKind.DATE, CellKind.DATE]
    _, causes = read("BID", "x", "1,5", "2026-11-22", "1900-04-10", kinds=kinds)
    assert len(set(causes.values())) == 2


# percentages


@pytest.mark.parametrize(
    ("percent", "text_token", "cell_token"), [("points", "4.5", "4.5"), ("fraction", "0.045", "0.045")]
)
def test_a_percentage_is_read_as_the_feed_declares(percent: str, text_token: str, cell_token: str) -> None:
    assert read("YIELD", "4.5%", " 4.50 % ", "+4.5%", percent=percent) == ([text_token] * 3, {})
    assert read("YIELD", "0.045", kinds=[CellKind.PERCENT], percent=percent) == ([cell_token], {})
    # a plain number stays what it is
    assert read("YIELD", "4.5", "3%", percent=percent) == (["4.5", {"points": "3", "fraction": "0.03"}[percent]], {})
    assert read("YIELD", "0.045", kinds=[CellKind.NUMBER], percent=percent) == (["0.045"], {})


def test_a_percentage_in_the_feeds_own_marks() -> None:
    keys = {"decimal": ",", "thousands": ".", "percent": "fraction"}
    assert read("YIELD", "1.234,5 %", "-0,5%", "0%", "1e1%", **keys) == (["12.345", "-0.005", "0", "0.1"], {})


@pytest.mark.parametrize("text", ["%", "4.5%%", "%4.5", "4.5 % p.a.", "4.5\u2030", "5.%", "inf%", "4.5%x", "4,5%"])
@pytest.mark.parametrize("percent", ["", "points", "fraction"])
def test_what_is_no_percentage_is_refused(text: str, percent: str) -> None:
    assert read("YIELD", text, percent=percent)[1] == {0: "is not a number"}


def test_a_percentage_is_refused_unless_declared_and_the_advice_names_both_readings() -> None:
    assert read("YIELD", "4.5%")[1] == {0: "is not a number"}
    assert 'percent = "points"' in mend("YIELD", "4.5%")
    typed = type_column(
        DICTIONARY.fields["YIELD"], pa.array(["0.045"]), pa.array([CellKind.PERCENT], pa.uint8()), feed()
    )
    assert 'percent = "points"' in typed.problems[0][2]
    assert 'percent = "fraction"' not in typed.problems[0][2]  # in one sentence with points
    assert '"fraction"' in typed.problems[0][2]


def test_limits_apply_to_what_is_sent() -> None:
    decimals = "has more than 14 decimals"
    assert read("YIELD", "0.0000000000001%", percent="fraction")[1] == {0: decimals}
    assert read("YIELD", "0.0000000000001%", percent="points")[0] == ["0.0000000000001"]
    assert read("PREF_DISP", "0.45", kinds=[CellKind.PERCENT], percent="points")[0] == ["45"]
    assert read("PREF_DISP", "0.45", kinds=[CellKind.PERCENT], percent="fraction")[1] == {0: "is not a whole number"}


@given(
    st.lists(st.decimals(-(10**6), 10**6, places=8, allow_nan=False), min_size=1, max_size=5),
    st.sampled_from(["points", "fraction"]),
)
def test_percentages_are_exact(values: list[Decimal], percent: str) -> None:
    texts = [f"{value:f}" for value in values]
    factors = {"points": (1, 100), "fraction": (Decimal("0.01"), 1)}[percent]
    tokens, causes = read("YIELD", *(f"{text}%" for text in texts), percent=percent)
    cells, cell_causes = read("YIELD", *texts, kinds=[CellKind.PERCENT] * len(texts), percent=percent)
    assert not causes
    assert not cell_causes
    assert [Decimal(token or "") for token in tokens] == [value * factors[0] for value in values]
    assert [Decimal(token or "") for token in cells] == [value * factors[1] for value in values]
    assert all(token == plain for token, plain in zip(tokens, read("YIELD", *map(str, tokens))[0], strict=True))


@pytest.mark.parametrize("kind", [CellKind.PERCENT, CellKind.BOOLEAN, CellKind.DATE, CellKind.ERROR])
@pytest.mark.parametrize("field", ["CURRENCY", "DSPLY_NAME", "TRADE_DATE", "QUOTIM"])
def test_percent_changes_nothing_for_other_fields(field: str, kind: CellKind) -> None:
    if (field, kind) != ("TRADE_DATE", CellKind.DATE):
        assert read(field, "0.5", kinds=[kind], percent="points")[1]


# a spreadsheet's errors that have become text


@pytest.mark.parametrize(
    "text",
    ["#N/A", "#N/A N/A", "#N/A Requesting Data...", "#NV", "#DIV/0!", "#REF!", "#BEZUG!", "#VALUE!", "#WERT!",
     "#NAME?", "#SPILL!", "####", "Err:502", "#ERROR!", "#\u00dcBERLAUF!",
     "Retrieving...", " #N/A "],
)  # fmt: skip
@pytest.mark.parametrize("field", ["BID", "DSPLY_NAME", "CTBTR_1"])
def test_an_error_as_text_is_never_a_value(field: str, text: str) -> None:
    assert read(field, text)[1] == {0: "is an error or placeholder of a spreadsheet, not a value"}
    assert read(field, text, kinds=[CellKind.TEXT])[1] == {
        0: "is an error or placeholder of a spreadsheet, not a value"
    }


@pytest.mark.parametrize("text", ["#1", "N/A", "#NVX", "No. #N/A", "#"])
def test_other_texts_with_a_hash_are_texts(text: str) -> None:
    assert read("DSPLY_NAME", text) == ([f'"{text}"'], {})


def test_a_feed_may_declare_an_error_text_to_be_blank() -> None:
    assert read("BID", "#N/A", blank=("#N/A",)) == ([None], {})
    assert read("BID", "#N/A", kinds=[CellKind.ERROR], blank=("#N/A",))[1] == {0: "is the error #N/A"}
