"""What ``audit verify`` says: whether the record, the kept files and the reports all tell the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from contrib_watch.adapters.past_reports import Testimony, testimonies
from contrib_watch.cli.progress import counting
from contrib_watch.errors import StateError
from contrib_watch.pipeline.desk import Desk
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
    lines = [f"{proven.records:,} records, {proven.rows:,} rows; the last is record {number}, SHA-256 {head}"]
    lines += [
        f"records {first} to {last} are not in this state: a backup was restored then" for first, last in proven.gaps
    ]
    wrong = [str(proven.misfit)] if proven.misfit else []
    wrong += _lost_contents(desk, proven) if not wrong else []
    told = {folder: list(testimonies(folder)) for folder in folders}
    lines += [f"{folder}: {len(pages):,} reports compared" for folder, pages in told.items()]
    if told:
        wrong += _compared(desk, proven, [page for pages in told.values() for page in pages])
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


def _compared(desk: Desk, proven: Proven, pages: Sequence[Testimony]) -> list[str]:
    """What does not fit of the reports, in the order of the records that they name."""
    wrong = [f"{page.path}: it cannot be read: {page.unreadable}" for page in pages if page.unreadable]
    mine = [page for page in pages if page.state == desk.state.state_id]
    wrong += _of_others(desk, [page for page in pages if page.state != desk.state.state_id and not page.unreadable])
    under_way = {name.base for drop in desk.drops.unreported() if (name := desk.drops.report(drop))}
    recorded = {
        (name, sha256): number
        for number, body in report_records(desk.state)
        for name, sha256 in body["sha256"].items()
    }
    known = _Known(recorded.keys(), {name for name, _ in recorded}, {sha256 for _, sha256 in recorded})
    for page in sorted(mine, key=lambda page: page.number):
        if page.path.name.removesuffix(".ack.html") in under_way:
            continue  # it is being written, and recorded when it is whole
        misfits = (_misfit(desk, proven, page), *_changed(page, known))
        wrong += next(([misfit] for misfit in misfits if misfit), [])
    # one that fell back to the state's own folder is no less there
    fallen_back = testimonies(desk.settings.state.folder / "reports")
    there = {found for page in (*pages, *fallen_back) for found in page.found.items()}
    return [*wrong, *_missing(recorded, there)]


def _of_others(desk: Desk, pages: Iterable[Testimony]) -> Iterator[str]:
    """Reports that another state wrote; those against a simulated ADS may lie beside those of a real one."""
    for page in pages:
        if not page.state:
            yield f"{page.path}: it does not say which state wrote it: its last lines were changed"
    foreign = [page for page in pages if page.state and (desk.settings.ads.on_trial or not _is_simulated(page.path))]
    for state, count in Counter(page.state for page in foreign).items():
        first = next(page.path for page in foreign if page.state == state)
        mine = f"this is state {desk.state.state_id}, and {count:,} of the reports were written by state {state}"
        yield f"{mine}, the first is {first}: the state was exchanged, or these are not its reports"


def _is_simulated(page: Path) -> bool:
    return page.name.endswith(".simulated.ack.html")


def _changed(page: Testimony, known: _Known) -> Iterator[str]:
    """What of a report's files is not as it was written; a file under another name has the same bytes still."""
    for name, sha256 in page.found.items():
        if name in known.names:
            fits = (name, sha256) in known.files
        else:
            fits = sha256 in known.hashes or not page.number
        if not fits:
            yield f"{page.path.with_name(name)}: it is not what was written: it was changed since"


def _missing(recorded: Mapping[tuple[str, str], int], there: Collection[tuple[str, str]]) -> Iterator[str]:
    """The files that were written and are not there, in a sentence; those that were changed are not told again."""
    changed = {name for name, sha256 in there if (name, sha256) not in recorded}
    missing = [one for one in recorded if one not in there and one[0] not in changed]
    if missing:
        first = ", ".join(f"{one[0]} (record {recorded[one]})" for one in missing[:_NAMED])
        more = ", ..." if len(missing) > _NAMED else ""
        yield f"missing: {len(missing):,} files of reports that were written are not in these folders: {first}{more}"


def _misfit(desk: Desk, proven: Proven, one: Testimony) -> str:
    if not one.csv_as_told:
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
