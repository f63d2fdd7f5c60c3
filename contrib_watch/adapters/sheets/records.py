"""Where each record of a delimited text begins and ends: positions, line numbers and widths as whole arrays.

A record is a line, or several where a quoted cell spans lines. Arrow's parser tells neither line numbers nor which
rows had the wrong width, so they are counted here, over the bytes and without a loop over rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_LF, _CR, _QUOTE = 0x0A, 0x0D, 0x22


class UntrustedQuotes(ValueError):  # noqa: N818 - reads as what it is
    """A quote after which nobody can say where the next record begins; ``line`` counts from 1."""

    def __init__(self, line: int, *, unclosed: bool) -> None:
        super().__init__(line)
        self.line = line
        self.unclosed = unclosed


class MixedLineEnds(ValueError):  # noqa: N818
    """A carriage return alone in a text whose lines end otherwise; ``line`` counts from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


@dataclass(frozen=True)
class Records:
    """One element a record, in file order; the last record may lack its line end (``terminated``)."""

    starts: Positions
    """Byte offset of the record's first byte."""
    stops: Positions
    """Byte offset after its last byte, line end excluded."""
    lines: Positions
    """Line number of its first line; the first line of the bytes is 1."""
    widths: Positions
    """Number of cells."""
    misquoted: Flags
    """Text stands beside a quoted cell, or a quote inside an unquoted one."""
    terminated: bool

    def __len__(self) -> int:
        return len(self.starts)


def unify_line_ends(data: bytes) -> bytes:
    """Lone CR line ends (old Mac files) as LF; CR LF and LF stay, and so does a CR inside quotes.

    A lone CR at the very end of a text with LF line ends is half of a cut CR LF and stays too.

    Raises:
        MixedLineEnds: outside quotes, some lines end in a lone CR and others do not; or quoted cells of an old Mac
            file span lines, whose numbers nobody could tell.
    """
    if b"\r" not in data or data.count(b"\r") == data.count(b"\r\n"):
        return data
    octets = np.frombuffer(data, np.uint8)
    is_cr = octets == _CR
    is_cr[:-1] &= octets[1:] != _LF
    is_lf = octets == _LF
    if b'"' in data:
        outside = ~_inside_quotes(octets)
        is_cr &= outside
        is_lf &= outside
    positions = np.flatnonzero(is_cr)
    if not is_lf.any():
        changed = octets.copy()
        changed[positions] = _LF
        within = np.flatnonzero((octets == _CR) | (octets == _LF)) if len(positions) else positions
        if len(within) > len(positions):
            first = int(np.setdiff1d(within, positions)[0])
            raise MixedLineEnds(1 + int(np.searchsorted(positions, first)))
        return changed.tobytes()
    if len(positions) and positions[0] < len(data) - 1:
        raise MixedLineEnds(1 + data.count(b"\n", 0, int(positions[0])))
    return data


def split_records(data: bytes, delimiter: bytes) -> Records:
    """The records of ``data``, which is not empty; ``delimiter`` is one byte, the quote is ``"``.

    Raises:
        UntrustedQuotes: a quote is never closed, or stands where two readers would end the record differently.
    """
    octets = np.frombuffer(data, np.uint8)
    is_lf = octets == _LF
    is_delimiter = octets == delimiter[0]
    line_ends = None
    if b'"' in data:
        line_ends = np.flatnonzero(is_lf)
        outside = ~_inside_quotes(octets)
        is_lf &= outside
        is_delimiter &= outside
    stops = np.flatnonzero(is_lf)
    terminated = octets[-1] == _LF and bool(is_lf[-1])
    if not terminated:
        stops = np.append(stops, len(data))
    starts = np.concatenate(([0], stops[:-1] + 1))
    if line_ends is None:
        lines = np.arange(1, len(starts) + 1)
        misquoted = np.zeros(len(starts), np.bool_)
    else:
        lines = np.searchsorted(line_ends, starts) + 1
        misquoted = _misquoted(data, octets, delimiter, starts, stops, lines)
    # No record has more delimiters than bytes; to count in one byte is ten times faster than in eight.
    longest = np.diff(starts, append=len(data)).max()
    delimiters = np.add.reduceat(is_delimiter.view(np.uint8), starts, dtype=np.min_scalar_type(longest))
    widths = delimiters.astype(np.int64) + 1
    with_cr = (stops > starts) & (octets[stops - 1] == _CR)
    return Records(starts, stops - with_cr, lines, widths, misquoted, terminated)


def _inside_quotes(octets: npt.NDArray[np.uint8]) -> Flags:
    """True from each opening quote up to its closing one: after an odd number of quotes (a doubled one is two)."""
    # The sum wraps at 256, which leaves its lowest bit right.
    parity = np.cumsum(octets == _QUOTE, dtype=np.uint8)
    parity &= 1
    return parity.view(np.bool_)


def _misquoted(
    data: bytes,
    octets: npt.NDArray[np.uint8],
    delimiter: bytes,
    starts: Positions,
    stops: Positions,
    lines: Positions,
) -> Flags:
    """Records with a quote elsewhere than around a whole cell, provided that they end at their line's end anyway."""
    quotes = np.flatnonzero(octets == _QUOTE)
    opening, closing = quotes[0::2], quotes[1::2]
    marks = (delimiter[0], _LF, _QUOTE)
    before = octets[opening - 1]
    wrong_opening = opening[~np.isin(before, marks) & (opening > 0)]
    # Beyond the end stands a line end, as it were.
    after = np.append(octets, (_LF, _LF))
    follows = after[closing + 1]
    follows_crlf = (follows == _CR) & (after[closing + 2] == _LF)
    wrong_closing = closing[~np.isin(follows, marks) & ~follows_crlf]
    wrong = np.sort(np.concatenate((wrong_opening, wrong_closing)))
    records = np.unique(np.searchsorted(starts, wrong, side="right") - 1)
    unclosed = len(quotes) % 2 == 1
    flags = np.zeros(len(starts), np.bool_)
    flags[records] = True
    cell = re.escape(delimiter)
    closed = re.compile(rb'(?:"(?:[^"]|"")*+"[^%b]*+|[^"%b][^%b]*+|)(?:%b|\Z)' % (cell, cell, cell, cell))
    for record in records.tolist():
        text = data[starts[record] : stops[record]].removesuffix(b"\r")
        if b"\n" in text or b"\r" in text or not _ends_closed(text, closed):
            raise UntrustedQuotes(int(lines[record]), unclosed=False)
    if unclosed:
        last = int(np.searchsorted(starts, quotes[-1], side="right")) - 1
        raise UntrustedQuotes(int(lines[last]), unclosed=True)
    return flags


def _ends_closed(text: bytes, cell: re.Pattern[bytes]) -> bool:
    """Whether a reader that takes a quote inside an unquoted cell as text is outside quotes at the line's end."""
    position = 0
    while position < len(text):
        found = cell.match(text, position)
        if found is None:
            return False
        position = found.end()
    return True
