"""Reading back and posting again at a person's wish, while no other process sends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from contrib_watch.adapters.connection import Collected
from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.reading import Seen
from contrib_watch.core.model import Status
from contrib_watch.errors import ConfigurationError, StateError
from contrib_watch.pipeline.availability import check_services, note
from contrib_watch.pipeline.brake import refuse_paused, why_paused
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.link import Link
from contrib_watch.pipeline.patience import Patience
from contrib_watch.pipeline.presence import tell
from contrib_watch.pipeline.readback import Finding, Held, ReadBack, owners, services, wrong
from contrib_watch.pipeline.repair import Repair, after_a_stop, by_service, summed
from contrib_watch.store.repairs import Repairs

Advanced = Callable[[int], object]
"""Is told how many more items are done."""


@dataclass(frozen=True)
class Reconciled:
    """What a read-back found, and what became of it."""

    items: int
    """How many were read back, or could not be."""
    findings: tuple[Finding, ...]
    """All that was not as it should be, by Service and RIC."""
    resent: dict[Status, int] = field(default_factory=dict)
    """What the ADS said to what was posted again."""
    left: tuple[Finding, ...] = ()
    """What is still not as it should be."""

    @property
    def exit_code(self) -> int:
        """3: something is not as it should be, 4: something is not known."""
        unknown = self.resent.get(Status.UNCONFIRMED) or any(one.held is Held.UNREADABLE for one in self.left)
        return 4 if unknown else 3 if self.left or self.resent.get(Status.NAKKED) else 0


class Task:
    """Works through one connection, from its login on; for one task at a time."""

    def __init__(
        self,
        desk: Desk,
        link: Link,
        form: Callable[[str], PostFormat],
        *,
        held_back: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Nobody else may be sending: what was in flight when the last process ended is in doubt from now on.

        ``held_back`` gives feeds of which nothing may be posted at present, and why.
        """
        self._desk = desk
        self._link = link
        self._form = form
        self._held_back = held_back
        self._repairs = Repairs(desk.state)
        self._patience = Patience(desk.settings.ads, desk.clock.monotonic)
        after_a_stop(desk)
        link.start()

    def reconcile(self, chosen: Sequence[str], *, repair: bool, advanced: Advanced) -> Reconciled:
        """Read back all that these Services should hold; ``repair``: post again what is missing or different.

        Values in doubt are left to the next drop: they may be older than what the ADS holds.
        Raises NoConnection, or LoginRefused, and with ``repair`` what :meth:`resend` raises before it posts.
        """
        if repair:
            self._refuse_held_back(chosen)
        rics = {service: self._rics(service) for service in chosen}
        reads = self._read(rics, advanced)
        findings = _sorted(reads)
        result = Reconciled(sum(read.heard for read in reads), findings, left=findings)
        bad = [one for one in wrong(findings) if one.certain]
        if repair and bad:
            result = self._repaired(result, bad, advanced)
        if not result.exit_code and set(chosen) == set(services(self._desk)):
            counts = Counter(one.held for one in bad)
            told = {"items": result.items, "missing": counts[Held.MISSING], "different": counts[Held.DIFFERENT]}
            with self._desk.state.transaction():
                self._desk.state.put("suspect", "")
                tell(self._desk, "repaired" if bad else "fine", **told, acked=result.resent.get(Status.ACKED, 0))
        return result

    def resend(self, chosen: Sequence[str], pattern: str, *, advanced: Advanced) -> dict[Status, int]:
        """Post again, in full, all that these Services should hold and whose RIC the shell-style pattern fits.

        Raises NoConnection, or LoginRefused, ConfigurationError where a feed is paused, and StateError where nothing
        of one may be posted for another reason.
        """
        self._refuse_held_back(chosen)
        asked = [
            (service, ric, "a person asked")
            for service in chosen
            for ric in self._rics(service)
            if fnmatchcase(ric, pattern)
        ]
        repairs = self._post(asked, advanced)
        everything = pattern == "*" and set(chosen) == set(services(self._desk))
        totals = summed(repairs)
        if everything and totals[Status.ACKED] == totals.total():
            with self._desk.state.transaction():
                self._desk.state.put("suspect", "")
                tell(self._desk, "resent", acked=totals[Status.ACKED])
        return dict(totals)

    def _refuse_held_back(self, chosen: Sequence[str]) -> None:
        refuse_paused(self._desk, chosen)
        for feed, why in self._held_back().items():
            if self._desk.feeds[feed].service in chosen:
                hint = "They would tell of a state that is not the newest: mount the share, or make the folder"
                raise StateError(f"nothing is posted of feed {feed}: {why}", hint=hint)

    def _repaired(self, result: Reconciled, bad: Sequence[Finding], advanced: Advanced) -> Reconciled:
        repairs = self._post(((one.service, one.ric, str(one)) for one in bad), advanced)
        again = self._read({repair.service: list(repair.acked) for repair in repairs}, advanced)
        acked = {(repair.service, ric) for repair in repairs for ric in repair.acked}
        untouched = [one for one in result.findings if (one.service, one.ric) not in acked]
        left = sorted((*untouched, *_sorted(again)))
        return Reconciled(result.items, result.findings, dict(summed(repairs)), tuple(left))

    def _rics(self, service: str) -> list[str]:
        return self._repairs.rics(service, owners(self._desk, service), uncertain=True)

    def _read(self, rics: dict[str, list[str]], advanced: Advanced) -> list[ReadBack]:
        reads = [ReadBack(self._desk, service, some, uncertain=True) for service, some in rics.items()]
        while not all(read.done for read in reads):
            if self._patience.up:
                for read in reads:
                    if (wanted := read.ask()) is not None:
                        self._link.request(wanted)
            before = sum(read.heard for read in reads)
            came = self._collect(1.0)
            for read in reads:
                read.hear(came.items)
            advanced(sum(read.heard for read in reads) - before)
        return reads

    def _post(self, asked: Iterable[tuple[str, str, str]], advanced: Advanced) -> list[Repair]:
        breakers: dict[str, Breaker] = {}
        repairs = []
        for service, reasons in by_service(asked):
            breakers[service] = Breaker()
            self._repairs.doubt(service, list(reasons))
            repairs.append(Repair(self._desk, service, reasons, by_hand=True, breaker=breakers[service]))
        room, halted = 2 * self._desk.settings.ads.window, False
        while not all(repair.done for repair in repairs):
            outgoing = []
            before, halted = halted, bool(why_paused(self._desk, list(breakers)))  # by whoever stops it
            if halted and not before:
                self._link.recall()
            if halted and not any(repair.on_wire for repair in repairs):
                refuse_paused(self._desk, list(breakers))
            with self._desk.state.transaction():
                for repair in repairs:
                    free = room - sum(len(one.on_wire) for one in repairs)
                    outgoing += repair.take(
                        free if self._patience.up and not halted else 0, self._form(repair.service)
                    )
            if outgoing:
                self._link.post(outgoing)
            came = self._collect(1.0 if halted else self._patience_s(repairs))
            with self._desk.state.transaction():
                advanced(sum(repair.settle(came.answers) for repair in repairs))
            unfinished = [repair.service for repair in repairs if not repair.done]
            hint = "What was posted is recorded; tell your Market Data team which source is down"
            check_services(breakers, unfinished, self._desk, hint)
        return repairs

    def _patience_s(self, repairs: Iterable[Repair]) -> float:
        """Not at all while something may be sent and has room."""
        wire = sum(len(repair.on_wire) for repair in repairs)
        due = [due_s for repair in repairs if (due_s := repair.due_s()) is not None]
        if not self._patience.up or not due or wire >= 2 * self._desk.settings.ads.window:
            return 1.0
        return min(max(min(due) - self._desk.clock.monotonic(), 0.0), 1.0)

    def _collect(self, timeout_s: float) -> Collected:
        """What came; raises NoConnection where there is none for long, or too many are lost in a row."""
        came = self._link.collect(timeout_s)
        self._patience.heard(came.answers)
        if any(item.seen is not Seen.LOST for item in came.items):
            self._patience.answered()
        for event in came.events:
            note(event, self._patience)
        self._patience.check("What was posted is recorded; check ads.hosts and the network, and start again")
        return came


def chosen_services(desk: Desk, service: str | None) -> list[str]:
    """The Services that a command is for; raises ConfigurationError for one to which no feed posts."""
    known = services(desk)
    if service is None:
        return known
    if service not in known:
        raise ConfigurationError(f"no feed posts to the Service {service!r}", hint=f"There are: {', '.join(known)}")
    return [service]


def _sorted(reads: Iterable[ReadBack]) -> tuple[Finding, ...]:
    return tuple(sorted(finding for read in reads for finding in read.findings))
