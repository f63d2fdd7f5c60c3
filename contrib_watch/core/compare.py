"""What an ADS holds of an item against what it should hold, field by field.

What it should hold are tokens (see core.model); what it holds is the JSON that a reader gets back, in which the same
value may be written in another way: ``22.10`` for ``22.1``, ``16:30:00.000`` for ``16:30:00``, an enumerated value's
number for its display string, and null, ``""`` or no field at all for a blank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from contrib_watch.core.dictionary import Dictionary, FieldDef, Kind
from contrib_watch.core.model import CLEARED
from contrib_watch.core.tokens import tokens_of

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.:]([\d:]*))?)?", re.ASCII)

Value = Decimal | int | str | tuple[int | str, ...] | None
"""What a piece of JSON means for a field; None is blank."""


class Difference(NamedTuple):
    """A field whose value is not what it should be."""

    field: str
    wanted: str
    """The token; ``null``: it should be blank."""
    held: str
    """JSON as the server wrote it; ``null``: it is blank or not there."""

    def __str__(self) -> str:
        return f"{self.field} {_readable(self.held)} instead of {_readable(self.wanted)}"


def differences(wanted: str, held: Mapping[str, str], dictionary: Dictionary) -> tuple[Difference, ...]:
    """The fields of ``wanted`` (a JSON object of tokens) of which an ADS holds something else.

    ``held`` is acronym to JSON text. What the ADS holds beyond the fields of ``wanted`` is no difference: other
    publishers, and the ADS itself, have fields of their own.
    """
    return tuple(
        Difference(name, token, found)
        for name, token in tokens_of(wanted).items()
        if (found := held.get(name, CLEARED)) != token and not _same(token, found, dictionary.get(name))
    )


def _same(token: str, found: str, definition: FieldDef | None) -> bool:
    try:
        return _value(token, definition) == _value(found, definition)
    except (msgspec.DecodeError, ValueError, InvalidOperation):
        return False  # what cannot be understood is not known to be the same


def _value(text: str, definition: FieldDef | None) -> Value:
    kind = definition.kind if definition is not None else None
    if kind in (Kind.REAL, Kind.UINT, Kind.INT) and not text.startswith(('"', "n")):
        return Decimal(text)
    decoded = msgspec.json.decode(text)
    if decoded is None or decoded == "":
        return None
    if definition is not None and kind is Kind.ENUM:
        return _enumerated(decoded, definition)
    if not isinstance(decoded, str):
        return text
    if kind is Kind.DATE and (match := _DATE.fullmatch(decoded)):
        return tuple(int(part) for part in match.groups())
    if kind is Kind.TIME and (match := _TIME.fullmatch(decoded)):
        hour, minute, second, fraction = match.groups()
        # The SDK's older releases set the parts of a second apart by colons.
        return int(hour), int(minute), int(second or 0), (fraction or "").replace(":", "").rstrip("0")
    return decoded


def _enumerated(decoded: object, definition: FieldDef) -> Value:
    """An enumerated value by its display string, where it has one; one that is displayed as blanks is blank."""
    display = definition.enum_values.get(decoded, str(decoded)) if isinstance(decoded, int) else str(decoded)
    return display.strip(" ") or None


def _readable(text: str) -> str:
    """JSON as people write the value."""
    if text in (CLEARED, '""'):
        return "(blank)"
    try:
        decoded = msgspec.json.decode(text) if text.startswith('"') else text
    except msgspec.DecodeError:
        return text
    return str(decoded)
