"""Outcomes of a drop -> its Ack report: every row, the totals, the causes, and one sentence that sums it up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.chain import Witness
from contrib_watch.core.columns import joined, repeated
from contrib_watch.core.findings import Findings
from contrib_watch.core.guards import Breach, Move
from contrib_watch.core.model import Drop, DropStatus, Problem, Quotes, Status
from contrib_watch.core.naks import explain
from contrib_watch.core.report_rows import (
    COLUMNS,
    are_problems,
    in_order,
    labelled,
    numbered_rows,
    recorded_rows,
    totals_of,
    unchanged_rows,
    with_columns,
)
from contrib_watch.core.verdict import Level, Verdict, nothing_published, verdict_of
from contrib_watch.core.verified import COLUMN, NO, NOT_AVAILABLE, found, with_column
from contrib_watch.core.wording import plural

READ_ALIKE = "second reading: agreed on"
"""What begins a warning that is none: it stands in every report of a drop with posts."""
_EXAMPLE_LENGTH = 80
"""Characters of a cell's text that an example quotes."""

_DANGEROUS = r"^[=+\-@\t\r\n']"
"""What makes a spreadsheet program run a cell as a formula, and the mark that makes it safe."""


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
    rows: pa.Table
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
    def problem_rows(self) -> pa.Table:
        """The rows with one of PROBLEM_STATUSES, in file order."""
        return self.rows.filter(are_problems(self.rows))


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
    outcomes: pa.Table,
    findings: Findings,
    unreadable: str = "",
    config_hash: str = "",
    witness: Witness | None = None,
) -> Report:
    """Put together what became of each row of a drop.

    ``outcomes`` has COLUMNS in Arrow's types and one row for each row of the file that is not unchanged: ``row`` is
    the file's row number, times are ISO 8601 text in UTC (``2026-11-22T16:30:00.123Z``). Rows of ``quotes`` without
    an outcome are unchanged; an equal copy without one shares its first row's. The problems and warnings of
    ``findings`` are added to those of ``quotes``.

    ``quotes`` is None where the file has no rows to speak of, because it was ``unreadable`` (why), or because it
    was held or rejected as a whole (``drop.status``, ``drop.reason``); ``outcomes`` is then not looked at, unless the
    drop failed: then they are what became of its rows before that, and one line more stands for all others.

    Raises ContribWatchError where the rows do not add up to what was read: a fault of the program.
    """
    half_way = False
    if quotes is None:
        rows, causes, verdict = _whole_file(drop, _encodable(unreadable), _encodable(drop.reason))
        if half_way := drop.status is DropStatus.FAILED and len(outcomes) > 0:
            rows, causes, verdict = _half_way(drop, rows, outcomes)
    else:
        problems = (*quotes.problems, *findings.problems)
        numbered = numbered_rows(quotes, outcomes, problems)
        rows = labelled(numbered, quotes.sheet)
        causes = _causes(drop, numbered, rows, problems, findings)
        verdict = verdict_of(drop, totals_of(rows), len(findings.missing))
    warnings = findings.warnings
    if findings.verified is not None:
        rows = with_column(rows, findings.verified)
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
        totals=totals_of(rows),
        missing=findings.missing,
        causes=causes,
        warnings=tuple(dict.fromkeys((*(quotes.warnings if quotes else ()), *warnings))),
        moves=findings.moves,
        verified=findings.verified is not None,
        whole_file=quotes is None and not half_way,
        verdict=verdict,
    )


def spreadsheet_safe(texts: pa.StringArray) -> pa.StringArray:
    """Texts that no spreadsheet program takes for formulas.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end gets an apostrophe before it, and so does
    one that begins with an apostrophe: that way ``spreadsheet_raw`` gives back exactly what was there.
    """
    dangerous = pc.match_substring_regex(texts, _DANGEROUS)
    return pc.if_else(dangerous, joined("'", texts), texts) if pc.any(dangerous).as_py() else texts


def spreadsheet_safe_text(text: str) -> str:
    """The same of one text."""
    return f"'{text}" if re.match(_DANGEROUS, text) else text


def spreadsheet_raw(texts: pa.StringArray) -> pa.StringArray:
    """Undo ``spreadsheet_safe``: one leading apostrophe is taken away."""
    return pc.replace_substring_regex(texts, "^'", "", max_replacements=1)


# --- causes


def _causes(
    drop: Drop,
    numbered: pa.Table,
    rows: pa.Table,
    problems: Sequence[Problem],
    findings: Findings,
) -> tuple[Cause, ...]:
    """All causes: what somebody has to act on comes before what is only to be known, the largest first.

    The guards that a drop does not pass come before all others, for they keep it back as a whole.
    """
    found = pa.array([problem.row for problem in problems], pa.int64())
    is_rejected = pc.equal(numbered["status"], Status.REJECTED.value)
    explained = pc.and_(is_rejected, pc.is_in(numbered["row"], value_set=found))
    if findings.breaches:
        explained = pc.or_(explained, pc.equal(numbered["text"], drop.reason))
    unexplained = rows.filter(pc.and_not(_need_a_word(rows), explained))
    causes = [*_problem_causes(problems), *_outcome_causes(drop, unexplained)]
    if findings.missing:
        causes.append(
            Cause(
                None,
                len(findings.missing),
                "missing from a file that should list every known RIC; the last values stay",
                findings.missing[0],
                "add what is still quoted to the file; to clear what is not: contrib-watch withdraw RIC",
            )
        )
    causes.sort(key=lambda cause: (cause.status is Status.SUPERSEDED, -cause.count))
    return (*_breach_causes(drop, findings.breaches), *causes)


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


def _need_a_word(rows: pa.Table) -> pa.ChunkedArray:
    return pc.or_(are_problems(rows), pc.equal(rows["status"], Status.SUPERSEDED.value))


def _outcome_causes(drop: Drop, rows: pa.Table) -> list[Cause]:
    """Rows that were posted or could have been, grouped by status, Nak code and text."""
    groups: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    columns = (rows[name].to_pylist() for name in ("row", "ric", "status", "nak_code", "text"))
    for label, ric, status, nak_code, text in zip(*columns, strict=True):
        # An answer that names its RIC is the same answer for every RIC.
        general = text.replace(ric, "<RIC>") if ric and status == Status.NAKKED else text
        groups.setdefault((status, nak_code, general), []).append((label, ric))
    causes = []
    for (status, nak_code, text), told in groups.items():
        what, mend = _in_words(drop, Status(status), nak_code, text)
        label, ric = told[0]
        causes.append(Cause(Status(status), len(told), what, _place(label, ric), mend))
    return causes


def _in_words(drop: Drop, status: Status, nak_code: str, text: str) -> tuple[str, str]:
    """What happened, and what to do about it."""
    match status:
        case Status.NAKKED:
            explanation = explain(nak_code)
            answer = f' ("{text}")' if text else ""
            mend = explanation.mend.replace("retry the drop", f"retry the drop (contrib-watch retry {drop.id})")
            return f"{nak_code or 'Error'}: {explanation.meaning}{answer}", mend
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


def _place(label: str, ric: str) -> str:
    """``row 7, XS1=ACME`` or ``Sheet1!7, XS1=ACME``; rows of a drop that failed may have no number or no RIC."""
    row = f"row {label}" if label.isdecimal() else label
    return ", ".join(filter(None, (row, ric)))


def _decide(drop: Drop) -> str:
    return f"look at the rows below, then: contrib-watch approve {drop.id}, or contrib-watch reject {drop.id}"


def _shortened(text: str) -> str:
    return text if len(text) <= _EXAMPLE_LENGTH else f"{text[:_EXAMPLE_LENGTH]}…"


# --- what was read back


def _different(rows: pa.Table) -> Iterator[Cause]:
    """The rows of which the ADS holds something else than it acknowledged."""
    wrong = found(rows).no
    if len(wrong):
        first = wrong.slice(0, 1).to_pylist()[0]
        yield Cause(
            Status.ACKED,
            len(wrong),
            "read back, the ADS holds something else than it acknowledged",
            f"{_place(first['row'], first['ric'])}: {first[COLUMN].removeprefix(NO)}",
            "find out who else contributes to these RICs; to post them again: contrib-watch reconcile --repair",
        )


def _unavailable(rows: pa.Table) -> Iterator[str]:
    for why, count in Counter(found(rows).unavailable[COLUMN].to_pylist()).most_common():
        yield f"{plural(count, 'acknowledged row')} could not be read back: {why.removeprefix(NOT_AVAILABLE)}"


def _read_back(verdict: Verdict, rows: pa.Table) -> Verdict:
    """The verdict says "verified" only where every acknowledged row was read back and is right."""
    seen = found(rows)
    wrong, unknown = len(seen.no), len(seen.unavailable)
    level: Level = "bad" if wrong else "attention" if unknown and verdict.level == "good" else verdict.level
    text = verdict.text
    if seen.yes and not wrong and not unknown:
        text = text.replace(" acknowledged", " acknowledged and verified", 1)
    if wrong:
        text = text[:1].lower() + text[1:] if text[1:2].islower() else text
        text = f"{plural(wrong, 'acknowledged row')} NOT as posted when read back; {text}"
    if unknown:
        text = f"{text}; {unknown:,} not verified"
    return Verdict(level, text)


# --- a file without rows to speak of


def _whole_file(drop: Drop, unreadable: str, reason: str) -> tuple[pa.Table, tuple[Cause, ...], Verdict]:
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
        mend = f"mend the file and save it again: nothing of this one was sent{' this time' * (drop.run > 1)}"
    line = unchanged_rows(pa.table({"row": [""], "ric": [""]}))
    line = with_columns(line, status=repeated(status.value, 1), text=repeated(why, 1))
    return line, (Cause(status, 1, what, "", mend),), nothing_published(drop, what)


def _half_way(drop: Drop, rest: pa.Table, outcomes: pa.Table) -> tuple[pa.Table, tuple[Cause, ...], Verdict]:
    """The rows of a drop that failed after some of them had ended; ``rest`` is the line for those that had not.

    Rows below 1 are of RICs whose place in the file is not known any more.
    """
    known = in_order(recorded_rows(outcomes))
    label = pc.if_else(pc.less(known["row"], 1), "", pc.cast(known["row"], pa.string()))
    known = with_columns(known, row=label)
    rest = with_columns(rest, text=joined("not sent by this run, as any row that is not listed: ", rest["text"]))
    rows = pa.concat_tables([rest, known])
    what, mend = f"the drop failed half-way: {drop.reason}", f"once that is cured: contrib-watch retry {drop.id}"
    cause = Cause(Status.REJECTED, 1, what, "", mend)
    totals = totals_of(rows)
    unknown = f"{totals[Status.UNCONFIRMED]:,} of unknown fate (no answer); " if totals[Status.UNCONFIRMED] else ""
    text = f"FAILED half-way: {totals[Status.ACKED]:,} acknowledged; {unknown}all others NOT published"
    verdict = Verdict("bad", text)
    return rows, (cause, *_outcome_causes(drop, known.filter(_need_a_word(known)))), verdict


def _encodable(text: str) -> str:
    """``text`` with the bytes of file names that are not UTF-8 shown as escapes, so that a file can hold it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
