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
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog

from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.exchange import Answer, Outgoing
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.reading import ItemAnswer, ItemRequest
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.loss import Loss
from contrib_watch.pipeline.readback import Finding, Held, Item, ReadBack, owners, services, wrong
from contrib_watch.pipeline.repair import IsClaimed, Repair, by_service
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
NOTHING_LEFT = (
    "the ADS did not hold all that it had acknowledged; "
    "after a stop of the program nothing was left to be posted again"
)


class _Phase(StrEnum):
    IDLE = "idle"
    SAMPLING = "sampling"
    READING = "reading"
    """Everything is read back."""
    REPAIRING = "repairing"
    VERIFYING = "verifying"
    """What was posted again, or was left to drops that are over by then, is read back."""


class Presence:
    """The checks of one process. Its driver calls it between transactions unless said otherwise."""

    def __init__(
        self, desk: Desk, dice: random.Random, breaker: Callable[[str], Breaker], is_claimed: IsClaimed
    ) -> None:
        """``breaker`` gives the circuit breaker of a Service."""
        self._desk = desk
        self._dice = dice
        self._breaker = breaker
        self._is_claimed = is_claimed
        self._repairs = Repairs(desk.state)
        self.repair_code: int | None = None
        """How repairs ended, as an exit code: 3 for what is not as it should be, 4 for what nobody knows; None: there
        was none."""
        self._phase = _Phase.IDLE
        self._reads: list[ReadBack] = []
        self._loss = Loss()
        self._denied = ""
        """Why no item at all could be read back in this process; empty: some could."""
        self._told_denied = False
        self._readable = False  # the last sample was, or some of it
        self._told_unreadable: set[str] = set()
        self._read_again = False  # what was there may be gone again
        self._stubborn = Stubborn(desk.state)
        self._sampled_utc = desk.state.get("sampled_utc") or ""
        self._was_denied = self._told_state == "unreadable"
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
            if self._phase in (_Phase.IDLE, _Phase.SAMPLING) or not any(map(self._was_there, unknown)):
                return
            if self._phase is _Phase.VERIFYING:  # at once: it may wait for drops that never end
                self._start(_Phase.READING, self._all)
            else:
                self._read_again = True
            return
        self._suspect(why)
        if self._denied:
            self._warn(f"{why}; {BY_HAND}")
        else:
            self._start(_Phase.READING, self._all)

    def landed(self, service: str, rics: Iterable[str]) -> None:
        """The ADS has acknowledged posts of drops to these RICs of a Service: it knows their items."""
        if self._phase not in (_Phase.IDLE, _Phase.SAMPLING):  # of no use to these, and a drop may have a million
            self._loss.back.update((service, ric) for ric in rics)

    def requests(self) -> Iterator[ItemRequest]:
        """What to ask the ADS for now."""
        for read in self._reads:
            if (request := read.ask()) is not None:
                yield request

    def hear(self, answers: Sequence[ItemAnswer]) -> None:
        """Items that were read back."""
        for read in self._reads:
            read.hear(answers)

    @property
    def on_wire(self) -> bool:
        """Posts of a repair have no answer yet."""
        return any(repair.on_wire for repair in self._loss.repairs)

    @property
    def posting_to(self) -> list[str]:
        """The Services to which a repair still has something to post."""
        return [repair.service for repair in self._loss.repairs if not repair.done]

    def holds(self, service: str) -> frozenset[str]:
        """RICs of a Service with a post of a repair on the wire: no other may go out for them."""
        return frozenset().union(*(repair.on_wire for repair in self._loss.repairs if repair.service == service))

    def due_s(self) -> float | None:
        """When a repair has something to send; None: not before the next answer."""
        return min((due_s for one in self._loss.repairs if (due_s := one.due_s()) is not None), default=None)

    def take(self, room: int, form: Callable[[str], PostFormat]) -> list[Outgoing]:
        """Posts of a repair, at most ``room``, recorded as in flight by the end of the caller's transaction."""
        taken: list[Outgoing] = []
        for repair in self._loss.repairs:
            taken += repair.take(room - len(taken), form(repair.service))
        return taken

    def settle(self, answers: Iterable[Answer]) -> None:
        """Record what answers mean for a repair."""
        for repair in self._loss.repairs:
            repair.settle(answers)

    def advance(self) -> None:
        """Go on to the next step where one is over."""
        while self._phase is not _Phase.IDLE and (self._sample_is_enough or not self._in_hand):
            before = self._phase
            self._step()
            if self._phase is before:
                return

    @property
    def _in_hand(self) -> bool:
        return not (all(read.done for read in self._reads) and all(map(self._is_over, self._loss.repairs)))

    def _is_over(self, repair: Repair) -> bool:
        """Nothing more is to be expected of it; a Service that is down does not hold up the others for long."""
        return repair.done or (self._read_again and repair.rests)

    @property
    def _sample_is_enough(self) -> bool:
        """There is no need to wait for the rest of the sample: all is to be read back."""
        if self._phase is not _Phase.SAMPLING:
            return False
        if any(read.same for read in self._reads) and self._suspicion:
            return True
        return bool(self._stubborn.news(wrong(finding for read in self._reads for finding in read.findings)))

    # How it decides.

    @property
    def _size(self) -> int:
        return self._desk.settings.ads.presence_sample

    @property
    def _suspicion(self) -> dict[str, Any]:
        """Why the target is suspect, and since when; empty: it is not."""
        found: dict[str, Any] = json.loads(self._desk.state.get("suspect") or "{}")
        return found

    @property
    def _told_state(self) -> str:
        """What ``status`` says of the last check, perhaps of an earlier process."""
        told: dict[str, Any] = json.loads(self._desk.state.get("presence") or "{}")
        return str(told.get("state", ""))

    def _step(self) -> None:
        match self._phase:
            case _Phase.SAMPLING:
                self._end_sample()
            case _ if self._read_again:
                self._start(_Phase.READING, self._all)
            case _Phase.READING:
                self._end_reading()
            case _Phase.REPAIRING:
                self._verify()
            case _Phase.VERIFYING:
                self._end_verifying()

    def _start(self, phase: _Phase, pick: Callable[[str], Sequence[str]]) -> None:
        """Read the RICs that ``pick`` gives for each Service; what is missing is posted before drops are over."""
        self._phase = phase
        self._read_again = False
        if phase is _Phase.SAMPLING:
            self._readable = False
        if phase is _Phase.READING:
            self._begin_reading()
        waits = phase is not _Phase.READING
        self._reads = [
            ReadBack(self._desk, service, pick(service), is_claimed=self._is_claimed, waits=waits)
            for service in services(self._desk)
        ]

    def _begin_reading(self) -> None:
        loss = self._loss
        loss.gone, loss.back = set(), set()
        if loss.doubted is None:
            loss.doubted = self._in_doubt()
        for repair in loss.repairs:
            repair.abandon()

    def _in_doubt(self) -> set[Item]:
        """What is so after drops that are over; of one that is under way nobody knows how it ends."""
        mine = (
            (service, self._repairs.in_doubt(service, owners(self._desk, service)))
            for service in services(self._desk)
        )
        return {(service, ric) for service, rics in mine for ric in rics if not self._is_claimed(service, ric)}

    def _was_there(self, item: Item) -> bool:
        """The check that is under way has seen it there, or it was brought back meanwhile.

        What is read in the last step was brought back before, or drops were to bring it.
        """
        service, ric = item
        if self._phase is _Phase.READING and item not in self._loss.back:
            return not any(read.service == service and read.lacks(ric) for read in self._reads)
        return self._loss.was_there(item)

    def _all(self, service: str) -> list[str]:
        return self._repairs.rics(service, owners(self._desk, service), uncertain=False)

    def _sample(self, service: str) -> list[str]:
        """Half of it of RICs to which no drop is posting, where there are as many: the others may wait for long."""
        free: list[str] = []
        claimed: list[str] = []
        for ric in self._all(service):
            (claimed if self._is_claimed(service, ric) else free).append(ric)
        waiting = min(len(claimed), max(self._size // 2, self._size - len(free)))
        return [
            *self._dice.sample(free, min(len(free), self._size - waiting)),
            *self._dice.sample(claimed, waiting),
        ]

    def _end_sample(self) -> None:
        findings, heard, _ = self._taken()
        self._note_sampled()
        unreadable = [one for one in findings if one.held is Held.UNREADABLE]
        bad = self._stubborn.news(wrong(findings))
        if heard and len(unreadable) == heard:
            self._deny(unreadable[0])
            return
        if heard:
            self._readable = True
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

    def _note_sampled(self) -> None:
        self._sampled_utc = utc_text(self._desk.clock.utc())
        self._desk.state.put("sampled_utc", self._sampled_utc)

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
        findings, heard, left = self._taken()
        self._note_sampled()  # it may have begun before the sample was there
        unreadable = [one for one in findings if one.held is Held.UNREADABLE]
        if heard and len(unreadable) == heard:
            self._deny(unreadable[0])
            if self._readable:
                self.repair_code = 4
            return
        loss = self._loss
        loss.items, loss.unreadable = max(loss.items, heard + len(left)), len(unreadable)
        bad = wrong(findings)
        loss.latest, loss.unread, loss.gone = [], left, left | {one.item for one in bad}
        news, known = self._sorted_out(bad)
        loss.still = [one for one in loss.still if one.item in known]
        loss.known = len(known) - len(loss.still)
        if news:
            self._post_again(news)
        elif left:
            self._verify()
        else:
            self._conclude()

    def _sorted_out(self, bad: Sequence[Finding]) -> tuple[list[Finding], set[Item]]:
        """What is to be posted again, and what is known to be no use."""
        news = self._stubborn.news(bad)
        return news, {one.item for one in bad} - {one.item for one in news}

    def _post_again(self, findings: Sequence[Finding]) -> None:
        loss = self._loss
        loss.add(findings)
        counts = {name: loss.counts()[name] for name in ("items", "missing", "different")}
        example = f"{findings[0].ric}: {findings[0]}"
        log.warning("the ADS does not hold what it acknowledged, posting it again", **counts, example=example)
        self._phase, loss.latest = _Phase.REPAIRING, []
        with self._desk.state.transaction():
            self._tell("repairing", **counts)
            self._warn(f"{loss}; they will be posted again")
            for service, reasons in by_service((one.service, one.ric, str(one)) for one in findings):
                self._repairs.doubt(service, list(reasons))
                breaker = self._breaker(service)
                loss.latest.append(Repair(self._desk, service, reasons, is_claimed=self._is_claimed, breaker=breaker))
        loss.repairs += loss.latest

    def _verify(self) -> None:
        self._start(_Phase.VERIFYING, self._loss.to_verify)
        self._loss.unread = set()

    def _end_verifying(self) -> None:
        loss = self._loss
        findings, _, _ = self._taken()
        loss.unreadable += sum(one.held is Held.UNREADABLE for one in findings)
        posted, bad = loss.posted(), wrong(findings)
        still = [one for one in bad if posted.get(one.item) == one.wanted]
        news, known = self._sorted_out([one for one in bad if posted.get(one.item) != one.wanted])  # values of drops
        self._stubborn.learn(still)
        loss.still += still
        loss.known += len(known)
        if news:
            self._post_again(news)
        else:
            self._conclude()

    def _conclude(self) -> None:
        """The repair is over, or nothing had to be repaired."""
        loss, self._loss = self._loss, Loss()
        loss.in_doubt = self._in_doubt()
        counts, code = loss.counts(), loss.exit_code
        counted = {name: count for name, count in counts.items() if count}
        if code:
            log.error("the ADS does not hold all that it acknowledged", **counted)
        else:
            log.info("the ADS holds what it acknowledged", **counted)
        promised = self._told_state == "repairing"
        with self._desk.state.transaction():
            self._desk.state.put("suspect", "")
            self._tell("incomplete" if code or loss.in_doubt else "repaired", **counts)
            if loss.found or code:
                self._warn(loss.outcome())
                self.repair_code = max(code, self.repair_code or 0)
            elif promised:  # by a process that was stopped in the middle of a repair
                self._warn(NOTHING_LEFT)
        self._phase = _Phase.IDLE

    def _taken(self) -> tuple[list[Finding], int, set[Item]]:
        """What the read-backs of this step found, how many items they heard of, and what they left to drops."""
        findings = [finding for read in self._reads for finding in read.findings]
        heard = sum(read.heard for read in self._reads)
        left = {(read.service, ric) for read in self._reads for ric in read.left}
        self._reads = []
        return findings, heard, left

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


def pending_warning(desk: Desk, feed: str) -> tuple[str, ...]:
    """What the next report of a feed has to say of the ADS, until it is told."""
    text = desk.state.get(f"warning {feed}")
    return (text,) if text else ()


def warning_told(desk: Desk, feed: str) -> None:
    """A report says it; within the transaction that records the report's drop as over."""
    if pending_warning(desk, feed):
        desk.state.put(f"warning {feed}", "")
