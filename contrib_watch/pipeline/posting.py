"""Between a Delivery and the record: what drops and repairs do alike with their posts and the answers to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from contrib_watch.ads.delivery import Decision, Delivery, Next
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Answer, Outgoing
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
    """What answers say, as store.Entry has it."""

    advances: Sequence[Advance] = ()
    """What the ADS acknowledged."""
    refused: Sequence[str] = ()
    """RICs of which it holds what it held."""
    unknown: Sequence[str] = ()
    """RICs of which nobody knows."""
    outcomes: Sequence[Outcome] = ()
    """Of the posts that have ended."""


def settled(decisions: Sequence[Decision], utc_of: Callable[[float], str]) -> Settled:
    """What the record is to say of these decisions; ``utc_of``: see Desk.utc_reader()."""
    advance = Next.ADVANCE
    acked = [one for one in decisions if one.next is advance]
    others = [one for one in decisions if one.next is not advance] if len(acked) < len(decisions) else []
    advances, outcomes = _acknowledged(acked, utc_of) if acked else ([], [])
    return Settled(
        advances,
        _rics(others, Next.REFUSED, Next.AGAIN),
        _rics(others, Next.UNKNOWN, Next.AGAIN_UNKNOWN),
        [*outcomes, *(outcome(one, one.status, utc_of) for one in others if one.status is not None)],
    )


def _acknowledged(
    decisions: Sequence[Decision], utc_of: Callable[[float], str]
) -> tuple[list[Advance], list[Outcome]]:
    """What outcome() makes of each, in columns: most posts end so, and it costs a third less."""
    posts, answers, _, statuses = zip(*decisions, strict=True)
    of_post = dict(zip(Post._fields, zip(*posts, strict=True), strict=True))
    of_answer = dict(zip(Answer._fields, zip(*answers, strict=True), strict=True))
    acked_at_utc = [utc_of(answered_s) for answered_s in of_answer["answered_s"]]
    sent: Sequence[float | None] = of_answer["sent_s"]
    texts: Sequence[str] = of_answer["text"]
    if any(of_post["note"]):
        texts = [_text(text, note) for text, note in zip(texts, of_post["note"], strict=True)]
    rows = zip(
        of_post["row"],
        of_post["ric"],
        statuses,
        [_WORDS[action] for action in of_post["action"]],
        of_answer["post_id"],
        of_post["changes"],
        of_answer["code"],
        texts,
        ["" if sent_s is None else utc_of(sent_s) for sent_s in sent],
        acked_at_utc,
        [before + (sent_s is not None) for before, sent_s in zip(of_post["attempts"], sent, strict=True)],
        of_post["full"],
        of_post["changed"],
        strict=True,
    )
    return list(map(Advance, posts, acked_at_utc)), list(map(Outcome._make, rows))


def outcome(decision: Decision, status: Status, utc_of: Callable[[float], str]) -> Outcome:
    """What became of a post that has ended; ``utc_of``: see Desk.utc_reader()."""
    post, answer = decision.post, decision.answer
    return Outcome(
        post.row,
        post.ric,
        status,
        _WORDS[post.action],
        answer.post_id,
        post.changes,
        answer.code,
        _text(answer.text, post.note),
        "" if answer.sent_s is None else utc_of(answer.sent_s),
        "" if status is _UNCONFIRMED else utc_of(answer.answered_s),
        decision.attempts,
        post.full,
        post.changed,
    )


def _text(text: str, note: str) -> str:
    return f"{text}; {note}" if text and note else text or note


def _rics(decisions: Sequence[Decision], *after: Next) -> list[str]:
    return [one.post.ric for one in decisions if one.next in after]
