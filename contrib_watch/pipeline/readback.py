"""Reading items back and comparing them with what the ADS should hold."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from contrib_watch.ads.reading import MOST_OUTSTANDING, ItemAnswer, ItemRequest, Seen
from contrib_watch.core.compare import Difference, differences
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.repair import IsClaimed, nobody
from contrib_watch.store.repairs import Repairs, Wanted

AHEAD = 2 * MOST_OUTSTANDING
"""Items that are handed over at a time: the second half is ready when the first is answered."""
NOT_THERE = frozenset({"NotFound"})
"""State codes that say that there is no such item; every other one says nothing about what the ADS holds."""
Item = tuple[str, str]
"""Service and RIC."""


class Held(StrEnum):
    """What the ADS turned out to hold of an item."""

    SAME = "same"
    MISSING = "missing"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"
    """It could not be read back: nobody knows."""


class Finding(NamedTuple):
    """One item that was read back."""

    service: str
    ric: str
    held: Held
    differences: tuple[Difference, ...] = ()
    why: str = ""
    """Why it could not be read back: code and text."""
    feed: str = ""
    certain: bool = True
    """What it was compared with was acknowledged; otherwise it is the newest that was attempted."""
    wanted: int = 0
    """The hash of the JSON object that it was compared with: the text itself, of a whole cache, would want room."""

    @property
    def item(self) -> Item:
        """What was read back."""
        return self.service, self.ric

    def __str__(self) -> str:
        return "; ".join(map(str, self.differences)) or self.why or self.held.value


class ReadBack:
    """RICs of one Service that are read back: ask and hear until :attr:`done`."""

    def __init__(
        self,
        desk: Desk,
        service: str,
        rics: Sequence[str],
        *,
        is_claimed: IsClaimed = nobody,
        waits: bool = True,
        uncertain: bool = False,
    ) -> None:
        """RICs to which a drop is posting are read once it is over, or, unless it ``waits``, are left to it.

        ``uncertain``: compare values in doubt, too; otherwise such RICs are passed over.
        """
        self.service = service
        self.findings: list[Finding] = []
        """The items that are not as they should be, or could not be read."""
        self.same = 0
        """How many items are as they should be."""
        self.passed_over: list[str] = []
        """RICs that are no matter of ours, or whose values are in doubt."""
        self.left: set[str] = set()
        """RICs that were left to a drop."""
        self._desk = desk
        self._repairs = Repairs(desk.state)
        self._is_claimed = is_claimed
        self._waits = waits
        self._uncertain = uncertain
        self._todo: OrderedDict[str, None] = OrderedDict.fromkeys(rics)
        self._asked: dict[str, Wanted] = {}
        self._not_the_same: set[str] = set()

    @property
    def done(self) -> bool:
        """Every RIC has been read back, was left to a drop, or has turned out to be no matter of ours."""
        return not (self._todo or self._asked)

    @property
    def unheard(self) -> list[str]:
        """RICs that have not been read back yet."""
        return [*self._todo, *self._asked]

    def lacks(self, ric: str) -> bool:
        """It has not been read back yet, or was not as it should be."""
        return any(ric in some for some in (self._todo, self._asked, self._not_the_same, self.left))

    @property
    def heard(self) -> int:
        """Items that were read back, or could not be."""
        return self.same + len(self.findings)

    def may_ask(self) -> bool:
        """Whether there is something to ask for, and room for it."""
        return bool(self._todo) and len(self._asked) <= AHEAD // 2

    def ask(self) -> ItemRequest | None:
        """The next items to ask for; None: not now."""
        if not self.may_ask():
            return None
        room = AHEAD - len(self._asked)
        picked = [self._todo.popitem(last=False)[0] for _ in range(min(room, len(self._todo)))]
        names = [ric for ric in picked if not self._is_claimed(self.service, ric)]
        if len(names) < len(picked):
            self._leave([ric for ric in picked if self._is_claimed(self.service, ric)])
        wanted = self._repairs.wanted(self.service, names)
        asked = {ric: wanted[ric] for ric in names if ric in wanted and (wanted[ric].certain or self._uncertain)}
        self.passed_over += [ric for ric in names if ric not in asked]
        self._asked |= asked
        return ItemRequest(self.service, tuple(asked)) if asked else None

    def hear(self, answers: Iterable[ItemAnswer]) -> None:
        """Compare what came with what should be there.

        Where that has changed since it was asked for, or may just be changing, the item is asked for again. Of an
        item for which others have asked as well, several answers may come at once: the last one counts.
        """
        heard = {one.name: one for one in answers if one.service == self.service and one.name in self._asked}
        mine = list(heard.values())
        now = self._repairs.wanted(self.service, [answer.name for answer in mine]) if mine else {}
        present: list[str] = []
        for answer in mine:
            wanted = self._asked.pop(answer.name)
            if self._is_claimed(self.service, answer.name):
                self._leave([answer.name])
                continue
            if answer.seen is Seen.LOST or now.get(answer.name) != wanted:
                self._todo[answer.name] = None
                continue
            finding = self._compared(answer, wanted)
            if finding.held is not Held.SAME:
                self.findings.append(finding)
                self._not_the_same.add(answer.name)
            elif wanted.certain:
                present.append(answer.name)
            self.same += finding.held is Held.SAME
        self._repairs.present(self.service, present)

    def _leave(self, claimed: Sequence[str]) -> None:
        if self._waits:
            self._todo |= dict.fromkeys(claimed)
        else:
            self.left.update(claimed)

    def _compared(self, answer: ItemAnswer, wanted: Wanted) -> Finding:
        finding = Finding(
            self.service, answer.name, Held.SAME, (), "", wanted.feed, wanted.certain, hash(wanted.fields)
        )
        if answer.seen is Seen.FIELDS:
            found = differences(wanted.fields, answer.fields, self._desk.dictionary)
            return finding._replace(held=Held.DIFFERENT, differences=found) if found else finding
        if answer.code in NOT_THERE:
            return finding._replace(held=Held.MISSING)
        why = ": ".join(part for part in (answer.code, answer.text) if part)
        return finding._replace(held=Held.UNREADABLE, why=why or "the ADS closed it without a word")


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """The items that are missing or different."""
    return [one for one in findings if one.held in (Held.MISSING, Held.DIFFERENT)]


def owners(desk: Desk, service: str) -> list[str]:
    """The configured feeds that post to a Service; a feed that is no longer configured owns nothing."""
    return [feed.name for feed in desk.feeds.values() if feed.service == service]


def services(desk: Desk) -> list[str]:
    """The Services to which the configured feeds post."""
    return list(dict.fromkeys(feed.service for feed in desk.feeds.values()))
