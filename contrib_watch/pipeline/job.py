"""One drop on its way, from what is decided about it to its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.delivery import Decision, Delivery, Next
from contrib_watch.ads.exchange import Answer, Outgoing
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.reading import ItemAnswer, ItemRequest
from contrib_watch.core.model import Drop, DropStatus, Outcome, Post, Status, in_columns
from contrib_watch.core.posts import HUGE_ROWS, Coverage, planned_posts
from contrib_watch.core.report import Report
from contrib_watch.core.verified import NO, Verified, nothing_known
from contrib_watch.core.wording import plural
from contrib_watch.errors import StateError, UnreadableFile
from contrib_watch.pipeline import posting
from contrib_watch.pipeline.aside import Steps
from contrib_watch.pipeline.begun import begin, refuse_changed
from contrib_watch.pipeline.desk import Desk
from contrib_watch.pipeline.inspection import Start, inspecting, start_of
from contrib_watch.pipeline.posting import Settled
from contrib_watch.pipeline.presence import pending_warning, warning_told
from contrib_watch.pipeline.publishing import facts_of, report_of, reserve
from contrib_watch.pipeline.ruling import expired, valid_until_utc
from contrib_watch.pipeline.unsent import not_again, superseded, with_twins
from contrib_watch.pipeline.verifying import Verification
from contrib_watch.store import Entry, post_ids_of

_UNDONE = (Status.NAKKED, Status.UNCONFIRMED, Status.REJECTED)
"""Rows because of which a file that is saved again unchanged is another drop; of what is held, a person decides."""


class Taken(NamedTuple):
    """Posts of a drop that are to be sent, and what is to be written before that."""

    entries: list[Entry]
    outgoing: list[Outgoing]


class Job:
    """A drop that is being processed: :meth:`starting`, then take and settle until :attr:`done`, then conclude.

    What take and settle decide is theirs to say and the caller's to write, in the order in which it was said.
    """

    def __init__(
        self, desk: Desk, drop: Drop, start: Start, breaker: Breaker | None = None, *, goes_on: bool = False
    ) -> None:
        """Use :meth:`starting` or :meth:`begin`. ``goes_on``: the program was stopped in this run."""
        self.drop = replace(drop, status=start.status, reason=start.reason)
        self.ended = 0
        """Posts of which there is nothing more to be expected."""
        self.fault: Exception | None = None
        """What broke it off."""
        self._desk = desk
        self._quotes = start.quotes.without_values() if start.quotes is not None else None
        self._findings = start.findings
        changes = start.changes
        self._rics = changes.rics if changes is not None else pd.Index([])
        planned = planned_posts(changes) if changes is not None else iter(())
        self._delivery = Delivery(planned, retries=desk.settings.ads.retries, breaker=breaker)
        self._valid_until = valid_until_utc(desk, drop)
        self._verification: Verification | None = None
        self._going_again: dict[str, Decision] = {}  # by RIC: why it was posted and has to be posted again
        self._goes_on = goes_on

    @classmethod
    def starting(
        cls,
        desk: Desk,
        drop: Drop,
        *,
        claimed: Callable[[], Mapping[str, str]] = dict,
        stated: Mapping[str, frozenset[str]] | None = None,
        breaker: Breaker | None = None,
    ) -> Steps[Job]:
        """Read a drop's file, see inspecting(), and :meth:`begin`, or reject it where it cannot be read.

        No other drop of its Service may start between two steps. ``breaker`` is of its Service. Raises StateError
        where it is half sent, and would go on otherwise than it began.
        """
        refuse_changed(desk, drop)
        try:
            seen = yield from inspecting(desk, drop, claimed=claimed, stated=stated)
        except UnreadableFile as error:
            if drop.status is DropStatus.SENDING:  # rows of it may have been sent: "rejected" would be untrue
                hint = "Put the feed's configuration back as it was, or save the file again; then retry the drop"
                what = f"drop {drop.id} was being sent and can no longer be read: {error}"
                raise StateError(what, where=drop.path, hint=hint) from error
            return cls(desk, drop, Start(DropStatus.REJECTED, str(error)))
        return cls.begin(desk, drop, start_of(desk, drop, seen), breaker)

    @classmethod
    def begin(cls, desk: Desk, drop: Drop, start: Start, breaker: Breaker | None = None) -> Job:
        """Record every row that needs no post."""
        goes_on = drop.status is DropStatus.SENDING
        with desk.state.transaction():
            posts = start.changes is not None  # and not a command, which ends it while another of its feed is sent
            drop = begin(desk, drop) if posts else desk.drops.set_status(drop, DropStatus.SENDING)
            for outcomes in start.ended:
                desk.ledger.record(drop, outcomes)
        return cls(desk, drop, start, breaker, goes_on=goes_on)

    @classmethod
    def failed(cls, desk: Desk, drop: Drop, reason: str) -> Job:
        """A drop that cannot go on. What was posted of it without an answer ends here as unconfirmed.

        In which row of the file those RICs stood is not known any more: they are numbered from 0 down.
        """
        ended = frozenset(desk.ledger.outcomes(drop, ("ric",))["ric"].to_pylist())
        lost = [
            Outcome(
                -number,
                ric,
                Status.UNCONFIRMED,
                text="posted without an answer before the drop failed",
                attempts=attempts,
                full=full,
            )
            for number, (ric, full, attempts) in enumerate(desk.ledger.doubtful(drop, desk.feeds[drop.feed].service))
            if ric not in ended
        ]
        desk.ledger.record(drop, in_columns(lost))  # first, because the record of the failure stands for them, too
        drop = desk.drops.set_status(drop, DropStatus.FAILED, reason)
        return cls(desk, drop, Start(drop.status, drop.reason))

    @property
    def service(self) -> str:
        """The Service that it posts to."""
        return self._desk.feeds[self.drop.feed].service

    @property
    def rics(self) -> list[str]:
        """The RICs that it posts."""
        return self._rics.tolist()  # type: ignore[no-any-return]

    @property
    def planned(self) -> int:
        """How many RICs it posts."""
        return len(self._rics)

    @property
    def done(self) -> bool:
        """Every row has its outcome."""
        return self._delivery.done

    @property
    def over(self) -> bool:
        """It is done, and what was acknowledged has been read back where the feed asks for that."""
        return self.done and (not self._verifies or self._reading_back.done)

    @property
    def mismatched(self) -> int:
        """RICs of which the ADS turned out to hold something else than it acknowledged."""
        return sum(text.startswith(NO) for text in self._verified.others.values()) if self._verified else 0

    def verify(self, *, up: bool) -> ItemRequest | None:
        """What to read back now that it is done; ``up``: there is a login."""
        return self._reading_back.ask(up=up) if self._verifies and self.done else None

    def hear(self, answers: Sequence[ItemAnswer]) -> None:
        """Items that were read back, among others."""
        if self._verification is not None:
            self._verification.hear(answers)

    @property
    def _verifies(self) -> bool:
        return self._quotes is not None and self.fault is None and self._desk.feeds[self.drop.feed].verify

    @property
    def _reading_back(self) -> Verification:
        """Of all that the record says was acknowledged in this run, also before a stop of the program."""
        if self._verification is None:
            ended = self._desk.ledger.outcomes(self.drop, ("ric", "status"))
            acked = ended["ric"].filter(pc.equal(ended["status"], Status.ACKED.value))
            self._verification = Verification(self._desk, self.service, acked.unique().to_pylist())
        return self._verification

    @property
    def _verified(self) -> Verified | None:
        if self._verification is not None:
            return self._verification.found()
        return nothing_known("the drop failed") if self._desk.feeds[self.drop.feed].verify else None

    @property
    def on_wire(self) -> int:
        """Posts without an answer."""
        return self._delivery.on_wire

    @property
    def healed(self) -> Sequence[str]:
        """RICs whose Update met an item which the ADS had acknowledged once and does not know any more."""
        return self._delivery.healed

    def claims(self, ric: str) -> bool:
        """Whether it posts to a RIC."""
        return ric in self._rics

    def due_s(self) -> float | None:
        """When it has something to send, by the monotonic clock; None: not before the next answer."""
        return self._delivery.due_s()

    def expire(self) -> list[Entry]:
        """Hold what is not on the wire, and has waited for longer than the feed's ``valid_for``."""
        if self._valid_until is None or self._desk.clock.utc() <= self._valid_until:
            return []
        left = self._delivery.withdraw()
        if not left:
            return []
        why = expired(self._valid_until)
        self.drop = replace(self.drop, status=DropStatus.HELD, reason=why)
        return [self._entry(Settled(outcomes=in_columns(self._expired(post, why) for post in left)))]

    def _expired(self, post: Post, why: str) -> Outcome:
        last = self._going_again.get(post.ric)
        if last is None:
            return not_again(post, Status.HELD, why, goes_on=self._goes_on)
        status = Status.NAKKED if last.next is Next.AGAIN else Status.UNCONFIRMED
        told = posting.outcomes([last.post], [last.answer], [status], self._desk.utc_of)
        ended = Outcome(*(value for (value,) in told.values()))
        return ended._replace(text="; ".join(filter(None, (ended.text, why))))

    def take(self, room: int, form: PostFormat, coverage: Coverage | None) -> Taken:
        """At most ``room`` posts, which may go on the wire once their entry is written.

        What a newer drop gives values for is not sent (``coverage``; None: there is no newer drop).
        """
        taken = self._delivery.take(room, self._desk.clock.monotonic())
        late: list[Outcome] = []
        if coverage is not None:
            newest = [coverage.newest(post.ric, post.changed) for post in taken]
            late = [superseded(post, by) for post, by in zip(taken, newest, strict=True) if by > self.drop.id]
            taken = [post for post, by in zip(taken, newest, strict=True) if by <= self.drop.id]
        if not (taken or late):
            return Taken([], [])
        keys = self._desk.ledger.numbered(len(taken))
        entry = self._entry(Settled(outcomes=in_columns(late)))._replace(posts=taken, keys=keys)
        return Taken([entry], posting.outgoing(self._delivery, form, post_ids_of(keys), taken))

    def settle(self, answers: Iterable[Answer]) -> list[Entry]:
        """What the answers mean, to be written before the drop is concluded."""
        decided = self._delivery.settle_all(answers)
        if not any(decided):
            return []
        if self.fault is not None:
            self._delivery.abandon()
        settled = posting.settled(decided, self._desk.utc_reader())
        self.ended += len(settled.outcomes["row"])
        left = (one for one in decided.others if one.answer.sent_s is not None)  # what never did says nothing new
        self._going_again |= {one.post.ric: one for one in left if one.status is None}
        return [self._entry(settled)]

    def break_off(self, fault: Exception) -> None:
        """Send nothing more; once what is on the wire is answered the drop is done, and has failed."""
        self.fault = fault
        self._delivery.abandon()

    def conclude(self) -> Report:
        """Record that the drop is over and reserve the name of its report, which is to be published next."""
        desk = self._desk
        if self._quotes is not None and self._quotes.rows_read > HUGE_ROWS:
            pa.default_memory_pool().release_unused()  # before the report needs as much again
        warnings = (*self._findings.warnings, *_cache_lost(len(self.healed)), *pending_warning(desk, self.drop.feed))
        findings = replace(self._findings, warnings=warnings, verified=self._verified)
        report = report_of(desk, self.drop, findings, self._quotes)
        undone = self.drop.status is DropStatus.REJECTED or any(map(report.totals.get, _UNDONE))
        with desk.state.transaction():
            self.drop = desk.drops.finish(
                self.drop,
                totals={status.value: count for status, count in report.totals.items()},
                findings=findings,
                has_problem_rows=undone,
                now_utc=desk.clock.utc(),
                service=report.service,
                told=facts_of(desk, self.drop, self._quotes),
                leaves=desk.ledger.leaves(self.drop),
            )
            warning_told(desk, self.drop.feed)
            reserve(desk, self.drop)
        return replace(report, witness=desk.drops.witness(self.drop))

    def _entry(self, settled: Settled) -> Entry:
        if self._quotes is not None:
            settled = settled._replace(outcomes=with_twins(settled.outcomes, self._quotes))
        return Entry(self.drop, self.service, *settled)


def _cache_lost(healed: int) -> tuple[str, ...]:
    if not healed:
        return ()
    return (f"the ADS did not know {plural(healed, 'item')} that it had acknowledged: it may have lost its cache",)
