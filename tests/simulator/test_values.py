"""Each line of what the server makes of values, traps included: as acknowledged and as stored."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from ads_peer import Peer, post
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.core.fields import Dictionary
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.values import converter


def store(peer: Peer, ads: SimulatedAds, field: str, token: str) -> Any:
    """What the field holds after a post of it; the Error's text if there is one."""
    (answer,) = peer.say(post(f'{{"{field}":{token}}}'))
    if answer["Type"] == "Error":
        return answer["Text"]
    assert answer["AckID"] == 7
    assert "NakCode" not in answer
    return ads.cache["NIPROV", "UMER.TST"][field]


STORED = [
    ("BID", "22.1", Decimal("22.1")),
    ("BID", "-0.5", Decimal("-0.5")),
    ("BID", "22.10", Decimal("22.10")),
    ("BID", "0.12345678901234", Decimal("0.12345678901234")),
    ("BID", "9223372036854775807", Decimal(2**63 - 1)),
    ("BID", "92233720368547758.07", Decimal("92233720368547758.07")),
    ("BID", "9223372036854775808", Decimal(-(2**63))),
    ("BID", "true", Decimal(0)),
    ("BID", "false", Decimal(0)),
    ("BID", '"NaN"', "NaN"),
    ("BID", '"Inf"', "Inf"),
    ("BID", '"-Inf"', "-Inf"),
    ("BID", "null", None),
    ("ACVOL_1", "12", 12),
    ("ACVOL_1", "18446744073709551615", 2**64 - 1),
    ("ACVOL_1", "18446744073709551616", 0),
    ("ACVOL_1", "null", None),
    ("NET_INT", "-5", -5),
    ("NET_INT", "18.7", 18),
    ("NET_INT", "null", None),
    ("CURRENCY", '"USD"', "USD"),
    ("CURRENCY", "840", "USD"),
    ("CURRENCY", "841", 841),
    ("CURRENCY", "65536", "   "),
    ("RATING", "65536", 0),
    ("CURRENCY", '"XXX"', None),
    ("CURRENCY", '"usd"', None),
    ("CURRENCY", '"USD "', None),
    ("RATING", '"AAA"', None),
    ("CURRENCY", '""', None),
    ("CURRENCY", "null", None),
    ("DSPLY_NAME", '"ACME"', "ACME"),
    ("DSPLY_NAME", '"longer than the sixteen of the dictionary"', "longer than the sixteen of the dictionary"),
    ("DSPLY_NAME", r'"a\"b\\c\/d"', 'a"b\\c/d'),
    ("DSPLY_NAME", r'"caf\u00e9"', "cafu00e9"),
    ("DSPLY_NAME", r'"a\nb"', "anb"),
    ("DSPLY_NAME", '"café"', "cafÃ©"),
    ("DSPLY_NAME", '"\x1b%0café"', "café"),
    ("BKGD_REF", '"REF"', "REF"),
    ("NAME_U", '"café"', "café"),
    ("NAME_U", '""', None),
    ("NAME_U", "null", None),
    ("DSPLY_NAME", '""', None),
    ("DSPLY_NAME", "null", None),
    ("TRADE_DATE", '"2026-11-22"', "2026-11-22"),
    ("TRADE_DATE", '"22/11/2026"', "2026-22-11"),
    ("TRADE_DATE", '"2026-02-31"', "2026-02-31"),
    ("TRADE_DATE", '""', None),
    ("TRADE_DATE", "null", None),
    ("TRDTIM_1", '"16:30"', "16:30:00"),
    ("TRDTIM_1", '"16:30:05"', "16:30:05"),
    ("TRDTIM_1", '"16:30:05.12"', "16:30:05.120"),
    ("TRDTIM_1", '"16:30:05.000000001"', "16:30:05.000000001"),
    ("TRDTIM_1", '"25:00:00"', "25:00:00"),
    ("TRDTIM_1", '"16:30:00Z"', "16:30:00"),
    ("TRDTIM_1", '"16:30:00+02:00"', "16:30:00"),
    ("TRDTIM_1", '""', None),
    ("TRDTIM_1", "null", None),
]


@pytest.mark.parametrize(("field", "token", "stored"), STORED)
def test_acknowledged_and_stored(peer: Peer, ads: SimulatedAds, field: str, token: str, stored: object) -> None:
    value = store(peer, ads, field, token)
    assert value == stored
    assert type(value) is type(stored)


def test_a_date_and_time_in_a_time_field_is_acknowledged_as_nonsense(peer: Peer, ads: SimulatedAds) -> None:
    assert store(peer, ads, "TRDTIM_1", '"2026-11-22T16:30:00"') not in ("16:30:00", None)


REFUSED = [
    ("BID", "0.30000000000000004"),
    ("BID", "3.141592653589793"),
    ("BID", "1.100000000000000"),
    ("BID", "1e-15"),
    ("BID", "1e8"),
    ("BID", "1.23456789e-07"),
    ("BID", "-Infinity"),
    ("BID", '"45.5"'),
    ("BID", '""'),
    ("BID", "{}"),
    ("BID", "[1]"),
    ("ACVOL_1", "12.7"),
    ("ACVOL_1", "-5"),
    ("ACVOL_1", "1e3"),
    ("ACVOL_1", "true"),
    ("ACVOL_1", '"12"'),
    ("NET_INT", '"12"'),
    ("CURRENCY", "true"),
    ("DSPLY_NAME", "12"),
    ("DSPLY_NAME", "true"),
    ("BKGD_REF", "12"),
    ("NAME_U", "12"),
    ("TRADE_DATE", '"2026-11-22T00:00:00"'),
    ("TRADE_DATE", '"tomorrow"'),
    ("TRADE_DATE", "20261122"),
    ("TRDTIM_1", '"noon"'),
    ("TRDTIM_1", "163000"),
    ("BLOB", '"AAAA"'),
]


@pytest.mark.parametrize(("field", "token"), REFUSED)
def test_refused_with_an_error(peer: Peer, ads: SimulatedAds, field: str, token: str) -> None:
    assert str(store(peer, ads, field, token)).startswith("JSON ")
    assert not ads.cache


@pytest.mark.parametrize("field", ["NOSUCHFLD", "bid", "22"])
def test_an_unknown_field_fails_the_whole_post(peer: Peer, ads: SimulatedAds, field: str) -> None:
    (error,) = peer.say(post(f'{{"BID":22.1,"{field}":1}}'))
    assert error["Text"] == f"JSON Unexpected FID. Received '{field}' for key 'Fields'"
    assert not ads.cache


@given(
    mantissa=st.integers(-(2**63), 2**63 - 1),
    decimals=st.integers(0, 14),
)
def test_a_real_within_the_limits_is_stored_exactly(dictionary: Dictionary, mantissa: int, decimals: int) -> None:
    definition = dictionary.get("BID")
    assert definition is not None
    token = format(Decimal(mantissa).scaleb(-decimals), "f")
    value = converter(definition)(token)
    assert value == Decimal(token)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_ascii_text_with_only_the_needed_escapes_is_stored_as_written(dictionary: Dictionary, text: str) -> None:
    definition = dictionary.get("DSPLY_NAME")
    assert definition is not None
    token = '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    assert json.loads(token) == text
    assert converter(definition)(token) == (text or None)
