"""Which declaration would read the cells that could not be read. Nothing is applied: a person decides.

A declaration is hinted at only where it reads every refused cell that any declaration reads, and still reads the
cells that are read today: all of them, or all but a few, which are then named. Where two do, both are named, with
what each would send.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.dictionary import Dictionary, FieldDef, Kind
from contrib_watch.core.fields import read_column
from contrib_watch.core.layout import Layout
from contrib_watch.core.model import CellKind, Cells, Feed, shown
from contrib_watch.core.numerals import MARKS
from contrib_watch.core.readers import ISO_DATE
from contrib_watch.core.sheet_columns import sheet_columns

MAX_CELLS = 1_000
"""So many refused cells of a column are tried with each declaration; the winners are tried with all cells."""

DATE_FORMATS = (
    # No year of two digits, whose century would be guessed.
    *(f"%d{mark}%m{mark}%Y" for mark in "./-"),
    *(f"%m{mark}%d{mark}%Y" for mark in "/-"),
    *("%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d%m%Y", ISO_DATE, f"{ISO_DATE} 00:00:00", f"{ISO_DATE}T00:00:00"),
    *(f"%d{mark}%b{mark}%Y" for mark in "- "),
    *("%d%b%Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y"),
)
FEW = 0.1
"""A declaration may cost so many cells for each one that it reads: those few are then the mistakes."""

BLANKS = frozenset(
    {
        "-",
        "--",
        "---",
        "–",
        "—",
        "n/a",
        "na",
        "n.a.",
        "n.a",
        "n/v",
        "n.v.",
        "k.a.",
        "k. a.",
        "none",
        "null",
        "nil",
        "nan",
    }
)
"""What people write for "no value", in small letters."""

_DECLARABLE = pa.array([CellKind.TEXT, CellKind.PERCENT], pa.uint8())
"""The kinds of cells that a declaration can change."""

Keys = Mapping[str, Any]
"""Keys of a feed with the values to declare."""


class Hint(NamedTuple):
    """What would read refused cells."""

    where: str
    """The first of the cells, and how many more: ``row 7, BID "98,75" and 3 more``; or the file's part."""
    choices: tuple[Keys, ...]
    """The declarations that read them all; where there are several, the file alone cannot tell which is meant."""
    text: str
    """In plain words, with the declarations."""
    cells: int = 0
    """How many refused cells it is about."""

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def cell_hints(cells: Cells, feed: Feed, dictionary: Dictionary) -> tuple[Hint, ...]:
    """What would read the refused cells of one sheet; empty where no declaration would.

    Raises UnreadableFile where the header cannot be understood (see ``quotes.read_quotes``).
    """
    columns = [
        _Column.of(cells, index, definition, feed)
        for index, definition in sheet_columns(cells, feed, dictionary).fields.items()
    ]
    numbers = [column for column in columns if column.definition.kind in (Kind.REAL, Kind.UINT, Kind.INT)]
    dates = [column for column in columns if column.definition.kind is Kind.DATE]
    found = [
        _blank_hint(cells, columns, feed),
        _family_hint(cells, numbers, _number_keys(cells, feed), feed),
        _family_hint(cells, dates, [{"date_format": text} for text in DATE_FORMATS], feed),
    ]
    return tuple(hint for hint in found if hint is not None)


def layout_hints(found: Layout, header_row: int, feed: Feed) -> tuple[Hint, ...]:
    """Where a file that cannot be read as ``feed`` says is laid out differently, as far as its beginning shows.

    ``header_row`` is the row that looks like the header. The hints are to be tried before they are shown.
    """
    hints = []
    if found.sheets:
        if found.sheet and feed.sheet != found.sheet and (feed.sheet or len(found.sheets) > 1):
            hints.append(
                _layout_hint("the workbook", f'the table is in the sheet "{found.sheet}"', sheet=found.sheet)
            )
    else:
        if found.encoding != feed.encoding.lower():
            name = {"utf-8": "UTF-8", "cp1252": "Windows' own encoding"}.get(found.encoding, "UTF-16")
            hints.append(_layout_hint("the file", f"this looks like {name}", encoding=found.encoding))
        if found.delimiter != feed.delimiter:
            marks = {"\t": "tabs", ";": "semicolons", ",": "commas"}.get(found.delimiter, f'"{found.delimiter}"')
            hints.append(_layout_hint("the file", f"this looks separated by {marks}", delimiter=found.delimiter))
    if header_row != feed.header_row:
        hints.append(_layout_hint("the file", f"row {header_row} looks like the header", header_row=header_row))
    return tuple(hints)


def declaration(keys: Keys) -> str:
    """As it stands in a configuration: ``decimal = "," and thousands = "."``."""
    return " and ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items())


def _layout_hint(where: str, what: str, **keys: object) -> Hint:
    return Hint(where, (keys,), f"{what}: set {declaration(keys)}")


@dataclass(frozen=True)
class _Column:
    """A column of the file with what became of it as the feed is declared today."""

    index: int
    definition: FieldDef
    text: pa.StringArray
    kinds: pa.Array | None
    tokens: pa.StringArray
    refused: pa.Array
    """The indices of the refused cells that a declaration could change."""

    @classmethod
    def of(cls, cells: Cells, index: int, definition: FieldDef, feed: Feed) -> _Column:
        text, kinds = cells.columns[index].cast(pa.string()), None if cells.kinds is None else cells.kinds[index]
        tokens, refused = read_column(definition, text, kinds, feed)
        if kinds is not None:
            refused = pc.and_(refused, pc.is_in(kinds, value_set=_DECLARABLE))
        return cls(index, definition, text, kinds, tokens, pc.indices_nonzero(refused))

    def sample(self) -> _Column:
        """The refused cells alone, at most MAX_CELLS of them."""
        some = self.refused[:MAX_CELLS]
        return replace(
            self,
            text=self.text.take(some),
            kinds=None if self.kinds is None else self.kinds.take(some),
            tokens=self.tokens.take(some),
        )

    def under(self, feed: Feed) -> pa.StringArray:
        """The tokens under another declaration."""
        return read_column(self.definition, self.text, self.kinds, feed)[0]


def _number_keys(cells: Cells, feed: Feed) -> list[dict[str, str]]:
    """Every declaration of marks and percentages, with the keys that differ from the feed's.

    In a CSV no mark that is the delimiter is proposed: ``"1,234"`` between quotes may be either number.
    """
    marks = [pair for pair in MARKS if cells.kinds is not None or feed.delimiter not in pair]
    percents = [feed.percent] if feed.percent else ["", "points", "fraction"]
    return [
        {key: value for key, value in wanted.items() if value != getattr(feed, key)}
        for (decimal, thousands), percent in product(marks, percents)
        for wanted in [{"decimal": decimal, "thousands": thousands, "percent": percent}]
    ]


def _family_hint(cells: Cells, columns: Sequence[_Column], candidates: Sequence[Keys], feed: Feed) -> Hint | None:
    """The declarations of one kind that read all the refused cells that any of them reads, and lose none."""
    samples = [column.sample() for column in columns if len(column.refused)]
    if not samples:
        return None
    read = [[pc.is_valid(sample.under(replace(feed, **keys))) for sample in samples] for keys in candidates]
    readable = [reduce(pc.or_, masks) for masks in zip(*read, strict=True)]
    if not any(pc.any(mask).as_py() for mask in readable):
        return None
    least: list[Keys] = []
    count = 0
    for keys, masks in sorted(zip(candidates, read, strict=True), key=lambda pair: len(pair[0])):
        reads_all = all(mask.equals(best) for mask, best in zip(masks, readable, strict=True))
        # A declaration that does the same with fewer keys is the better one.
        if not reads_all or any(other.items() < keys.items() for other in least):
            continue
        gained, lost = _effect(columns, keys, feed)
        if lost <= FEW * gained:
            least.append(keys)
            count = max(count, gained)
    if not least:
        return None
    sample, first = next(
        (sample, pc.index(mask, True).as_py())
        for sample, mask in zip(samples, readable, strict=True)
        if pc.any(mask).as_py()
    )
    agreed = agreed_keys(least)
    text = f"this looks like {' and '.join(_words(agreed))}: set {declaration(agreed)}" if agreed else ""
    if len(least) > 1:
        sample, first = _where_they_differ(samples, readable, least, feed) or (sample, first)
        ways = [
            f"{declaration(_without(keys, agreed))} reads {_read_as(sample, first, keys, feed)}" for keys in least
        ]
        text += "; and " if text else ""
        text += f"this can be read in {len(least)} ways, declare the one that is meant: {', '.join(ways)}"
    else:
        text += _changes(cells, columns, agreed, feed)
    return Hint(_where(cells, sample, first, count), tuple(least), text, count)


def agreed_keys(choices: Sequence[Keys]) -> Keys:
    """What all of several declarations have in common."""
    return {key: value for key, value in choices[0].items() if all(keys.get(key) == value for keys in choices)}


def _without(keys: Keys, agreed: Keys) -> Keys:
    return {key: value for key, value in keys.items() if key not in agreed}


def _where_they_differ(
    samples: Sequence[_Column], readable: Sequence[pa.BooleanArray], choices: Sequence[Keys], feed: Feed
) -> tuple[_Column, int] | None:
    """A cell that the first two declarations read as different values."""
    for sample, mask in zip(samples, readable, strict=True):
        one, other = (sample.under(replace(feed, **keys)) for keys in choices[:2])
        index = pc.index(pc.and_(mask, pc.fill_null(pc.not_equal(one, other), False)), True).as_py()
        if index >= 0:
            return sample, index
    return None


def _effect(columns: Sequence[_Column], keys: Keys, feed: Feed) -> tuple[int, int]:
    """How many refused cells would be read, and how many that are read today would be refused."""
    gained = lost = 0
    for column in columns:
        before, after = pc.is_valid(column.tokens), pc.is_valid(column.under(replace(feed, **keys)))
        gained += pc.sum(pc.and_not(after, before)).as_py() or 0
        lost += pc.sum(pc.and_not(before, after)).as_py() or 0
    return gained, lost


def _blank_hint(cells: Cells, columns: Sequence[_Column], feed: Feed) -> Hint | None:
    """Refused texts that are a word for "no value" in any language that people here write."""
    found: list[tuple[_Column, int, str]] = []
    for column in columns:
        sample = column.sample()
        written = ((index, (text or "").strip(" ")) for index, text in enumerate(sample.text.to_pylist()))
        found += [(sample, index, text) for index, text in written if text.casefold() in BLANKS]
    if not found:
        return None
    words = list(dict.fromkeys(text for _, _, text in found))
    keys = {"blank": [*feed.blank, *words]}
    sample, index, _ = found[0]
    text = f"this looks like a word for an empty cell: set {declaration(keys)}"
    text += _changes(cells, columns, keys, feed)
    return Hint(_where(cells, sample, index, len(found)), (keys,), text, len(found))


def _changes(cells: Cells, columns: Sequence[_Column], keys: Keys, feed: Feed) -> str:
    """A warning where a cell that is read today would be read as something else, or not any more."""
    declared = replace(feed, **keys)
    unread = ""
    for column in columns:
        tokens = column.under(declared)
        changed = pc.fill_null(pc.not_equal(column.tokens, tokens), False)
        if (index := pc.index(changed, True).as_py()) >= 0:
            return _change(cells, column, index, tokens[index].as_py())  # another value is worse than none
        lost = pc.and_(pc.is_valid(column.tokens), pc.is_null(tokens))
        if not unread and (index := pc.index(lost, True).as_py()) >= 0:
            unread = _change(cells, column, index, "not read")
    return unread


def _change(cells: Cells, column: _Column, index: int, after: str) -> str:
    written = f'{cells.address(index, column.index)} "{column.text[index].as_py()}"'
    return f"; but then {written}, which is {column.tokens[index].as_py()} today, is {after}"


def _where(cells: Cells, sample: _Column, index: int, count: int) -> str:
    place = cells.address(sample.refused[index].as_py(), sample.index)
    more = f" and {count - 1:,} more" if count > 1 else ""
    return f'{place} "{shown(sample.text[index].as_py())}"{more}'


def _read_as(sample: _Column, index: int, keys: Keys, feed: Feed) -> str:
    token: str = sample.under(replace(feed, **keys))[index].as_py()
    return token.strip('"')


def _words(keys: Keys) -> Iterator[str]:
    if "decimal" in keys:
        yield {",": "a decimal comma", ".": "a decimal point"}[keys["decimal"]]
    if keys.get("thousands"):
        yield f'thousands marked by "{keys["thousands"]}"'
    elif "thousands" in keys:
        yield "no thousands mark"
    if "percent" in keys:
        yield "a percentage"
    if "date_format" in keys:
        yield "a date"
