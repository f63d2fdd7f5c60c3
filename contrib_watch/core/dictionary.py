"""The field dictionary: what each field is, read from ``RDMFieldDictionary`` and ``enumtype.def``.

Both are text files in LSEG's own formats. A site's files and the product's built-in ones are read alike, and as
strictly as LSEG's SDK reads them where that matters: a FID or an enumerated value is never defined twice, and the
two files must agree on which acronym has which FID.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum

from contrib_watch.errors import ConfigurationError

MAX_ENUM_VALUE = 0xFFFF
"""An enumerated value is a uint16 on the wire (RWF type ENUM)."""


class Kind(StrEnum):
    """How a field's values are written and checked; several RWF types share one kind."""

    REAL = "REAL"
    UINT = "UINT"
    INT = "INT"
    ENUM = "ENUM"
    TEXT = "TEXT"
    DATE = "DATE"
    TIME = "TIME"
    UNSUPPORTED = "unsupported"
    """An RWF type that a spreadsheet cell cannot give (BUFFER, ARRAY, MAP, ...); ``FieldDef.rwf_type`` names it."""


_KINDS = {
    "REAL": Kind.REAL,
    "REAL32": Kind.REAL,
    "REAL64": Kind.REAL,
    "UINT": Kind.UINT,
    "UINT32": Kind.UINT,
    "UINT64": Kind.UINT,
    "INT": Kind.INT,
    "INT32": Kind.INT,
    "INT64": Kind.INT,
    "ENUM": Kind.ENUM,
    "ASCII_STRING": Kind.TEXT,
    "RMTES_STRING": Kind.TEXT,
    "UTF8_STRING": Kind.TEXT,
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
}


@dataclass(frozen=True, slots=True)
class FieldDef:
    """One field, as the dictionary defines it."""

    acronym: str
    """The name that stands in a post's ``Fields``; case-sensitive."""
    fid: int
    kind: Kind
    marketfeed_type: str
    """``PRICE``, ``INTEGER``, ``ALPHANUMERIC``, ...: the field's type in the older format."""
    length: int
    """The longest Marketfeed value, in characters."""
    rwf_type: str
    """``REAL64``, ``RMTES_STRING``, ...: the type on the wire."""
    rwf_length: int
    """The longest value on the wire, in bytes, as caches and displays keep it; 0: as long as the type can be."""
    enum_values: Mapping[int, str] = field(default_factory=dict, hash=False)
    """Value to display string of an enumerated field; empty where the dictionary lists none for it."""


@dataclass(frozen=True)
class Dictionary:
    """All fields, by acronym."""

    fields: Mapping[str, FieldDef]

    @classmethod
    def parse(cls, field_text: str, enum_text: str) -> Dictionary:
        """Read the texts of an ``RDMFieldDictionary`` and of the ``enumtype.def`` that belongs to it.

        Bytes that are not ASCII (in descriptions and ``#hex#`` displays) may be decoded in any way that keeps line
        ends; nothing that is used depends on them. Raises ConfigurationError with the file's kind and line number.
        """
        fields = _parse_fields(field_text)
        by_fid = {definition.fid: definition for definition in fields.values()}
        for reference in _parse_enums(enum_text):
            definition = by_fid.get(reference.fid)
            if definition is None:
                continue  # the table serves several dictionaries; this one lacks the field
            if definition.acronym != reference.acronym:
                raise _enum_error(
                    reference.line,
                    f"FID {reference.fid} is called {reference.acronym}, but {definition.acronym} in the fields",
                    "The two files must be of one release",
                )
            if definition.kind is Kind.ENUM:
                fields[definition.acronym] = replace(definition, enum_values=reference.values)
        return cls(fields)

    def get(self, acronym: str) -> FieldDef | None:
        """The field of that exact name, or None."""
        return self.fields.get(acronym)

    def nearest(self, name: str) -> str:
        """The acronym that looks most like ``name`` (a column's header, a misspelt field); empty if none does."""
        wanted = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
        known = [candidate for candidate in (wanted, *wanted.split("_")) if candidate in self.fields]
        return next(iter(known or get_close_matches(wanted, self.fields, n=1, cutoff=0.6)), "")


_FIELD_LINE = re.compile(
    r"""(?P<acronym>[^\s"]+) \s*
        "[^"]*" \s*                                       # the DDE acronym
        (?P<fid>[+-]?\d+) \s+
        \S+ \s+                                           # the field that it ripples to, or NULL
        (?P<marketfeed_type>\S+) \s+
        (?P<length>\d+) \s* (?:\( \s* \d+ \s* \) \s*)?    # in brackets: the length of an enumeration's display
        (?P<rwf_type>[A-Z]\S*) \s+
        (?P<rwf_length>\d+) (?:\s|$)""",
    re.VERBOSE | re.ASCII,
)


def _parse_fields(text: str) -> dict[str, FieldDef]:
    fields: dict[str, FieldDef] = {}
    line_of_fid: dict[int, int] = {}
    for number, line in _entries(text):
        match = _FIELD_LINE.match(line)
        if match is None:
            raise _field_error(
                number,
                f"cannot read the field definition {line[:60]!r}",
                'Its columns are: acronym, "DDE acronym", FID, ripples to, field type, length, RWF type, RWF length',
            )
        acronym, fid = match["acronym"], int(match["fid"])
        if fid in line_of_fid:
            raise _field_error(number, f"FID {fid} is defined in line {line_of_fid[fid]} already")
        if acronym in fields:
            raise _field_error(number, f"{acronym} is FID {fields[acronym].fid} already")
        line_of_fid[fid] = number
        fields[acronym] = FieldDef(
            acronym=acronym,
            fid=fid,
            kind=_KINDS.get(match["rwf_type"], Kind.UNSUPPORTED),
            marketfeed_type=match["marketfeed_type"],
            length=int(match["length"]),
            rwf_type=match["rwf_type"],
            rwf_length=int(match["rwf_length"]),
        )
    if not fields:
        raise ConfigurationError("the field dictionary defines no field", hint="Is it the right file?")
    return fields


@dataclass(frozen=True, slots=True)
class _EnumReference:
    """A field's claim on the table of values below it; the fields of one block share the table."""

    acronym: str
    fid: int
    line: int
    values: dict[int, str]


_REFERENCE_LINE = re.compile(r"(?P<acronym>[^\s\"#]+)\s+(?P<fid>[+-]?\d+)\s*$", re.ASCII)
_VALUE_LINE = re.compile(r'(?P<value>\d+)\s+(?:"(?P<text>[^"]*)"|\#(?P<hex>(?:[0-9A-Fa-f]{2})*)\#)', re.ASCII)


def _parse_enums(text: str) -> list[_EnumReference]:
    references: list[_EnumReference] = []
    seen: dict[int, int] = {}
    values: dict[int, str] = {}
    for number, line in _entries(text):
        entry = line.strip()
        if match := _REFERENCE_LINE.match(entry):
            if values or not references:  # the block before is complete
                values = {}
            fid = int(match["fid"])
            if fid in seen:
                raise _enum_error(number, f"FID {fid} has a table in line {seen[fid]} already")
            seen[fid] = number
            references.append(_EnumReference(match["acronym"], fid, number, values))
        elif match := _VALUE_LINE.match(entry):
            if not references:
                raise _enum_error(number, "a value stands before any field", "A table begins with its fields' lines")
            value = int(match["value"])
            if value in values:
                raise _enum_error(number, f"the value {value} stands twice in this table")
            if value > MAX_ENUM_VALUE:
                raise _enum_error(number, f"the value {value} is larger than {MAX_ENUM_VALUE}")
            values[value] = _display(match)
        else:
            raise _enum_error(
                number,
                f"cannot read {entry[:60]!r}",
                'A line is ACRONYM FID, or VALUE "DISPLAY" MEANING, or begins with !',
            )
    for reference in references:
        if not reference.values:
            raise _enum_error(reference.line, f"{reference.acronym} has no values", "Is the file cut short?")
    return references


def _display(match: re.Match[str]) -> str:
    text = match["text"]
    if text is not None:
        return text
    # Bytes of a display character set: Latin-1 keeps them apart, and none but ASCII is ever sent as text.
    return bytes.fromhex(match["hex"]).decode("latin-1")


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are neither blank nor comments nor tags, with their numbers counted from 1."""
    # not splitlines(): it also breaks at bytes such as 0x85, which the files' descriptions hold
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.strip() and not line.startswith("!"):
            yield number, line.rstrip("\r")


def _field_error(line: int, what: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError(what, where=f"field dictionary, line {line}", hint=hint)


def _enum_error(line: int, what: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError(what, where=f"enumerations (enumtype.def), line {line}", hint=hint)
