"""What people decide about drops: released, ended, or processed again.

Decisions are recorded in the state, with who took them, how that is known, and why; the process that sends, running
now or later, acts on them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from contrib_watch.core.approvals import approvals_needed, why_not
from contrib_watch.core.findings import Findings
from contrib_watch.core.model import NOBODY, Drop, DropStatus, Person
from contrib_watch.core.wording import plural
from contrib_watch.errors import ConfigurationError, ContribWatchError, StateError, StateUnavailable, UnreadableFile
from contrib_watch.pipeline.aside import done_at_once
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.inspection import Inspection, Start, inspecting, start_of
from contrib_watch.pipeline.job import Job
from contrib_watch.pipeline.later import stated_by
from contrib_watch.pipeline.publishing import publish, reports_folder
from contrib_watch.pipeline.replay import as_begun, rebuilt
from contrib_watch.pipeline.ruling import APPROVE, approvals, droppers, fingerprint_of, seen_held


def approve(desk: Desk, drop_id: int, by: Person = NOBODY, why: str = "") -> Drop:
    """Release a held drop, or be the first of two who do; what it then is tells which.

    What is released is the content, and the changes that the drop's last report shows: where the snapshot has moved
    since, the drop is held again with a new report. Raises ConfigurationError then, where the drop is not held, where
    this person may not release it, and where there was no report to look at, which is written then.
    """
    drop = _find(desk, drop_id, DropStatus.HELD)
    if (report := _write_missing(desk, drop)) is not None:
        what = f"drop {drop_id} is not approved: its report was not written until now"
        raise ConfigurationError(what, hint=f"Look at it, then approve it: {report}")
    seen = seen_held(desk, drop)
    _refuse_person(desk, drop, by, seen)
    stated = done_at_once(stated_by(desk, drop))
    now = _inspected(desk, drop, stated=stated)
    if isinstance(now, UnreadableFile) or fingerprint_of(desk, drop, now.changes) != seen:
        report = _hold_again(desk, drop, now, by, why)
        what = f"drop {drop_id} is not approved: the snapshot has moved since its report, or the configuration, and "
        what += "it would now change other values"
        shown = report or "which could not be written yet"
        raise ConfigurationError(what, hint=f"Look at the new report, then approve it again: {shown}")
    told = {**_told(APPROVE, by, why), "fingerprint": seen, "dropped_by": drop.owner, "known_by": drop.owner_source}
    with desk.state.transaction():
        _refuse_decided(desk, drop)
        earlier = _refuse_person(desk, drop, by, seen)  # who may have approved it meanwhile
        if len(earlier) + 1 < approvals_needed(desk.feeds[drop.feed], drop):
            desk.drops.note_decision(drop, {**told, "approved": False})
            return drop
        return desk.drops.decide(drop, approved=True, told=told)


def reject(desk: Desk, drop_id: int, by: Person = NOBODY, why: str = "") -> Path | None:
    """End a held drop and write its second report, whose path is returned, or None where that failed.

    That sends nothing, so it is always possible: also where its feed is configured no more, where the drop's copy is
    gone or damaged, and where its first report cannot be written, of which the second one tells. Raises
    ConfigurationError where it is not held.
    """
    configured = desk.feeds
    desk = as_begun(desk, desk.drop_named(drop_id)) or desk
    held = _find(desk, drop_id, DropStatus.HELD)
    named = f" ({by.name}{f': {why}' if why else ''})" if by.name else ""
    start = _rejection(desk, held, named, is_gone=held.feed not in configured)
    with desk.state.transaction():  # all of it: a process that sends must never see the drop as one to send
        _refuse_decided(desk, held)
        drop = desk.drops.decide(held, approved=False, told=_told("reject", by, why))
        report = Job.begin(desk, drop, start).conclude()
    return publish(desk, report)


def retry(desk: Desk, drop_id: int, by: Person = NOBODY, why: str = "") -> Drop:
    """Process a drop that is over once more, under today's configuration."""
    drop = _find(desk, drop_id, DropStatus.DONE, DropStatus.REJECTED, DropStatus.FAILED)
    _write_missing(desk, drop)
    with desk.state.transaction():
        _refuse_decided(desk, drop)
        return desk.drops.decide(drop, approved=False, told=_told("retry", by, why))


def _told(decision: str, by: Person, why: str) -> dict[str, str]:
    """What the record says of a decision."""
    return {"decision": decision, **by.told(why)}


def _inspected(
    desk: Desk, drop: Drop, *, stated: dict[str, frozenset[str]] | None = None, to_end: bool = False
) -> Inspection | UnreadableFile:
    """A drop's file and what it would change now: read before a transaction, in which nobody else can write."""
    try:
        return done_at_once(inspecting(desk, drop, stated=stated, to_end=to_end))
    except UnreadableFile as error:
        return error


def _rejection(desk: Desk, held: Drop, named: str, *, is_gone: bool) -> Start:
    """The run that ends a held drop: each of its rows, or the whole file where it cannot be read, is rejected.

    Nor is it read where its feed ``is_gone``: by today's configuration, no report could be made of it again.
    """
    untold = _never_reported(desk, held)
    if is_gone:
        why = f"rejected by a person{named}; feed {held.feed!r} is no longer in the configuration"
        return Start(DropStatus.REJECTED, why, Findings(warnings=(*_sent_before(desk, held), *untold)))
    try:
        seen: Inspection | ContribWatchError = _inspected(desk, held, to_end=True)
    except StateUnavailable:
        raise
    except StateError as damage:
        seen = damage
    if isinstance(seen, Inspection):
        seen = seen._replace(facts=(*seen.facts, *untold))
        ended = f"rejected by a person{named}"
        return start_of(desk, replace(held, run=held.run + 1), seen, ended=ended)
    why = f"{seen.where}: {seen.what}; rejected by a person{named}"
    return Start(DropStatus.REJECTED, why, Findings(warnings=(*_sent_before(desk, held), *untold)))


def _hold_again(desk: Desk, drop: Drop, now: Inspection | UnreadableFile, by: Person, why: str) -> Path | None:
    """Make a new report of what a held drop would change now."""
    reason = "it would change other values than its last report showed, because the snapshot or configuration moved"
    with desk.state.transaction():
        _refuse_decided(desk, drop)
        again = desk.drops.decide(drop, approved=False, hold=reason, told=_told("approve, refused", by, why))
        if isinstance(now, Inspection):
            start = start_of(desk, again, now)
        else:
            start = Start(DropStatus.REJECTED, str(now), Findings(warnings=_sent_before(desk, drop)))
        report = Job.begin(desk, again, start).conclude()
    return publish(desk, report)


def _refuse_person(desk: Desk, drop: Drop, by: Person, seen: str) -> list[str]:
    """Raise ConfigurationError where somebody may not release a drop; who else has approved the same."""
    earlier = [one["name"] for one in approvals(desk, drop, drop.run + 1) if one["fingerprint"] == seen]
    if refusal := why_not(desk.feeds[drop.feed], droppers(desk, drop), by, earlier):
        raise ConfigurationError(f"drop {drop.id} is not approved: {refusal}")
    return earlier


def _refuse_decided(desk: Desk, drop: Drop) -> None:
    """Raise ConfigurationError where a drop is not what it was when it was looked at."""
    if desk.drop_named(drop.id) != drop:
        what = f"drop {drop.id} has changed meanwhile: somebody else has decided about it"
        raise ConfigurationError(what, hint="`contrib-watch status` shows what it is now")


def _find(desk: Desk, drop_id: int, *allowed: DropStatus) -> Drop:
    drop = desk.drop_named(drop_id)
    if drop.status not in allowed:
        wanted = " or ".join(status.value for status in allowed)
        raise ConfigurationError(f"drop {drop_id} is {drop.status.value}; this is for a drop that is {wanted}")
    if drop.feed not in desk.feeds:
        what = f"drop {drop_id} is of feed {drop.feed!r}, which is not in the configuration"
        hint = "Put it back there, or save the file again for another feed; `reject` ends a drop that is held"
        raise ConfigurationError(what, hint=hint)
    return drop


def _write_missing(desk: Desk, drop: Drop) -> Path | None:
    """Write the report of a drop's last run, where no process has; None: it was there.

    Its next run has a report of its own. Raises ConfigurationError where it cannot be written now either, StateError
    without the bytes that it is made from.
    """
    name = desk.drops.report(drop)
    if name is None or name.whole:
        return None
    report = publish(desk, rebuilt(desk, drop))
    if report is None:
        what = f"the report of drop {drop.id} can be written neither where it belongs nor to {reports_folder(desk)}"
        hint = "Make one of these folders writable; a drop that is held can be ended by `contrib-watch reject`"
        raise ConfigurationError(what, hint=hint)
    return report


def _never_reported(desk: Desk, drop: Drop) -> tuple[str, ...]:
    """The warning that there is no report of a drop's last run; none where there is one, or can be one now."""
    try:
        _write_missing(desk, drop)
    except StateUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - a fault of the program, too, must not keep a drop from being ended
        what = error.what if isinstance(error, ContribWatchError) else f"{type(error).__name__}: {error}"
        shown = f"`contrib-watch audit drop {drop.id}` shows what became of its rows then"
        return (f"there is no report of run {drop.run} of this drop: {what}; {shown}",)
    return ()


def _sent_before(desk: Desk, drop: Drop) -> tuple[str, ...]:
    """The warning that a held drop was on its way already, as where its ``valid_for`` ended it."""
    sent = desk.ledger.outcomes(drop, ("sent_at_utc",))["sent_at_utc"]
    count = pc.sum(pc.not_equal(sent, "")).as_py() or 0
    told = f"{plural(count, 'row')} of this drop had been posted before it was held, see its earlier report"
    return (told,) if count else ()
