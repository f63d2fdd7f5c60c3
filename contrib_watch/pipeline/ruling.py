"""Whether a drop may be sent: its guards, its age, and what people said about it.

Asked whenever a drop is taken in hand: the first time, after a stop, as a retry, and once it is approved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.core.approvals import approvals_needed, fingerprint, why_not
from contrib_watch.core.diff import Changes
from contrib_watch.core.findings import Findings
from contrib_watch.core.guards import Breach, Circumstances, Move, check, largest_moves
from contrib_watch.core.model import Drop, DropStatus, Feed, Person, Quotes, Source, Status
from contrib_watch.core.posts import plans
from contrib_watch.core.wording import plural
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store.record import run_record

APPROVE = "approve"
"""What the record calls an approval."""
_REASONS_TOLD = 2
"""So that a guard is told, too, where a refused approval holds a drop anew."""
_NOT_ACKED = pa.array([Status.HELD.value, Status.NAKKED.value, Status.UNCONFIRMED.value])


@dataclass(frozen=True)
class Ruling:
    """What is to be done with a drop."""

    status: DropStatus | None
    """``held`` or ``rejected``; None: it may be sent."""
    reason: str = ""
    breaches: tuple[Breach, ...] = ()
    moves: tuple[Move, ...] = ()
    """The largest ones of a drop that is not sent."""
    notes: tuple[str, ...] = ()
    """What the report says of an approval."""


def rule(desk: Desk, drop: Drop, quotes: Quotes, changes: Changes) -> Ruling:
    """Decide about a drop."""
    feed = desk.feed_of(drop)
    if (asked := _asked_for(desk, drop)) not in (None, feed.service):
        what = f"it was made for the Service {asked!r}, and its feed posts to {feed.service!r} now"
        return Ruling(DropStatus.REJECTED, what)
    breaches = check(feed.guards, quotes, changes, _circumstances(desk, feed, drop)) if feed.guards.any else ()
    approved = approvals(desk, drop)
    reasons = [*_reasons(desk, feed, drop, changes, breaches, approved)]
    if not reasons:
        notes = tuple(f"approved by {told_of(one)}" for one in approved)
        overruled = tuple(f"approved although {one.what}" for one in breaches)
        return Ruling(None, breaches=(), notes=(*notes, *overruled))
    rejects = any(one.rule in feed.guards.rejecting for one in breaches) and not approved
    status = DropStatus.REJECTED if rejects else DropStatus.HELD
    told = reasons[:_REASONS_TOLD]
    if len(reasons) > len(told):
        told.append(f"and {plural(len(reasons) - len(told), 'more reason')}")
    return Ruling(status, "; ".join(told), breaches, largest_moves(quotes, changes))


def _reasons(
    desk: Desk,
    feed: Feed,
    drop: Drop,
    changes: Changes,
    breaches: tuple[Breach, ...],
    approved: list[dict[str, Any]],
) -> Iterator[str]:
    """Why a drop is not sent as it is."""
    until = valid_until_utc(desk, drop)
    if until is not None and desk.clock.utc() > until:
        yield expired(until)
    if drop.run > 1 and not desk.drops.decisions(drop, drop.run):
        yield f"it is in its run {drop.run}, and the record has no decision that says so"
    if approved and not len(changes.rics):  # what was approved is in the market already
        return
    if approved:
        if seen_now(desk, drop, changes) != approved[-1].get("fingerprint"):
            by = told_of(approved[-1])
            yield f"approved by {by}, but the snapshot has moved since, or the configuration: look again"
        elif refusal := _unfit(desk, drop, approved):
            yield refusal
        else:
            unseen = _unseen(desk, drop, breaches)
            yield from (f"approved by {told_of(approved[-1])} before a guard was set: {one.what}" for one in unseen)
        return
    if drop.held_because:
        yield drop.held_because
    gone = changes.lost_fields
    if feed.complete and gone:
        yield f"a complete list that lacks {', '.join(gone)}, which its RICs have"
    yield from (breach.what for breach in breaches)
    if feed.approval == "always" and len(changes.rics) and not breaches and not drop.held_because:
        yield "every drop of this feed waits for an approval"


def approvals(desk: Desk, drop: Drop, run: int | None = None) -> list[dict[str, Any]]:
    """What people said who approved a run of a drop, its present one unless told otherwise."""
    decided = desk.drops.decisions(drop, run or drop.run)
    return [one for one in decided if one.get("decision") == APPROVE]


def droppers(desk: Desk, drop: Drop) -> dict[str, str]:
    """Who dropped it, by name, and how that is known: of what the program made also the OS user who asked for it."""
    asked = desk.drops.decisions(drop, 1) if drop.origin else ()
    accounts = [one["account"] for one in asked if one.get("decision") == drop.origin and one.get("account")]
    return {**dict.fromkeys(accounts, Source.OS_USER.value), drop.owner: drop.owner_source}


def _unseen(desk: Desk, drop: Drop, breaches: Iterable[Breach]) -> list[Breach]:
    """Those of guards that were set after the report by which a drop was approved."""
    found = run_record(desk.state, drop.id, drop.run - 1)
    if found is None or found[1]["config"] == desk.environment.config or drop.status is DropStatus.SENDING:
        return []
    shown = {one.rule for one in Findings.of(found[1]["findings"]).breaches}
    return [one for one in breaches if one.rule not in shown]


def _asked_for(desk: Desk, drop: Drop) -> str | None:
    """The Service for which a person had the program make a drop; None: it is a file."""
    asked = desk.drops.decisions(drop, 1) if drop.origin else ()
    return next((one.get("service") for one in asked if one.get("decision") == drop.origin), None)


def _unfit(desk: Desk, drop: Drop, approved: list[dict[str, Any]]) -> str:
    """Why recorded approvals do not release a drop: they may have been given under another configuration."""
    feed, dropped_by = desk.feeds[drop.feed], droppers(desk, drop)
    names: list[str] = []
    for one in approved:
        if one.get("fingerprint") == approved[-1].get("fingerprint"):
            by = Person(one["name"], Source(one["source"]), one["account"])
            if refusal := why_not(feed, dropped_by, by, names):
                return f"approved by {told_of(one)}, but {refusal}"
            names.append(by.name)
    if len(names) < approvals_needed(feed, drop):
        return f"approved by {told_of(approved[-1])}, and a second approver is needed"
    return ""


def fingerprint_of(desk: Desk, drop: Drop, changes: Changes, sent: Iterable[tuple[str, str]] = ()) -> str:
    """The fingerprint of what a drop would change where it would be posted today; ``sent`` has it changed already."""
    target, service = desk.settings.ads.target, desk.feeds[drop.feed].service
    planned = chain.from_iterable(map(_told, plans(changes)))
    return fingerprint(target, service, drop.sha256, chain(planned, sent))


def seen_now(desk: Desk, drop: Drop, changes: Changes) -> str:
    """The fingerprint of what a drop would change, and in its present run has changed already."""
    recorded = desk.ledger.outcomes(drop, ("ric", "action", "changes"))
    return fingerprint_of(desk, drop, changes, _told(recorded.filter(pc.not_equal(recorded["action"], ""))))


def seen_held(desk: Desk, drop: Drop) -> str:
    """The fingerprint of what the report of a held drop shows as not acknowledged, and as for which Service.

    Of a drop that ``valid_for`` held halfway that is more than what is held: an approval sends the rest of it, too.
    """
    found = run_record(desk.state, drop.id, drop.run)
    told = found[1] if found else {}
    recorded = desk.ledger.outcomes(drop, ("ric", "status", "changes"))
    waiting = recorded.filter(pc.is_in(recorded["status"], value_set=_NOT_ACKED))
    return fingerprint(told.get("target", ""), told.get("service", ""), drop.sha256, _told(waiting))


def _told(rows: pa.Table) -> Iterator[tuple[str, str]]:
    """RIC and changes of rows that are planned or recorded."""
    return zip(rows["ric"].to_pylist(), rows["changes"].to_pylist(), strict=True)


def told_of(decision: Mapping[str, Any]) -> str:
    """``anna (OS user): the auction moved it``"""
    why = f": {decision['why']}" if decision.get("why") else ""
    source = decision.get("source") or "asserted"
    if decision.get("account") and decision.get("account") != decision.get("name"):
        source = f"{source} by {decision['account']}"
    return f"{decision.get('name') or 'nobody by name'} ({source}){why}"


def valid_until_utc(desk: Desk, drop: Drop) -> datetime | None:
    """Until when values of a drop may be sent; None: always. Whoever decides about it starts the time anew.

    A file is as old as its mtime, where that is before it was seen; whoever adopted it has decided.
    """
    feed = desk.feeds.get(drop.feed)
    if feed is None or not feed.valid_for_s:
        return None
    decided = [datetime.fromisoformat(one["at_utc"]) for one in desk.drops.decisions(drop, drop.run)]
    begun = drop.seen_at_utc if drop.adopted else min(drop.seen_at_utc, _saved_utc(drop))
    return max([begun, *decided]) + timedelta(seconds=feed.valid_for_s)


def _saved_utc(drop: Drop) -> datetime:
    """When the file was saved, as its mtime has it: at most when it was seen, at least 1970."""
    seen_s = drop.seen_at_utc.timestamp()
    return datetime.fromtimestamp(min(max(drop.mtime_ns / 1_000_000_000, 0.0), seen_s), UTC)


def expired(until: datetime) -> str:
    """What is said of a drop that has waited too long."""
    return f"expired: its values were good until {until:%Y-%m-%d %H:%M:%S} UTC (valid_for)"


def zone_of(feed: Feed, now_utc: datetime) -> tzinfo:
    """The time zone in which a feed's days are counted; of this machine's, what holds now."""
    return ZoneInfo(feed.timezone) if feed.timezone else now_utc.astimezone().tzinfo or UTC


def _circumstances(desk: Desk, feed: Feed, drop: Drop) -> Circumstances:
    now = desk.clock.utc()
    today = now.astimezone(zone_of(feed, now)).date()
    known_rics = desk.ledger.count_owned(feed.service, feed.name)
    # What an earlier run of it brought counts: a drop is not its feed's first one for ever.
    is_first = not (known_rics if drop.run > 1 else desk.ledger.owns_before(feed.service, feed.name, drop.id))
    return Circumstances(
        known_rics=known_rics,
        is_first=is_first,
        days=(today, feed.calendar.last_business_day(today)),
    )
