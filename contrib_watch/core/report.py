"""Outcomes of a drop -> its Ack report: every row, the totals, the causes, and one sentence that sums it up.

The sentence (the verdict) is read by somebody under stress, so it follows three rules. What is not in the market
comes first. A row counts as being there only where the ADS acknowledged its values, now (acked) or earlier
(unchanged). And "nothing published" is never said while a post may have been applied without an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain
from typing import Literal

import pandas as pd
import pyarrow as pa

from contrib_watch.core.chain import Witness
from contrib_watch.core.guards import Breach, Move
from contrib_watch.core.model import Drop, DropStatus, Problem, Quotes, Status
from contrib_watch.core.naks import explain
from contrib_watch.core.verified import COLUMN, NO, NOT_AVAILABLE, Verified, found, with_column
from contrib_watch.errors import ContribWatchError

COLUMNS = (
    "row", "ric", "action", "status", "post_id", "changes",
    "nak_code", "text", "sent_at_utc", "acked_at_utc", "attempts",
)  # fmt: skip
"""The columns of a report's rows and of its CSV, in this order."""

PROBLEM_STATUSES = (Status.REJECTED, Status.NAKKED, Status.UNCONFIRMED, Status.HELD)
"""The statuses of rows that are not known to be in the market, and that a person should look at."""

Level = Literal["good", "attention", "bad"]

_TEXT = pd.ArrowDtype(pa.string())
_WHOLE_NUMBER = pd.ArrowDtype(pa.int64())
_NUMBERS = ("row", "post_id", "attempts")
"""What is not text."""

_EXAMPLE_LENGTH = 80
"""Characters of a cell's text that an example quotes."""

_DANGEROUS = r"^[=+\-@\t\r\n']"
"""What makes a spreadsheet program run a cell as a formula, and the mark that makes it safe."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole report in one sentence."""

    level: Level
    """``good``: every row is in the market. ``attention``: some are not, or there is something to know. ``bad``:
    half of the rows or more are not."""
    text: str


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason that rows share."""

    status: Status | None
    """What became of the rows; None for RICs that a complete list lacks."""
    count: int
    """Rows; a row with two causes counts in both."""
    cause: str
    example: str
    """Where a person finds the first of them: ``Sheet1!C7 "1.234,5"``."""
    mend: str
    """What to do about it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """All outcomes of a drop. The same outcomes always give the same report: nothing in it tells when it was made."""

    drop: Drop
    service: str
    target: str
    simulated: bool
    """Against a simulated ADS: nothing of it reached the market."""
    version: str
    """The program's."""
    config_hash: str
    """May be empty."""
    state_id: str
    """Which state the record is in."""
    witness: Witness | None
    """The record that stands for these outcomes, which the report testifies to; None: there is none."""
    local_tz: tzinfo
    """The time zone of the people who read it."""
    rows: pd.DataFrame
    """The columns of COLUMNS; problems first, then file order. ``row`` is a label (``7``, ``Sheet1!7``), times are
    ISO 8601 text in UTC, ``post_id`` is null where nothing was sent, absent text is empty. A file that was not
    published as a whole, for a reason of its own, has one row without a label."""
    totals: Mapping[Status, int]
    """Rows by status, with every status; they add up to ``rows_read``."""
    missing: tuple[str, ...]
    """Known RICs that a complete list lacks; no rows, so counted apart."""
    causes: tuple[Cause, ...]
    """What a person has to look at, the largest first; then what only needs to be known."""
    warnings: tuple[str, ...]
    moves: tuple[Move, ...]
    """The largest moves of a drop that was held or rejected as a whole, the largest first."""
    verified: bool
    """What was acknowledged was to be read back: ``rows`` has core.verified's COLUMN, too."""
    whole_file: bool
    """The file was rejected or held as a whole, without rows."""
    verdict: Verdict

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``rows`` and of the CSV."""
        return (*COLUMNS, COLUMN) if self.verified else COLUMNS

    @property
    def rows_read(self) -> int:
        """The file's data rows; 1 for a file without rows to speak of (``whole_file``)."""
        return sum(self.totals.values())

    @property
    def problem_rows(self) -> pd.DataFrame:
        """The rows with one of PROBLEM_STATUSES, in file order."""
        return self.rows[self.rows["status"].isin(PROBLEM_STATUSES)]


def build_report(
    *,
    drop: Drop,
    service: str,
    target: str,
    simulated: bool,
    version: str,
    state_id: str,
    local_tz: tzinfo,
    quotes: Quotes | None,
    outcomes: pd.DataFrame,
    problems: Sequence[Problem] | None = None,
    missing: Sequence[str] = (),
    warnings: Sequence[str] = (),
    breaches: Sequence[Breach] = (),
    moves: Sequence[Move] = (),
    unreadable: str = "",
    config_hash: str = "",
    witness: Witness | None = None,
    verified: Verified | None = None,
) -> Report:
    """Put together what became of each row of a drop.

    ``outcomes`` has COLUMNS and one row for each row of the file that is not unchanged: ``row`` is the file's row
    number, ``status`` a Status or its text, times are ISO 8601 text in UTC (``2026-11-22T16:30:00.123Z``), absent
    values are None. Rows of ``quotes`` without an outcome are unchanged; an equal copy without one shares its first
    row's. ``problems`` are all reasons of rejected rows, those found after reading included (default: those of
    ``quotes``). ``warnings`` are added to those of ``quotes``. ``breaches`` are the guards because of which the drop
    was held or rejected, ``moves`` its largest moves then. ``verified`` is what reading back showed of the rows that
    were acknowledged; None: nobody asked.

    ``quotes`` is None where the file has no rows to speak of, because it was ``unreadable`` (why), or because it
    was held or rejected as a whole (``drop.status``, ``drop.reason``); ``outcomes`` is then not looked at, unless the
    drop failed: then they are what became of its rows before that, and one line more stands for all others.

    Raises ContribWatchError where the rows do not add up to what was read: a fault of the program.
    """
    half_way = False
    if quotes is None:
        rows, causes, verdict = _whole_file(drop, _encodable(unreadable), _encodable(drop.reason))
        if half_way := drop.status is DropStatus.FAILED and not outcomes.empty:
            rows, causes, verdict = _half_way(drop, rows, outcomes)
    else:
        problems = quotes.problems if problems is None else problems
        numbered = _numbered_rows(quotes, outcomes, problems)
        rows = _labelled(numbered, quotes)
        causes = _causes(drop, numbered, rows, problems, missing, breaches)
        verdict = _verdict(drop, _totals(rows), len(missing))
    if verified is not None:
        rows = with_column(rows, verified)
        causes = (*_different(rows), *causes)
        verdict = _read_back(verdict, rows)
        warnings = (*_unavailable(rows), *warnings)
    return Report(
        drop=drop,
        service=service,
        target=target,
        simulated=simulated,
        version=version,
        config_hash=config_hash,
        state_id=state_id,
        witness=witness,
        local_tz=local_tz,
        rows=rows,
        totals=_totals(rows),
        missing=tuple(missing),
        causes=causes,
        warnings=tuple(dict.fromkeys((*(quotes.warnings if quotes else ()), *warnings))),
        moves=tuple(moves),
        verified=verified is not None,
        whole_file=quotes is None and not half_way,
        verdict=verdict,
    )


def spreadsheet_safe(column: pd.Series[str]) -> pd.Series[str]:
    """Text that no spreadsheet program takes for a formula.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end gets an apostrophe before it, and so does
    one that begins with an apostrophe: that way ``spreadsheet_raw`` gives back exactly what was there.
    """
    dangerous = column.str.match(_DANGEROUS).fillna(False).astype(bool)
    return column.mask(dangerous, "'" + column) if dangerous.any() else column


def spreadsheet_safe_text(text: str) -> str:
    """The same of one text."""
    return f"'{text}" if re.match(_DANGEROUS, text) else text


def spreadsheet_raw(column: pd.Series[str]) -> pd.Series[str]:
    """Undo ``spreadsheet_safe``: one leading apostrophe is taken away."""
    return column.str.removeprefix("'")


# --- rows


def _numbered_rows(quotes: Quotes, outcomes: pd.DataFrame, problems: Sequence[Problem]) -> pd.DataFrame:
    """Every row of the file with COLUMNS, once, in the report's order; ``row`` is still the file's number."""
    recorded = _typed(outcomes)
    _check_recorded(recorded, quotes, problems)
    first = pd.DataFrame({"row": quotes.rows.to_numpy(), "ric": quotes.values.index})
    twins = pd.DataFrame([(row, ric) for ric, rows in quotes.twins.items() for row in rows], columns=["row", "ric"])
    rows = pd.concat([recorded, _unrecorded(first, recorded), _twin_rows(twins, first, recorded)])
    if len(rows) != quotes.rows_read:
        raise _fault(f"the file has {quotes.rows_read:,} rows, but {len(rows):,} are accounted for")
    rows["text"] = _explained(rows, problems)
    fine = ~rows["status"].isin(PROBLEM_STATUSES)
    return rows.assign(fine=fine).sort_values(["fine", "row"], ignore_index=True)[list(COLUMNS)]


def _typed(outcomes: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS in their types, whatever a database made of them; absent text becomes empty."""
    columns = outcomes[list(COLUMNS)].reset_index(drop=True)
    # By way of Int64, which takes the floats that a nullable column of a database becomes.
    numbers = {name: columns[name].astype("Int64").astype(_WHOLE_NUMBER) for name in _NUMBERS}
    texts = {name: columns[name].astype(_TEXT).fillna("") for name in COLUMNS if name not in _NUMBERS}
    return columns.assign(**numbers, **texts)


def _check_recorded(recorded: pd.DataFrame, quotes: Quotes, problems: Sequence[Problem]) -> None:
    unknown = set(recorded["status"].unique()) - set(Status)
    if unknown:
        raise _fault(f"an outcome has the status {min(unknown)!r}, which does not exist")
    twice = recorded["row"][recorded["row"].duplicated()]
    if len(twice):
        raise _fault(f"row {twice.iloc[0]} has two outcomes")
    others = chain(quotes.problems, problems)
    read = {*chain.from_iterable(quotes.twins.values()), *(problem.row for problem in others)}
    foreign = set(recorded["row"][~recorded["row"].isin(quotes.rows)]) - read
    if foreign:
        raise _fault(f"row {min(foreign)} has an outcome, but the file has no such row")


def _unrecorded(known: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``known`` without an outcome, as unchanged ones."""
    rows = known[~known["row"].isin(recorded["row"])]
    return _typed(rows.assign(status=Status.UNCHANGED, attempts=0).reindex(columns=list(COLUMNS)))


def _twin_rows(twins: pd.DataFrame, first: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """The equal copies without an outcome: they share the post of their RIC's first row, so also its fate."""
    unchanged = _unrecorded(twins, recorded)
    posted = recorded[recorded["row"].isin(first["row"])]
    shared = unchanged[["row", "ric"]].merge(posted.drop(columns="row"), on="ric")
    return pd.concat([unchanged[~unchanged["row"].isin(shared["row"])], shared])


def _explained(rows: pd.DataFrame, problems: Sequence[Problem]) -> pd.Series[str]:
    """The rows' texts; a rejected row that was recorded without one gets its problems'."""
    bare = (rows["status"] == Status.REJECTED) & (rows["text"] == "")
    if not bare.any():
        return rows["text"]
    reasons: dict[int, str] = {}
    for problem in problems:
        reasons[problem.row] = f"{reasons[problem.row]}; {problem}" if problem.row in reasons else str(problem)
    return rows["text"].mask(bare, rows["row"].map(reasons).astype(_TEXT).fillna(""))


def _labelled(numbered: pd.DataFrame, quotes: Quotes) -> pd.DataFrame:
    label = numbered["row"].astype(_TEXT)
    return numbered.assign(row=f"{quotes.sheet}!" + label if quotes.sheet else label)


def _totals(rows: pd.DataFrame) -> dict[Status, int]:
    counts = rows["status"].value_counts()
    return {status: int(counts.get(status, 0)) for status in Status}


def _fault(what: str) -> ContribWatchError:
    return ContribWatchError(
        f"the report does not add up: {what}", hint="This is a fault of the program: please report it"
    )


# --- causes


def _causes(
    drop: Drop,
    numbered: pd.DataFrame,
    rows: pd.DataFrame,
    problems: Sequence[Problem],
    missing: Sequence[str],
    breaches: Sequence[Breach],
) -> tuple[Cause, ...]:
    """All causes: what somebody has to act on comes before what is only to be known, the largest first.

    The guards that a drop does not pass come before all others, for they keep it back as a whole.
    """
    explained = (numbered["status"] == Status.REJECTED) & numbered["row"].isin([p.row for p in problems])
    if breaches:
        explained |= numbered["text"] == drop.reason
    causes = [*_problem_causes(problems), *_outcome_causes(drop, rows[~explained])]
    if missing:
        causes.append(
            Cause(
                None,
                len(missing),
                "known RICs are missing from a file that should list all of them; they keep their last values",
                missing[0],
                "add them to the file, or clear their values where they are no longer quoted",
            )
        )
    causes.sort(key=lambda cause: (cause.status is Status.SUPERSEDED, -cause.count))
    return (*_breach_causes(drop, breaches), *causes)


def _breach_causes(drop: Drop, breaches: Sequence[Breach]) -> Iterator[Cause]:
    for breach in breaches:
        held = drop.status is DropStatus.HELD
        status = Status.HELD if held else Status.REJECTED
        mend = _decide(drop) if held else "mend the file and save it again"
        yield Cause(status, breach.count, f"{status}, {breach.what}", "; ".join(breach.cells), mend)


def _problem_causes(problems: Sequence[Problem]) -> list[Cause]:
    """Rejected cells, grouped by what is wrong with them."""
    rows: dict[str, set[int]] = {}
    first: dict[str, Problem] = {}
    for problem in problems:
        rows.setdefault(problem.cause, set()).add(problem.row)
        first.setdefault(problem.cause, problem)
    return [
        Cause(
            Status.REJECTED,
            len(rows[cause]),
            cause,
            f'{problem.where} "{_shortened(problem.text)}"' if problem.text else problem.where,
            problem.mend,
        )
        for cause, problem in first.items()
    ]


def _outcome_causes(drop: Drop, rows: pd.DataFrame) -> list[Cause]:
    """The other rows, grouped by status, Nak code and text."""
    rows = rows[rows["status"].isin((*PROBLEM_STATUSES, Status.SUPERSEDED))]
    # An answer that names its RIC is the same answer for every RIC.
    general = [
        text.replace(ric, "<RIC>") if ric and status == Status.NAKKED else text
        for text, ric, status in zip(rows["text"], rows["ric"], rows["status"], strict=True)
    ]
    groups = rows.assign(text=pd.Series(general, index=rows.index, dtype=_TEXT)).groupby(
        ["status", "nak_code", "text"], sort=False
    )
    causes = []
    for (status, nak_code, text), group in groups:
        what, mend = _in_words(drop, Status(status), str(nak_code), str(text))
        label, ric = group["row"].iloc[0], group["ric"].iloc[0]
        place = f"row {label}" if label.isdecimal() else label
        causes.append(Cause(Status(status), len(group), what, f"{place}, {ric}" if ric else place, mend))
    return causes


def _in_words(drop: Drop, status: Status, nak_code: str, text: str) -> tuple[str, str]:
    """What happened, and what to do about it."""
    match status:
        case Status.NAKKED:
            explanation = explain(nak_code)
            answer = f' ("{text}")' if text else ""
            return f"{nak_code or 'Error'}: {explanation.meaning}{answer}", explanation.mend
        case Status.UNCONFIRMED:
            return (
                f"no answer from the ADS{f' ({text})' if text else ''}: nobody knows whether it took the values",
                f"look them up before relying on them; to post them again now: contrib-watch retry {drop.id}",
            )
        case Status.HELD:
            return (
                f"held, {text or drop.reason or 'waiting for a decision'}",
                _decide(drop),
            )
        case Status.SUPERSEDED:
            return text or "a newer drop gives these values", "nothing to do: see the newer drop's report"
        case _:
            return text or drop.reason or "rejected", "mend the file and save it again"


def _decide(drop: Drop) -> str:
    return f"look at the rows below, then: contrib-watch approve {drop.id}, or contrib-watch reject {drop.id}"


def _shortened(text: str) -> str:
    return text if len(text) <= _EXAMPLE_LENGTH else f"{text[:_EXAMPLE_LENGTH]}…"


# --- what was read back


def _different(rows: pd.DataFrame) -> Iterator[Cause]:
    """The rows of which the ADS holds something else than it acknowledged."""
    wrong = found(rows).no
    if not wrong.empty:
        first = wrong.iloc[0]
        yield Cause(
            Status.ACKED,
            len(wrong),
            "read back, the ADS holds something else than it acknowledged",
            f"{first['row']} {first['ric']}: {first[COLUMN].removeprefix(NO)}",
            "find out who else contributes to these RICs; to post them again: contrib-watch reconcile --repair",
        )


def _unavailable(rows: pd.DataFrame) -> Iterator[str]:
    for why, count in found(rows).unavailable[COLUMN].value_counts().items():
        yield f"{_counted(count, 'acknowledged row')} could not be read back: {why.removeprefix(NOT_AVAILABLE)}"


def _read_back(verdict: Verdict, rows: pd.DataFrame) -> Verdict:
    """The verdict says "verified" only where every acknowledged row was read back and is right."""
    seen = found(rows)
    wrong, unknown = len(seen.no), len(seen.unavailable)
    level: Level = "bad" if wrong else "attention" if unknown and verdict.level == "good" else verdict.level
    text = verdict.text
    if seen.yes and not wrong and not unknown:
        text = text.replace(" acknowledged", " acknowledged and verified", 1)
    if wrong:
        text = f"{_counted(wrong, 'acknowledged row')} NOT as posted when read back; {text[:1].lower()}{text[1:]}"
    if unknown:
        text = f"{text}; {unknown:,} not verified"
    return Verdict(level, text)


# --- the verdict


def _verdict(drop: Drop, totals: Mapping[Status, int], missing: int) -> Verdict:
    read = sum(totals.values())
    acked, unchanged = totals[Status.ACKED], totals[Status.UNCHANGED]
    unknown, superseded = totals[Status.UNCONFIRMED], totals[Status.SUPERSEDED]
    lost = totals[Status.REJECTED] + totals[Status.NAKKED] + totals[Status.HELD]
    decided = totals[Status.HELD] or drop.status is DropStatus.REJECTED
    if ((lost and decided) or drop.status is DropStatus.HELD) and not acked and not unknown:
        return Verdict("bad", f"NOTHING PUBLISHED: {_stopped(drop)}")
    if lost and lost == read:
        return Verdict("bad", f"NOTHING PUBLISHED: {_all_lost(totals)}")
    absent = f"; {_counted(missing, 'known RIC')} missing from the file" if missing else ""
    if lost or unknown or superseded:
        level: Level = "bad" if 2 * (lost + unknown) >= read else "attention"
        return Verdict(level, _partly(read, lost, unknown, superseded, acked, unchanged) + absent)
    return Verdict("attention" if missing or not read else "good", _all_there(acked, unchanged) + absent)


def _stopped(drop: Drop) -> str:
    """Why a decision, or the lack of one, keeps the drop back."""
    if drop.status is DropStatus.REJECTED:
        return drop.reason or "rejected"
    return f"held, {drop.reason or 'waiting for a decision'}"


def _all_lost(totals: Mapping[Status, int]) -> str:
    rejected, nakked = totals[Status.REJECTED], totals[Status.NAKKED]
    if not nakked:
        return "the only row was rejected" if rejected == 1 else f"all {rejected:,} rows rejected"
    if not rejected:
        return "the ADS refused the only row" if nakked == 1 else f"the ADS refused all {nakked:,} rows"
    return f"{_counted(rejected, 'row')} rejected, {nakked:,} refused by the ADS"


def _partly(read: int, lost: int, unknown: int, superseded: int, acked: int, unchanged: int) -> str:
    """What is not in the market first; the first number says of how many."""
    parts = [
        f"{count:,} {what}"
        for count, what in (
            (lost, "NOT published"),
            (unknown, "of unknown fate (no answer)"),
            (superseded, "superseded by a newer drop"),
            (acked, "acknowledged"),
            (unchanged, "unchanged"),
        )
        if count
    ]
    first = next(count for count in (lost, unknown, superseded) if count)
    of_all = f"All {read:,}" if first == read else f"{first:,} of {read:,}"
    return "; ".join([parts[0].replace(f"{first:,}", of_all, 1), *parts[1:]])


def _all_there(acked: int, unchanged: int) -> str:
    if not acked and not unchanged:
        return "Nothing to send: the file has no rows"
    if not acked:
        return f"Nothing to send: {_counted(unchanged, 'row')} unchanged"
    if not unchanged:
        return f"All {acked:,} rows acknowledged" if acked > 1 else "The only row acknowledged"
    changed = f"All {acked:,} changed rows" if acked > 1 else "The only changed row"
    return f"{changed} acknowledged; {unchanged:,} unchanged"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


# --- a file without rows to speak of


def _whole_file(drop: Drop, unreadable: str, reason: str) -> tuple[pd.DataFrame, tuple[Cause, ...], Verdict]:
    """One row, one cause and the verdict for a file that was read by nobody, or stopped before its rows counted."""
    if drop.status is DropStatus.HELD:
        status, why = Status.HELD, reason or "waiting for a decision"
        what = f"held, {why}"
        mend = f"look at the file, then: contrib-watch approve {drop.id}, or contrib-watch reject {drop.id}"
    elif drop.status is DropStatus.FAILED:
        status, why = Status.REJECTED, reason
        what = f"not processed, {why}"
        mend = f"once that is cured: contrib-watch retry {drop.id}"
    else:
        status, why = Status.REJECTED, unreadable or reason or "no reason was recorded"
        what = f"the file could not be read: {why}" if unreadable else f"rejected, {why}"
        mend = "mend the file and save it again: nothing of this one was sent"
    row = pd.DataFrame([dict.fromkeys(COLUMNS)]).assign(row=0, status=status, text=why, attempts=0)
    rows = _typed(row).assign(row=pd.Series([""], dtype=_TEXT))
    return rows, (Cause(status, 1, what, "", mend),), Verdict("bad", f"NOTHING PUBLISHED: {what}")


def _half_way(
    drop: Drop, rest: pd.DataFrame, outcomes: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[Cause, ...], Verdict]:
    """The rows of a drop that failed after some of them had ended; ``rest`` is the line for those that had not.

    Rows below 1 are of RICs whose place in the file is not known any more.
    """
    known = _typed(outcomes).sort_values("row", ignore_index=True)
    label = known["row"].astype(_TEXT).mask(known["row"] < 1, "")
    rest = rest.assign(text="not sent by this run, as any row that is not listed: " + rest["text"])
    rows = pd.concat([rest, known.assign(row=label)], ignore_index=True)
    fine = ~rows["status"].isin(PROBLEM_STATUSES)
    rows = rows.assign(fine=fine).sort_values("fine", kind="stable", ignore_index=True)[list(COLUMNS)]
    cause = Cause(
        Status.REJECTED, 1, f"the drop failed half-way: {drop.reason}", "", f"then: contrib-watch retry {drop.id}"
    )
    totals = _totals(rows)
    unknown = f"{totals[Status.UNCONFIRMED]:,} of unknown fate (no answer); " if totals[Status.UNCONFIRMED] else ""
    text = f"FAILED half-way: {totals[Status.ACKED]:,} acknowledged; {unknown}all others NOT published"
    verdict = Verdict("bad", text)
    return rows, (cause, *_outcome_causes(drop, rows.iloc[1:])), verdict


def _encodable(text: str) -> str:
    """``text`` with the bytes of file names that are not UTF-8 shown as escapes, so that a file can hold it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
