"""What became of a drop in one sentence, for somebody who reads it under stress.

It follows three rules. What is not in the market comes first. A row counts as being there only where the ADS
acknowledged its values, now (acked) or earlier (unchanged). And "nothing published" is never said while a post may
have been applied without an answer, nor of more than the run that the report is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from contrib_watch.core.model import Drop, DropStatus, Status
from contrib_watch.core.wording import plural

Level = Literal["good", "attention", "bad"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole report in one sentence."""

    level: Level
    """``good``: every row is in the market. ``attention``: some are not, or there is something to know. ``bad``:
    half of the rows or more are not."""
    text: str


def verdict_of(drop: Drop, totals: Mapping[Status, int], missing: int) -> Verdict:
    """The verdict on a drop whose rows were counted; ``missing`` RICs of a complete list are not among them."""
    read = sum(totals.values())
    acked, unchanged = totals[Status.ACKED], totals[Status.UNCHANGED]
    unknown, superseded = totals[Status.UNCONFIRMED], totals[Status.SUPERSEDED]
    lost = totals[Status.REJECTED] + totals[Status.NAKKED] + totals[Status.HELD]
    decided = totals[Status.HELD] or drop.status is DropStatus.REJECTED
    if ((lost and decided) or drop.status is DropStatus.HELD) and not acked and not unknown:
        return nothing_published(drop, _stopped(drop))
    if lost and lost == read:
        return nothing_published(drop, _all_lost(totals))
    absent = f"; {plural(missing, 'known RIC')} missing from the file" if missing else ""
    if lost or unknown or superseded:
        level: Level = "bad" if 2 * (lost + unknown) >= read else "attention"
        return Verdict(level, _partly(read, lost, unknown, superseded, acked, unchanged) + absent)
    return Verdict("attention" if missing or not read else "good", _all_there(acked, unchanged) + absent)


def nothing_published(drop: Drop, why: str) -> Verdict:
    """Nothing went out by a drop's present run; what earlier ones sent is told by their own reports."""
    by = f" by run {drop.run} of this file (earlier runs have their own reports)" if drop.run > 1 else ""
    return Verdict("bad", f"NOTHING PUBLISHED{by}: {why}")


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
    return f"{plural(rejected, 'row')} rejected, {nakked:,} refused by the ADS"


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
    of_all = f"{first:,} of {read:,}" if first != read else f"All {read:,}" if read > 1 else "The only row"
    return "; ".join([parts[0].replace(f"{first:,}", of_all, 1), *parts[1:]])


def _all_there(acked: int, unchanged: int) -> str:
    if not acked and not unchanged:
        return "Nothing to send: the file has no rows"
    if not acked:
        return f"Nothing to send: {plural(unchanged, 'row')} unchanged"
    if not unchanged:
        return f"All {acked:,} rows acknowledged" if acked > 1 else "The only row acknowledged"
    changed = f"All {acked:,} changed rows" if acked > 1 else "The only changed row"
    return f"{changed} acknowledged; {unchanged:,} unchanged"
