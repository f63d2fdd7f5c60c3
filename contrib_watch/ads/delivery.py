"""What becomes of each post of a drop: sent, sent again, or ended with an outcome.

A Delivery is handed posts and the answers to them, and decides; it does no I/O, and time is a parameter (seconds of
one monotonic clock). Its driver numbers and records what :meth:`Delivery.take` gives before it goes on the wire.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from msgspec.structs import replace

from contrib_watch.ads.breaker import SOURCE_IS_DOWN, Breaker
from contrib_watch.ads.exchange import Answer, Verdict
from contrib_watch.core.model import Action, Post, Status

RETRYABLE_NAKS = SOURCE_IS_DOWN | {"NoResponse"}
"""Naks that waiting may cure; every other one is final (spec: NakCode)."""
LEAVES_UNKNOWN = frozenset({"NoResponse"})
"""A Nak after which nobody knows what the ADS holds."""
UNKNOWN_ITEM = "SymbolUnknown"
WAS_UNKNOWN = "the ADS did not know the item: sent in full"
"""The note of a post that was an Update at first."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
LOSSES_TOGETHER = 2
"""Connections that a post may lose in company; after that it goes alone, so that the one at fault is found."""


class Next(StrEnum):
    """What a driver does with an answered post."""

    ADVANCE = "advance"
    """Acknowledged: the snapshot takes its values."""
    REFUSED = "refused"
    """Refused for good; the ADS holds what it held."""
    UNKNOWN = "unknown"
    """Given up without knowing: the RIC stays dirty."""
    AGAIN = "again"
    """Goes again later; the ADS holds what it held."""
    AGAIN_UNKNOWN = "again, unknown"
    """Goes again later; until then the RIC is dirty."""


class Decision(NamedTuple):
    """One answer, understood. ``status`` is set where the post has ended."""

    post: Post
    """As it was taken for sending: its attempts are those before this one."""
    answer: Answer
    next: Next
    status: Status | None


class Decided(NamedTuple):
    """What follows from answers: of Acks, which most of them are, in columns."""

    acked: list[Post]
    """Posts that the ADS acknowledged."""
    acks: list[Answer]
    """The answer to each of these."""
    others: list[Decision]


class Delivery:
    """The posts of one drop on their way."""

    def __init__(self, posts: Iterable[Post], *, retries: int, breaker: Breaker | None = None) -> None:
        """``retries``: how often a post goes again after a deadline, a retryable Nak, or a return though alone.

        ``breaker``: of the Service that all of them are for, shared by all of its deliveries.
        """
        self._breaker = breaker or Breaker()
        self._fresh: Iterator[Post] = iter(posts)
        self._first = next(self._fresh, None)  # looked at ahead, so that the end is known
        self._again: deque[Post] = deque()
        self._later: list[tuple[float, int, Post]] = []
        self._tie = itertools.count()
        self._on_wire: dict[int, Post] = {}
        self._retries = retries
        self._used: dict[str, int] = {}
        self._losses: dict[str, int] = {}
        self._healed: list[str] = []
        self._refusals: Counter[str] = Counter()

    @property
    def healed(self) -> Sequence[str]:
        """RICs whose Update met an unknown item and was followed by a Refresh: the ADS may have lost its cache."""
        return self._healed

    @property
    def done(self) -> bool:
        """Every post has ended."""
        return self._first is None and not (self._again or self._later or self._on_wire)

    @property
    def on_wire(self) -> int:
        """Posts without an answer."""
        return len(self._on_wire)

    def due_s(self) -> float | None:
        """When there is something to take: minus infinity for at once, None for not before the next answer."""
        due_s = -math.inf
        if self._first is None and not self._again:
            if not self._later:
                return None
            due_s = self._later[0][0]
        due_s = max(due_s, self._breaker.due_s())
        return None if due_s == math.inf else due_s

    def take(self, room: int, now_s: float) -> list[Post]:
        """At most ``room`` posts to number, to record in flight and to send, in this order."""
        room = self._breaker.room(room, now_s)
        while self._later and self._later[0][0] <= now_s:
            self._again.append(heapq.heappop(self._later)[2])
        taken = [self._again.popleft() for _ in range(min(room, len(self._again)))]
        if self._first is not None and len(taken) < room:
            taken.append(self._first)
            taken += itertools.islice(self._fresh, room - len(taken))
            self._first = next(self._fresh, None)
        return taken

    def withdraw(self) -> list[Post]:
        """Give up every post that is not on the wire; what became of them is the driver's to say."""
        first = [] if self._first is None else [self._first]
        left = [*self._again, *(post for _, _, post in sorted(self._later)), *first, *self._fresh]
        self.abandon()
        return left

    def abandon(self) -> None:
        """Forget every post that is not on the wire, and plan no more of them."""
        self._fresh, self._first = iter(()), None
        self._again.clear()
        self._later.clear()

    def sent(self, post_ids: Iterable[int], posts: Iterable[Post]) -> None:
        """These posts are in flight under these PostIDs."""
        post_ids = list(post_ids)
        self._breaker.sent(post_ids)
        self._on_wire.update(zip(post_ids, posts, strict=True))

    def settle_all(self, answers: Iterable[Answer]) -> Decided:
        """What follows from these answers, in their order; those to no post of this delivery are passed by."""
        acked: list[Post] = []
        acks: list[Answer] = []
        others: list[Decision] = []
        is_ack = Verdict.ACKED  # to look a member up costs more than the rest
        calm = self._breaker.calm
        for answer in answers:
            if answer.verdict is is_ack and calm:  # as settle() does, at a fraction of its cost
                post = self._on_wire.pop(answer.post_id, None)
                if post is not None:
                    acked.append(post)
                    acks.append(answer)
            elif decision := self.settle(answer):
                calm = self._breaker.calm
                if decision.next is Next.ADVANCE:
                    acked.append(decision.post)
                    acks.append(answer)
                else:
                    others.append(decision)
        return Decided(acked, acks, others)

    def settle(self, answer: Answer) -> Decision | None:
        """Decide what follows from an answer; None where the PostID is not of this delivery."""
        post = self._on_wire.pop(answer.post_id, None)
        if post is None:
            return None
        self._breaker.heard(answer)
        attempted = answer.sent_s is not None  # otherwise it never left, and nothing has become uncertain
        counted = replace(post, attempts=post.attempts + 1) if attempted else post
        follows, status = self._follows(counted, answer)
        if attempted and follows is Next.AGAIN:
            self._refusals[post.ric] += 1
        return Decision(post, answer, follows, status)

    def _follows(self, post: Post, answer: Answer) -> tuple[Next, Status | None]:
        """The rest of the decision about a post, whose attempts count this one; what goes again is queued."""
        if answer.verdict is Verdict.ACKED:
            return Next.ADVANCE, Status.ACKED
        if answer.verdict is Verdict.NAKKED:
            return self._refused(post, answer)
        if answer.sent_s is None:
            self._again.append(post)
            return Next.AGAIN, None
        if answer.verdict is Verdict.LOST:
            return self._lost(post)
        if answer.verdict is Verdict.RETURNED and not post.alone:
            self._again.append(replace(as_refresh(post), alone=True))
        elif self._may_retry(post.ric):  # a server may drop the rest of a bad post's frame without a word
            self._wait(replace(as_refresh(post), apart=True), answer.answered_s)
        else:
            return Next.UNKNOWN, Status.UNCONFIRMED
        return Next.AGAIN_UNKNOWN, None

    def _lost(self, post: Post) -> tuple[Next, Status | None]:
        """A lost connection uses up no retry, but a post that keeps killing it must not do so for ever.

        What was lost twice goes alone; what then still takes the connection down with it is given up.
        """
        losses = self._losses[post.ric] = self._losses.get(post.ric, 0) + 1
        if losses > LOSSES_TOGETHER + self._retries:
            return Next.UNKNOWN, Status.UNCONFIRMED
        alone = post.alone or losses >= LOSSES_TOGETHER
        self._again.append(replace(as_refresh(post), alone=alone))
        return Next.AGAIN_UNKNOWN, None

    def _refused(self, post: Post, answer: Answer) -> tuple[Next, Status | None]:
        if answer.code == UNKNOWN_ITEM and post.action is Action.UPDATE:
            self._healed.append(post.ric)
            self._again.append(replace(as_refresh(post), note=WAS_UNKNOWN))
            return Next.AGAIN, None
        if self._breaker.open and answer.code in SOURCE_IS_DOWN:  # not the post's fault: it uses up no retry
            self._again.append(post)
            return Next.AGAIN, None
        unknown = answer.code in LEAVES_UNKNOWN
        if answer.code in RETRYABLE_NAKS and self._may_retry(post.ric):
            self._wait(as_refresh(post) if unknown else post, answer.answered_s)
            return Next.AGAIN_UNKNOWN if unknown else Next.AGAIN, None
        if answer.sent_s is None and post.attempts > self._refusals[post.ric]:
            return Next.REFUSED, Status.UNCONFIRMED  # this one never left, and an earlier one had no answer
        return Next.UNKNOWN if unknown else Next.REFUSED, Status.NAKKED

    def _may_retry(self, ric: str) -> bool:
        return self._used.get(ric, 0) < self._retries

    def _wait(self, post: Post, now_s: float) -> None:
        used = self._used.get(post.ric, 0)
        self._used[post.ric] = used + 1
        due_s = now_s + min(FIRST_WAIT_S * 2**used, LONGEST_WAIT_S)
        heapq.heappush(self._later, (due_s, next(self._tie), post))


def as_refresh(post: Post) -> Post:
    """The same values as a full Refresh: what follows an unknown fate or an unknown item."""
    if post.action is Action.REFRESH:
        return post
    return replace(post, action=Action.REFRESH, fields=post.full)
