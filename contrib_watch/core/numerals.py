"""Columns of written numbers -> tokens: exact decimals in fixed notation, never by way of a float."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.dictionary import FieldDef, Kind
from contrib_watch.core.readers import Complaint, error_text, matches, without_trailing_zeros

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MAX_DECIMALS = 14
"""The most decimals of a REAL (its finest exponent hint is 10^-14; more is an Error of the SDK's converter)."""
SAFE_DIGITS = 15
"""So many significant decimal digits survive a double, which is what some servers keep a REAL in."""

_CANONICAL = "^(?:0|-?(?:[1-9][0-9]*|(?:0|[1-9][0-9]*)[.][0-9]*[1-9]))$"
"""What is a token already where it is safe: no exponent, plus sign, leading or trailing zeros."""
_SAFE_BYTES = 16
"""A token that is no longer is safe: its digits fit int64, and at most 14 of them are decimals."""

# Numbers that are safe by their length alone: at most 18 digits, which always fit int64, and 14 decimals.
_SHORT = "^[+-]?(?:[0-9]{0,4}[.][0-9]{1,14}|[0-9]{1,10}[.][0-9]{1,8}|[0-9]{1,14}[.][0-9]{1,4}|[0-9]{1,18})$"
"""What becomes a token by trimming zeros and the plus sign."""

_SHAPE = str.maketrans("23456789", "11111111")
"""What marks may mean depends on where they stand, and on zeros in front of them, but on no other digit."""

_UINT64_WIDE = pa.decimal128(20)
"""Holds every int64 and uint64 exactly, and every number of 18 digits."""

MARKS = [
    (decimal, mark)
    for decimal in ".,"
    for mark in ("", ",", ".", "'", "\u2019", " ", "\u00a0", "\u202f")
    if mark != decimal
]
"""Decimal and thousands marks that a person may have meant, for the advice that a refusal gives."""

Shift = Literal[-2, 0, 2]


class _Number(NamedTuple):
    """``digits`` times 10 to the power of ``-scale``, without needless zeros at either end."""

    sign: str
    digits: str
    scale: int

    @classmethod
    def parse(cls, text: str) -> _Number | None:
        """Of a number with a decimal point and perhaps an exponent; None if ``text`` is none."""
        match = re.fullmatch(r"([+-]?)([0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?", text)
        if match is None:
            return None
        sign, whole, fraction, exponent_sign, exponent = match.groups(default="")
        if not whole and not fraction:
            return None
        # An exponent of ten digits is beyond any limit, whatever it is, and int() need not read millions of them.
        power = int(exponent_sign + (exponent.lstrip("0")[:10] or "0"))
        kept = (whole + fraction).rstrip("0")
        scale = len(fraction) - power - (len(whole + fraction) - len(kept))
        digits = kept.lstrip("0")
        return cls(sign.strip("+"), digits, scale) if digits else cls("", "0", 0)

    def is_within(self, low: int, high: int) -> bool:
        """Whether the mantissa, with all zeros before the decimal point, lies within ``low`` and ``high``."""
        if len(self.digits) - min(self.scale, 0) > len(str(high)):
            return False
        return low <= int(self.sign + self.digits + "0" * -self.scale) <= high

    def shifted(self, places: int) -> _Number:
        """The same digits with the decimal point further to the right."""
        return self if self.digits == "0" else self._replace(scale=self.scale - places)

    def token(self) -> str:
        whole = self.digits + "0" * -self.scale
        if self.scale <= 0:
            return self.sign + whole
        padded = whole.rjust(self.scale + 1, "0")
        return f"{self.sign}{padded[: -self.scale]}.{padded[-self.scale :]}"


@dataclass(frozen=True)
class NumberReader:
    """Decimal numbers in one notation, within the limits of one field.

    A written number has an optional sign, digits with the declared marks (groups of exactly three, or no thousands
    mark at all), and an optional exponent. Nothing else is a number: no ``5.``, ``inf``, ``%`` or currency sign.
    """

    decimal: str
    thousands: str
    max_decimals: int
    low: int
    high: int
    holder: str
    """What has these limits, for people: ``a REAL``, ``UINT64 of 2 bytes``."""
    shift: Shift = 0
    """Places by which the decimal point is moved to the right before the limits apply."""

    @classmethod
    def of(cls, definition: FieldDef, *, decimal: str = ".", thousands: str = "", shift: Shift = 0) -> NumberReader:
        """The reader of a REAL, UINT or INT field."""
        if definition.kind is Kind.REAL:
            # A PRICE's RWF length is only a hint for caches; the converter takes any int64 mantissa.
            return cls(decimal, thousands, MAX_DECIMALS, INT64_MIN, INT64_MAX, "a REAL", shift)
        length = min(definition.rwf_length or 8, 8)
        bits = 8 * length
        low, high = (0, 2**bits - 1) if definition.kind is Kind.UINT else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return cls(decimal, thousands, 0, low, high, f"{definition.rwf_type} of {length} bytes", shift)

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        in_notation = self.decimal == "." and not self.shift  # of tokens: most numbers are left as they are
        numbers = texts if in_notation else self._in_notation(texts)
        is_safe = pc.less_equal(pc.binary_length(numbers), _SAFE_BYTES)
        canonical = pc.and_(matches(numbers, _CANONICAL), pc.fill_null(is_safe, False))
        if not pc.all(canonical).as_py():
            others = pc.invert(canonical)
            rest = numbers.filter(others)
            rest = self._rewritten(self._in_notation(rest) if in_notation else rest)
            numbers = pc.replace_with_mask(numbers, others, rest)
        return numbers if self.max_decimals else self._whole(numbers)

    def _rewritten(self, numbers: pa.StringArray) -> pa.StringArray:
        """The tokens of what is none as it is written; null where it cannot be one."""
        short = matches(numbers, _SHORT)
        long = pc.and_not(_are_written(numbers), short)
        exact = [self._exact(number) for number in numbers.filter(long).to_pylist()]
        tokens = pc.if_else(short, _trimmed(numbers), None)
        return pc.replace_with_mask(tokens, long, pa.array(exact, pa.string()))

    def explain(self, text: str) -> Complaint:
        number = self._number(text.strip(" "))
        if number is None and (complaint := error_text(text)):
            return complaint
        if number is None:
            return Complaint("is not a number", _advice(self, text.strip(" ").translate(_SHAPE)))
        if number.scale > self.max_decimals:
            if not self.max_decimals:
                return Complaint("is not a whole number", "write it without decimals")
            return Complaint(f"has more than {self.max_decimals} decimals", f"round it to {self.max_decimals}")
        if self.max_decimals:
            return Complaint(
                f"has more digits than {self.holder} can hold",
                f"its digits, read as one whole number, must lie within {self.low} and {self.high}",
            )
        return Complaint(f"is outside {self.low} to {self.high}", f"write a whole number that fits {self.holder}")

    def _in_notation(self, texts: pa.StringArray) -> pa.StringArray:
        """Numbers in the notation of tokens, perhaps with needless zeros; null where marks stand wrong."""
        return _shifted(self._with_point(pc.ascii_trim(texts, characters=" ")), self.shift)

    def _with_point(self, texts: pa.StringArray) -> pa.StringArray:
        """``1.234,5`` -> ``1234.5`` where the feed writes so; null where the marks stand wrong."""
        if self.decimal == "." and not self.thousands:
            return texts
        written = matches(texts, f"^(?:{_pattern(self.decimal, self.thousands)})$")
        if self.thousands:
            texts = pc.replace_substring(texts, self.thousands, "")
        return pc.if_else(written, pc.replace_substring(texts, self.decimal, "."), None)

    def _number(self, text: str) -> _Number | None:
        if not re.fullmatch(_pattern(self.decimal, self.thousands), text):
            return None
        ungrouped = text.replace(self.thousands, "") if self.thousands else text
        number = _Number.parse(ungrouped.replace(self.decimal, "."))
        return number and number.shifted(self.shift)

    def _exact(self, text: str) -> str | None:
        number = _Number.parse(text)
        if number is None or number.scale > self.max_decimals or not number.is_within(self.low, self.high):
            return None
        return number.token()

    def _whole(self, numbers: pa.StringArray) -> pa.StringArray:
        whole = pc.if_else(matches(numbers, "^-?[0-9]+$"), numbers, None)
        value = pc.cast(whole, _UINT64_WIDE)
        low, high = pa.scalar(self.low, _UINT64_WIDE), pa.scalar(self.high, _UINT64_WIDE)
        within = pc.and_(pc.greater_equal(value, low), pc.less_equal(value, high))
        return pc.if_else(within, whole, None)

    def declaration(self, decimal: str, thousands: str) -> list[str]:
        """The feed's keys that would have to change for these marks."""
        wanted = {"decimal": (decimal, self.decimal), "thousands": (thousands, self.thousands)}
        return [f'{key} = "{mark}"' for key, (mark, declared) in wanted.items() if mark != declared]


@dataclass(frozen=True)
class PercentReader:
    """Written numbers of which some end in a percent sign; those are of ``percentages``, the others of ``plain``."""

    plain: NumberReader
    percentages: NumberReader

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        texts = pc.ascii_trim(texts, characters=" ")
        signed = pc.ends_with(texts, "%")
        if not pc.any(signed).as_py():
            return self.plain.read(texts)
        numbers = pc.utf8_slice_codeunits(texts.filter(signed), 0, -1)
        tokens = pc.replace_with_mask(texts, signed, self.percentages.read(numbers))
        unsigned = pc.invert(signed)
        return pc.replace_with_mask(tokens, unsigned, self.plain.read(texts.filter(unsigned)))

    def explain(self, text: str) -> Complaint:
        text = text.strip(" ")
        return self.percentages.explain(text[:-1]) if text.endswith("%") else self.plain.explain(text)


_WRITTEN_WITH_POINT = r"^([+-]?)([0-9]*)\.?([0-9]*)((?:[eE][+-]?[0-9]+)?)$"
_PADDED = r"\1000\2.\3000\4"
"""Enough zeros at both ends to move the point by two places."""
_MOVES = {2: (r"\.([0-9]{2})", r"\1."), -2: (r"([0-9]{2})\.", r".\1")}


def _shifted(numbers: pa.StringArray, places: Shift) -> pa.StringArray:
    """Numbers with their decimal points moved; what is no number with a decimal point becomes null."""
    if not places:
        return numbers
    written = pc.if_else(_are_written(numbers), numbers, None)
    padded = pc.replace_substring_regex(written, pattern=_WRITTEN_WITH_POINT, replacement=_PADDED)
    pattern, replacement = _MOVES[places]
    moved = pc.replace_substring_regex(padded, pattern=pattern, replacement=replacement, max_replacements=1)
    return pc.if_else(matches(moved, "[eE]"), moved, _trimmed(moved))


def _are_written(numbers: pa.StringArray) -> pa.BooleanArray:
    """Which are numbers with a decimal point, whatever their size."""
    return matches(numbers, f"^(?:{_pattern('.', '')})$")


@lru_cache(maxsize=10_000)
def _advice(reader: NumberReader, shape: str) -> str:
    """How to write a number of this shape (``_SHAPE``)."""
    example = f"1234{reader.decimal}5" if reader.max_decimals else "1234"
    if re.search("[0-9].*%", shape):
        return 'write the plain number, or set percent = "points" (4.5% is 4.5) or "fraction" (4.5% is 0.045)'
    if re.search("[\u2010-\u2015\u2212]", shape):
        return 'write the minus sign with the "-" of the keyboard'
    if shape.startswith("("):
        return 'write a negative number with a "-" in front'
    declarations = [
        " and ".join(reader.declaration(decimal, thousands))
        for decimal, thousands in MARKS
        if thousands in shape and re.fullmatch(_pattern(decimal, thousands), shape)
    ]
    if declarations:
        return f"write it like {example}, or set in the feed {', or '.join(declarations)}"
    return f"write digits alone, like {example}"


@cache
def _pattern(decimal: str, thousands: str) -> str:
    """A written number with these marks, for Python and RE2 alike."""
    groups = f"|[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+" if thousands else ""
    fraction = f"{re.escape(decimal)}[0-9]+"
    return f"[+-]?(?:(?:[0-9]+{groups})(?:{fraction})?|{fraction})(?:[eE][+-]?[0-9]+)?"


def _trimmed(numbers: pa.StringArray) -> pa.StringArray:
    """Tokens of short numbers: without plus sign, leading and trailing zeros, and no ``-0``."""
    digits = without_trailing_zeros(pc.ascii_ltrim(numbers, characters="+-0"))
    is_zero = pc.equal(digits, "")
    lacks_whole = pc.or_(is_zero, pc.starts_with(digits, "."))
    is_negative = pc.and_not(pc.starts_with(numbers, "-"), is_zero)
    sign = pc.if_else(is_negative, "-", "")
    return pc.binary_join_element_wise(sign, pc.if_else(lacks_whole, "0", ""), digits, "")
