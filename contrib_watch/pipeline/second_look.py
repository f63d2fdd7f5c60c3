"""Nothing is posted that only one program has read: the rows to post, read again by another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from contrib_watch.adapters.sheets.agreement import Difference, why_not_read_again
from contrib_watch.core.diff import Changes
from contrib_watch.core.model import Drop, Feed, Problem, Quotes
from contrib_watch.core.report import READ_ALIKE
from contrib_watch.core.wording import plural
from contrib_watch.pipeline.desk import Desk, Reading

_MEND = "save the file again, as CSV UTF-8 or .xlsx; if it comes back, report it"


@dataclass(frozen=True)
class SecondLook:
    """What a second program made of the rows to post."""

    problems: tuple[Problem, ...] = ()
    """A problem for each RIC that is not to be posted, in file order."""
    facts: tuple[str, ...] = ()
    """What the report says of it; empty: there was nothing to post."""

    def kept(self, rics: pd.Index[str]) -> npt.NDArray[np.bool_]:
        """Which of these RICs may be posted."""
        kept: npt.NDArray[np.bool_] = ~rics.isin([problem.ric for problem in self.problems])
        return kept

    def applied(self, changes: Changes) -> Changes:
        """The changes without the rows in doubt, which are among its problems."""
        return changes.rejecting(self.problems)


def second_look(
    desk: Desk, path: Path, filename: str, feed: Feed, reading: Reading, rics: pd.Index[str]
) -> SecondLook:
    """Read the rows of these RICs, equal copies included, with the second program, if the feed asks for it.

    Raises UnreadableFile where the second program cannot read the file.
    """
    if not len(rics):
        return SecondLook()
    reason = why_not_read_again(reading.cells, feed)
    if reason:
        return SecondLook(facts=(f"second reading: not done ({reason})",))
    rows = _rows(reading.quotes, rics)
    found = desk.reader.second_reading(path, filename, feed, reading.cells, sorted(rows))
    compared = plural(len(rows), "row")
    if not found:
        return SecondLook(facts=(f"{READ_ALIKE} {compared}",))
    problems = tuple(sorted(_problems(found, rows, reading.quotes), key=lambda problem: problem.row))
    fact = f"second reading: differed on {len(found):,} of {compared}, which {_are(len(found))} not posted"
    return SecondLook(problems, (fact,))


def agreed_quotes(desk: Desk, drop: Drop) -> Quotes:
    """A drop's quotes without the rows on which two programs differ; raises UnreadableFile."""
    reading = desk.reading(drop)
    quotes = reading.quotes
    look = second_look(desk, *desk.file_of(drop), reading, quotes.values.index)
    if not look.problems:
        return quotes
    kept = look.kept(quotes.values.index)
    return replace(quotes, values=quotes.values[kept], rows=quotes.rows[kept])


def _rows(quotes: Quotes, rics: pd.Index[str]) -> dict[int, str]:
    """The rows of some RICs, equal copies included, with the RIC of each."""
    numbers = quotes.rows if rics.equals(quotes.rows.index) else quotes.rows.loc[rics]
    rows: dict[int, str] = dict(zip(numbers.tolist(), rics.tolist(), strict=True))
    if quotes.twins:
        chosen = set(rows.values())
        rows |= {row: ric for ric, copies in quotes.twins.items() if ric in chosen for row in copies}
    return rows


def _problems(found: Iterable[Difference], rows: Mapping[int, str], quotes: Quotes) -> Iterator[Problem]:
    """A problem a RIC, of its first row: equal copies share its post and so its fate."""
    first = {rows[difference.row]: difference for difference in reversed(list(found))}
    for ric, one in first.items():
        text = f"{one.first} / {one.second}"
        cause = "was read differently by a second program"
        yield Problem(int(quotes.rows[ric]), ric, one.where, text, cause, _MEND)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
