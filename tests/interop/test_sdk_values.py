"""What LSEG's SDK for Java stores of each field type, raw frame by raw frame, beside what the simulated ADS stores.

The simulated ADS follows the converter of LSEG's C++ code, whose texts an ADS shows in its Errors. The SDK for Java
has a converter of its own; where the two differ (DIFFERENT) both are written down, so that a change of either shows.
What the product sends has to be stored alike by both: that is what AGREED is for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal

import pytest
from sdk_provider import SERVICE, Provider, RawClient, post

from contrib_watch.simulator.server import SimulatedServer

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]  # the first build asks Maven Central

NOTHING = "no answer"
"""The SDK for Java drops a post that it cannot convert without a word, and logs an Error that it never sends."""
CLOSED = "the connection is closed"
ERROR = "an Error"

AGREED: list[tuple[str, str, str | None]] = [
    ("BID", "22.1", "22.1"),
    ("BID", "22.10", "22.1"),
    ("BID", "0", "0"),
    ("BID", "-0.5", "-0.5"),
    ("BID", "100000", "100000"),
    ("BID", "12300000000", "12300000000"),
    ("BID", "0.12345678901234", "0.12345678901234"),
    ("BID", "123456789.12345678", "123456789.12345678"),
    ("BID", "1234567.1234567", "1234567.1234567"),
    ("BID", "0.0001", "0.0001"),
    ("BID", "-0.00000001", "-0.00000001"),
    ("BID", "9223372036854775807", "9223372036854775807"),
    ("BID", "-9223372036854775808", "-9223372036854775808"),
    ("BID", "true", "0"),
    ("BID", "false", "0"),
    ("BID", '"NaN"', "NaN"),
    ("BID", '"Inf"', "Inf"),
    ("BID", '"-Inf"', "-Inf"),
    ("BID", "null", None),
    ("PROD_PERM", "0", "0"),
    ("PROD_PERM", "70000", "70000"),
    ("PROD_PERM", "18446744073709551615", "18446744073709551615"),
    ("PROD_PERM", "null", None),
    ("NET_INT", "-5", "-5"),
    ("NET_INT", "9223372036854775807", "9223372036854775807"),
    ("NET_INT", "-9223372036854775808", "-9223372036854775808"),
    ("NET_INT", "null", None),
    ("CURRENCY", '"USD"', "USD"),
    ("CURRENCY", "840", "USD"),
    ("CURRENCY", "65535", "65535"),
    ("CURRENCY", '"usd"', None),
    ("CURRENCY", '"USD "', None),
    ("CURRENCY", '""', None),
    ("CURRENCY", "null", None),
    ("RDN_EXCHID", "255", "255"),
    ("DSPLY_NAME", '"ACME"', "ACME"),
    ("DSPLY_NAME", '" x "', " x "),
    ("DSPLY_NAME", '"longer than the sixteen of the dictionary"', "longer than the sixteen of the dictionary"),
    ("DSPLY_NAME", r'"a\"b\\c\/d"', r'a"b\c/d'),
    ("DSPLY_NAME", '"café"', "cafÃ©"),
    ("DSPLY_NAME", '""', None),
    ("DSPLY_NAME", "null", None),
    ("BKGD_REF", '"REF"', "REF"),
    ("BKGD_REF", "null", None),
    ("NAME_U", '"ACME"', "ACME"),
    ("NAME_U", '"café"', "café"),
    ("NAME_U", '""', None),
    ("TRADE_DATE", '"2026-11-22"', "2026-11-22"),
    ("TRADE_DATE", '"11/22/2026"', "2026-11-22"),
    ("TRADE_DATE", '"2026-02-31"', "2026-02-31"),
    ("TRADE_DATE", '"9999-12-31"', "9999-12-31"),
    ("TRADE_DATE", '""', None),
    ("TRADE_DATE", "null", None),
    ("QUOTIM", '"16:30"', "16:30:00"),
    ("QUOTIM", '"16:30:05"', "16:30:05"),
    ("QUOTIM", '"16:30:05.12"', "16:30:05.120"),
    ("QUOTIM", '"16:30:05.123456789"', "16:30:05.123456789"),
    ("QUOTIM", '"16:30:05.000000001"', "16:30:05.000000001"),
    ("QUOTIM", '"25:00:00"', "25:00:00"),
    ("QUOTIM", '"16:30:00Z"', "16:30:00"),
    ("QUOTIM", '"16:30:00+02:00"', "16:30:00"),
    ("QUOTIM", '""', None),
    ("QUOTIM", "null", None),
]

REFUSED = [
    ("BID", "0.123456789012345"),
    ("BID", "0.30000000000000004"),
    ("BID", "3.141592653589793"),
    ("BID", "1e-15"),
    ("BID", '"45.5"'),
    ("BID", '""'),
    ("PROD_PERM", "12.7"),
    ("PROD_PERM", "-5"),
    ("PROD_PERM", "1e3"),
    ("PROD_PERM", "true"),
    ("PROD_PERM", '"12"'),
    ("NET_INT", '"12"'),
    ("DSPLY_NAME", "12"),
    ("DSPLY_NAME", "true"),
    ("BKGD_REF", "12"),
    ("TRADE_DATE", '"2026-11-22T00:00:00"'),
    ("TRADE_DATE", '"tomorrow"'),
    ("TRADE_DATE", "20261122"),
    ("QUOTIM", '"noon"'),
    ("QUOTIM", '"16"'),
    ("bid", "1"),
    ("NOSUCHFLD", "1"),
]
"""Neither stores it: an Error from the simulated ADS, silence from the SDK for Java."""

DIFFERENT: list[tuple[str, str, str | None, str | None]] = [
    # field, token, the SDK for Java, the simulated ADS
    # Decimals go through a double there: beyond 17 digits another number is stored, and acknowledged.
    ("BID", "92233720368547758.07", "92233720368547760", "92233720368547758.07"),
    ("BID", "90071992547409.93", "90071992547409.94", "90071992547409.93"),
    ("BID", "12345678901234.12345", "12345678901234.123", "12345678901234.12345"),
    ("BID", "0.00000000000001", NOTHING, "0.00000000000001"),
    ("BID", "1.100000000000000", "1.1", ERROR),
    ("BID", "1e8", "100000000", ERROR),
    ("BID", "9223372036854775808", NOTHING, "-9223372036854775808"),
    ("BID", "18446744073709551616", NOTHING, "0"),
    ("BID", "{}", "0", ERROR),
    ("BID", "[1]", "0", ERROR),
    ("BID", "1.", CLOSED, ERROR),
    ("BID", "nope", CLOSED, None),
    ("22", "1", "1", ERROR),
    ("PROD_PERM", "18446744073709551616", NOTHING, "0"),
    ("NET_INT", "18.7", NOTHING, "18"),
    ("NET_INT", "9223372036854775808", NOTHING, "-9223372036854775808"),
    ("NET_INT", "1e3", NOTHING, "1"),
    ("CURRENCY", "65536", NOTHING, "0"),
    ("CURRENCY", "-1", NOTHING, "65535"),
    ("CURRENCY", "true", None, ERROR),
    ("RDN_EXCHID", '"USD"', NOTHING, None),  # a field without an enumeration: the SDK throws
    # Its JSON parser is an ordinary one: escapes come out right, raw control characters end the connection.
    ("DSPLY_NAME", r'"caf\u00e9"', "cafÃ©", "cafu00e9"),
    ("DSPLY_NAME", r'"a\nb"', "a\nb", "anb"),
    ("DSPLY_NAME", r'"\u001b%0caf\u00e9"', "café", "u001b%0cafu00e9"),
    ("DSPLY_NAME", '"\x1b%0café"', CLOSED, "café"),
    ("DSPLY_NAME", '"a\tb"', CLOSED, "a\tb"),
    ("TRADE_DATE", '"22/11/2026"', NOTHING, "2026-22-11"),
    ("TRADE_DATE", '"2026-13-01"', NOTHING, "2026-13-01"),
    ("TRADE_DATE", '"2026-1-2"', NOTHING, "2026-01-02"),
    ("TRADE_DATE", '"22 NOV 2026"', "2026-11-22", ERROR),
    ("QUOTIM", '"2026-11-22T16:30:00"', "20:26:00", "234:11:22"),
    ("QUOTIM", '"16:30:05.1234567891"', "16:30:05.123456789", ERROR),
    ("QUOTIM", "163000", None, ERROR),
]

_post_ids = itertools.count(1000)


def outcome(client: RawClient, post_id: int, ric: str, field: str, token: str) -> str:
    """Empty where the post of one value is acknowledged; else what came instead."""
    answers = client.all_before_pong(post(f'{{"{field}":{token}}}', post_id=post_id, ric=ric))
    if client.close_code is not None:
        return CLOSED
    if not answers:
        return NOTHING
    (answer,) = answers
    if answer["Type"] == "Error":
        return ERROR
    assert answer["AckID"] == post_id
    assert "NakCode" not in answer
    return ""


def by_sdk(provider: Provider, field: str, token: str) -> str | None:
    """What the provider stores of a token."""
    post_id = next(_post_ids)
    ric = f"SDK{post_id}"
    with RawClient(provider.port) as client:
        if instead := outcome(client, post_id, ric, field, token):
            return instead
    (stored,) = provider.post(post_id, ric)["fields"]
    return None if stored["value"] is None else str(stored["value"])


def by_simulated(server: SimulatedServer, field: str, token: str) -> str | None:
    """What the simulated ADS stores of a token."""
    post_id = next(_post_ids)
    ric = f"SIM{post_id}"
    with RawClient(server.port) as client:
        if instead := outcome(client, post_id, ric, field, token):
            return instead
    with server.inspect() as ads:
        stored = ads.cache[SERVICE, ric][field]
    if isinstance(stored, Decimal):
        return format(stored, "f")
    return None if stored is None else str(stored)


def same(one: str | None, other: str | None) -> bool:
    """Equal as text, or as numbers: 22.10 is 22.1."""
    try:
        return one == other or Decimal(str(one)) == Decimal(str(other))
    except ArithmeticError:
        return False


@pytest.mark.parametrize(("field", "token", "stored"), AGREED)
def test_both_store_the_same(
    provider: Provider, simulated: SimulatedServer, field: str, token: str, stored: str | None
) -> None:
    assert same(by_sdk(provider, field, token), stored)
    assert same(by_simulated(simulated, field, token), stored)


@pytest.mark.parametrize(("field", "token"), REFUSED)
def test_both_refuse(provider: Provider, simulated: SimulatedServer, field: str, token: str) -> None:
    assert by_sdk(provider, field, token) == NOTHING
    assert by_simulated(simulated, field, token) == ERROR


@pytest.mark.parametrize(("field", "token", "sdk", "ads"), DIFFERENT)
def test_known_differences(
    provider: Provider, simulated: SimulatedServer, field: str, token: str, sdk: str | None, ads: str | None
) -> None:
    assert same(by_sdk(provider, field, token), sdk)
    assert same(by_simulated(simulated, field, token), ads)


@pytest.fixture(autouse=True)
def _alive(provider: Provider) -> Iterator[None]:
    """Whatever was sent, the provider goes on with the next post."""
    yield
    assert by_sdk(provider, "BID", "1") == "1"
