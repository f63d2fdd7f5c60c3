"""How a written value becomes a token: readers of text, enumerated values, dates and times.

A reader takes a whole column of written values at once and gives a token for each, or null where it refuses; only
what was refused is looked at again, one by one, to say why. Numbers have a module of their own, ``numerals``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, time
from difflib import get_close_matches
from functools import cached_property
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.dictionary import MAX_ENUM_VALUE, FieldDef
from contrib_watch.errors import ConfigurationError

ISO_DATE = "%Y-%m-%d"


class Complaint(NamedTuple):
    """Why a value is refused, and what to do about it; the words of ``model.Problem``."""

    cause: str
    mend: str


class Reader(Protocol):
    """Reads the written values of one field in one notation."""

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        """A token for each of ``texts`` (strings without nulls or blanks); null where it is refused."""

    def explain(self, text: str) -> Complaint:
        """Why ``read`` refuses ``text``."""


def matches(texts: pa.StringArray, pattern: str) -> pa.BooleanArray:
    """Which of ``texts`` the RE2 ``pattern`` matches; a null matches nothing."""
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)


_SHELL = re.compile(r"(?P<any>[*?])|\[(?P<but>!?)(?P<set>\][^\]]*|[^\]]+)\]|(?P<exact>.)", re.DOTALL)


def shell_pattern(pattern: str) -> str:
    """A shell-style pattern (as of ``fnmatch.fnmatchcase``) as an expression for ``matches``.

    fnmatch's own translation has groups that RE2 lacks. Raises ValueError for a range that runs backwards.
    """

    def expression(part: re.Match[str]) -> str:
        if part["any"]:
            return ".*" if part["any"] == "*" else "."
        if part["exact"]:
            return re.escape(part["exact"])
        members = re.sub(r"([\\\[\]^&~|])", r"\\\1", part["set"])
        return f"[{'^' if part['but'] else ''}{members}]"

    found = f"^(?:{_SHELL.sub(expression, pattern)})$"
    try:
        matches(pa.array([""]), found)
    except pa.ArrowInvalid as error:
        raise ValueError("is no shell-style pattern: a range in brackets runs backwards") from error
    return found


def quoted(texts: pa.StringArray) -> pa.StringArray:
    """``texts`` of printable ASCII as JSON strings.

    ``\\"`` and ``\\\\`` are the only escapes that the ADS undoes (seen on LSEG's SDK provider).
    """
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    return pc.binary_join_element_wise('"', escaped, '"', "")


def without_trailing_zeros(numbers: pa.StringArray) -> pa.StringArray:
    """``1.50`` -> ``1.5``, ``1.00`` -> ``1``; what has no decimal point stays as it is."""
    shortened = pc.ascii_rtrim(pc.ascii_rtrim(numbers, characters="0"), characters=".")
    return pc.if_else(pc.match_substring(numbers, "."), shortened, numbers)


def _by_unique_value(texts: pa.StringArray, token: Callable[[str], str | None]) -> pa.StringArray:
    """``token`` of every element, called once for each different text (dates and enumerations repeat)."""
    encoded = texts.dictionary_encode()
    tokens = pa.array([token(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return tokens.take(encoded.indices)


ERROR_TEXT = (
    r"^ *(?:#[^ #]+[!?]|#(?:N/A|NV|N/D|GETTING_DATA)(?: .*)?|##+|Err:[0-9]{3}|"
    r"(?:Retrieving|Requesting Data|Loading)\.\.\.) *$"
)
"""What spreadsheet programs and their data add-ins write where they have no value, once it is text (as in a CSV)."""

_IS_ERROR_TEXT = Complaint(
    "is an error or placeholder of a spreadsheet, not a value", "correct the formula behind it"
)


_ERROR_TEXT = re.compile(ERROR_TEXT.removesuffix(" *$"))


def error_text(text: str) -> Complaint | None:
    """The complaint about a text that stands for a missing result, such as ``#N/A``."""
    # Trailing spaces are taken off first: Python's engine, unlike Arrow's, is quadratic in them.
    return _IS_ERROR_TEXT if _ERROR_TEXT.fullmatch(text.rstrip(" ")) else None


class TextReader:
    """Printable ASCII up to the field's length, kept exactly as it is written; never a spreadsheet's error."""

    _PRINTABLE = "^[ -~]*$"

    def __init__(self, definition: FieldDef) -> None:
        self._max_length = definition.rwf_length
        """In characters; 0: no limit."""

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        fit = pc.and_not(matches(texts, self._PRINTABLE), matches(texts, ERROR_TEXT))
        if self._max_length:
            fit = pc.and_(fit, pc.less_equal(pc.binary_length(texts), self._max_length))
        return pc.if_else(fit, quoted(texts), None)

    def explain(self, text: str) -> Complaint:
        return (
            error_text(text)
            or foreign_character(text)
            or Complaint(
                f"is longer than {self._max_length} characters",
                f"shorten it to {self._max_length} characters",
            )
        )


def bare(texts: pa.StringArray) -> pa.StringArray:
    """What a person sees of RICs: without spaces of any kind, invisible and foreign characters.

    Two RICs that are bare alike may be meant to be one.
    """
    return pc.replace_substring_regex(texts, "[^!-~]+", "")


def foreign_character(text: str) -> Complaint | None:
    """The complaint about the first character of ``text`` that is not printable ASCII, if there is one."""
    for character in text:
        if not " " <= character <= "~":
            name = unicodedata.name(character, "a control character")
            return Complaint(
                f"contains {name} (U+{ord(character):04X})",
                "write it with the characters of a plain English keyboard: others reach the ADS corrupted",
            )
    return None


_ALIKE = 0.7
"""How alike a text and a display string must be for the one to be named (1: the same): two of three letters, as in
GBX and UGX, are another currency."""


class EnumReader:
    """The exact display string of one of the field's values, or the value's number."""

    def __init__(self, definition: FieldDef, *, numbers_only: bool = False) -> None:
        self._acronym = definition.acronym
        self._values = definition.enum_values
        self._numbers_only = numbers_only

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        if self._numbers_only:
            texts = without_trailing_zeros(texts)
        return _by_unique_value(texts, self._tokens.get if self._values else _number_of_unlisted_value)

    def explain(self, text: str) -> Complaint:
        if not self._values:
            return Complaint(
                f"is not a whole number from 0 to {MAX_ENUM_VALUE}",
                f"the dictionary lists no values for {self._acronym}: write the value's number",
            )
        meant = [str(value) for value, display in self._values.items() if display == text]
        if meant and not self._numbers_only:  # shared by several values, another value's number, or not ASCII
            return Complaint(
                f"does not name one value of {self._acronym} for certain",
                f"write the number of the value that is meant: {' or '.join(meant)}",
            )
        near = self._nearest(text)
        return Complaint(
            f"is not a value of {self._acronym}",
            f"write {near}, if that is meant" if near else "write one of the field's display strings, exactly",
        )

    @cached_property
    def _tokens(self) -> dict[str, str]:
        """What may be written -> token."""
        displayed = Counter(self._values.values())
        by_number, by_display = {}, {}
        for value, display in self._values.items():
            is_name = displayed[display] == 1 and display.strip() != "" and foreign_character(display) is None
            token = quoted(pa.array([display]))[0].as_py() if is_name else str(value)
            by_number[str(value)] = token
            if is_name and not self._numbers_only:
                by_display[display] = token
        tokens = by_number | by_display
        for text in by_number.keys() & by_display.keys():
            if by_number[text] != by_display[text]:  # the number of one value is the name of another
                del tokens[text]
        return tokens

    def _nearest(self, text: str) -> str:
        names = [display for display in self._values.values() if display in self._tokens and not display.isdigit()]
        same = [name for name in names if name.casefold() == text.strip().casefold()]
        return next(iter(same or get_close_matches(text.strip(), names, n=1, cutoff=_ALIKE)), "")


def _number_of_unlisted_value(text: str) -> str | None:
    return text if re.fullmatch(r"0|[1-9][0-9]{0,4}", text) and int(text) <= MAX_ENUM_VALUE else None


class DateReader:
    """A calendar date in one strptime notation; ISO dates are read strictly, ``YYYY-MM-DD``."""

    _ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
    _EXAMPLE = date(2026, 11, 22)
    _RUN_TOGETHER = re.compile(r"%[A-Za-z]%")

    def __init__(self, date_format: str) -> None:
        """Raises ConfigurationError for a format that does not say day, month and year (others would be invented)."""
        self._format = date_format
        self._is_padded = self._RUN_TOGETHER.search(date_format) is not None
        if self._date(self._EXAMPLE.strftime(date_format)) != self._EXAMPLE:
            raise ConfigurationError(
                f'date_format "{date_format}" does not give a whole date',
                hint='Write it with day, month and year, such as "%d/%m/%Y"',
            )

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        return _by_unique_value(texts, self._token)

    def explain(self, text: str) -> Complaint:
        example = self._EXAMPLE.strftime(self._format)
        if re.match(r".*\d:\d", text):
            return Complaint("has a time of day, and the field holds a date alone", f"write it as {example}")
        return Complaint(
            "is not a date that exists in the feed's format",
            f"write a date as {example}, or set date_format to the notation of the file",
        )

    def _token(self, text: str) -> str | None:
        found = self._date(text.strip(" "))
        return f'"{found.isoformat()}"' if found else None

    def _date(self, text: str) -> date | None:
        try:
            if self._format == ISO_DATE:
                return date.fromisoformat(text) if self._ISO.fullmatch(text) else None
            moment = datetime.strptime(text, self._format)  # noqa: DTZ007 - a calendar date has no zone
        except ValueError:
            return None
        if not text.isascii() or moment.time() != time.min:  # strptime takes any script's digits
            return None
        # Without a mark between them, strptime guesses where a part without its leading zero ends.
        if self._is_padded and moment.strftime(self._format).casefold() != text.casefold():
            return None
        return moment.date()


class TimeReader:
    """A time of day, ``HH:MM``, ``HH:MM:SS`` or with a fraction as fine as the field can hold."""

    _WRITTEN = "^(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,9})?)?$"
    _PARTS = ((8, 9, "nanoseconds"), (7, 6, "microseconds"), (5, 3, "milliseconds"), (3, 0, "seconds"))
    """RWF length in bytes at least, decimals of a second, and their name (the SDK's TIME_3, _5, _7 and _8)."""

    def __init__(self, definition: FieldDef) -> None:
        length = definition.rwf_length or 8
        self._decimals, self._finest = next(
            ((decimals, name) for least, decimals, name in self._PARTS if length >= least), (-3, "minutes")
        )

    def read(self, texts: pa.StringArray) -> pa.StringArray:
        texts = pc.ascii_trim(texts, characters=" ")
        seconds = pc.if_else(pc.equal(pc.binary_length(texts), len("HH:MM")), ":00", "")
        tokens = without_trailing_zeros(pc.binary_join_element_wise(texts, seconds, ""))
        fit = pc.and_(matches(texts, self._WRITTEN), self._are_fine_enough(tokens))
        return pc.if_else(fit, pc.binary_join_element_wise('"', tokens, '"', ""), None)

    def explain(self, text: str) -> Complaint:
        if re.fullmatch(self._WRITTEN, text.strip(" "), re.ASCII):
            return Complaint(
                f"is finer than the {self._finest} that the field can hold", f"round it to {self._finest}"
            )
        return Complaint(
            "is not a time of day from 00:00 to 23:59:59",
            "write it as 16:30 or 16:30:00, without a date, zone or AM/PM",
        )

    def _are_fine_enough(self, tokens: pa.StringArray) -> pa.BooleanArray:
        if self._decimals < 0:
            return matches(tokens, "^.{5}:00$")
        return pc.less_equal(pc.binary_length(tokens), len("HH:MM:SS.") + self._decimals)
