"""CSV bytes -> raw cells: everything is text, and an empty cell is null."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from contrib_watch.adapters.sheets.records import (
    Flags,
    MixedLineEnds,
    Records,
    UntrustedQuotes,
    split_records,
    unify_line_ends,
)
from contrib_watch.core.model import Cells, Feed, Malformed, shown
from contrib_watch.core.readers import bare
from contrib_watch.errors import UnreadableFile

MAX_COLUMNS = 16_384
"""A header may not be wider than Excel's widest sheet."""

_SEP_LINE = re.compile(rb'"?sep=([^"\r\n]{1,4})"?(?:\r\n?|\n)', re.IGNORECASE)
_BLOCK_BYTES = 1 << 20
_LARGEST_BLOCK_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class _Body:
    """The text from the header line on, as UTF-8; ``line`` is the header's line number in the file."""

    data: bytes
    line: int


def read_delimited(content: bytes, filename: str, feed: Feed) -> Cells:
    """The cells of a CSV; ``rows`` are the numbers of the lines on which the rows begin.

    A row whose width is not the header's, whose quotes are not around whole cells, or that has no line end where the
    feed requires one, is malformed. A line of nothing but delimiters and spaces is blank: counted, not read.

    Raises:
        UnreadableFile: undecodable bytes, NUL bytes, no header, quotes that leave the records' ends in doubt, a
            header that no row agrees with, or more rows than ``feed.max_rows``.
    """
    body = _body(_decode(content, filename, feed), filename, feed)
    records = _records(body, filename, feed)
    header = _header(body, records, filename, feed)
    text = body.data
    blank = _blank(text, records, feed.delimiter)
    _check_count(records, blank, filename, feed)
    cut = np.zeros(len(records), np.bool_)
    cut[-1] = not records.terminated and feed.final_newline == "required"
    wrong_width = records.widths != len(header)
    malformed = (wrong_width | records.misquoted | cut) & ~blank
    malformed[0] = False
    good = ~malformed & ~blank
    good[0] = False
    _check_header_fits(records, good, blank, cut, len(header), filename, feed)
    columns = _parse(text, len(header), filename, feed, records, good)
    rows = pa.array(records.lines[good] + (body.line - 1), pa.int64())
    columns, rows = _without_empty_rows(columns, rows)
    rics = _texts(columns[header.index(feed.ric_column)]) if malformed.any() and feed.ric_column in header else set()
    return Cells(
        sheet="",
        header=header,
        header_row=body.line,
        columns=columns,
        kinds=None,
        rows=rows,
        malformed=_malformed(body, records, malformed, cut, rics, len(header), feed),
    )


def _decode(content: bytes, filename: str, feed: Feed) -> bytes:
    """The text as UTF-8 without byte order marks, and known to hold no NUL."""
    try:
        encoding = codecs.lookup(feed.encoding).name
        if encoding in {"utf-8", "utf-8-sig"}:
            _refuse_utf16(content, filename)
            encoding = "utf-8"
        elif encoding.startswith("utf-16"):
            _refuse_bytes(content, filename, feed)
        data = content if encoding == "utf-8" else content.decode(encoding).encode("utf-8")
        if encoding == "utf-8" and not data.isascii():
            data.decode(encoding)  # or it is refused
    except LookupError as error:
        raise UnreadableFile(
            f'"{feed.encoding}" is not a text encoding',
            where=filename,
            hint='Set encoding to one such as "utf-8", "cp1252" or "utf-16"',
        ) from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            f"the bytes {error.object[error.start : error.end][:4].hex(' ')} are not {feed.encoding}",
            where=f"{filename}, {_place(content[: error.start], encoding)}",
            hint='Save it as "CSV UTF-8", or set encoding (Excel on Windows often writes "cp1252")',
        ) from error
    except UnicodeEncodeError as error:
        raise UnreadableFile(
            f"a half of a character cannot be read as {feed.encoding}", where=filename, hint="Save it again as UTF-8"
        ) from error
    while data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    nul = data.find(b"\0")
    if nul >= 0:
        raise UnreadableFile(
            "the file has NUL bytes, so it was not written to its end or is not text",
            where=f"{filename}, {_place(data[:nul], 'utf-8')}",
            hint="Copy it again, and check that it opens as text",
        )
    if not data:
        raise UnreadableFile("the file is empty", where=filename, hint="Save it again with its data")
    return data


def _refuse_utf16(content: bytes, filename: str) -> None:
    """A text whose every other byte is NUL, or that says so by its mark, is UTF-16."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif len(content) >= 4 and content[0] != 0 and content[1:4:2] == b"\0\0" and content[2] != 0:
        encoding = "utf-16-le"
    elif len(content) >= 4 and content[1] != 0 and content[0:4:2] == b"\0\0" and content[3] != 0:
        encoding = "utf-16-be"
    else:
        return
    raise UnreadableFile(
        "the file is UTF-16, and the feed says UTF-8",
        where=filename,
        hint=f'Save it as "CSV UTF-8", or set encoding = "{encoding}"',
    )


def _refuse_bytes(content: bytes, filename: str, feed: Feed) -> None:
    """In UTF-16, a delimiter and a line end have a NUL beside them."""
    if b"\0" not in content:
        raise UnreadableFile(
            f"the feed says {feed.encoding}, and the file is not UTF-16",
            where=filename,
            hint='Save it as "Unicode Text", or set encoding to what it is (Excel often writes "utf-8" or "cp1252")',
        )


def _place(before: bytes, encoding: str) -> str:
    """Line and column, counted from 1, of what follows ``before``."""
    text = before.decode(encoding, "replace")
    mark = "\n" if "\n" in text else "\r"
    return f"line {text.count(mark) + 1}, column {len(text) - text.rfind(mark)}"


def _body(data: bytes, filename: str, feed: Feed) -> _Body:
    """From the header line on; a ``sep=`` line must agree with the feed, and is a line of the file."""
    line = feed.header_row
    sep = _SEP_LINE.match(data)
    if sep is not None:
        mark = sep[1].decode()
        if mark != feed.delimiter:
            raise UnreadableFile(
                f'the first line says that cells are separated by "{mark}", and the feed says "{feed.delimiter}"',
                where=f"{filename}, line 1",
                hint="Save it with the feed's delimiter, or change delimiter",
            )
        line = max(line, 2)
    end = b"\n" if b"\n" in data else b"\r"
    offset = 0
    for above in range(1, line):
        offset = data.find(end, offset) + 1
        if offset == 0 or offset == len(data):
            raise UnreadableFile(
                f"the file has {above} lines, and the header should be in line {line}",
                where=filename,
                hint="Check that it is the right file, or change header_row",
            )
    try:
        return _Body(unify_line_ends(data[offset:]), line)
    except MixedLineEnds as error:
        raise UnreadableFile(
            "a carriage return stands where the other lines end differently",
            where=f"{filename}, line {line + error.line - 1}",
            hint="Save it again with one kind of line end",
        ) from error


def _records(body: _Body, filename: str, feed: Feed) -> Records:
    delimiter = feed.delimiter.encode()
    if len(delimiter) != 1 or delimiter in b'"\r\n':
        raise UnreadableFile(
            f'the delimiter "{feed.delimiter}" is not a single ASCII character',
            where=filename,
            hint='Set delimiter to one such as "," or ";"',
        )
    try:
        return split_records(body.data, delimiter)
    except UntrustedQuotes as error:
        raise UnreadableFile(
            "a quote is opened and never closed"
            if error.unclosed
            else "a quote stands inside a cell, and what follows cannot be told from quoted text",
            where=f"{filename}, line {body.line + error.line - 1}",
            hint='Close it, and write a quote inside a cell as "" with quotes around the cell',
        ) from error


def _header(body: _Body, records: Records, filename: str, feed: Feed) -> tuple[str, ...]:
    """The names in the header record, with ASCII spaces and byte order marks trimmed."""
    where = f"{filename}, line {body.line}"
    if records.misquoted[0]:
        raise UnreadableFile("the header has text beside a quote", where=where, hint="Put quotes around whole names")
    if len(records) == 1 and not records.terminated and feed.final_newline == "required":
        raise UnreadableFile(
            "the header has no line end, so the file may be cut short",
            where=where,
            hint="Save it again with its data",
        )
    if records.widths[0] > MAX_COLUMNS:
        raise UnreadableFile(
            f"the header has {records.widths[0]:,} columns, and the limit is {MAX_COLUMNS:,}",
            where=where,
            hint="Check that it is the right file",
        )
    text = body.data[records.starts[0] : records.stops[0]].decode()
    # A line end inside quotes stays in the name. Nothing but LF ends a line here, least of all U+2028.
    csv.field_size_limit(sys.maxsize)  # an endless name is refused where names are judged, not by csv.Error
    names = next(csv.reader(io.StringIO(text, newline="\n"), delimiter=feed.delimiter), [])
    header = tuple(name.strip(" \ufeff") for name in names)
    if not any(header):
        raise UnreadableFile(
            "the line has no column names, and the header should be there", where=where, hint="Change header_row"
        )
    return header


def _blank(data: bytes, records: Records, delimiter: str) -> Flags:
    """Records with nothing in them but spaces, tabs and delimiters."""
    blank: Flags = records.stops == records.starts
    first = np.frombuffer(data, np.uint8)[records.starts]
    nothing = f" \t{delimiter}".encode()
    # Only a record that begins with one of these can be blank, and few do.
    for record in np.flatnonzero(np.isin(first, list(nothing)) & ~blank).tolist():
        blank[record] = not data[records.starts[record] : records.stops[record]].strip(nothing)
    blank[0] = False
    return blank


def _check_count(records: Records, blank: Flags, filename: str, feed: Feed) -> None:
    count = len(records) - 1 - int(blank.sum())
    if count > feed.max_rows:
        raise UnreadableFile(
            f"the file has {count:,} rows, and the limit is {feed.max_rows:,}",
            where=filename,
            hint="Split it, or raise max_rows",
        )


def _check_header_fits(
    records: Records, good: Flags, blank: Flags, cut: Flags, width: int, filename: str, feed: Feed
) -> None:
    """Where all rows have one width and the header another, the header is at fault, not each row."""
    counted = ~blank & ~cut & ~records.misquoted
    widths = records.widths[1:][counted[1:]]
    if good.any() or len(widths) < 2 or (widths != widths[0]).any() or widths[0] == width:
        return
    raise UnreadableFile(
        f"every row has {widths[0]} cells, and the header has {width}",
        where=filename,
        hint=f'Give the header and the rows the same number of "{feed.delimiter}"',
    )


def _good_text(data: bytes, records: Records, good: Flags) -> memoryview:
    """The text of the good records alone, line ends included, copied in runs of neighbours where they are several."""
    edges = np.flatnonzero(np.diff(good, prepend=False, append=False))
    bounds = np.append(records.starts, len(data))
    text = memoryview(data)
    runs = [text[bounds[first] : bounds[last]] for first, last in edges.reshape(-1, 2).tolist()]
    if len(runs) == 1 and bytes(runs[0][:3]) != codecs.BOM_UTF8:
        return runs[0]
    # Arrow's parser takes a byte order mark from the start; this one is its, and a row's own stays.
    return memoryview(b"".join([codecs.BOM_UTF8, *runs]))


def _parse(text: bytes, width: int, filename: str, feed: Feed, records: Records, good: Flags) -> tuple[pa.Array, ...]:
    """Columns of text from the good records of ``text``, which are all of ``width`` cells."""
    count = int(good.sum())
    if not count:
        return tuple(pa.array([], pa.string()) for _ in range(width))
    longest = int((records.stops - records.starts)[good].max())
    names = [str(column) for column in range(width)]
    quoted = text.find(b'"', records.starts[good.argmax()]) >= 0
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(_good_text(text, records, good)),
            read_options=pyarrow.csv.ReadOptions(
                column_names=names,
                # A record longer than a block is an error in Arrow's parser.
                block_size=min(max(_BLOCK_BYTES, 2 * longest + 4), _LARGEST_BLOCK_BYTES),
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=feed.delimiter,
                quote_char='"' if quoted else False,
                double_quote=quoted,
                newlines_in_values=quoted,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise UnreadableFile(f"the parser refused the text: {error}", where=filename, hint="Save it again") from error
    if table.num_rows != count:
        raise UnreadableFile(
            f"{count:,} rows were counted and {table.num_rows:,} were read",
            where=filename,
            hint="Save it again without line breaks and quotes inside cells",
        )
    return tuple(_one_chunk(column) for column in table.columns)


def _one_chunk(column: Any) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _without_empty_rows(columns: tuple[pa.Array, ...], rows: pa.Array) -> tuple[tuple[pa.Array, ...], pa.Array]:
    filled: Any = None
    for column in columns:
        if column.null_count == 0:
            return columns, rows
        valid = column.is_valid()
        filled = valid if filled is None else pc.or_(filled, valid)
    if pc.all(filled).as_py() is not False:
        return columns, rows
    return tuple(column.filter(filled) for column in columns), rows.filter(filled)


def _malformed(
    body: _Body, records: Records, malformed: Flags, cut: Flags, rics: Set[str], width: int, feed: Feed
) -> tuple[Malformed, ...]:
    """The malformed records; ``rics`` are those of the good ones."""
    found = []
    for record in np.flatnonzero(malformed).tolist():
        text = body.data[records.starts[record] : records.stops[record]].decode()
        if cut[record]:
            cause = "has no line end, so the file may be cut short"
            mend = 'save the file again; where every file ends so, set final_newline = "optional"'
        elif records.misquoted[record]:
            cause = "has text beside a quote"
            mend = 'put quotes around whole cells, and write a quote inside one as ""'
        else:
            cells = "1 cell" if records.widths[record] == 1 else f"{records.widths[record]} cells"
            cause = f"has {cells}, and the header has {width}"
            mend = f'put quotes around a cell that contains "{feed.delimiter}", or write the missing cells'
        copies = tuple(sorted(_possible_cells(text, feed.delimiter) & rics))
        found.append(Malformed(int(records.lines[record]) + body.line - 1, shown(text), cause, mend, copies))
    return tuple(found)


def _texts(column: pa.StringArray) -> set[str]:
    return set(bare(column.drop_null()).to_pylist()) - {""}


def _possible_cells(text: str, delimiter: str) -> set[str]:
    """What may be a RIC, bare, in a line whose cells cannot be told apart: what is between delimiters, or quotes."""
    patterns = (f'[^"\r\n{re.escape(delimiter)}]+', '[^"]+')
    pieces = [piece[0] for pattern in patterns for piece in re.finditer(pattern, text)]
    return set(bare(pa.array(pieces, pa.string())).to_pylist())
