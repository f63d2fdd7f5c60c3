"""What the ADS turned out to have lost, what was posted again, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from contrib_watch.core.model import Status
from contrib_watch.core.wording import plural
from contrib_watch.pipeline.readback import Finding, Held, Item
from contrib_watch.pipeline.repair import Repair, summed


@dataclass
class Loss:
    """The account of one suspicion, from the first reading of everything until nothing is left to do."""

    found: dict[Item, Finding] = field(default_factory=dict)
    """The newest finding of each item that was missing or different."""
    items: int = 0
    """How many the readings were for: the most of one, as a later one leaves out what is in doubt by then."""
    unread: set[Item] = field(default_factory=set)
    """What the last reading left to drops that were posting to it: to be read once these are over."""
    gone: set[Item] = field(default_factory=set)
    """What the last reading of everything did not see there, or left to drops."""
    back: set[Item] = field(default_factory=set)
    """Items of which the ADS has acknowledged a drop's post since that reading began: whatever was lost, these are
    there."""
    repairs: list[Repair] = field(default_factory=list)
    latest: list[Repair] = field(default_factory=list)
    """Of these, those for what was found last."""
    still: list[Finding] = field(default_factory=list)
    """Not as it was acknowledged, after it was posted again."""
    known: int = 0
    """Items that were so after an earlier repair, and are not posted again."""
    unreadable: int = 0
    doubted: set[Item] | None = None
    """What was in doubt after a drop when the first reading began."""
    in_doubt: set[Item] = field(default_factory=set)
    """What is so at the end: nobody knows of it."""

    def add(self, findings: Sequence[Finding]) -> None:
        """More that is missing or different."""
        self.found |= {one.item: one for one in findings}

    def to_verify(self, service: str) -> list[str]:
        """RICs of a Service to read: what the latest repair posted or left to a drop, and what is unread."""
        latest = (repair for repair in self.latest if repair.service == service)
        posted = [ric for repair in latest for ric in (*repair.acked, *repair.left)]
        return posted + sorted(ric for where, ric in self.unread if where == service)

    def posted(self) -> dict[Item, int]:
        """The hash of what the ADS has acknowledged of the latest repair."""
        return {(repair.service, ric): value for repair in self.latest for ric, value in repair.acked.items()}

    def was_there(self, item: Item) -> bool:
        """It was seen there, or was brought back by a drop or a repair."""
        service, ric = item
        if item in self.back or item not in self.gone:
            return True
        return any(one.service == service and ric in one.acked for one in self.repairs)

    def counts(self) -> dict[str, int]:
        """By the names that ``status --json`` documents."""
        totals = summed(self.repairs)
        held = Counter(one.held for one in self.found.values())
        return {
            "items": self.items,
            "missing": held[Held.MISSING],
            "different": held[Held.DIFFERENT],
            "acked": totals[Status.ACKED],
            "nakked": totals[Status.NAKKED],
            "unconfirmed": totals[Status.UNCONFIRMED],
            "left_to_drops": len(self.found) - totals.total(),
            "in_doubt": len(self.in_doubt),
            "still_wrong": len(self.still) + self.known,
            "unreadable": self.unreadable,
        }

    @property
    def exit_code(self) -> int:
        """3: something is not as it was acknowledged; 4: something is not known. What was known before is neither."""
        totals = summed(self.repairs)
        unknown = totals[Status.UNCONFIRMED] or self.unreadable or self.in_doubt - (self.doubted or set())
        return 4 if unknown else 3 if totals[Status.NAKKED] or self.still else 0

    def __str__(self) -> str:
        """What the ADS did not hold."""
        counts = self.counts()
        return (
            f"the ADS did not hold what it had acknowledged: of {plural(self.items, 'item')} "
            f"{counts['missing']:,} were missing and {counts['different']:,} different"
        )

    def outcome(self) -> str:
        """What it did not hold, and what became of that."""
        counts = self.counts()
        text = (
            f"{self}; posted again: {counts['acked']:,} acknowledged, {counts['nakked']:,} refused, "
            f"{counts['unconfirmed']:,} without an answer"
        )
        if left := counts["left_to_drops"]:
            text += f"; {left:,} were left to drops that posted to them"
        if self.in_doubt:
            text += f"; {len(self.in_doubt):,} are in doubt after drops that posted to them"
        if self.still:
            example = self.still[0]
            text += f"; {len(self.still):,} are still not as acknowledged, such as {example.ric}: {example}"
        if self.unreadable:
            text += f"; {self.unreadable:,} could not be read back"
        return text
