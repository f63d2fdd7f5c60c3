"""Between a Delivery and the record: what drops and repairs do alike with their posts and the answers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from contrib_watch.ads.delivery import Decision, Delivery, Next
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Answer, Outgoing
from contrib_watch.core.model import Action, Outcome, Post, Status
from contrib_watch.pipeline.desk import Desk
from contrib_watch.store import Advance

_WORDS = {action: action.value for action in Action}
_UNCONFIRMED = Status.UNCONFIRMED
"""To look a member up takes longer than what is done with it, and there is one for every post."""


def outgoing(delivery: Delivery, form: PostFormat, post_ids: Sequence[int], taken: Sequence[Post]) -> list[Outgoing]:
    """Posts that were taken and are recorded as in flight under these PostIDs, ready for the wire."""
    delivery.sent(post_ids, taken)
    texts = form.texts(post_ids, taken)
    return [
        Outgoing(post_id, text, post.alone, post.apart, post.ric, form.stream_service)
        for post_id, text, post in zip(post_ids, texts, taken, strict=True)
    ]


def settle(
    desk: Desk,
    service: str,
    delivery: Delivery,
    answers: Iterable[Answer],
    landed: Callable[[Sequence[Advance]], None],
    utc_of: Callable[[float], str],
) -> list[Decision]:
    """Decide what answers mean for a delivery, and record what the ADS now holds, within the caller's transaction.

    ``landed`` records the posts that were acknowledged. Answers to other deliveries' posts are left alone.
    ``utc_of`` (see Desk.utc_reader) is to be the outcomes' as well: the snapshot and they tell the same moment.
    """
    decisions = delivery.settle_all(answers)
    advance = Next.ADVANCE
    acked = [one for one in decisions if one.next is advance]
    if acked:
        landed([Advance(one.post, utc_of(one.answer.answered_s)) for one in acked])
    if len(acked) < len(decisions):
        desk.ledger.refused(service, _rics(decisions, Next.REFUSED, Next.AGAIN))
        desk.ledger.unknown(service, _rics(decisions, Next.UNKNOWN, Next.AGAIN_UNKNOWN))
    return decisions


def outcome(decision: Decision, status: Status, utc_of: Callable[[float], str]) -> Outcome:
    """What became of a post that has ended; ``utc_of``: see Desk.utc_reader()."""
    post, answer = decision.post, decision.answer
    return Outcome(  # by position, which is the fastest: there is one for every post
        post.row,
        post.ric,
        status,
        _WORDS[post.action],
        answer.post_id,
        post.changes,
        answer.code,
        f"{answer.text}; {post.note}" if answer.text and post.note else answer.text or post.note,
        "" if answer.sent_s is None else utc_of(answer.sent_s),
        "" if status is _UNCONFIRMED else utc_of(answer.answered_s),
        decision.attempts,
        post.full,
        post.changed,
    )


def _rics(decisions: Sequence[Decision], *after: Next) -> list[str]:
    return [one.post.ric for one in decisions if one.next in after]
