"""What ``audit verify`` says: whether the record, the kept files and the reports all tell the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from contrib_watch.adapters.past_reports import Testimony, pages, testimony
from contrib_watch.cli.progress import counting
from contrib_watch.core.wording import plural
from contrib_watch.errors import StateError
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.publishing import reports_folder
from contrib_watch.store.proof import Proven, hash_of, prove
from contrib_watch.store.record import report_records

_NAMED = 3
"""How many missing files are named."""


class _Known(NamedTuple):
    """The reports' files of which the record tells."""

    files: Collection[tuple[str, str]]
    """Name and SHA-256."""
    names: Collection[str]
    hashes: Collection[str]


def verified(desk: Desk, folders: Iterable[Path]) -> tuple[list[str], bool]:
    """What came of checking the record, in sentences, and whether everything fits."""
    with counting("rows proven") as progress:
        proven = prove(desk.state, progress)
    number, head = proven.head
    counts = f"{plural(proven.records, 'record')}, {plural(proven.rows, 'row')}"
    lines = [f"{counts}; the last is record {number}, SHA-256 {head}"]
    lines += [
        f"records {first} to {last} are not in this state: a backup was restored then" for first, last in proven.gaps
    ]
    wrong = [str(proven.misfit)] if proven.misfit else []
    wrong += _lost_contents(desk, proven) if not wrong else []
    written = _recorded(desk)  # before the folders are looked at, while `run` may be writing the next report
    found = {folder: list(map(_looked_at, pages(folder))) for folder in folders}
    lines += [f"{folder}: {plural(len(reports), 'report')} compared" for folder, reports in found.items()]
    if found:
        wrong += _compared(desk, proven, written, [report for reports in found.values() for report in reports])
    lines += [f"DOES NOT FIT: {one}" for one in wrong] or ["everything fits"]
    return lines, not wrong


def _lost_contents(desk: Desk, proven: Proven) -> list[str]:
    """The first kept file that is gone or damaged."""
    for content, number in proven.contents.items():
        try:
            desk.bytes_of(content)
        except StateError as error:
            return [f"record {number}: {error}"]
    return []


class _Unreadable(NamedTuple):
    path: Path
    why: str


class _Report(NamedTuple):
    """A report as it lies in a folder."""

    says: Testimony
    found: Mapping[str, str]
    """File name to SHA-256 of its page and its CSV."""


def _looked_at(page: Path) -> _Report | _Unreadable:
    try:
        says = testimony(page)
        return _Report(says, says.files())
    except OSError as error:
        return _Unreadable(page, error.strerror or str(error))


def _recorded(desk: Desk) -> dict[tuple[str, str], int]:
    """Name and SHA-256 of every report's file that was written, with the number of its record."""
    return {
        (name, sha256): number
        for number, body in report_records(desk.state)
        for name, sha256 in body["sha256"].items()
    }


def _compared(
    desk: Desk, proven: Proven, written: Mapping[tuple[str, str], int], there: Sequence[_Report | _Unreadable]
) -> list[str]:
    """What does not fit of the reports, in the order of the records that they name; ``written`` must be there."""
    wrong = [f"{one.path}: it cannot be read: {one.why}" for one in there if isinstance(one, _Unreadable)]
    reports = [one for one in there if isinstance(one, _Report)]
    wrong += _of_others(desk, [one.says for one in reports if one.says.state != desk.state.state_id])
    # One that is not written to its end is recorded when it is; it may be while this looks.
    under_way = {name.base for drop in desk.drops.unreported() if (name := desk.drops.report(drop))}
    recorded = _recorded(desk)
    known = _Known(recorded.keys(), {name for name, _ in recorded}, {sha256 for _, sha256 in recorded})
    for one in sorted(reports, key=lambda one: one.says.number):
        page = one.says.path.name
        is_whole = page in known.names or page.removesuffix(".ack.html") not in under_way
        if is_whole and one.says.state == desk.state.state_id:
            misfits = (_misfit(desk, proven, one), *_changed(one, known))
            wrong += next(([misfit] for misfit in misfits if misfit), [])
    # one that fell back to the state's own folder is no less there
    fallen_back = map(_looked_at, pages(reports_folder(desk)))
    found = {file for one in (*there, *fallen_back) if isinstance(one, _Report) for file in one.found.items()}
    return [*wrong, *_missing(written, found)]


def _of_others(desk: Desk, told: Sequence[Testimony]) -> Iterator[str]:
    """Reports that another state wrote; those against a simulated ADS may lie beside those of a real one."""
    for one in told:
        if not one.state:
            yield f"{one.path}: it does not say which state wrote it: its last lines were changed"
    ours = desk.settings.ads.on_trial
    foreign = [one for one in told if one.state and (ours or not one.path.name.endswith(".simulated.ack.html"))]
    for state, count in Counter(one.state for one in foreign).items():
        first = next(one.path for one in foreign if one.state == state)
        mine = f"this is state {desk.state.state_id}, and {count:,} of the reports were written by state {state}"
        yield f"{mine}, the first is {first}: the state was exchanged, or these are not its reports"


def _changed(report: _Report, known: _Known) -> Iterator[str]:
    """What of a report's files is not as it was written; a file under another name has the same bytes still."""
    for name, sha256 in report.found.items():
        renamed = name not in known.names and (sha256 in known.hashes or not report.says.number)
        if not renamed and (name, sha256) not in known.files:
            yield f"{report.says.path.with_name(name)}: it is not what was written: it was changed since"


def _missing(recorded: Mapping[tuple[str, str], int], there: Collection[tuple[str, str]]) -> Iterator[str]:
    """The files that were written and are not there, in a sentence; those that were changed are not told again."""
    changed = {name for name, sha256 in there if (name, sha256) not in recorded}
    missing = [one for one in recorded if one not in there and one[0] not in changed]
    if missing:
        first = ", ".join(f"{one[0]} (record {recorded[one]})" for one in missing[:_NAMED])
        more = ", ..." if len(missing) > _NAMED else ""
        files = plural(len(missing), "file")
        yield f"missing: {files} of reports that were written, not in these folders: {first}{more}"


def _misfit(desk: Desk, proven: Proven, report: _Report) -> str:
    """Why what a page says does not fit; empty: it does."""
    one = report.says
    if one.csv_sha256 and report.found.get(one.path.with_suffix(".csv").name) != one.csv_sha256:
        return f"{one.path.with_suffix('.csv')}: it is not the CSV that was written with its page"
    if not one.number:
        return ""  # of a version without a record
    has = hash_of(desk.state, one.number)
    if has == one.sha256:
        return ""
    if any(first <= one.number <= last for first, last in proven.gaps):
        return f"{one.path}: it names record {one.number}, which was lost when a backup was restored"
    if has is None:
        return f"record {one.number}: it is missing, and {one.path} names it: the record's end was cut off"
    return (
        f"record {one.number}: its hash is {has}, and {one.path} says {one.sha256}: "
        "the record was computed anew, or the report was changed"
    )
