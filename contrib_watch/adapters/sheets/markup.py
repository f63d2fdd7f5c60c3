"""The XML of a workbook's parts, walked by expat, and how it writes numbers, cells and what is true."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from xml.parsers import expat

Attributes = Mapping[str, str]
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_REFERENCE = re.compile(r"\$?([A-Z]{1,3})\$?([1-9][0-9]{0,6})")
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_LEAST_FIXED, _LARGEST_FIXED = 1e-20, 1e25
_PREFIX = re.compile(rb"""xmlns:[\w.-]+\s*=\s*["']http://schemas.openxmlformats.org/spreadsheetml/2006/main""")
"""A prefix under which a sheet's elements may stand anywhere in it."""


class BrokenMarkup(ValueError):  # noqa: N818 - reads as what it is
    """The XML is not well-formed, or says something that readers would understand differently."""


def walk(
    part: bytes,
    element: Callable[[str, Attributes], None],
    end: Callable[[str], None] | None = None,
    characters: Callable[[str], None] | None = None,
) -> None:
    """expat over one part, with the names of elements free of their prefix.

    Raises:
        BrokenMarkup: not well-formed, or a callback raised KeyError (an attribute is missing) or ValueError.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    # Without a prefix on the first element the names are right as they are, which saves two calls a cell.
    prefixed = re.search(rb"<[A-Za-z_][\w.-]*(:?)", part[:4096])
    if (prefixed is not None and prefixed[1]) or _PREFIX.search(part):
        parser.StartElementHandler = lambda tag, attributes: element(_local(tag), attributes)
        parser.EndElementHandler = (lambda tag: end(_local(tag))) if end is not None else None
    else:
        parser.StartElementHandler = element
        parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(part, True)
    except expat.ExpatError as error:
        raise BrokenMarkup(f"the XML is not well-formed: {error}") from error
    except KeyError as error:
        raise BrokenMarkup(f"the attribute {error} is missing") from error
    except ValueError as error:
        raise BrokenMarkup(str(error)) from error


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def index_of(text: str) -> int:
    """A number that refers to a style or a format. Programs differ on ``01`` and ``+1``, and none writes them.

    Raises:
        BrokenMarkup: it is not written as programs write it.
    """
    if _INDEX.fullmatch(text) is None:
        raise BrokenMarkup(f'"{text}" does not refer to a style or format')
    return int(text)


def may_be_true(text: str | None) -> bool:
    """Whether some program may read an attribute that is false by default as true."""
    return text not in (None, "0", "false")


def may_be_false(text: str | None) -> bool:
    """Whether some program may read an attribute that is true by default as false."""
    return text not in (None, "1", "true")


def letters_of(column: int) -> str:
    """1 -> ``A``, 27 -> ``AA``."""
    letters = ""
    while column:
        column, digit = divmod(column - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def column_of(letters: str) -> int:
    """``A`` -> 1, ``AA`` -> 27."""
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - ord("A") + 1
    return column


def is_cell(reference: str) -> bool:
    """Whether a text is the address of one cell."""
    return _REFERENCE.fullmatch(reference) is not None


def area(reference: str) -> tuple[int, int, int, int]:
    """``A1:C3`` -> (1, 1, 3, 3): first row, first column, last row, last column."""
    first, _, last = reference.partition(":")
    corners = [_REFERENCE.fullmatch(corner) for corner in (first, last or first)]
    if corners[0] is None or corners[1] is None:
        raise BrokenMarkup(f'"{reference}" is not an area of cells')
    (left, top), (right, bottom) = corners[0].groups(), corners[1].groups()
    return int(top), column_of(left), int(bottom), column_of(right)


def unescape(text: str) -> str:
    """``_x000D_`` as the character it stands for; ``_x005F_`` is the underscore that keeps one from being read."""
    if "_x" not in text:
        return text
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def number_text(number: float) -> str:
    """A stored number at Excel's own 15 significant digits, in fixed notation where that is of a readable length:
    ``0.30000000000000004`` -> ``0.3``, ``100.0`` -> ``100``, ``1e+20`` -> ``100000000000000000000``.
    """
    text = f"{number:.15g}"
    if text == "-0":
        return "0"
    if "e" in text and _LEAST_FIXED <= abs(number) <= _LARGEST_FIXED:
        return f"{Decimal(text):f}"
    return text
