"""How an undeclared file seems to be laid out: encoding, delimiter, header row.

Nothing here decides how a drop is read: that is declared. These are the guesses behind ``preview``'s hints and the
feed that ``init`` proposes, each for a person to judge.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contrib_watch.core.model import shown

Rows = Sequence[Sequence[str]]
"""The first rows of a sheet from row 1 on, blank ones included, as trimmed text; ``""`` is a blank cell."""

SAMPLE_ROWS = 60
"""So many rows at the top of a sheet are looked at."""

DELIMITERS = ";\t|,"
"""In the order of preference where the rows agree with several: a comma is often a decimal mark."""

_NUMBER_LIKE = re.compile(r"[-+(]?[0-9][0-9.,:/%' )\u00a0\u202fT-]*")
_HAS_DIGIT = re.compile(r"[0-9]")


@dataclass(frozen=True)
class Layout:
    """What a file's bytes suggest."""

    rows: Rows
    sheet: str = ""
    """The sheet that ``rows`` are of; empty for a CSV."""
    sheets: tuple[str, ...] = ()
    """The visible sheets of a workbook."""
    encoding: str = "utf-8"
    delimiter: str = ","
    ends_whole: bool = True
    """A CSV's last line has a line end."""


def text_layout(content: bytes) -> Layout:
    """The layout of a CSV's bytes."""
    encoding = encoding_of(content)
    text = content.decode(encoding, "replace").lstrip("\ufeff")
    lines = re.split("\r\n|\n|\r", text)
    delimiter = delimiter_of(lines[:SAMPLE_ROWS])
    rows = _rows(lines[:SAMPLE_ROWS], delimiter)
    return Layout(rows, encoding=encoding, delimiter=delimiter, ends_whole=text.endswith(("\n", "\r")))


def encoding_of(content: bytes) -> str:
    """UTF-8 or UTF-16 where the bytes are certainly that, else ``cp1252``, which most other files are."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(content) >= 4 and content[0] and not content[1] and content[2] and not content[3]:
        return "utf-16-le"
    if len(content) >= 4 and not content[0] and content[1] and not content[2] and content[3]:
        return "utf-16-be"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def delimiter_of(lines: Sequence[str]) -> str:
    """The character that cuts most lines into one number of cells, and into the more cells where two do."""
    written = [line for line in lines if line.strip()]

    def agreement(delimiter: str) -> tuple[int, int]:
        widths = Counter(len(_cells(line, delimiter)) for line in written)
        del widths[1]
        return max(((count, width) for width, count in widths.items()), default=(0, 0))

    best = max(DELIMITERS, key=agreement)
    return best if agreement(best) > (0, 0) else ","


def header_row_of(rows: Rows, is_known: Callable[[str], bool]) -> int:
    """The row number of what looks most like the header; 1 where nothing does.

    A header's cells are words, different ones, above columns of data; words that mean a field count twice.
    """

    def score(index: int) -> int:
        names = [name for name in rows[index] if name]
        total = len(set(names)) - 2 * len(names)
        for column, name in enumerate(rows[index]):
            if name and not _NUMBER_LIKE.fullmatch(name):
                total += 1 + is_data_below(index, column) + 2 * is_known(name)
        return total

    def is_data_below(index: int, column: int) -> bool:
        below = [row[column] for row in rows[index + 1 :] if len(row) > column and row[column]]
        return 2 * sum(bool(_HAS_DIGIT.search(text)) for text in below) > len(below)

    candidates = [index for index, row in enumerate(rows) if sum(map(bool, row)) > 1]
    return max(candidates, key=score, default=0) + 1


def names_above(rows: Rows, header_row: int) -> list[str]:
    """Names that a header of two rows has in its upper one, above blank cells of the lower one with data below."""
    if not 1 < header_row <= len(rows):
        return []
    upper, lower = rows[header_row - 2], rows[header_row - 1]
    below = rows[header_row:]
    return [
        name
        for column, name in enumerate(upper)
        if name
        and (column >= len(lower) or not lower[column])
        and any(len(row) > column and row[column] for row in below)
    ]


def _rows(lines: Sequence[str], delimiter: str) -> Rows:
    """The cells of each line; of a row with line ends inside quotes on its first line, with blank rows after it."""
    rows: list[list[str]] = [[] for _ in lines]
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter)
    first = 0
    try:
        for row in reader:
            rows[first] = [shown(cell.strip()) for cell in row]
            first = reader.line_num
    except csv.Error:  # an absurdly long cell: what stands above it is enough
        return rows
    return rows


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # an absurdly long cell
        return [line]
