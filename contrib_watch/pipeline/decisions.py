"""What people decide about drops: released, ended, or processed again.

Decisions are recorded in the state, with who took them, how that is known, and why; the process that sends, running
now or later, acts on them.
"""

from __future__ import annotations

from pathlib import Path

from contrib_watch.core.approvals import approvals_needed, why_not
from contrib_watch.core.model import NOBODY, Drop, DropStatus, Person
from contrib_watch.errors import ConfigurationError, StateError, UnreadableFile
from contrib_watch.pipeline.aside import done_at_once
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.job import Job, examine
from contrib_watch.pipeline.later import stated_by
from contrib_watch.pipeline.publishing import publish
from contrib_watch.pipeline.ruling import APPROVE, approvals, droppers, fingerprint_of, seen_held
from contrib_watch.pipeline.second_look import second_look


def approve(desk: Desk, drop_id: int, by: Person = NOBODY, why: str = "") -> Drop:
    """Release a held drop, or be the first of two who do; what it then is tells which.

    What is released is the content, and the changes that the drop's last report shows: where the snapshot has moved
    since, the drop is held again with a new report. Raises ConfigurationError then, where the drop is not held, and
    where this person may not release it.
    """
    drop = _find(desk, drop_id, DropStatus.HELD)
    _refuse_unreported(desk, drop)
    feed = desk.feeds[drop.feed]
    seen = seen_held(desk, drop)
    dropped_by = droppers(desk, drop)
    earlier = [one["name"] for one in approvals(desk, drop, drop.run + 1) if one["fingerprint"] == seen]
    if refusal := why_not(feed, dropped_by, by, earlier):
        raise ConfigurationError(f"drop {drop_id} is not approved: {refusal}")
    stated = done_at_once(stated_by(desk, drop))
    if _changes_now(desk, drop, stated) != seen:
        report = _hold_again(desk, drop, stated, by, why)
        what = f"drop {drop_id} is not approved: the snapshot has moved since its report, or the configuration, and "
        what += "it would now change other values"
        raise ConfigurationError(what, hint=f"Look at the new report, then approve it again: {report}")
    told = {**_told(APPROVE, by, why), "fingerprint": seen, "dropped_by": drop.owner, "known_by": drop.owner_source}
    with desk.state.transaction():
        drop = _find(desk, drop_id, DropStatus.HELD)  # nobody else has decided meanwhile
        _refuse_unreported(desk, drop)
        if len(earlier) + 1 < approvals_needed(feed, drop):
            desk.drops.note_decision(drop, {**told, "approved": False})
            return drop
        return desk.drops.decide(drop, approved=True, told=told)


def reject(desk: Desk, drop_id: int, by: Person = NOBODY, why: str = "") -> Path:
    """End a held drop and write its second report; raises ConfigurationError where it is not held.

    A drop whose copy is gone or damaged can be ended as well, and before its report is written, which never will be.
    """
    named = f" ({by.name}{f': {why}' if why else ''})" if by.name else ""
    with desk.state.transaction():  # all of it: a process that sends must never see the drop as one to send
        held = _find(desk, drop_id, DropStatus.HELD)
        damage = _damage_of(desk, held)
        if damage is None:
            _refuse_unreported(desk, held)
        drop = desk.drops.decide(held, approved=False, told=_told("reject", by, why))
        if damage is None:
            job = Job.begin(desk, drop, ended=f"rejected by a person{named}")
        else:
            ended = f"{damage.where}: {damage.what}; rejected by a person{named}"
            job = Job.unread(desk, drop, ended, _sent_before(desk, held))
        report = job.conclude()
    return publish(desk, report)


def retry(desk: Desk, drop_id: int, by: Person = NOBODY, why: str = "") -> Drop:
    """Process a drop that is over once more, under today's configuration."""
    over = (DropStatus.DONE, DropStatus.REJECTED, DropStatus.FAILED)
    with desk.state.transaction():
        drop = _find(desk, drop_id, *over)
        _refuse_unreported(desk, drop)
        return desk.drops.decide(drop, approved=False, told=_told("retry", by, why))


def _told(decision: str, by: Person, why: str) -> dict[str, str]:
    """What the record says of a decision."""
    return {"decision": decision, **by.told(why)}


def _changes_now(desk: Desk, drop: Drop, stated: dict[str, frozenset[str]]) -> str:
    """The fingerprint of what a drop would change now; empty where it cannot be read any more."""
    try:
        reading = desk.reading(drop)
        changes = examine(desk, drop, reading.quotes, stated=stated)
        look = second_look(desk, *desk.file_of(drop), reading, changes.rics)
    except UnreadableFile:
        return ""
    return fingerprint_of(desk, drop, look.applied(changes))


def _hold_again(desk: Desk, drop: Drop, stated: dict[str, frozenset[str]], by: Person, why: str) -> Path:
    """Make a new report of what a held drop would change now."""
    reason = "it would change other values than its last report showed, because the snapshot or configuration moved"
    with desk.state.transaction():
        again = desk.drops.decide(drop, approved=False, hold=reason, told=_told("approve, refused", by, why))
        report = done_at_once(Job.starting(desk, again, stated=stated)).conclude()
    return publish(desk, report)


def _find(desk: Desk, drop_id: int, *allowed: DropStatus) -> Drop:
    drop = desk.drop_named(drop_id)
    if drop.status not in allowed:
        wanted = " or ".join(status.value for status in allowed)
        raise ConfigurationError(f"drop {drop_id} is {drop.status.value}; this is for a drop that is {wanted}")
    if drop.feed not in desk.feeds:
        raise ConfigurationError(f"drop {drop_id} is of feed {drop.feed!r}, which is not in the configuration")
    return drop


def _refuse_unreported(desk: Desk, drop: Drop) -> None:
    """Raise ConfigurationError before a drop's report is written: its next run has a report of its own."""
    report = desk.drops.report(drop)
    if report is None or report.whole:
        return
    what = f"the report of drop {drop.id} is not written yet"
    if damage := _damage_of(desk, drop):
        raise ConfigurationError(f"{what}, because of what it is made from: {damage.what}", hint=damage.hint)
    hint = (
        "The process that runs, or else the next start, writes it: decide when you have seen it. Where the log says "
        "that it cannot, save the file again: that makes another drop"
    )
    raise ConfigurationError(what, hint=hint)


def _damage_of(desk: Desk, drop: Drop) -> StateError | None:
    """What is wrong with the copy of a drop's bytes; None: nothing."""
    try:
        desk.check_copy(drop)
    except StateError as error:
        return error
    return None


def _sent_before(desk: Desk, drop: Drop) -> tuple[str, ...]:
    """The warning that a held drop was on its way already, as where its ``valid_for`` ended it."""
    sent = desk.ledger.outcomes(drop, ("sent_at_utc",))["sent_at_utc"]
    count = int((sent.fillna("") != "").sum())
    return (f"{count:,} rows of this drop were posted before it was held, see its earlier report",) if count else ()
