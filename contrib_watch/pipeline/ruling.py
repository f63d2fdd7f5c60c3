"""Whether a drop may be sent: its guards, its age, and what people said about it.

Asked whenever a drop is taken in hand: the first time, after a stop, as a retry, and once it is approved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from contrib_watch.core.approvals import fingerprint
from contrib_watch.core.diff import Changes
from contrib_watch.core.guards import Breach, Circumstances, Move, check, largest_moves
from contrib_watch.core.model import Drop, DropStatus, Feed, Quotes, Status
from contrib_watch.pipeline.desk import Desk

APPROVE = "approve"
"""What the record calls an approval."""


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


def rule(desk: Desk, drop: Drop, quotes: Quotes, changes: Changes, planned: pd.DataFrame) -> Ruling:
    """Decide about a drop; ``planned`` is what it would post, see core.posts.plan."""
    feed = desk.feed_of(drop)
    breaches = check(feed.guards, quotes, changes, _circumstances(desk, feed, drop)) if feed.guards.any else ()
    approved = approvals(desk, drop)
    reasons = [*_reasons(desk, feed, drop, changes, planned, breaches, approved)]
    if not reasons:
        notes = tuple(f"approved by {told_of(one)}" for one in approved)
        overruled = tuple(f"approved although {one.what}" for one in breaches)
        return Ruling(None, breaches=(), notes=(*notes, *overruled))
    rejects = any(one.rule in feed.guards.rejecting for one in breaches) and not approved
    status = DropStatus.REJECTED if rejects else DropStatus.HELD
    more = f"; and {len(reasons) - 1} more reasons" if len(reasons) > 2 else ""
    shown = reasons[:1] if more else reasons
    return Ruling(status, "; ".join(shown) + more, breaches, largest_moves(quotes, changes))


def _reasons(
    desk: Desk,
    feed: Feed,
    drop: Drop,
    changes: Changes,
    planned: pd.DataFrame,
    breaches: tuple[Breach, ...],
    approved: list[dict[str, Any]],
) -> Iterator[str]:
    """Why a drop is not sent as it is."""
    until = valid_until_utc(desk, drop)
    if until is not None and desk.clock.utc() > until:
        yield expired(until)
    if approved:
        if seen_now(desk, drop, planned) != approved[-1].get("fingerprint"):
            by = told_of(approved[-1])
            yield f"approved by {by}, but the snapshot has moved since: it would change other values; look again"
        return
    if drop.held_because and not drop.approved:
        yield drop.held_because
    gone = changes.lost_fields
    if feed.complete and gone and not drop.approved:
        yield f"a complete list that lacks {', '.join(gone)}, which its RICs have"
    yield from (breach.what for breach in breaches)
    if feed.approval == "always" and len(planned) and not breaches and not drop.held_because:
        yield "every drop of this feed waits for an approval"


def approvals(desk: Desk, drop: Drop, run: int | None = None) -> list[dict[str, Any]]:
    """What people said who approved a run of a drop, its present one unless told otherwise."""
    decided = desk.drops.decisions(drop, run or drop.run)
    return [one for one in decided if one.get("decision") == APPROVE]


def seen_now(desk: Desk, drop: Drop, planned: pd.DataFrame) -> str:
    """The fingerprint of what a drop would change, and in its present run has changed already."""
    recorded = desk.ledger.outcomes(drop)
    sent = recorded[recorded["action"] != ""]
    changes = [*zip(planned.index, planned["changes"], strict=True), *zip(sent["ric"], sent["changes"], strict=True)]
    return fingerprint(drop.sha256, [(str(ric), str(text)) for ric, text in changes])


def seen_held(desk: Desk, drop: Drop) -> str:
    """The fingerprint of what the report of a held drop shows as held."""
    recorded = desk.ledger.outcomes(drop)
    held = recorded[recorded["status"] == Status.HELD]
    return fingerprint(drop.sha256, zip(map(str, held["ric"]), map(str, held["changes"]), strict=True))


def told_of(decision: Mapping[str, Any]) -> str:
    """``anna (OS user): the auction moved it``"""
    why = f": {decision['why']}" if decision.get("why") else ""
    source = decision.get("source") or "asserted"
    if decision.get("account") and decision.get("account") != decision.get("name"):
        source = f"{source} by {decision['account']}"
    return f"{decision.get('name') or 'nobody by name'} ({source}){why}"


def valid_until_utc(desk: Desk, drop: Drop) -> datetime | None:
    """Until when values of a drop may be sent; None: always. Whoever decides about it starts the time anew."""
    feed = desk.feeds.get(drop.feed)
    if feed is None or not feed.valid_for_s:
        return None
    decided = [datetime.fromisoformat(one["at_utc"]) for one in desk.drops.decisions(drop, drop.run)]
    return max([drop.seen_at_utc, *decided]) + timedelta(seconds=feed.valid_for_s)


def expired(until: datetime) -> str:
    """What is said of a drop that has waited too long."""
    return f"expired: its values were good until {until:%Y-%m-%d %H:%M:%S} UTC (valid_for)"


def zone_of(feed: Feed, now_utc: datetime) -> tzinfo:
    """The time zone in which a feed's days are counted; of this machine's, what holds now."""
    return ZoneInfo(feed.timezone) if feed.timezone else now_utc.astimezone().tzinfo or UTC


def _circumstances(desk: Desk, feed: Feed, drop: Drop) -> Circumstances:
    now = desk.clock.utc()
    today = now.astimezone(zone_of(feed, now)).date()
    return Circumstances(
        known_rics=desk.ledger.count_owned(feed.service, feed.name),
        is_first=not desk.ledger.owns_before(feed.service, feed.name, drop.id),
        days=(today, feed.calendar.last_business_day(today)),
    )
