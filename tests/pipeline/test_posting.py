"""What answers mean for the record, of many posts at once as of each by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.ads.delivery import Decided, Decision, Next
from contrib_watch.ads.exchange import Answer, Verdict
from contrib_watch.core.model import Action, Outcome, Post, Status
from contrib_watch.pipeline.posting import settled

FATES = (
    (Verdict.ACKED, Next.ADVANCE, Status.ACKED),
    (Verdict.ACKED, Next.ADVANCE, Status.ACKED),
    (Verdict.NAKKED, Next.REFUSED, Status.NAKKED),
    (Verdict.NAKKED, Next.UNKNOWN, Status.NAKKED),
    (Verdict.TIMEOUT, Next.UNKNOWN, Status.UNCONFIRMED),
    (Verdict.LOST, Next.AGAIN, None),
    (Verdict.LOST, Next.AGAIN_UNKNOWN, None),
)
TEXTS = st.sampled_from(("", "", "told"))
MOMENTS = st.sampled_from((1.0, 1.0, 2.5))


@st.composite
def decisions(draw: st.DrawFn) -> list[Decision]:
    """Of posts to as many RICs."""
    made = []
    for row in range(draw(st.integers(0, 6))):
        verdict, following, status = draw(st.sampled_from(FATES))
        ric, full = f"R{row}", f'{{"BID":{row}}}'
        post = Post(
            row,
            ric,
            draw(st.sampled_from(list(Action))),
            full,
            full,
            f"BID {row}",
            "BID",
            note=draw(TEXTS),
            attempts=draw(st.integers(0, 2)),
        )
        sent_s = draw(st.one_of(st.none(), MOMENTS))
        answer = Answer(row + 1, verdict, draw(TEXTS), draw(TEXTS), sent_s, draw(MOMENTS))
        made.append(Decision(post, answer, following, status))
    return made


def utc_of(monotonic_s: float) -> str:
    return f"at {monotonic_s:g} s"


def outcome(decision: Decision, status: Status) -> Outcome:
    """What became of one post."""
    post, answer = decision.post, decision.answer
    return Outcome(
        post.row,
        post.ric,
        status,
        post.action.value,
        answer.post_id,
        post.changes,
        answer.code,
        "; ".join(filter(None, (answer.text, post.note))),
        "" if answer.sent_s is None else utc_of(answer.sent_s),
        "" if status is Status.UNCONFIRMED else utc_of(answer.answered_s),
        post.attempts + (answer.sent_s is not None),
        post.full,
        post.changed,
    )


@given(decisions())
def test_many_decisions_say_together_what_each_says_by_itself(made: list[Decision]) -> None:
    acked = [one for one in made if one.next is Next.ADVANCE]
    others = [one for one in made if one.next is not Next.ADVANCE]
    said = settled(Decided([one.post for one in acked], [one.answer for one in acked], others), utc_of)
    assert tuple(said.outcomes) == Outcome._fields
    ended = [outcome(one, one.status) for one in (*acked, *others) if one.status is not None]
    assert list(zip(*said.outcomes.values(), strict=True)) == ended
    assert said.acked == [one.post for one in acked]
    assert said.acked_at_utc == [utc_of(one.answer.answered_s) for one in acked]
    for rics, after in ((said.refused, ("refused", "again")), (said.unknown, ("unknown", "again, unknown"))):
        assert rics == [one.post.ric for one in made if one.next in after]
