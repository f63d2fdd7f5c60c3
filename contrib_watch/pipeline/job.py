"""One drop, from its bytes to its report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import chain, compress
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.delivery import Decision, Delivery, Next
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.reading import ItemAnswer, ItemRequest
from contrib_watch.ads.session import Answer, Outgoing
from contrib_watch.core.diff import Changes, Later, diff
from contrib_watch.core.findings import Findings
from contrib_watch.core.model import (
    Cells,
    Drop,
    DropStatus,
    Feed,
    Outcome,
    Outcomes,
    Post,
    Problem,
    Quotes,
    Status,
    in_columns,
)
from contrib_watch.core.posts import Coverage, plans, posts
from contrib_watch.core.report import Report
from contrib_watch.core.verified import NO, Verified, nothing_known
from contrib_watch.errors import StateError, UnreadableFile
from contrib_watch.pipeline import posting
from contrib_watch.pipeline.aside import Begun, Steps
from contrib_watch.pipeline.desk import Desk, Reading
from contrib_watch.pipeline.posting import Settled
from contrib_watch.pipeline.presence import pending_warning, warning_told
from contrib_watch.pipeline.publishing import facts_of, report_of, reserve
from contrib_watch.pipeline.ruling import Ruling, expired, rule, valid_until_utc
from contrib_watch.pipeline.second_look import SecondLook, second_look
from contrib_watch.pipeline.unchanged import Held, look_up, unchanged
from contrib_watch.pipeline.undo import moved_on
from contrib_watch.pipeline.verifying import Verification
from contrib_watch.store import Entry, post_ids_of

_UNDONE = (Status.NAKKED, Status.UNCONFIRMED, Status.REJECTED)
"""Rows because of which a file that is saved again unchanged is another drop; of what is held, a person decides."""


def examine(
    desk: Desk,
    drop: Drop,
    quotes: Quotes,
    claimed: Mapping[str, str] | None = None,
    stated: Mapping[str, frozenset[str]] | None = None,
    held: Held | None = None,
) -> Changes:
    """What a drop changes; ``held`` is what the snapshot has of its rows, where that is known already.

    RICs that another feed is just posting for the first time (``claimed``: RIC to feed) are not its. ``stated`` has
    the fields for which newer drops that are over gave a value: those keep it, as does what a newer drop brought.
    """
    feed = desk.feed_of(drop)
    newer = desk.drops.newer(drop) if drop.id else []
    stated = {**(stated or {}), **moved_on(desk, drop, quotes)}
    rics = quotes.values.index
    # Most rows of most drops: of them, the snapshot's other columns need not be brought.
    same = unchanged(desk.ledger, feed, quotes, held)
    changes = diff(
        quotes,
        desk.ledger.snapshot(feed.service, rics[~same.to_numpy(zero_copy_only=False)], drop),
        feed=feed.name,
        configured=desk.feeds,
        owned=desk.ledger.owned(feed.service, feed.name) if lists_all(feed) else None,
        later=Later([one.id for one in newer], stated) if newer or stated else None,
        same=same,
    )
    return changes.without(claimed, quotes) if claimed else changes


def lists_all(feed: Feed) -> bool:
    """Whether it matters which of the feed's RICs a drop lacks."""
    return feed.complete or feed.guards.max_missing_rows is not None


def told_of(feed: Feed, quotes: Quotes, changes: Changes) -> tuple[str, ...]:
    """What a report or a preview says of the values that a drop leaves as they are."""
    return (*_blanks(changes), *_columns_gone(feed, quotes, changes))


class Inspection(NamedTuple):
    """A drop's file as it was read, before anything is decided about it."""

    quotes: Quotes
    changes: Changes
    """What it changes where two programs agree."""
    facts: tuple[str, ...] = ()
    """What the report says of the second reading."""


def inspecting(
    desk: Desk,
    drop: Drop,
    *,
    claimed: Callable[[], Mapping[str, str]] = dict,
    stated: Mapping[str, frozenset[str]] | None = None,
    to_end: bool = False,
) -> Steps[Inspection]:
    """Read a drop's file, aside, and what it changes; raises UnreadableFile, or StateError without its bytes.

    ``claimed`` gives the RICs that other feeds are posting at the moment when it is asked. ``stated``: see examine().
    Of a drop ``to_end`` nothing is posted, so nothing is read again. The cells end here: a plan can use their memory.
    """
    feed = desk.feed_of(drop)
    cells: Cells = yield lambda: desk.cells(drop)
    typing: Future[Quotes] = yield Begun(lambda: desk.typed(cells, feed))
    held = look_up(desk.ledger, feed, cells)
    quotes: Quotes = yield typing
    changes = examine(desk, drop, quotes, claimed(), stated, held)
    to_post = () if to_end else changes.rics
    look: SecondLook = yield lambda: second_look(desk, *desk.file_of(drop), Reading(cells, quotes), to_post)
    return Inspection(quotes, look.applied(changes), look.facts)


class Beginning(NamedTuple):
    """What is decided about a drop before anything of it is sent."""

    status: DropStatus
    """How it ends, unless its time runs out or it fails; and why."""
    reason: str
    findings: Findings = Findings()
    quotes: Quotes | None = None
    """None: its rows cannot be told."""
    changes: Changes | None = None
    """What is to be posted; None: nothing, because it is held or rejected as a whole."""
    ended: Sequence[Outcomes] = ()
    """Its rows that are not posted and have not ended before, in pieces."""


def beginning(desk: Desk, drop: Drop, seen: Inspection, *, ended: str = "") -> Beginning:
    """Decide what to post; ``ended`` is a person's reason to reject all that would be."""
    quotes, changes, facts = seen
    ruling = Ruling(DropStatus.REJECTED, ended) if ended else rule(desk, drop, quotes, changes)
    missing = changes.missing if desk.feed_of(drop).complete else ()
    warnings = (*told_of(desk.feed_of(drop), quotes, changes), *facts, *ruling.notes)
    findings = Findings(changes.problems, missing, warnings, ruling.breaches, ruling.moves)
    recorded = desk.ledger.recorded(drop)  # of this run, before the program was stopped
    left = changes.beyond(recorded)
    unread = in_columns(_rejected(quotes.problems))
    refused = in_columns([*_rejected(changes.problems), *(_replaced(row, ric) for row, ric in changes.replaced)])
    unsent = [_beyond(outcomes, recorded) for outcomes in (unread, _with_twins(refused, quotes))]
    if ruling.status is None:
        return Beginning(DropStatus.DONE, "", findings, quotes, left, unsent)
    stopped = _stopped(left, Status(ruling.status), ruling.reason, goes_on=drop.status is DropStatus.SENDING)
    return Beginning(ruling.status, ruling.reason, findings, quotes, None, [*unsent, _with_twins(stopped, quotes)])


class Taken(NamedTuple):
    """Posts of a drop that are to be sent, and what is to be written before that."""

    entries: list[Entry]
    outgoing: list[Outgoing]


class Job:
    """A drop that is being processed: :meth:`starting`, then take and settle until :attr:`done`, then conclude.

    What take and settle decide is theirs to say and the caller's to write, in the order in which it was said.
    """

    def __init__(
        self, desk: Desk, drop: Drop, start: Beginning, breaker: Breaker | None = None, *, goes_on: bool = False
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
        self._delivery = Delivery(_planned(changes), retries=desk.settings.ads.retries, breaker=breaker)
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

        No other drop of its Service may start between two steps. ``breaker`` is of its Service.
        """
        try:
            seen = yield from inspecting(desk, drop, claimed=claimed, stated=stated)
        except UnreadableFile as error:
            if drop.status is DropStatus.SENDING:  # rows of it may have been sent: "rejected" would be untrue
                hint = "Put the feed's configuration back as it was, or save the file again; then retry the drop"
                what = f"drop {drop.id} was being sent and can no longer be read: {error}"
                raise StateError(what, where=drop.path, hint=hint) from error
            return cls(desk, drop, Beginning(DropStatus.REJECTED, str(error)))
        return cls.begin(desk, drop, beginning(desk, drop, seen), breaker)

    @classmethod
    def begin(cls, desk: Desk, drop: Drop, start: Beginning, breaker: Breaker | None = None) -> Job:
        """Record every row that needs no post."""
        goes_on = drop.status is DropStatus.SENDING
        with desk.state.transaction():
            drop = desk.drops.set_status(drop, DropStatus.SENDING)
            for outcomes in start.ended:
                desk.ledger.record(drop, outcomes)
        return cls(desk, drop, start, breaker, goes_on=goes_on)

    @classmethod
    def failed(cls, desk: Desk, drop: Drop) -> Job:
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
        desk.ledger.record(drop, in_columns(lost))
        return cls(desk, drop, Beginning(drop.status, drop.reason))

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
    def healed(self) -> int:
        """Updates that met an item which the ADS had acknowledged once and does not know any more."""
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
            return _not_again(post, Status.HELD, why, goes_on=self._goes_on)
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
            late = [_superseded(post, by) for post, by in zip(taken, newest, strict=True) if by > self.drop.id]
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
        pa.default_memory_pool().release_unused()  # what planning needed, before the report needs as much again
        warnings = (*self._findings.warnings, *_cache_lost(self.healed), *pending_warning(desk, self.drop.feed))
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
            settled = settled._replace(outcomes=_with_twins(settled.outcomes, self._quotes))
        return Entry(self.drop, self.service, *settled)


def _replaced(row: int, ric: str) -> Outcome:
    text = "newer drops have given a value for each of its fields"
    return Outcome(row, ric, Status.SUPERSEDED, text=text)


def _superseded(post: Post, by: int) -> Outcome:
    text = f"drop {by} is newer and gives a value for each of its fields"
    if post.attempts:
        text += f"; it was posted {_times(post)} before, without being taken"
    return Outcome(
        post.row,
        post.ric,
        Status.SUPERSEDED,
        changes=post.changes,
        text=text,
        attempts=post.attempts,
        full=post.full,
        changed=post.changed,
    )


def _rejected(problems: Sequence[Problem]) -> list[Outcome]:
    """One outcome for each row that has problems."""
    texts: dict[int, list[str]] = {}
    rics: dict[int, str] = {}
    for problem in problems:
        texts.setdefault(problem.row, []).append(str(problem))
        rics.setdefault(problem.row, problem.ric)
    return [Outcome(row, rics[row], Status.REJECTED, text="; ".join(reasons)) for row, reasons in texts.items()]


def _planned(changes: Changes | None) -> Iterator[Post]:
    """What is to be posted, planned piece by piece."""
    return chain.from_iterable(map(posts, plans(changes))) if changes is not None else iter(())


def _times(post: Post) -> str:
    return "once" if post.attempts == 1 else f"{post.attempts} times"


def _stopped(changes: Changes, status: Status, why: str, *, goes_on: bool) -> Outcomes:
    """What would have been posted, and is not; ``goes_on`` as in :func:`_not_again`."""
    return in_columns(_not_again(post, status, why, goes_on=goes_on) for post in _planned(changes))


def _not_again(post: Post, status: Status, why: str, *, goes_on: bool) -> Outcome:
    """A post that this process has not sent, and does not send.

    ``goes_on``: the program was stopped in this run, so what has no answer may have been posted in it.
    """
    if not post.attempts:
        return _unsent(post, status, why)
    text = f"{why}; it was posted {_times(post)} before, without an answer"
    return _unsent(post, Status.UNCONFIRMED if goes_on else status, text)._replace(attempts=post.attempts)


def _unsent(post: Post, status: Status, why: str) -> Outcome:
    return Outcome(
        post.row,
        post.ric,
        status,
        action=post.action.value,
        changes=post.changes,
        text=why,
        full=post.full,
        changed=post.changed,
    )


def _with_twins(outcomes: Outcomes, quotes: Quotes) -> Outcomes:
    """These outcomes, and the same for the equal copies of their rows, which share a row's post and so its fate."""
    if not quotes.twins:
        return outcomes
    pairs = zip(outcomes["row"], outcomes["ric"], strict=True)
    equal = [(row, *quotes.twins.get(ric, ())) for row, ric in pairs]
    repeated = {
        name: [value for value, rows in zip(values, equal, strict=True) for _ in rows]
        for name, values in outcomes.items()
    }
    return repeated | {"row": list(chain.from_iterable(equal))}


def _beyond(outcomes: Outcomes, recorded: Collection[int]) -> Outcomes:
    """Those of rows that are not recorded yet."""
    is_new = [row not in recorded for row in outcomes["row"]]
    return {name: list(compress(values, is_new)) for name, values in outcomes.items()}


def _blanks(changes: Changes) -> tuple[str, ...]:
    if not changes.kept_blanks:
        return ()
    since = f", the oldest from {changes.oldest_kept}" if changes.oldest_kept else ""
    cells = "blank cell kept its" if changes.kept_blanks == 1 else "blank cells kept their"
    return (f"{changes.kept_blanks:,} {cells} last value{since}",)


def _columns_gone(feed: Feed, quotes: Quotes, changes: Changes) -> tuple[str, ...]:
    """What a partial list lacks, beyond the mapped columns that its reading has told of; a complete one is held."""
    told = {feed.columns.get(header) for header in quotes.missing_columns}
    gone = [] if feed.complete else [name for name in changes.lost_fields if name not in told]
    return (f"no column for {', '.join(gone)}, which RICs of this file have: the last values stay",) if gone else ()


def _cache_lost(healed: int) -> tuple[str, ...]:
    if not healed:
        return ()
    return (f"the ADS did not know {healed:,} items that it had acknowledged: it may have lost its cache",)
