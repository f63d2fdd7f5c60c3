"""What is done to many posts at once comes to the same as doing it to one after the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.ads.breaker import Breaker
from contrib_watch.ads.delivery import Delivery, Next
from contrib_watch.ads.exchange import Answer, Outgoing, Verdict
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.core.model import Action, Post

LOGGED_IN = b'{"ID":1,"Type":"Refresh","Domain":"Login","State":{"Stream":"Open","Data":"Ok"}}'
FRAMES = st.one_of(
    st.integers(0, 14).map(lambda number: b'[{"ID":1,"Type":"Ack","AckID":%d}]' % number),
    st.integers(0, 14).map(lambda number: b'{"ID":1,"Type":"Ack","AckID":%d,"NakCode":"DeniedBySrc"}' % number),
    st.tuples(st.integers(0, 14), st.integers(0, 14)).map(
        lambda two: b'[{"ID":1,"Type":"Ack","AckID":%d},{"ID":1,"Type":"Ack","AckID":%d,"Text":"ok"}]' % two
    ),
    # No Error that names no post: whom it may mean is what was on the wire, which is more where frames come singly.
    st.sampled_from([b'{"Type":"Ping"}', b"no message", b"[]"]),
)
CODES = st.sampled_from(["DeniedBySrc", "SourceDown", "GatewayDown", "NoResponse", "SymbolUnknown"])


def session(window: int, pack: int) -> Session:
    found = Session(Login(user="u", app_id="1", position="p"), Limits(window=window, pack=pack, rate_limit=0))
    found.connected(0.0)
    found.receive(LOGGED_IN, 0.0)
    found.output()
    found.post([Outgoing(number, f'{{"PostID":{number}}}', alone=number % 5 == 4) for number in range(12)], 1.0)
    return found


@given(st.lists(FRAMES, max_size=20), st.integers(1, 12), st.integers(1, 3))
def test_frames_together_mean_what_they_mean_one_by_one(frames: list[bytes], window: int, pack: int) -> None:
    together, single = session(window, pack), session(window, pack)
    together.receive_all(frames, 2.0)
    sent_before = {answer.post_id for answer in together.answers() if answer.sent_s == 1.0}
    for frame in frames:
        single.receive(frame, 2.0)
    assert sent_before == {answer.post_id for answer in single.answers() if answer.sent_s == 1.0}


@given(st.integers(1, 12), st.integers(1, 3), st.data())
def test_answers_to_what_is_on_the_wire_are_the_same(window: int, pack: int, data: st.DataObject) -> None:
    together, single = session(window, pack), session(window, pack)
    on_wire = sorted(together._outstanding)
    ended = data.draw(st.lists(st.sampled_from(on_wire), unique=True))
    frames = [b'{"ID":1,"Type":"Ack","AckID":%d}' % number for number in ended]
    together.receive_all(frames, 2.0)
    for frame in frames:
        single.receive(frame, 2.0)
    assert together.answers() == single.answers()
    assert together.events() == single.events()
    assert len(together._outstanding) == len(single._outstanding)
    if pack == 1:
        assert together.output() == single.output()


@given(st.lists(st.tuples(st.sampled_from(list(Verdict)), CODES), min_size=1, max_size=60))
def test_answers_decided_together_are_decided_alike(fates: list[tuple[Verdict, str]]) -> None:
    posts = [
        Post(number, f"R{number}", Action.UPDATE if number % 2 else Action.REFRESH, "{}", "{}", "")
        for number in range(len(fates))
    ]
    together = Delivery(posts, retries=2, breaker=Breaker())
    single = Delivery(posts, retries=2, breaker=Breaker())
    for delivery in (together, single):
        delivery.sent(range(len(posts)), delivery.take(len(posts), 1.0))
    answers = [
        Answer(number, verdict, code if verdict is Verdict.NAKKED else "", "", 1.0, 2.0)
        for number, (verdict, code) in enumerate(fates)
    ]
    foreign = Answer(10_000, Verdict.ACKED, "", "", 1.0, 2.0)
    decided = [decision for answer in answers if (decision := single.settle(answer))]
    acked, acks, others = together.settle_all([foreign, *answers])
    landed = [(one.post, one.answer) for one in decided if one.next is Next.ADVANCE]
    assert list(zip(acked, acks, strict=True)) == landed
    assert others == [one for one in decided if one.next is not Next.ADVANCE]
    assert (together.done, together.on_wire, together.healed) == (single.done, single.on_wire, single.healed)
    assert together.due_s() == single.due_s()
    assert together.take(100, 60.0) == single.take(100, 60.0)
