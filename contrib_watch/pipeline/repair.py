"""Posting again, in full, what the ADS acknowledged once; for no drop's sake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.delivery import Delivery
from contrib_watch.ads.exchange import Answer, Outgoing
from contrib_watch.ads.messages import PostFormat
from contrib_watch.core.model import Action, Post, Status
from contrib_watch.pipeline import posting
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import utc_text
from contrib_watch.store.repairs import Repairs, Wanted

IsClaimed = Callable[[str, str], bool]
"""Whether a drop is posting to this RIC (Service, RIC): it is then left to the drop."""


def nobody(_service: str, _ric: str) -> bool:
    """No drop is posting, or none but the one whose RICs they are."""
    return False


class Repair:
    """RICs of one Service that are posted again: take and settle until :attr:`done`."""

    def __init__(
        self,
        desk: Desk,
        service: str,
        reasons: Mapping[str, str],
        *,
        is_claimed: IsClaimed = nobody,
        by_hand: bool = False,
        breaker: Breaker | None = None,
    ) -> None:
        """``reasons``: RIC to why it goes again, as the record and the log tell it.

        ``by_hand``: a person asked, so that values in doubt go too. Otherwise only what the ADS has acknowledged, and
        what no drop has tried to change since, is posted by itself.
        """
        self.service = service
        self.ended: dict[str, Status] = {}
        """What became of the RICs so far; those that were left to a drop are not among them."""
        self.acked: dict[str, int] = {}
        """Of those that the ADS acknowledged, the hash of the JSON object that was posted."""
        self._desk = desk
        self._repairs = Repairs(desk.state)
        self._reasons = reasons
        self._is_claimed = is_claimed
        self._by_hand = by_hand
        self._on_wire: set[str] = set()
        self._breaker = breaker or Breaker()
        wanted = self._repairs.wanted(service, list(reasons))
        posts = [_post(ric, wanted[ric]) for ric in reasons if ric in wanted]
        self.planned = len(posts)
        self.left = [ric for ric in reasons if ric not in wanted]
        """RICs that were left to a drop, which may have posted no more of them than it changes."""
        self._delivery = Delivery(posts, retries=desk.settings.ads.retries, breaker=self._breaker)

    @property
    def done(self) -> bool:
        """Every RIC has been posted, refused, given up, or left to a drop."""
        return self._delivery.done

    @property
    def rests(self) -> bool:
        """It has nothing on the wire, and its Service is down."""
        return not self._on_wire and self._breaker.open

    def abandon(self) -> None:
        """Post no more of it."""
        self._delivery.abandon()

    @property
    def on_wire(self) -> frozenset[str]:
        """RICs whose post has no answer yet."""
        return frozenset(self._on_wire)

    def due_s(self) -> float | None:
        """When it has something to send, by the monotonic clock; None: not before the next answer."""
        return self._delivery.due_s()

    def take(self, room: int, form: PostFormat) -> list[Outgoing]:
        """At most ``room`` posts, recorded as in flight: they may go on the wire once the transaction is over.

        A post whose values are no longer those that the ADS should hold is not sent: a drop has brought newer ones.
        """
        taken = self._delivery.take(room, self._desk.clock.monotonic())
        if not taken:
            return []
        wanted = self._repairs.wanted(self.service, [post.ric for post in taken])
        due = [post for post in taken if self._is_due(post, wanted)]
        going = {post.ric for post in due}
        self.left += [post.ric for post in taken if post.ric not in going]
        post_ids = self._repairs.in_flight(self.service, due, wanted)
        self._on_wire |= going
        return posting.outgoing(self._delivery, form, post_ids, due)

    def settle(self, answers: Iterable[Answer]) -> int:
        """Record what the answers mean, in one transaction with the snapshot; returns how many posts ended."""
        decided = self._delivery.settle_all(answers)
        if not any(decided):
            return 0
        acked, acked_at_utc, refused, unknown, outcomes = posting.settled(decided, self._desk.utc_reader())
        with self._desk.state.transaction():
            self._repairs.landed(self.service, acked, acked_at_utc)
            self._desk.ledger.refused(self.service, refused)
            self._desk.ledger.unknown(self.service, unknown)
            self._repairs.record(self.service, outcomes, self._reasons)
        landed = {post.ric: hash(post.full) for post in acked}
        self.acked |= landed
        self._on_wire.difference_update(landed, refused, unknown)
        self.ended |= zip(outcomes["ric"], outcomes["status"], strict=True)
        return len(outcomes["row"])

    def _is_due(self, post: Post, wanted: Mapping[str, Wanted]) -> bool:
        now = wanted.get(post.ric)
        if now is None or self._is_claimed(self.service, post.ric):
            return False
        return now.fields == post.full and (now.certain or self._by_hand)


def after_a_stop(desk: Desk) -> int:
    """At a start: whatever was in flight when the last process ended is in doubt from now on. Returns how many posts.

    What was posted again, which no drop goes on with, is recorded as without an answer.
    """
    with desk.state.transaction():
        going_on = {drop.id for drop in desk.drops.pending()}
        Repairs(desk.state).interrupted(going_on, utc_text(desk.clock.utc()))
        return desk.ledger.all_unknown()


def summed(repairs: Iterable[Repair]) -> Counter[Status]:
    """What became of the RICs of several repairs; the last word counts where one was in several."""
    ended = {(repair.service, ric): status for repair in repairs for ric, status in repair.ended.items()}
    return Counter(ended.values())


def by_service(reasons: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Service, RIC and reason of what is to go again, as each Service's reasons."""
    grouped: dict[str, dict[str, str]] = {}
    for service, ric, reason in reasons:
        grouped.setdefault(service, {})[ric] = reason
    yield from grouped.items()


def _post(ric: str, wanted: Wanted) -> Post:
    return Post(0, ric, Action.REFRESH, wanted.fields, wanted.fields, changes="")
