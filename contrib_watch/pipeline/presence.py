"""Whether the ADS still holds what it acknowledged, and making it whole again where it does not.

After each login a random sample of every Service is read back. A miss or a difference, or an Update for which the ADS
knows no item, makes the target *suspect*: everything that the feeds own there is then read back, what is missing or
different is posted again in full, and what was posted is read back once more. RICs to which a drop is posting are
left to the drop until it is over, and are then read back again. Values in doubt are left to the next drop, since
nobody knows which are the newer.

That the target is suspect is on the disk until the end, so that a process that dies on the way changes nothing.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog

from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.exchange import Answer, Outgoing
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.reading import ItemAnswer, ItemRequest
from contrib_watch.core.model import Status
from contrib_watch.core.wording import plural
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.readback import Finding, Held, Item, ReadBack, owners, services, wrong
from contrib_watch.pipeline.repair import IsClaimed, Repair, by_service, summed
from contrib_watch.pipeline.stubborn import Stubborn
from contrib_watch.store import utc_text
from contrib_watch.store.repairs import Repairs

log = structlog.get_logger()

OFTEN_ENOUGH = timedelta(days=1)
"""A run that has nothing to post makes a connection only where the last sample is older."""
UNKNOWN_ITEM = "an Update met an item that the ADS did not know"
BY_HAND = (
    "the ADS may have lost its cache, and this user cannot read items back: "
    "`contrib-watch resend` posts everything again"
)


class _Phase(StrEnum):
    IDLE = "idle"
    SAMPLING = "sampling"
    READING = "reading"
    """Everything is read back."""
    REPAIRING = "repairing"
    VERIFYING = "verifying"
    """What was posted again is read back."""


class Presence:
    """The checks of one process. Its driver calls it between transactions unless said otherwise."""

    def __init__(self, desk: Desk, dice: random.Random, breaker: Callable[[str], Breaker]) -> None:
        """``breaker`` gives the circuit breaker of a Service."""
        self._desk = desk
        self._dice = dice
        self._breaker = breaker
        self._repairs = Repairs(desk.state)
        self.repair_code: int | None = None
        """How repairs ended, as an exit code: 3 for what is not as it should be, 4 for what nobody knows; None: there
        was none."""
        self._phase = _Phase.IDLE
        self._reads: list[ReadBack] = []
        self._posts: list[Repair] = []
        self._latest: list[Repair] = []  # of these, those for what was found at the last reading
        self._found: dict[Item, Finding] = {}  # since the target is suspect
        self._still: list[Finding] = []  # not as it was acknowledged, after it was posted again
        self._stubborn_before = 0  # items that were so after an earlier repair
        self._items = 0
        self._unreadable = 0
        self._in_doubt = 0  # left to a drop, after which nobody knows
        self._denied = ""
        """Why no item at all could be read back in this process; empty: some could."""
        self._told_denied = False
        self._told_unreadable: set[str] = set()
        self._read_again = False  # what was there may be gone again
        self._stubborn = Stubborn(desk.state)
        self._sampled_utc = desk.state.get("sampled_utc") or ""
        told = json.loads(desk.state.get("presence") or "{}")
        self._was_denied = told.get("state") == "unreadable"
        """No item could be read back by an earlier process, nor by this one until now."""

    @property
    def busy(self) -> bool:
        """A check or a repair is under way."""
        return self._phase is not _Phase.IDLE

    @property
    def unfinished(self) -> bool:
        """The target is suspect, perhaps since an earlier process; where items cannot be read, once a day."""
        if self._denied or (self._was_denied and not self.overdue):
            return False
        return bool(self._size and self._suspicion)

    @property
    def overdue(self) -> bool:
        """No sample was read back for :data:`OFTEN_ENOUGH`."""
        if not self._size or not self._sampled_utc:
            return bool(self._size)
        age = self._desk.clock.utc() - datetime.fromisoformat(self._sampled_utc)
        return not timedelta(0) <= age < OFTEN_ENOUGH

    def logged_in(self) -> None:
        """There is a connection: read a sample back."""
        if not self._size:
            return
        if self._phase is _Phase.REPAIRING:
            self._read_again = True
            return
        self._start(_Phase.SAMPLING, self._sample)

    def lost(self) -> None:
        """The connection is gone: what was read of it says nothing any more. Posts go on with the next one."""
        if self._phase is not _Phase.REPAIRING:
            self._reads, self._phase = [], _Phase.IDLE

    def doubt(self, why: str, unknown: Sequence[Item]) -> None:
        """Something else than a check has met items that the ADS does not know: it may have lost others, too.

        What a check that is under way has seen to be missing, or is yet to see, is no news to it.
        """
        if not self._size:
            return
        if self._suspicion:
            if self._phase not in (_Phase.IDLE, _Phase.SAMPLING) and any(map(self._was_there, unknown)):
                self._read_again = True
            return
        self._suspect(why)
        if self._denied:
            self._warn(f"{why}; {BY_HAND}")
        elif self._phase is _Phase.IDLE:
            self._start(_Phase.READING, self._all)

    def requests(self, is_claimed: IsClaimed) -> Iterator[ItemRequest]:
        """What to ask the ADS for now."""
        for read in self._reads:
            if (request := read.ask(is_claimed)) is not None:
                yield request

    def hear(self, answers: Sequence[ItemAnswer], is_claimed: IsClaimed) -> None:
        """Items that were read back."""
        for read in self._reads:
            read.hear(answers, is_claimed)

    @property
    def posting_to(self) -> list[str]:
        """The Services to which a repair still has something to post."""
        return [repair.service for repair in self._posts if not repair.done]

    def holds(self, service: str) -> frozenset[str]:
        """RICs of a Service with a post of a repair on the wire: no other may go out for them."""
        return frozenset().union(*(repair.on_wire for repair in self._posts if repair.service == service))

    def due_s(self) -> float | None:
        """When a repair has something to send; None: not before the next answer."""
        return min((due_s for one in self._posts if (due_s := one.due_s()) is not None), default=None)

    def take(self, room: int, form: Callable[[str], PostFormat], is_claimed: IsClaimed) -> list[Outgoing]:
        """Posts of a repair, at most ``room``, recorded as in flight by the end of the caller's transaction."""
        taken: list[Outgoing] = []
        for repair in self._posts:
            taken += repair.take(room - len(taken), form(repair.service), is_claimed)
        return taken

    def settle(self, answers: Iterable[Answer]) -> None:
        """Record what answers mean for a repair."""
        for repair in self._posts:
            repair.settle(answers)

    def advance(self) -> None:
        """Go on to the next step where one is over."""
        while self._phase is not _Phase.IDLE and not self._in_hand:
            before = self._phase
            self._step()
            if self._phase is before:
                return

    @property
    def _in_hand(self) -> bool:
        return not (all(read.done for read in self._reads) and all(repair.done for repair in self._posts))

    # How it decides.

    @property
    def _size(self) -> int:
        return self._desk.settings.ads.presence_sample

    @property
    def _suspicion(self) -> dict[str, Any]:
        """Why the target is suspect, and since when; empty: it is not."""
        found: dict[str, Any] = json.loads(self._desk.state.get("suspect") or "{}")
        return found

    def _step(self) -> None:
        match self._phase:
            case _Phase.SAMPLING:
                self._end_sample()
            case _ if self._read_again:
                self._start(_Phase.READING, self._all)
            case _Phase.READING:
                self._end_reading()
            case _Phase.REPAIRING:
                self._start(_Phase.VERIFYING, self._to_verify)
            case _Phase.VERIFYING:
                self._end_verifying()

    def _start(self, phase: _Phase, pick: Callable[[str], Sequence[str]]) -> None:
        """Read the RICs that ``pick`` gives for each Service."""
        self._phase = phase
        self._read_again = False
        self._reads = [ReadBack(self._desk, service, pick(service)) for service in services(self._desk)]

    def _was_there(self, item: Item) -> bool:
        """The check that is under way has seen it there, or has brought it back."""
        service, ric = item
        if any(read.service == service and read.lacks(ric) for read in self._reads):
            return False
        return item not in self._found or any(one.service == service and ric in one.acked for one in self._posts)

    def _all(self, service: str) -> list[str]:
        return self._repairs.rics(service, owners(self._desk, service), uncertain=False)

    def _to_verify(self, service: str) -> list[str]:
        """What the latest repair posted, and what it left to a drop."""
        return [ric for repair in self._latest if repair.service == service for ric in (*repair.acked, *repair.left)]

    def _sample(self, service: str) -> list[str]:
        rics = self._all(service)
        return self._dice.sample(rics, min(self._size, len(rics)))

    def _end_sample(self) -> None:
        findings, heard = self._taken()
        self._sampled_utc = utc_text(self._desk.clock.utc())
        self._desk.state.put("sampled_utc", self._sampled_utc)
        unreadable = [one for one in findings if one.held is Held.UNREADABLE]
        bad = self._stubborn.news(wrong(findings))
        if heard and len(unreadable) == heard:
            self._deny(unreadable[0])
            return
        if heard:
            self._denied, self._was_denied, self._told_denied = "", False, False
        if bad and not self._suspicion:
            self._suspect(f"{bad[0].ric} is not as it was acknowledged: {bad[0]}")
        if self._suspicion and not self._denied:
            self._start(_Phase.READING, self._all)
        else:
            self._phase = _Phase.IDLE
            if heard:
                self._tell_unreadable(unreadable)
                items, why = heard - len(unreadable), unreadable[0].why if unreadable else ""
                self._tell("fine", items=items, still_wrong=len(wrong(findings)), unreadable=len(unreadable), why=why)

    def _tell_unreadable(self, findings: Sequence[Finding]) -> None:
        """Say once of each Service that items of it could not be read back, while others could."""
        for finding in findings:
            if finding.service not in self._told_unreadable:
                self._told_unreadable.add(finding.service)
                log.warning("items cannot be read back", why=finding.why, ric=finding.ric, service=finding.service)

    def _deny(self, finding: Finding) -> None:
        """No item of the sample could be read back: say so once, and leave it at that."""
        self._phase = _Phase.IDLE
        self._denied = finding.why
        if not self._told_denied:
            log.warning("items cannot be read back", why=finding.why, ric=finding.ric, service=finding.service)
            self._tell("unreadable", why=finding.why)
        if not self._told_denied and self._suspicion:
            self._warn(f"{self._suspicion['why']}; {BY_HAND}")
        self._told_denied = True

    def _end_reading(self) -> None:
        findings, self._items = self._taken()
        self._unreadable = sum(one.held is Held.UNREADABLE for one in findings)
        self._in_doubt = 0
        bad = wrong(findings)
        news = self._stubborn.news(bad)
        known = {one.item for one in bad} - {one.item for one in news}
        self._still = [one for one in self._still if one.item in known]
        self._stubborn_before = len(known) - len(self._still)
        self._found |= {one.item: one for one in news}
        if not news:
            self._conclude()
            return
        counts = Counter(one.held for one in news)
        missing, different = counts[Held.MISSING], counts[Held.DIFFERENT]
        log.warning(
            "the ADS does not hold what it acknowledged, posting it again",
            items=self._items,
            missing=missing,
            different=different,
            example=f"{news[0].ric}: {news[0]}",
        )
        self._tell("repairing", items=self._items, missing=missing, different=different)
        with self._desk.state.transaction():
            self._warn(f"{_lost(self._items, missing, different)}; they will be posted again")
            self._repair(news)

    def _repair(self, findings: Sequence[Finding]) -> None:
        self._phase, self._latest = _Phase.REPAIRING, []
        with self._desk.state.transaction():
            for service, reasons in by_service((one.service, one.ric, str(one)) for one in findings):
                self._repairs.doubt(service, list(reasons))
                self._latest.append(Repair(self._desk, service, reasons, breaker=self._breaker(service)))
        self._posts += self._latest

    def _end_verifying(self) -> None:
        self._in_doubt += sum(len(self._repairs.wanted(read.service, read.passed_over)) for read in self._reads)
        findings, _ = self._taken()
        self._unreadable += sum(one.held is Held.UNREADABLE for one in findings)
        posted = {(repair.service, ric): value for repair in self._latest for ric, value in repair.acked.items()}
        still = [one for one in wrong(findings) if posted.get(one.item) == one.wanted]
        again = [one for one in wrong(findings) if posted.get(one.item) != one.wanted]  # these are a drop's values
        self._stubborn.learn(still)
        self._still += still
        if again:
            self._repair(again)
        else:
            self._conclude()

    def _conclude(self) -> None:
        """The repair is over, or nothing had to be repaired."""
        still, totals = self._still, summed(self._posts)
        counts = Counter(one.held for one in self._found.values())
        told = {
            "items": self._items,
            "missing": counts[Held.MISSING],
            "different": counts[Held.DIFFERENT],
            "acked": totals[Status.ACKED],
            "nakked": totals[Status.NAKKED],
            "unconfirmed": totals[Status.UNCONFIRMED],
            "left_to_drops": len(self._found) - totals.total(),
            "in_doubt": self._in_doubt,
            "still_wrong": len(still) + self._stubborn_before,
            "unreadable": self._unreadable,
        }
        unknown = totals[Status.UNCONFIRMED] or self._unreadable or self._in_doubt
        code = 4 if unknown else 3 if totals[Status.NAKKED] or still else 0
        counted = {name: count for name, count in told.items() if count}
        if code:
            log.error("the ADS does not hold all that it acknowledged", **counted)
        else:
            log.info("the ADS holds what it acknowledged", **counted)
        with self._desk.state.transaction():
            self._desk.state.put("suspect", "")
            self._tell("incomplete" if code else "repaired", **told)
            if self._found or self._unreadable:
                self._warn(_summary(told, still))
                self.repair_code = max(code, self.repair_code or 0)
        self._phase, self._reads, self._found = _Phase.IDLE, [], {}
        self._posts, self._latest, self._still = [], [], []

    def _taken(self) -> tuple[list[Finding], int]:
        """What the read-backs of this step found, and how many items they heard of."""
        findings = [finding for read in self._reads for finding in read.findings]
        heard = sum(read.heard for read in self._reads)
        self._reads = []
        return findings, heard

    def _suspect(self, why: str) -> None:
        log.warning("the ADS may have lost what it acknowledged: all of it is read back", why=why)
        told = {"why": why, "since_utc": utc_text(self._desk.clock.utc())}
        with self._desk.state.transaction():
            self._desk.state.put("suspect", json.dumps(told))
            self._tell("suspect", why=why)

    def _tell(self, state: str, **facts: object) -> None:
        """Leave the outcome where ``status`` finds it."""
        tell(self._desk, state, **facts)

    def _warn(self, text: str) -> None:
        """Leave a warning for the next report of each feed."""
        with self._desk.state.transaction():
            for feed in self._desk.feeds:
                self._desk.state.put(f"warning {feed}", text)


def tell(desk: Desk, state: str, **facts: object) -> None:
    """Leave what the last read-back found where ``status`` finds it."""
    desk.state.put("presence", json.dumps({"state": state, "at_utc": utc_text(desk.clock.utc()), **facts}))


def _summary(told: dict[str, int], still: Sequence[Finding]) -> str:
    text = (
        f"{_lost(told['items'], told['missing'], told['different'])}; posted again: {told['acked']:,} acknowledged, "
        f"{told['nakked']:,} refused, {told['unconfirmed']:,} without an answer"
    )
    if left := told["left_to_drops"]:
        text += f"; {left:,} were left to drops that posted to them"
    if told["in_doubt"]:
        text += f", after which {told['in_doubt']:,} are in doubt"
    if still:
        text += f"; {len(still):,} are still not as acknowledged, such as {still[0].ric}: {still[0]}"
    if told["unreadable"]:
        text += f"; {told['unreadable']:,} could not be read back"
    return text


def _lost(items: int, missing: int, different: int) -> str:
    return (
        f"the ADS did not hold what it had acknowledged: of {plural(items, 'item')} {missing:,} were missing "
        f"and {different:,} different"
    )


def pending_warning(desk: Desk, feed: str) -> tuple[str, ...]:
    """What the next report of a feed has to say of the ADS, until it is told."""
    text = desk.state.get(f"warning {feed}")
    return (text,) if text else ()


def warning_told(desk: Desk, feed: str) -> None:
    """A report says it; within the transaction that records the report's drop as over."""
    if pending_warning(desk, feed):
        desk.state.put(f"warning {feed}", "")
