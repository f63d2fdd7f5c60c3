"""A feed proposed for a sheet that nobody has declared: mapping, formats, and every doubt about them.

It is written for a person to finish. What the sheet leaves open (two date formats that read every date, what a
percentage means) is left undeclared, so that those cells are rejected until somebody decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.dictionary import Dictionary, FieldDef, Kind
from contrib_watch.core.fields import read_column
from contrib_watch.core.headers import guesses, speaks_of_rics, speaks_of_scale
from contrib_watch.core.hints import BLANKS, DATE_FORMATS, Keys, agreed_keys, cell_hints, declaration
from contrib_watch.core.model import SET_ME, CellKind, Cells, Feed, Quotes, shown
from contrib_watch.core.numerals import MARKS
from contrib_watch.core.quotes import TOTALS, read_quotes
from contrib_watch.core.readers import ERROR_TEXT, matches
from contrib_watch.core.sheet_columns import sheet_columns
from contrib_watch.errors import UnreadableFile

SAMPLE_CELLS = 200
"""So many written cells of a column decide whether it can be a field's."""

_RIC_LIKE = r"^[A-Za-z0-9.!#$_/-]*(?:=[A-Za-z0-9._]*|\.[A-Z][A-Za-z]{0,3})$"
_HABIT = 0.1
"""A notation is proposed where at least so many cells a row need it."""
_MOST = 0.8
"""The share of a column's cells that must be readable, or look like RICs."""
_HALF = 0.5
"""The share that must look like RICs where the header speaks of them: a short sheet has notes below."""


@dataclass(frozen=True)
class Proposal:
    """A feed as it may be declared, and why a person should look twice."""

    feed: Feed
    examples: Mapping[str, str] = field(default_factory=dict)
    """Header -> one of its cells, of every column that is mapped, ignored or the RICs'; of two alike, the first's."""
    doubts: tuple[str, ...] = ()
    """About the whole file, or about columns that are not mapped."""
    column_doubts: Mapping[str, str] = field(default_factory=dict)
    """Header -> what speaks against its field."""
    undecided: tuple[tuple[str, tuple[Keys, ...]], ...] = ()
    """What a person has to decide, in words, with the declarations to choose from."""
    result: str = ""
    """How much of the file is read with it."""


def propose(cells: Cells, feed: Feed, dictionary: Dictionary, doubts: Sequence[str] = ()) -> Proposal:
    """Complete ``feed``, which says how the file is laid out, with the columns' meanings and formats.

    ``doubts`` are those about the layout, to be handed on.
    """
    ric = _ric_column(cells)
    mapped, column_doubts, more = _mapping(cells, ric, feed, dictionary)
    examples = {cells.header[index]: _example(cells, index) for index in reversed([*_named(cells)])}
    declared = replace(
        feed,
        ric_column=cells.header[ric] if ric is not None else SET_ME,
        columns={header: acronym for header, acronym in mapped.items() if header != acronym},
        ignore_columns=tuple(_unmapped(cells, ric, mapped)),
    )
    doubts = [*doubts, *_header_doubts(cells), *more]
    if ric is None:
        doubts.append("no column looks like RICs: name the one that has them in ric_column, or add it to the sheet")
        return Proposal(declared, examples, tuple(doubts), column_doubts)
    likely, others = _rics_and_others(cells, ric)
    declared = replace(declared, ric_pattern=_ric_pattern(likely))
    if others:
        doubts.append(_doubt_about(cells, ric, others, declared))
    try:
        declared, undecided = _with_formats(cells, declared, dictionary)
        doubts += [*_other_readings(cells, declared, dictionary)] or _guessed_groups(cells, declared, dictionary)
        result = _result(cells, declared, undecided, dictionary)
    except UnreadableFile as error:
        return Proposal(declared, examples, (*doubts, str(error)), column_doubts)
    return Proposal(declared, examples, tuple(doubts), column_doubts, undecided, result)


def _named(cells: Cells) -> Iterator[int]:
    return (index for index, header in enumerate(cells.header) if header)


def _unmapped(cells: Cells, ric: int | None, mapped: Mapping[str, str]) -> Iterator[str]:
    """The headers that are neither the RICs' nor a field's, each once."""
    theirs = {*mapped, *([] if ric is None else [cells.header[ric]])}
    return (header for header in dict.fromkeys(cells.header) if header and header not in theirs)


def _header_doubts(cells: Cells) -> Iterator[str]:
    for index, header in enumerate(cells.header):
        if not header and (example := _example(cells, index)):
            yield f'column {index + 1} has values ("{example}") but no header: no drop is read until it has one'
        elif header and (first := cells.header.index(header)) < index:
            yield (
                f'the header "{header}" stands twice, in columns {first + 1} ("{_example(cells, first)}") and '
                f'{index + 1} ("{_example(cells, index)}"): no drop is read until one is renamed in the sheet'
            )


def _ric_column(cells: Cells) -> int | None:
    """The column whose cells look most like RICs; its name decides between equals."""

    def rank(index: int) -> tuple[float, bool]:
        return _share(_written(cells, index), _RIC_LIKE), speaks_of_rics(cells.header[index])

    best = max(_named(cells), key=rank, default=None)
    if best is not None and rank(best)[0] >= (_HALF if rank(best)[1] else _MOST):
        return best
    # RICs without any mark, such as EUR or 005930: only a name can tell.
    return next(
        (index for index in _named(cells) if cells.header[index].upper() in ("RIC", "RICS", "RIC CODE")), None
    )


def _share(texts: pa.StringArray, pattern: str) -> float:
    if not len(texts):
        return 0.0
    return float(pc.mean(matches(texts, pattern)).as_py())


def _rics_and_others(cells: Cells, ric: int) -> tuple[list[str], list[int]]:
    """The texts that are RICs, and the indices of those that look like none among many that do (``Basket``)."""
    texts = pc.ascii_trim(cells.columns[ric].cast(pa.string()).fill_null(""), characters=" ")
    written = _is_written(cells, ric)
    alike = pc.and_(written, matches(texts, _RIC_LIKE))
    if 2 * (pc.sum(alike).as_py() or 0) <= (pc.sum(written).as_py() or 0):
        return texts.filter(written).to_pylist(), []
    others = pc.and_not(written, pc.or_(alike, matches(texts, TOTALS)))  # totals are rejected anyway
    return texts.filter(alike).to_pylist(), pc.indices_nonzero(others).to_pylist()


def _ric_pattern(rics: Sequence[str]) -> str:
    """``*=ACME`` where every RIC ends so: nothing else is this feed's until a person says so."""
    sources = {ric.rpartition("=")[2] if "=" in ric else "" for ric in rics}
    source = sources.pop() if len(sources) == 1 else ""
    return f"*={source}" if source.isalnum() and len(rics) > 1 else ""


def _doubt_about(cells: Cells, ric: int, others: Sequence[int], feed: Feed) -> str:
    """Rows such as notes, whose values would go out under a name that is no RIC."""
    first = f'{cells.address(others[0], ric)} "{shown(cells.columns[ric][others[0]].as_py())}"'
    what = f"{first} and {len(others) - 1:,} more look like no RICs" if others[1:] else f"{first} looks like no RIC"
    if feed.ric_pattern:
        return f"{what}, and ric_pattern rejects such rows: are they notes?"
    return f"{what}, and values in such a row are posted: take such rows out, or set ric_pattern"


def _mapping(
    cells: Cells, ric: int | None, feed: Feed, dictionary: Dictionary
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Header -> field; header -> what speaks against it; and why other columns are not mapped."""
    mapped: dict[str, str] = {}
    column_doubts: dict[str, str] = {}
    beside, left_out = _second_table(cells, ric)
    candidates = [(index, guesses(cells.header[index], dictionary)) for index in _named(cells) if index not in beside]
    # A name that is certain goes before one that is not, wherever the two stand.
    for index, meant in sorted(candidates, key=lambda one: [bool(guess.doubt) for guess in one[1][:1]]):
        header = cells.header[index]
        if index == ric or header in mapped or not meant:
            continue
        if unit := _scale_below(cells, ric, index):
            left_out.append(
                f'"{header}" sounds like {meant[0].acronym}, '
                f'but "{unit}" below it speaks of another scale: it is ignored'
            )
            continue
        fitting = [guess for guess in meant if not _misfit(cells, index, dictionary.fields[guess.acronym], feed)]
        free = [guess for guess in fitting if guess.acronym not in mapped.values()]
        if free:
            mapped[header] = free[0].acronym
            if free[0].doubt:
                column_doubts[header] = free[0].doubt
            elif len(free) > 1:
                column_doubts[header] = f"or {' or '.join(guess.acronym for guess in free[1:])}"
            elif not pc.any(_is_written(cells, index)).as_py():
                column_doubts[header] = "every cell is blank, so only its name speaks for it"
        elif fitting:
            first = next(other for other, acronym in mapped.items() if acronym == fitting[0].acronym)
            left_out.append(f'"{header}" may be {fitting[0].acronym} too, as "{first}" is: it is ignored')
        else:
            misfit = _misfit(cells, index, dictionary.fields[meant[0].acronym], feed)
            left_out.append(
                f'"{header}" sounds like {meant[0].acronym}, but its cells do not fit ("{misfit}"): it is ignored'
            )
    return {header: mapped[header] for header in cells.header if header in mapped}, column_doubts, left_out


def _scale_below(cells: Cells, ric: int | None, index: int) -> str:
    """What stands between a name and the first RIC, where it speaks of another scale, as a line of units may."""
    first = 0 if ric is None else pc.index(_is_written(cells, ric), True).as_py()
    texts = cells.columns[index].cast(pa.string())[: max(first, 0)].drop_null().to_pylist()
    return next((shown(text.strip()) for text in texts if speaks_of_scale(text)), "")


def _second_table(cells: Cells, ric: int | None) -> tuple[set[int], list[str]]:
    """The columns of tables with RICs of their own beside that of ``ric``, behind a column without a name."""
    columns: set[int] = set()
    told: list[str] = []
    blocks = [
        [*block] for named, block in groupby(range(len(cells.header)), lambda one: bool(cells.header[one])) if named
    ]
    for block in blocks if ric is not None else ():
        rics = [index for index in block if _share(_written(cells, index), _RIC_LIKE) >= _MOST]
        if rics and ric not in block:
            columns.update(block)
            told.append(
                f'"{cells.header[rics[0]]}" looks like RICs, too ("{_example(cells, rics[0])}"): the columns '
                f'"{cells.header[block[0]]}" to "{cells.header[block[-1]]}" seem to be a second table and are ignored'
            )
    return columns, told


def _misfit(cells: Cells, index: int, definition: FieldDef, feed: Feed) -> str:
    """A cell that keeps the column from being the field; empty where some declaration reads most of the first."""
    written = pc.indices_nonzero(_is_written(cells, index))[:SAMPLE_CELLS]
    if definition.kind is Kind.UNSUPPORTED:
        return _example(cells, index) or definition.rwf_type
    if not len(written):
        return ""
    text = cells.columns[index].take(written)
    kinds = None if cells.kinds is None else cells.kinds[index].take(written)
    ways: Sequence[dict[str, Any]]
    match definition.kind:
        case Kind.REAL | Kind.UINT | Kind.INT:
            ways = [
                {"decimal": decimal, "thousands": thousands, "percent": percent}
                for (decimal, thousands), percent in product(MARKS, ("points", "fraction"))
            ]
        case Kind.DATE:
            ways = [{"date_format": text} for text in DATE_FORMATS]
        case _:
            ways = [{}]
    tokens = [read_column(definition, text, kinds, replace(feed, **way))[0] for way in ways]
    # One cell may always be wrong, such as a unit below the name.
    bearable = min(max(1, (1 - _MOST) * len(text)), (len(text) - 1) / 2)
    best = min(tokens, key=lambda column: column.null_count)
    return "" if best.null_count <= bearable else shown(text[pc.index(pc.is_null(best), True).as_py()].as_py())


def _is_written(cells: Cells, index: int) -> pa.BooleanArray:
    """Cells with a text that is not a word for "no value"."""
    trimmed = pc.utf8_lower(pc.ascii_trim(cells.columns[index].cast(pa.string()), characters=" "))
    blank = pc.is_in(trimmed, value_set=pa.array(["", None, *BLANKS], pa.string()))
    return pc.and_not(pc.invert(blank), matches(trimmed, f"(?i){ERROR_TEXT}"))


def _written(cells: Cells, index: int) -> pa.StringArray:
    """The first written cells that are texts: a date or number of a workbook is no RIC."""
    mask = _is_written(cells, index)
    if cells.kinds is not None:
        mask = pc.and_(mask, pc.equal(cells.kinds[index], CellKind.TEXT.value))
    texts = cells.columns[index].cast(pa.string()).filter(mask)[:SAMPLE_CELLS]
    return pc.ascii_trim(texts, characters=" ")


def _example(cells: Cells, index: int) -> str:
    texts = cells.columns[index].filter(_is_written(cells, index))
    values = texts.filter(matches(texts, "[0-9]"))  # rather than a unit below the header
    texts = values if len(values) else texts
    return shown(texts[0].as_py()) if len(texts) else ""


def _with_formats(
    cells: Cells, feed: Feed, dictionary: Dictionary
) -> tuple[Feed, tuple[tuple[str, tuple[Keys, ...]], ...]]:
    """The feed with the formats that the cells leave no doubt about, and those between which they do."""
    undecided = []
    for hint in cell_hints(cells, feed, dictionary):
        agreed = agreed_keys(hint.choices)
        if hint.cells < _HABIT * len(cells.rows) and "blank" not in agreed:
            agreed = {}  # a few cells among many are a mistake as likely as a habit
        feed = replace(feed, **_frozen(agreed))
        left = [{key: value for key, value in keys.items() if key not in agreed} for keys in hint.choices]
        if any(left):
            undecided.append((str(hint), tuple(left)))
    return feed, tuple(undecided)


def _other_readings(cells: Cells, feed: Feed, dictionary: Dictionary) -> Iterator[str]:
    """Marks by which every number is read as well, and one of them as another: ``1.234`` may be meant as 1234."""
    fields = sheet_columns(cells, feed, dictionary).fields
    numbers = {index: one for index, one in fields.items() if one.kind in (Kind.REAL, Kind.UINT, Kind.INT)}
    today = {index: _tokens(cells, index, definition, feed) for index, definition in numbers.items()}
    for decimal, thousands in MARKS:
        if cells.kinds is None and feed.delimiter in (decimal, thousands):
            continue
        keys: Keys = {"decimal": decimal, "thousands": thousands}
        other = replace(feed, **keys)
        tokens = {index: _tokens(cells, index, definition, other) for index, definition in numbers.items()}
        if any(pc.any(pc.and_(pc.is_valid(today[i]), pc.is_null(tokens[i]))).as_py() for i in numbers):
            continue
        for index in numbers:
            differs = pc.fill_null(pc.not_equal(today[index], tokens[index]), False)
            if (row := pc.index(differs, True).as_py()) >= 0:
                yield (
                    f'{cells.address(row, index)} "{cells.columns[index][row].as_py()}" is read as '
                    f"{today[index][row].as_py()}; with {declaration(keys)} every number "
                    f"is read, too, and this one is {tokens[index][row].as_py()}: set what is meant"
                )
                return


def _guessed_groups(cells: Cells, feed: Feed, dictionary: Dictionary) -> list[str]:
    """A number such as ``1.234`` that is thousands only because others have a decimal comma.

    Where no number has both marks, or the one for thousands twice, the column may as well mix two notations.
    """
    mark, found = feed.thousands, ""
    if mark not in (".", ","):
        return []
    for index, definition in sheet_columns(cells, feed, dictionary).fields.items():
        if definition.kind not in (Kind.REAL, Kind.UINT, Kind.INT):
            continue
        tokens = _tokens(cells, index, definition, feed)
        marks = pc.if_else(pc.is_valid(tokens), pc.count_substring(cells.columns[index].cast(pa.string()), mark), 0)
        decimals = pc.count_substring(cells.columns[index].cast(pa.string()), feed.decimal)
        if cells.kinds is not None:  # the point of a number cell is nobody's notation
            marks = pc.if_else(pc.equal(cells.kinds[index], CellKind.TEXT.value), marks, 0)
        if pc.any(pc.or_(pc.greater(marks, 1), pc.and_(pc.equal(marks, 1), pc.greater(decimals, 0)))).as_py():
            return []
        if not found and (row := pc.index(pc.equal(marks, 1), True).as_py()) >= 0:
            text, token = cells.columns[index][row].as_py(), tokens[row].as_py()
            found = f'{cells.address(row, index)} "{text}" is read as {token}'
    return [f"{found}, but no number shows both marks, so that two notations may be mixed: check it"] if found else []


def _tokens(cells: Cells, index: int, definition: FieldDef, feed: Feed) -> pa.StringArray:
    kinds = None if cells.kinds is None else cells.kinds[index]
    return read_column(definition, cells.columns[index], kinds, feed)[0]


def _result(
    cells: Cells, feed: Feed, undecided: Sequence[tuple[str, tuple[Keys, ...]]], dictionary: Dictionary
) -> str:
    """How much of the sheet is read, in words."""
    quotes = read_quotes(cells, feed, dictionary)
    read = _rows_read(quotes)
    text = f"{read:,} of {quotes.rows_read:,} rows are read with this"
    if undecided:
        decided = {key: value for _, choices in undecided for key, value in _frozen(choices[0]).items()}
        quotes = read_quotes(cells, replace(feed, **decided), dictionary)
        then = _rows_read(quotes)
        text += f", {'as many' if then == read else f'{then:,}'} once what is left open below is declared"
    if quotes.problems:
        text += f"; rejected is, for example, {quotes.problems[0]}"
    return text


def _rows_read(quotes: Quotes) -> int:
    return quotes.rows_read - len({problem.row for problem in quotes.problems})


def _frozen(keys: Keys) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()}
