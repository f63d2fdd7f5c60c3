"""What a reader gets back is the same value, or it is not; however it is written."""

from __future__ import annotations

from datetime import date
from pathlib import PurePath

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contrib_watch.ads.messages import decode, field_texts, item_request, login_request, quoted
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.compare import Difference, differences
from contrib_watch.core.fields import Kind, type_column
from contrib_watch.core.model import Feed
from contrib_watch.core.tokens import tokens_of
from contrib_watch.simulator.core import SimulatedAds

DICTIONARY = load_dictionary(Fields())
FEED = Feed(name="f", folder=PurePath("f"), service="S")
BY_KIND = {
    kind: sorted(name for name, field in DICTIONARY.fields.items() if field.kind is kind)
    for kind in Kind
    if kind is not Kind.UNSUPPORTED
}
TEXTS = {
    Kind.REAL: st.decimals(-(10**14), 10**14, places=4, allow_nan=False).map(lambda number: format(number, "f"))
    | st.decimals(-100, 100, places=14, allow_nan=False).map(lambda number: format(number, "f")),
    Kind.UINT: st.integers(0, 2**16 - 1).map(str),
    Kind.INT: st.integers(-(2**15), 2**15).map(str),
    Kind.TEXT: st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12),
    Kind.DATE: st.dates(min_value=date(1900, 1, 1)).map(lambda day: day.isoformat()),
    Kind.TIME: st.times().map(lambda time: time.isoformat(timespec="minutes"))
    | st.times().map(lambda time: time.isoformat(timespec="seconds"))
    | st.times().map(lambda time: time.isoformat(timespec="milliseconds")),
}


def token_of(name: str, text: str) -> str | None:
    """The token of a cell of a CSV; None: it is refused or blank."""
    token = type_column(DICTIONARY.fields[name], pa.array([text]), None, FEED).tokens[0].as_py()
    return token if token is None else str(token)


@st.composite
def fields(draw: st.DrawFn) -> dict[str, str]:
    """Tokens of some fields of every kind, as typing makes them; some are cleared."""
    found = {}
    for kind, names in BY_KIND.items():
        for name in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)) if names else ():
            if draw(st.integers(0, 9)) == 0:
                found[name] = "null"
                continue
            displays = [*DICTIONARY.fields[name].enum_values.values(), "0", "1"]
            text = draw(st.sampled_from(displays) if kind is Kind.ENUM else TEXTS[kind])
            if (token := token_of(name, text)) is not None:
                found[name] = token
    return found


def json_object(tokens: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{token}' for name, token in tokens.items()) + "}"


def read_back(posted: str) -> dict[str, str]:
    """What a reader of the simulated ADS gets of an item that was posted with these fields."""
    ads = SimulatedAds(DICTIONARY)
    ads.load("S", "A", posted)
    line = ads.connect()
    line.receive(login_request(user="u", app_id="256", position="127.0.0.1"), 0.0)
    (frame,) = line.receive(item_request(2, "S", ["A"]), 0.0).frames
    (message,) = decode(frame.text)
    return field_texts(message)


def test_every_kind_of_field_is_among_the_built_in_ones() -> None:
    assert {kind for kind, names in BY_KIND.items() if names} >= {
        Kind.REAL,
        Kind.UINT,
        Kind.ENUM,
        Kind.TEXT,
        Kind.DATE,
        Kind.TIME,
    }


@given(tokens=fields())
def test_what_was_posted_is_what_is_held(tokens: dict[str, str]) -> None:
    wanted = json_object(tokens)
    assert tokens_of(wanted) == tokens
    assert differences(wanted, read_back(wanted), DICTIONARY) == ()


@given(tokens=fields(), data=st.data())
def test_another_value_is_a_difference(tokens: dict[str, str], data: st.DataObject) -> None:
    assume(tokens)
    name = data.draw(st.sampled_from(sorted(tokens)))
    kind = DICTIONARY.fields[name].kind
    displays = sorted({*DICTIONARY.fields[name].enum_values.values(), "7"})
    text = data.draw(st.sampled_from(displays) if kind is Kind.ENUM else TEXTS[kind])
    other = token_of(name, text)
    assume(other is not None and other != tokens[name])
    assert other is not None
    held = read_back(json_object(tokens | {name: other}))
    found = differences(json_object(tokens), held, DICTIONARY)
    if kind is Kind.ENUM:  # two numbers may be displayed alike, and a reader gets the display
        assert [one.field for one in found] in ([], [name])
        assert found or _displayed(name, other) == _displayed(name, tokens[name])
    else:
        assert [one.field for one in found] == [name]


def _displayed(name: str, token: str) -> str:
    values = DICTIONARY.fields[name].enum_values
    shown = token.strip('"') if token.startswith('"') else values.get(int(token), token) if token != "null" else ""
    return shown.strip()


REAL, ENUM, TEXT, DATE, TIME = (BY_KIND[kind][0] for kind in (Kind.REAL, Kind.ENUM, Kind.TEXT, Kind.DATE, Kind.TIME))


@pytest.mark.parametrize(
    ("name", "wanted", "held"),
    [
        (REAL, "22.1", "22.10"),
        (REAL, "100", "1e2"),
        (REAL, "0", "-0.0"),
        (REAL, "null", "null"),
        ("CURRENCY", '"USD"', '"USD "'),
        (TEXT, "null", '""'),
        (TEXT, '"a\\"b"', '"a\\u0022b"'),
        (DATE, '"2026-01-02"', '"2026-1-2"'),
        (TIME, '"16:30:00"', '"16:30"'),
        (TIME, '"16:30:00"', '"16:30:00.000"'),
        (TIME, '"16:30:00.5"', '"16:30:00.500"'),
        (TIME, '"16:30:00.5"', '"16:30:00:500:000:000"'),
        ("NOT_IN_THE_DICTIONARY", '"x"', '"x"'),
    ],
)
def test_the_same_value_written_in_another_way(name: str, wanted: str, held: str) -> None:
    assert differences(json_object({name: wanted}), {name: held}, DICTIONARY) == ()


@pytest.mark.parametrize(
    ("name", "wanted", "held", "told"),
    [
        (REAL, "22.1", "22.11", "22.11 instead of 22.1"),
        # LSEG's SDK keeps a double of it: that is another price to everybody who reads it.
        (REAL, "9007199254740993", "9007199254740992", "9007199254740992 instead of 9007199254740993"),
        (REAL, "100.000000000001", "100.000000000002", "100.000000000002 instead of 100.000000000001"),
        (REAL, "1", "null", "(blank) instead of 1"),
        (REAL, "null", "0", "0 instead of (blank)"),
        (REAL, "1", '"NaN"', "NaN instead of 1"),
        (REAL, "1", "{}", "{} instead of 1"),
        ("CURRENCY", '"USD"', '"EUR"', "EUR instead of USD"),
        ("CURRENCY", '"USD"', "null", "(blank) instead of USD"),
        (TEXT, '"x"', '"X"', "X instead of x"),
        (TEXT, '"x"', "3", "3 instead of x"),
        (DATE, '"2026-01-02"', '"2026-02-01"', "2026-02-01 instead of 2026-01-02"),
        (DATE, '"2026-01-02"', "3", "3 instead of 2026-01-02"),
        (TIME, '"16:30:00"', '"16:30:01"', "16:30:01 instead of 16:30:00"),
        (TIME, '"16:30:00.5"', '"16:30:00.05"', "16:30:00.05 instead of 16:30:00.5"),
    ],
)
def test_another_value_is_told(name: str, wanted: str, held: str, told: str) -> None:
    (found,) = differences(json_object({name: wanted}), {name: held}, DICTIONARY)
    assert str(found) == f"{name} {told}"


def test_an_enumerated_value_by_its_number() -> None:
    values = DICTIONARY.fields["CURRENCY"].enum_values
    dollar = next(number for number, display in values.items() if display == "USD")
    assert differences('{"CURRENCY":"USD"}', {"CURRENCY": str(dollar)}, DICTIONARY) == ()
    assert differences(f'{{"CURRENCY":{dollar}}}', {"CURRENCY": '"USD"'}, DICTIONARY) == ()
    assert len(differences('{"CURRENCY":"USD"}', {"CURRENCY": str(dollar + 1)}, DICTIONARY)) == 1


def test_fields_beyond_and_fields_that_are_not_there() -> None:
    wanted = f'{{"{REAL}":1,"{TEXT}":null}}'
    assert differences(wanted, {REAL: "1", "BEYOND": "5"}, DICTIONARY) == ()
    assert differences(wanted, {TEXT: "null"}, DICTIONARY) == (Difference(REAL, "1", "null"),)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_texts_are_compared_character_by_character(text: str) -> None:
    assume(text != "x")
    assert bool(differences('{"DSPLY_NAME":"x"}', {"DSPLY_NAME": quoted(text)}, DICTIONARY))
