"""What the server makes of a field's JSON: the value as stored, or an Error.

Every rule here was seen on a provider built on LSEG's Real-Time SDK, whose JSON converter an ADS shares. Several are
traps: a wrong value is stored and acknowledged. They are kept, because a publisher must be tested against them.

LSEG's SDK for Java has a converter of its own. What it stores of the same frames is set beside this one's results in
tests/interop/test_sdk_values.py. The gravest difference: it reads decimals into a double, so that a number of more
than 17 digits is stored as another one, and acknowledged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from contrib_watch.core.fields import FieldDef, Kind

Value = Decimal | int | str | None
"""A stored value; None is blank. A REAL is a Decimal, or the text ``NaN``, ``Inf`` or ``-Inf``."""

Convert = Callable[[str], Value]
"""From a value as written in JSON (a string with its quotes) to the value as stored; raises Unconvertible."""

MAX_DECIMALS = 14
_RMTES_UTF8 = "\x1b%0"
_REAL = re.compile(r"-?\d+(?:\.(\d+))?")
_SURELY_INT64 = 18
_INT = re.compile(r"-?\d+")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ISO_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,9}))?)?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_DATE_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ].*", re.ASCII)


class Unconvertible(Exception):  # noqa: N818 - says what the value is
    """The converter refuses the value, and with it the whole post."""

    def __init__(self, text: str, *, has_offset: bool = True) -> None:
        """``text`` is the Error's Text; encoding errors (``has_offset`` False) do not say where they arose."""
        super().__init__(text)
        self.text = text
        self.has_offset = has_offset


def converter(definition: FieldDef) -> Convert:
    """The conversion of one field's values."""
    if definition.kind is Kind.ENUM:
        return _enumeration(definition.enum_values)
    if definition.rwf_type == "UTF8_STRING":
        return _utf8_text
    return _CONVERTERS.get(definition.kind, _null)


def unescape(raw: str) -> str:
    """A string as the converter leaves it: each backslash goes, what follows it stays (``\\u00e9`` is ``u00e9``)."""
    return _ESCAPE.sub(r"\1", raw)


def converted_bytes(value: Value) -> int:
    """About what a field takes up in the converted message: FID, length and value."""
    if isinstance(value, str):
        size = len(value.encode("latin-1", "replace"))
        return 3 + size + (0 if size < 0xFE else 2)
    if isinstance(value, Decimal):
        return 4 + _int_bytes(int(value.scaleb(MAX_DECIMALS)))
    return 3 + (0 if value is None else _int_bytes(value))


def _int_bytes(number: int) -> int:
    return (number.bit_length() + 8) // 8


def _real(token: str) -> Value:
    match = _REAL.fullmatch(token)
    if match is None:
        return _odd_real(token)
    if match[1] is not None and len(match[1]) > MAX_DECIMALS:
        raise _unexpected(token)
    if len(token) <= _SURELY_INT64:
        return Decimal(token)
    decimals = len(match[1] or "")
    return Decimal(_wrapped_int64(int(token.replace(".", "")))).scaleb(-decimals)


def _odd_real(token: str) -> Value:
    if token in ('"NaN"', '"Inf"', '"-Inf"'):
        return token[1:-1]
    if token in ("true", "false"):
        return Decimal(0)
    return _null(token)


def _uint(token: str) -> Value:
    if token.isdecimal():
        return int(token) % 2**64
    return _null(token)


def _int(token: str) -> Value:
    match = _INT.match(token)  # the rest is ignored: 18.7 is 18
    return _wrapped_int64(int(match[0])) if match else _null(token)


def _enumeration(displays: Mapping[int, str]) -> Convert:
    values = {display: value for value, display in reversed(list(displays.items()))}

    def convert(token: str) -> Value:
        if token.startswith('"'):
            display = token[1:-1]
            return display if display in values else None  # unknown: acknowledged, and blank
        match = _INT.match(token)
        if match is None:
            return _null(token)
        value = int(match[0]) % 2**16
        return displays.get(value, value)

    return convert


def _utf8_text(token: str) -> Value:
    return unescape(token[1:-1]) or None if token.startswith('"') else _null(token)


def _text(token: str) -> Value:
    if not token.startswith('"'):
        return _null(token)
    text = unescape(token[1:-1])
    if text.startswith(_RMTES_UTF8):
        return text.removeprefix(_RMTES_UTF8) or None
    # Without the prefix, UTF-8 is taken for another character set, byte for byte.
    return text.encode("utf-8", "surrogatepass").decode("latin-1") or None


def _date(token: str) -> Value:
    if not token.startswith('"'):
        return _null(token)
    text = token[1:-1]
    if match := _ISO_DATE.fullmatch(text):
        year, month, day = match.groups()
    elif match := _US_DATE.fullmatch(text):
        month, day, year = match.groups()  # 22/11/2026 is the 11th day of month 22
    elif not text:
        return None
    else:
        raise _encoding_error()
    return f"{year}-{int(month):02}-{int(day):02}"


def _time(token: str) -> Value:
    if not token.startswith('"'):
        return _null(token)
    text = token[1:-1]
    if match := _TIME.fullmatch(text):
        hour, minute, second, fraction = match.groups()
        time = f"{int(hour):02}:{int(minute):02}:{int(second or 0):02}"
        digits = (fraction or "").rstrip("0")
        return f"{time}.{digits:0<{-len(digits) % 3 + len(digits)}}" if digits else time
    if match := _DATE_TIME.fullmatch(text):
        year, month, day = match.groups()  # each number lands in a byte of the time, and that is acknowledged
        return f"{int(year) % 256:02}:{month}:{day}"
    if not text:
        return None
    raise _encoding_error()


def _null(token: str) -> Value:
    """A primitive that starts with ``n`` is a null, and blank; anything else is refused."""
    if token.startswith("n"):
        return None
    raise _unexpected(token)


def _unexpected(token: str) -> Unconvertible:
    if token[0] in "{[":
        received = "OBJECT" if token[0] == "{" else "ARRAY"
        return Unconvertible(
            f"JSON Converter Token Type error: Expected 'PRIMITIVE' for key 'Fields' Received '{received}'"
        )
    return Unconvertible(f"JSON Unexpected Value. Received '{token.strip(chr(34))}' for key 'Fields'")


def _encoding_error() -> Unconvertible:
    return Unconvertible("JSON RSSL Conversion Error. RSSL error code: 1", has_offset=False)


def _wrapped_int64(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


_CONVERTERS: dict[Kind, Convert] = {
    Kind.REAL: _real,
    Kind.UINT: _uint,
    Kind.INT: _int,
    Kind.TEXT: _text,
    Kind.DATE: _date,
    Kind.TIME: _time,
}
