"""Between a Delivery and the record: what drops and repairs do alike with their posts and the answers to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from contrib_watch.ads.delivery import Decision, Delivery, Next
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Outgoing
from contrib_watch.core.model import Action, Outcome, Post, Status
from contrib_watch.store import Advance

_WORDS = {action: action.value for action in Action}
_UNCONFIRMED = Status.UNCONFIRMED
"""To look a member up takes longer than what is done with it, and there is one for every post."""


def outgoing(delivery: Delivery, form: PostFormat, post_ids: Sequence[int], taken: Sequence[Post]) -> list[Outgoing]:
    """Posts that were taken, to be recorded as in flight under these PostIDs, as they then go on the wire."""
    texts = form.texts(post_ids, taken)
    delivery.sent(post_ids, taken)
    return [
        Outgoing(post_id, text, post.alone, post.apart, post.ric, form.stream_service)
        for post_id, text, post in zip(post_ids, texts, taken, strict=True)
    ]


class Settled(NamedTuple):
    """What answers say of what the ADS holds."""

    advances: Sequence[Advance] = ()
    """What it acknowledged."""
    refused: Sequence[str] = ()
    """RICs of which it holds what it held."""
    unknown: Sequence[str] = ()
    """RICs of which nobody knows."""


def settled(decisions: Sequence[Decision], utc_of: Callable[[float], str]) -> Settled:
    """What the record is to say of these decisions' RICs.

    ``utc_of`` (see Desk.utc_reader) is to be the outcomes' as well: the snapshot and they tell the same moment.
    """
    advance = Next.ADVANCE
    advances = [Advance(one.post, utc_of(one.answer.answered_s)) for one in decisions if one.next is advance]
    others = [one for one in decisions if one.next is not advance] if len(advances) < len(decisions) else []
    refused = _rics(others, Next.REFUSED, Next.AGAIN)
    return Settled(advances, refused, _rics(others, Next.UNKNOWN, Next.AGAIN_UNKNOWN))


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
