"""What the product makes of a hazard: reading in its own process, typing, and the second reading of what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pandas as pd
from delimited_hazards import delimited_hazards
from hazard import Hazard
from package_hazards import package_hazards
from workbook_hazards import LIBREOFFICE, sheet_hazards

from contrib_watch.config import load, load_dictionary
from contrib_watch.core.model import Problem
from contrib_watch.errors import UnreadableFile
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.second_look import second_look

CONFIG = Path(__file__).parents[2] / "config.toml"

GROUPS = {
    "Delimited text": tuple(delimited_hazards()),
    "Sheets of workbooks": tuple(sheet_hazards()),
    "Other kinds, damage and attacks": tuple(package_hazards()),
}
HAZARDS = tuple(hazard for group in GROUPS.values() for hazard in group)


@dataclass(frozen=True)
class Judged:
    """What is published, and what the report says."""

    published: dict[str, str]
    """RIC -> tokens, as in ``Hazard.published``."""
    refused: str = ""
    """Why the whole file is rejected, and where."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    rows_read: int = 0
    rows_copied: int = 0
    """Equal copies of published rows."""


def lacking(hazard: Hazard) -> str:
    """What is not installed and needed to build it; empty: nothing."""
    if hazard.needs == LIBREOFFICE:
        return "" if which("soffice") else "LibreOffice is not installed"
    return "" if not hazard.needs or find_spec(hazard.needs) else f"{hazard.needs} is not installed"


@contextmanager
def open_desk(folder: Path) -> Iterator[Desk]:
    """A desk with the shipped configuration and a state of its own."""
    settings = load(CONFIG, {})
    state = replace(settings.state, folder=folder, url=f"sqlite:///{folder / 'state.db'}")
    settings = replace(settings, state=state)
    desk = Desk.open(settings, load_dictionary(settings.fields))
    with desk.state:
        yield desk


def judge(hazard: Hazard, desk: Desk, folder: Path) -> Judged:
    """Put the file into ``folder`` and read it as a drop of its feed is read."""
    path, feed = folder / "spooled", hazard.reads_as
    path.write_bytes(hazard.build())
    try:
        reading = desk.read(path, hazard.filename, feed)
        look = second_look(desk, path, hazard.filename, feed, reading, reading.quotes.values.index)
    except UnreadableFile as error:
        return Judged({}, refused=f"{error.what} ({error.where})")
    quotes = reading.quotes
    kept = quotes.values[look.kept(quotes.values.index)]
    return Judged(
        published={str(ric): _tokens(row) for ric, row in kept.iterrows()},
        problems=(*quotes.problems, *look.problems),
        warnings=quotes.warnings,
        rows_read=quotes.rows_read,
        rows_copied=sum(len(rows) for ric, rows in quotes.twins.items() if ric in kept.index),
    )


def _tokens(row: pd.Series[Any]) -> str:
    return " ".join(f"{field} {token}" for field, token in row.items() if isinstance(token, str))
