"""How tables and texts look on a terminal: nothing is cut off, and no column is empty."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape as without_markup
from rich.table import Column, Table

SHOWN = 40
"""Rows of a table on the terminal; ``--json`` has them all."""
PIPED_COLUMNS = 120
"""How wide lines are where stdout is no terminal and COLUMNS is not set."""

_COLOURS = {
    "acked": "green",
    "done": "green",
    "new": "green",
    "unchanged": "dim",
    "superseded": "dim",
    "nakked": "red",
    "rejected": "red",
    "failed": "red",
    "held": "yellow",
    "unconfirmed": "yellow",
}


def stdout() -> Console:
    """Standard output, where data goes; colours only on a terminal."""
    as_it_is = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if as_it_is else PIPED_COLUMNS, highlight=False)


def print_table(
    console: Console, title: str, headers: Sequence[str], rows: Iterable[Sequence[str]], *, gap: int = 2
) -> None:
    """A table of markup cells; columns without any text are left out, and long text goes on in the next line.

    A header that begins with ``>`` is of numbers: it and its cells stand on the right.
    """
    body = list(rows)
    filled = [n for n in range(len(headers)) if any(row[n] for row in body)]
    table = Table(
        *(_column(headers[n]) for n in filled),
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, gap - 1, 0, 0),
    )
    for row in body[:SHOWN]:
        table.add_row(*(row[n] for n in filled))
    console.print(table)
    if len(body) > SHOWN:
        print_more(console, len(body) - SHOWN)
    console.print()


def print_list(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    """A title, and a line or paragraph for each row: its place, and beside it what is to be said."""
    body = list(rows)
    grid = Table.grid(Column(overflow="fold"), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for row in body[:SHOWN]:
        grid.add_row(*row)
    if title:
        console.print(f"[italic]{title}[/]")
    console.print(grid)
    if len(body) > SHOWN:
        print_more(console, len(body) - SHOWN)
    console.print()


def print_more(console: Console, count: int) -> None:
    """Say how many rows are not shown."""
    console.print(f"... and {count:,} more; --json has them all")


def coloured(status: str) -> str:
    """A status in its colour."""
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/]" if colour else escape(status)


def counted(totals: Iterable[tuple[str, int]]) -> str:
    """``8 acked, 1 rejected``; what is zero is left out."""
    return ", ".join(f"{count:,} {coloured(status)}" for status, count in totals if count)


def visible(text: str) -> str:
    """Text on one line, with control, direction and other invisible characters shown by their codes.

    Names of files are other people's text: none may move the cursor, break a line or turn the reading direction.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def escape(text: str) -> str:
    """Text of other people as a markup cell that shows every character of it."""
    return without_markup(visible(text))


def _column(header: str) -> Column:
    if header.startswith(">"):
        return Column(header[1:], justify="right", no_wrap=True)
    return Column(header, overflow="fold")
