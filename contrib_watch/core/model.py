"""The words of the product as data types, all frozen.

Data stays in columns. A *token* is the one canonical text of a typed value: the JSON that goes on the wire, with
no exponent and no trailing zeros (``22.1``, ``"USD"``, ``"2026-11-22"``, ``null``). What is compared, stored,
posted and reported is this same text, so that equal values are equal strings and nothing is converted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import pyarrow as pa

from contrib_watch.core.business_days import Calendar, Expectation
from contrib_watch.core.limits import Guards

if TYPE_CHECKING:  # the process that reads files has no need of it, and would take twice as long to start
    import pandas as pd

SHOWN_CHARACTERS = 300
"""Of an endless text, messages and reports show this beginning."""

SET_ME = "SET-ME"
"""Stands in a proposed feed where only a person can know the value; as a Service it is refused."""

CLEARED = "null"
"""The token that makes a field blank on the ADS (``#CLEAR`` in a file)."""


def shown(text: str) -> str:
    """The text as the file has it; of an endless one the beginning."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} ..."


class Status(StrEnum):
    """What became of a row. Every row of a drop ends in exactly one of these."""

    ACKED = "acked"
    """The ADS acknowledged the post; the snapshot holds its values."""
    NAKKED = "nakked"
    """The ADS refused the post, with a code or an error text."""
    UNCONFIRMED = "unconfirmed"
    """Posted without an answer: nobody knows what the ADS holds, so the RIC is dirty."""
    UNCHANGED = "unchanged"
    """The snapshot already holds every value of the row; nothing was sent."""
    REJECTED = "rejected"
    """The row could not be read with certainty or is not this feed's; nothing was sent."""
    HELD = "held"
    """The drop waits for a person's decision; nothing was sent."""
    SUPERSEDED = "superseded"
    """A newer drop gives a value for every field of this row; the older value was not sent."""


class DropStatus(StrEnum):
    """Where a drop is on its way."""

    WAITING = "waiting"
    SENDING = "sending"
    DONE = "done"
    HELD = "held"
    REJECTED = "rejected"
    """The whole file could not be read, or a person ended it."""
    FAILED = "failed"
    """A fault of the program stopped it; ``retry`` processes it again."""


class Action(StrEnum):
    """The kind of a post."""

    REFRESH = "Refresh"
    """Creates the item, or replaces its whole field list."""
    UPDATE = "Update"
    """Changes the values of some fields of an item that is there."""


class Source(StrEnum):
    """How it is known who somebody is."""

    FILE_OWNER = "file owner"
    DROP_FOLDER = "drop folder"
    """The feed's folder is one person's."""
    OS_USER = "OS user"
    ASSERTED = "asserted"
    """The name was given on a command line, and nothing shows that it is true."""


class Person(NamedTuple):
    """Somebody who dropped a file, or decides about one."""

    name: str
    source: Source
    account: str = ""
    """The OS user who gave the name."""

    def is_same(self, other: str) -> bool:
        """Whether another name is the same person's, as far as names tell."""
        return self.name.strip().casefold() == other.strip().casefold()

    def told(self, why: str) -> dict[str, str]:
        """What the record says of who took a decision, and why."""
        return {"name": self.name, "source": self.source, "account": self.account, "why": why}


NOBODY = Person("", Source.ASSERTED)
"""Who did not say who it is."""

UNKNOWN = "unknown"
"""The owner of a file whose file system does not tell."""


class CellKind(IntEnum):
    """What a workbook says a cell is. A CSV has text and blanks only."""

    BLANK = 0
    TEXT = 1
    NUMBER = 2
    BOOLEAN = 3
    DATE = 4
    """A number with a date format and no time of day; its text is ISO, ``2026-11-22``."""
    TIME = 5
    """A time of day without a date; its text is ``16:30:00``, with a fraction where there is one."""
    DATETIME = 6
    ERROR = 7
    """``#N/A``, ``#DIV/0!`` and the like; its text is the error's name."""
    NO_VALUE = 8
    """A formula without a stored result."""
    PERCENT = 9
    """A number shown times 100 with a percent sign; its text is the stored number, ``0.045`` for 4.5 %."""
    DISGUISED = 10
    """A value whose format shows another one; its text says both: ``1234 (seen as 1 in the format 0,)``."""
    STRUCK = 11
    """A value that is struck out, in part or by the name of its column."""
    RAISED = 12
    """A text of which a part is raised or lowered: ``AA`` with a footnote's sign is stored as ``AA1``."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """One configured folder: which files, how to read them, which Service.

    Column names of the file are mapped to fields by ``columns`` (header text to acronym); a header that is a known
    field needs no mapping.
    """

    name: str
    folder: PurePath
    service: str
    patterns: tuple[str, ...] = ("*.csv", "*.xlsx", "*.xlsm")
    sheet: str = ""
    """The sheet's name; empty: the workbook must have exactly one visible sheet."""
    header_row: int = 1
    """The file's own row number of the header, counted from 1."""
    ric_column: str = "RIC"
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore_columns: tuple[str, ...] = ()
    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: Literal[".", ","] = "."
    thousands: str = ""
    """The thousands mark; empty: none is accepted. Groups must be of exactly three digits."""
    date_format: str = "%Y-%m-%d"
    """strptime's notation, for dates that are text."""
    percent: Literal["", "fraction", "points"] = ""
    """What a percentage is, as text (``4.5%``) and as a percent cell of a workbook: ``points`` 4.5, ``fraction``
    0.045; empty: it is rejected."""
    final_newline: Literal["required", "optional"] = "required"
    """A CSV whose last line has no line end may be cut short; ``required`` rejects that line."""
    blank: tuple[str, ...] = ()
    """Further texts that mean a blank cell, beside the empty one."""
    clear_token: str = "#CLEAR"  # noqa: S105 - a word in a spreadsheet
    complete: bool = False
    """Every drop is the whole list."""
    observer: Literal["auto", "native", "polling"] = "auto"
    settle_seconds: float = 2.0
    done_marker: str = ""
    """A suffix such as ``.done``: ``prices.csv`` is taken only beside ``prices.csv.done``. Empty: no marker."""
    max_age_s: float = 7 * 86400.0
    ric_pattern: str = ""
    """Shell-style (``*``, ``?``, ``[...]``), case-sensitive: a RIC that it does not match is rejected; empty: any."""
    max_rows: int = 1_000_000
    max_bytes: int = 256 * 1024 * 1024
    second_reading: Literal["auto", "always", "never"] = "auto"
    """Whether what is posted must have been read alike by a second program; ``auto``: where that takes no second."""
    posting: Literal["off-stream", "on-stream"] = "off-stream"
    """Whether posts go on the login's stream, or on their items' own, which must exist. One for all of a Service."""
    verify: bool = False
    """What the ADS acknowledged is read back and compared before the drop is over."""
    report_folder: PurePath | None = None
    keep_s: float = 0.0
    """How long the bytes of its files are kept after they were seen; 0: for ever."""
    timezone: str = ""
    """An IANA name; empty: this machine's. Decides when a day begins for ``expect`` and for an as-of date."""
    calendar: Calendar = Calendar()  # noqa: RUF009 - frozen
    expect: Expectation | None = None
    valid_for_s: float = 0.0
    """How long after a drop was seen, or decided about, its values may still be sent; 0: always."""
    approval: Literal["on_breach", "always"] = "on_breach"
    """Which drops wait for a person: those that breach a guard, or all."""
    approvers: tuple[str, ...] = ()
    """The users of this machine who may approve; empty: anybody but who dropped it."""
    dropped_by: str = ""
    """Whose folder it is: who dropped a file is then known by that; empty: by the file's owner."""
    guards: Guards = Guards()  # noqa: RUF009 - frozen

    @property
    def controlled(self) -> bool:
        """Whether the feed has any brake: who releases one of its drops is then not who dropped it."""
        return self.guards.any or self.approval == "always" or bool(self.approvers)


@dataclass(frozen=True)
class Malformed:
    """A line whose width is not the header's, or that is cut short: it has no columns to speak of."""

    row: int
    text: str
    """The line as the file has it."""
    cause: str
    mend: str
    rics: tuple[str, ...] = ()
    """RICs of other rows that stand in it, bare (``readers.bare``): it may be another copy of those rows."""


@dataclass(frozen=True)
class Cells:
    """One sheet as the file has it: raw text by column, nothing typed and nothing guessed.

    ``columns[i]`` is a pyarrow string array with one element a row (null: an empty cell); ``kinds[i]`` is a uint8
    array of CellKind beside it, or ``kinds`` is None where every cell is text (CSV). ``rows`` is an int64 array of
    the file's own row numbers. Rows without any cell are left out. ``malformed`` rows are not among ``rows``.
    """

    sheet: str
    """The sheet's name in a workbook; empty for a CSV."""
    header: tuple[str, ...]
    header_row: int
    columns: tuple[pa.Array, ...]
    kinds: tuple[pa.Array, ...] | None
    rows: pa.Array
    malformed: tuple[Malformed, ...] = ()
    letters: tuple[str, ...] = ()
    """The columns' letters in a workbook (``A``, ``C``, ...); empty for a CSV."""
    warnings: tuple[str, ...] = ()

    def address(self, index: int, column: int) -> str:
        """Where a person finds the cell: ``Sheet1!C7`` in a workbook, ``row 7, BID`` in a CSV.

        ``index`` counts the elements of ``rows``, ``column`` those of ``header``.
        """
        row = self.rows[index].as_py()
        if self.sheet:
            return f"{self.sheet}!{self.letters[column]}{row}"
        return f"row {row}, {self.header[column]}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a row is rejected, in the analyst's own terms."""

    row: int
    ric: str
    where: str
    """``Sheet1!C7``, or ``row 7, BID``, or ``row 7`` for a whole row."""
    text: str
    """The cell's text as the file has it."""
    cause: str
    """What is wrong, worded alike for all cells with the same trouble: ``is not a number``."""
    mend: str
    """What to do: ``write it with a decimal point, or set decimal = ","``."""

    def __str__(self) -> str:
        return f'{self.where} "{self.text}" {self.cause}: {self.mend}'


@dataclass(frozen=True)
class Quotes:
    """The typed table read from a drop: a row per RIC, a column per field, and what could not be read.

    ``rows_read`` counts every data row: the accepted ones (``values``), their equal copies (``twins``) and the
    rejected ones (each with at least one of ``problems``).
    """

    values: pd.DataFrame
    """Index: RIC, unique, in file order. Columns: field acronyms in file order. Cells: tokens (tokens.TOKENS)."""
    rows: pd.Series[int]
    """Indexed like ``values``: the file's row number (int64)."""
    twins: Mapping[str, tuple[int, ...]]
    """RIC to the row numbers of further rows with the same values."""
    problems: tuple[Problem, ...]
    """In file order."""
    rows_read: int
    sheet: str = ""
    warnings: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    """Headers that the feed maps to fields and the file lacks: blanks to a partial drop, doubts to a complete one."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Field to its column, by which a person finds it: the letter in a workbook, the header in a CSV."""
    as_of: pd.Series[str] | None = None
    """ISO dates of the guards' ``as_of`` column, indexed like ``values``, missing where there is no date; None: no
    such column, or none is asked for."""

    def without_values(self) -> Quotes:
        """The same RICs and rows without a token: what is left to be told of a drop once its posts are known."""
        return replace(self, values=self.values.iloc[:, :0])

    def label(self, row: int) -> str:
        """The row as reports name it: ``7``, or ``Sheet1!7`` in a workbook."""
        return f"{self.sheet}!{row}" if self.sheet else str(row)

    def address(self, row: int, acronym: str) -> str:
        """Where a person finds a field's cell: ``Sheet1!C7`` in a workbook, ``row 7, BID`` in a CSV."""
        column = self.places.get(acronym, "" if self.sheet else acronym)
        return f"{self.sheet}!{column}{row}" if self.sheet else f"row {row}, {column}"


class Post(msgspec.Struct, frozen=True, gc=False):  # made five times as fast as a tuple with names
    """One RIC's values on their way to the ADS. Absolute values, so that posting twice is harmless."""

    row: int
    ric: str
    action: Action
    fields: str
    """The JSON object that goes on the wire as ``Fields``."""
    full: str
    """The JSON object of all the RIC's fields once this post is acknowledged: what a full Refresh carries."""
    changes: str
    """``BID 22.1 -> 22.3; ASK 24.5 -> 24.6``"""
    changed: str = ""
    """The acronyms that this post changes (all that the file gives, of a dirty RIC), with a comma between them."""
    note: str = ""
    """Why it is a Refresh where a person would not expect one."""
    carried: str = ""
    """JSON object of ISO dates: since when the ADS has each value that the file did not give; empty: none."""
    attempts: int = 0
    """How often it has been on the wire."""
    alone: bool = False
    """To be sent in a frame of its own with nothing else outstanding: an Error without a PostID is then its own."""
    apart: bool = False
    """To be sent in a frame of its own: it got no answer, and may have been lost with a bad post of its frame."""


class Outcome(NamedTuple):
    """What became of one row."""

    row: int
    ric: str
    status: Status
    action: str = ""
    post_id: int | None = None
    changes: str = ""
    nak_code: str = ""
    text: str = ""
    sent_at_utc: str = ""
    """ISO 8601, ``2026-11-22T16:30:00.123Z``; empty where it was never sent."""
    acked_at_utc: str = ""
    """When the Ack or Nak came."""
    attempts: int = 0
    full: str = ""
    """As :attr:`Post.full`; empty where nothing was to be posted for the row."""
    changed: str = ""
    """As :attr:`Post.changed`."""


Outcomes = Mapping[str, Sequence[Any]]
"""What became of rows, in columns: of each field of Outcome the values of all rows."""


def in_columns(outcomes: Iterable[Outcome]) -> Outcomes:
    """These outcomes, in columns."""
    columns = list(zip(*outcomes, strict=True)) or [()] * len(Outcome._fields)
    return dict(zip(Outcome._fields, columns, strict=True))


@dataclass(frozen=True, kw_only=True)
class Drop:
    """One content of one file, at one time, in a feed, numbered in order."""

    id: int
    feed: str
    path: str
    """The file as it was found."""
    sha256: str
    """Of its bytes, in hex; empty: the file was above the feed's ``max_bytes``, and none of it was read."""
    size_bytes: int
    mtime_ns: int
    seen_at_utc: datetime
    status: DropStatus
    reason: str = ""
    """Why it ended as it did: held, rejected or failed."""
    held_because: str = ""
    """Why a person has to decide about it, known before it is read: it is old, or of a restored backup."""
    owner: str = UNKNOWN
    """Who dropped it, as far as that is known."""
    owner_source: str = Source.FILE_OWNER
    """How that is known."""
    origin: str = ""
    """What the program made it of, because a person said so: ``revert of drop 12``; empty: it is a file."""
    adopted: bool = False
    """It was backlog: its age counts, and not its number, where it meets another drop's values."""
    approved: bool = False
    """A person has released its present run: that is not held."""
    run: int = 1
    """Counts its processings: a decision or a retry gives a second report."""
