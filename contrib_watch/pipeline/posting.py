"""Between a Delivery and the record: what drops and repairs do alike with their posts and the answers to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from contrib_watch.ads.delivery import Decided, Decision, Delivery, Next
from contrib_watch.ads.exchange import Answer, Outgoing
from contrib_watch.ads.messages import PostFormat
from contrib_watch.core.model import Outcomes, Post, Status, in_columns


def outgoing(delivery: Delivery, form: PostFormat, post_ids: Sequence[int], taken: Sequence[Post]) -> list[Outgoing]:
    """Posts that were taken, to be recorded as in flight under these PostIDs, as they then go on the wire."""
    texts = form.texts(post_ids, taken)
    delivery.sent(post_ids, taken)
    return [
        Outgoing(post_id, text, post.alone, post.apart, post.ric, form.stream_service)
        for post_id, text, post in zip(post_ids, texts, taken, strict=True)
    ]


class Settled(NamedTuple):
    """What answers say, as store.Entry has it."""

    acked: Sequence[Post] = ()
    """What the ADS acknowledged, ..."""
    acked_at_utc: Sequence[str] = ()
    """... and when."""
    refused: Sequence[str] = ()
    """RICs of which it holds what it held."""
    unknown: Sequence[str] = ()
    """RICs of which nobody knows."""
    outcomes: Outcomes = in_columns(())
    """Of the posts that have ended."""


def settled(decided: Decided, utc_of: Callable[[float], str]) -> Settled:
    """What the record is to say of this; ``utc_of``: see Desk.utc_reader()."""
    acked, acks, others = decided
    ended = [(one.post, one.answer, one.status) for one in others if one.status is not None]
    posts, answers, statuses = zip(*ended, strict=True) if ended else ((), (), ())
    told = outcomes([*acked, *posts], [*acks, *answers], [*[Status.ACKED] * len(acked), *statuses], utc_of)
    return Settled(
        acked,
        told["acked_at_utc"][: len(acked)],
        _rics(others, Next.REFUSED, Next.AGAIN),
        _rics(others, Next.UNKNOWN, Next.AGAIN_UNKNOWN),
        told,
    )


def outcomes(
    posts: Sequence[Post], answers: Sequence[Answer], statuses: Sequence[Status], utc_of: Callable[[float], str]
) -> Outcomes:
    """What became of posts that have ended with these answers; ``utc_of``: see Desk.utc_reader()."""
    unconfirmed = Status.UNCONFIRMED  # to look a member up takes longer than what is done with it
    return {
        "row": [post.row for post in posts],
        "ric": [post.ric for post in posts],
        "status": statuses,
        "action": [post.action for post in posts],
        "post_id": [answer.post_id for answer in answers],
        "changes": [post.changes for post in posts],
        "nak_code": [answer.code for answer in answers],
        "text": [
            f"{answer.text}; {post.note}" if answer.text and post.note else answer.text or post.note
            for post, answer in zip(posts, answers, strict=True)
        ],
        "sent_at_utc": ["" if answer.sent_s is None else utc_of(answer.sent_s) for answer in answers],
        "acked_at_utc": [
            "" if status is unconfirmed else utc_of(answer.answered_s)
            for status, answer in zip(statuses, answers, strict=True)
        ],
        "attempts": [
            post.attempts + (answer.sent_s is not None) for post, answer in zip(posts, answers, strict=True)
        ],
        "full": [post.full for post in posts],
        "changed": [post.changed for post in posts],
    }


def _rics(decisions: Sequence[Decision], *after: Next) -> list[str]:
    return [one.post.ric for one in decisions if one.next in after]
