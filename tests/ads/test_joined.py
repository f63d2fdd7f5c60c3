"""Session, Delivery and the simulated ADS joined in memory: whole histories in virtual time."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.ads.delivery import Decision, Delivery, Next
from contrib_watch.ads.exchange import Answer, CloseConnection, Outgoing, Verdict
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Phase, Session
from contrib_watch.config import load_dictionary
from contrib_watch.config.settings import Fields
from contrib_watch.core.model import Action, Post, Status
from contrib_watch.simulator.core import Closing, PostRecord, Reactions, ServerSession, SimulatedAds
from contrib_watch.simulator.core import Verdict as AdsVerdict
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript
from contrib_watch.simulator.messages import Post as ServerPost

FORM = PostFormat(service="NIPROV", address="127.0.0.1", user_id=1)
ON_STREAM = PostFormat(service="NIPROV", address="127.0.0.1", user_id=1, on_stream=True)
FORMS = st.sampled_from((FORM, ON_STREAM))
DICTIONARY = load_dictionary(Fields())
STEPS = 20_000
"""More than any history here needs: a driver that takes more makes no progress."""


class World:
    """A session and an ADS, and between them a line that takes time and breaks.

    It checks what must hold at every moment: one answer a post, the window, posts that go alone, the frames' size,
    and that an Ack which arrives in time decides.
    """

    def __init__(self, ads: SimulatedAds, limits: Limits, dice: random.Random) -> None:
        self.ads = ads
        self.now_s = 1000.0
        self.answers: dict[int, Answer] = {}
        self._limits = limits
        self._dice = dice
        self._session = Session(Login(user="analyst", app_id="256", position="127.0.0.1"), limits)
        self._server: ServerSession | None = None
        self._events: list[tuple[float, int, int, Callable[[], None]]] = []
        self._tie = itertools.count()
        self._line = 0  # counts connections: what was on its way on an earlier one is lost
        self._arrival_s = {"server": 0.0, "client": 0.0}
        self._alone: dict[int, bool] = {}
        self._on_wire: dict[int, float] = {}
        self._fresh: list[Answer] = []
        self._connect()

    def post(self, posts: Iterable[Outgoing]) -> None:
        posts = list(posts)
        self._alone |= {post.post_id: post.alone for post in posts}
        self._session.post(posts, self.now_s)
        self._settle()

    def take_answers(self) -> list[Answer]:
        fresh, self._fresh = self._fresh, []
        return fresh

    @property
    def unanswered(self) -> int:
        return len(self._alone) - len(self.answers)

    def step(self, until_s: float = math.inf) -> None:
        """Whatever comes next, but nothing later than ``until_s``."""
        due_s = self._session.due_s
        server_s = self._server.next_due_s if self._server is not None else None
        event_s = self._events[0][0] if self._events else None
        next_s = min(due for due in (until_s, event_s, due_s, server_s) if due is not None)
        assert next_s < math.inf, "nothing will ever happen again"
        self.now_s = max(self.now_s, next_s)
        while self._events and self._events[0][0] <= self.now_s:
            _, _, line, action = heapq.heappop(self._events)
            if line in (self._line, 0):
                action()
        if due_s is not None and due_s <= self.now_s:
            self._session.tick(self.now_s)
            self._settle()
        if self._server is not None and server_s is not None and server_s <= self.now_s:
            self._from_server(self._server.tick(self.now_s))

    def delete(self, ric: str) -> None:
        """Somebody deletes an item, which closes its streams."""
        end = ServerPost(0, "NIPROV", ric, kind="Status", values={}, tokens={}, closes=True)
        self.ads.items.apply(end, ("NIPROV", ric))
        if self._server is not None:
            self._from_server(self._server.tick(self.now_s))

    def break_line(self) -> None:
        if self._server is not None:
            self._hang_up("the line broke")

    def _connect(self) -> None:
        self._line += 1
        self._server = self.ads.connect(self.now_s)
        self._session.connected(self.now_s)
        self._settle()

    def _later(self, at_s: float, action: Callable[[], None], *, line: int | None = None) -> None:
        heapq.heappush(self._events, (at_s, next(self._tie), self._line if line is None else line, action))

    def _travel(self, to: str) -> float:
        """When a frame that leaves now arrives: in the order of sending."""
        self._arrival_s[to] = max(self._arrival_s[to], self.now_s + self._dice.choice((0.0, 0.001, 0.02)))
        return self._arrival_s[to]

    def _settle(self) -> None:
        """What a driver does after each call."""
        for answer in self._session.answers():
            assert answer.post_id not in self.answers
            sent_s = self._on_wire.pop(answer.post_id, None)
            assert answer.sent_s == sent_s
            assert answer.answered_s == self.now_s
            self.answers[answer.post_id] = answer
            self._fresh.append(answer)
        for text in self._session.output():
            self._check_frame(text)
            self._later(self._travel("server"), partial(self._to_server, text))
        reasons = [event.reason for event in self._session.events() if isinstance(event, CloseConnection)]
        if reasons:
            assert self._session.phase is Phase.CLOSING
            self._hang_up(reasons[0])

    def _check_frame(self, text: str) -> None:
        assert len(text.encode()) <= self.ads.max_msg_size
        messages = json.loads(text)
        messages = messages if isinstance(messages, list) else [messages]
        assert len(messages) <= self._limits.pack
        for message in messages:
            if message.get("Type") != "Post":
                continue
            post_id = message["PostID"]
            assert post_id not in self._on_wire
            assert post_id not in self.answers
            self._on_wire[post_id] = self.now_s
        assert len(self._on_wire) <= self._limits.window
        assert len(self._on_wire) <= 1 or not any(self._alone[post_id] for post_id in self._on_wire)

    def _to_server(self, text: str) -> None:
        if self._server is not None:
            self._from_server(self._server.receive(text, self.now_s))

    def _from_server(self, reactions: Reactions) -> None:
        for frame in reactions.frames:
            arrival_s = self.now_s + frame.delay_s if frame.delay_s else self._travel("client")
            self._later(arrival_s, partial(self._to_client, frame.text))
        if reactions.close is Closing.ABRUPT:
            self._hang_up("reset by peer")
        elif reactions.close:
            self._later(self._travel("client"), partial(self._hang_up, "the server closed the connection"))

    def _to_client(self, text: str) -> None:
        expected = {
            message["AckID"]: Verdict.NAKKED if "NakCode" in message else Verdict.ACKED
            for message in readable(text)
            if message.get("Type") == "Ack" and message["AckID"] in self._on_wire
        }
        self._session.receive(text, self.now_s)
        self._settle()
        assert {post_id: self.answers[post_id].verdict for post_id in expected} == expected

    def _hang_up(self, reason: str) -> None:
        assert self._server is not None
        self._server.disconnected()
        self._server = None
        self._line += 1
        self._session.disconnected(self.now_s, reason)
        self._settle()
        assert not self._on_wire
        assert not self.unanswered
        self._later(self.now_s + 1.0, self._connect, line=0)


def readable(text: str) -> list[dict[str, Any]]:
    try:
        messages = json.loads(text)
    except ValueError:
        return []
    return messages if isinstance(messages, list) else []


LIMITS = st.builds(
    Limits,
    window=st.integers(1, 12),
    pack=st.integers(1, 6),
    rate_limit=st.sampled_from((0.0, 20.0, 1000.0)),
    ack_timeout_s=st.sampled_from((0.01, 2.0, 15.0)),
)
KINDS = sorted(set(FaultKind) - {FaultKind.ACK_UNAPPLIED})  # of which no answer would tell the truth
NAK_CODES: tuple[str | int, ...] = ("AccessDenied", "NoResponse", "SourceDown", "SymbolUnknown", "NotOpen", 132)


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """A fault that ends at some time."""
    kind = draw(st.sampled_from(KINDS))
    return Fault(
        kind=kind,
        ric="*" if kind is FaultKind.REFUSE_LOGIN else draw(st.sampled_from(("*", "R1*", "R7", "R?3"))),
        nth=draw(st.none() | st.integers(1, 20)),
        every=draw(st.none() | st.integers(1, 5)),
        times=draw(st.integers(1, 6)),
        chance=draw(st.sampled_from((1.0, 0.3))),
        code=draw(st.sampled_from(NAK_CODES)) if kind is FaultKind.NAK else "",
        text=draw(st.sampled_from(("", "because"))) if kind is FaultKind.REFUSE_LOGIN else "",
        delay_s=draw(st.sampled_from((0.005, 1.0, 20.0))) if kind is FaultKind.DELAY_ACK else 0.0,
        debug=draw(st.booleans()),
    )


@st.composite
def servers(draw: st.DrawFn) -> SimulatedAds:
    script = FaultScript(tuple(draw(st.lists(faults(), max_size=5))), seed=draw(st.integers(0, 99)))
    return SimulatedAds(
        DICTIONARY,
        script,
        ping_timeout_s=draw(st.sampled_from((3, 30))),
        max_msg_size=draw(st.sampled_from((900, 61_430))),
        packed_acks=draw(st.booleans()),
        errors_first=draw(st.booleans()),
    )


FIELDS = (
    *('{"BID":22.1,"ASK":24.5}',) * 6,
    '{"DSPLY_NAME":"a \\"quoted\\" name"}',
    '{"NOSUCHFLD":1}',
    '{"BID":"text"}',
    '{"DSPLY_NAME":"' + "x" * 900 + '"}',
)


@given(ads=servers(), limits=LIMITS, seed=st.integers(0, 2**32 - 1), count=st.integers(1, 60), form=FORMS)
def test_every_post_ends_in_exactly_one_answer_that_is_true(
    ads: SimulatedAds, limits: Limits, seed: int, count: int, form: PostFormat
) -> None:
    dice = random.Random(seed)
    load(ads, dice.sample(range(1, count + 1), count * 3 // 4))
    world = World(ads, limits, dice)
    waiting = [
        Outgoing(
            post_id,
            form.text(post_id, f"R{post_id}", dice.choice(list(Action)), dice.choice(FIELDS)),
            alone=dice.random() < 0.1,
            ric=f"R{post_id}",
            service=form.stream_service,
        )
        for post_id in range(1, count + 1)
    ]
    for _ in range(STEPS):
        if waiting and dice.random() < 0.3:
            size = dice.randint(1, 10)
            world.post(waiting[:size])
            waiting = waiting[size:]
        if dice.random() < 0.005:
            world.break_line()
        if dice.random() < 0.02:
            world.delete(f"R{dice.randint(1, count)}")
        if not waiting and not world.unanswered:
            break
        world.step()
    assert sorted(world.answers) == list(range(1, count + 1))
    records = {record.post_id: record for record in ads.posts}
    assert len(records) == len(ads.posts)
    for post_id, answer in world.answers.items():
        check_truth(answer, records.get(post_id))


def load(ads: SimulatedAds, numbers: Iterable[int]) -> None:
    """Items that the ADS has from the beginning."""
    for number in numbers:
        ads.load("NIPROV", f"R{number}", '{"BID":1}')


def check_truth(answer: Answer, record: PostRecord | None) -> None:
    """What the ADS did with the post does not contradict its answer."""
    if answer.sent_s is None:
        assert record is None
        assert answer.verdict in (Verdict.LOST, Verdict.NAKKED)
    elif answer.verdict is Verdict.ACKED:
        assert record is not None
        assert record.verdict is AdsVerdict.APPLIED
    elif answer.verdict is Verdict.NAKKED and answer.code:
        assert record is not None
        assert (record.verdict, str(record.nak_code)) == (AdsVerdict.NAKKED, answer.code)
    elif answer.verdict is Verdict.NAKKED:  # by an Error; the converter's own leave no record
        assert record is None or record.verdict is AdsVerdict.ERROR


def ordinary(count: int, dice: random.Random, bad: float) -> list[Post]:
    """A post for each of ``count`` RICs, as a plan has them."""
    made = []
    for number in range(count):
        fields = f'{{"BID":{number + 1}}}' if dice.random() >= bad else '{"NOSUCHFLD":1}'
        full = fields.replace("{", '{"ASK":5,', 1)
        action = dice.choice(list(Action))
        made.append(Post(number + 2, f"R{number}", action, fields if action is Action.UPDATE else full, full, ""))
    return made


def deliver(world: World, delivery: Delivery, window: int, form: PostFormat = FORM) -> list[Decision]:
    """The pipeline's loop: number, hand over, settle, until every post has ended."""
    decisions: list[Decision] = []
    next_id, handed = 1, 0
    for _ in range(STEPS):
        if delivery.done:
            return decisions
        posts = delivery.take(2 * window - handed, world.now_s)
        post_ids = list(range(next_id, next_id + len(posts)))
        next_id += len(posts)
        handed += len(posts)
        delivery.sent(post_ids, posts)
        outgoing = [
            Outgoing(
                post_id,
                form.text(post_id, post.ric, post.action, post.fields),
                post.alone,
                ric=post.ric,
                service=form.stream_service,
            )
            for post_id, post in zip(post_ids, posts, strict=True)
        ]
        assert len({post.ric for post in posts}) == len(posts)
        world.post(outgoing)
        answers = world.take_answers()
        if not answers:
            due_s = delivery.due_s()
            world.step(math.inf if due_s in (None, -math.inf) else due_s)
            answers = world.take_answers()
        handed -= len(answers)
        for answer in answers:
            decision = delivery.settle(answer)
            assert decision is not None
            decisions.append(decision)
    pytest.fail("the delivery does not end")


@given(
    ads=servers(),
    limits=LIMITS,
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 40),
    retries=st.integers(0, 3),
    bad=st.sampled_from((0.0, 0.1, 0.5)),
    form=FORMS,
)
def test_every_post_of_a_delivery_ends_once_and_truly(
    ads: SimulatedAds, limits: Limits, seed: int, count: int, retries: int, bad: float, form: PostFormat
) -> None:
    dice = random.Random(seed)
    load(ads, dice.sample(range(count), count * 3 // 4))
    posts = ordinary(count, dice, bad)
    decisions = deliver(World(ads, limits, dice), Delivery(posts, retries=retries), limits.window, form)
    ended = {one.post.ric: one for one in decisions if one.status is not None}
    assert sorted(ended) == sorted(post.ric for post in posts)
    assert len(ended) == sum(one.status is not None for one in decisions)
    records = {record.post_id: record for record in ads.posts}
    for one in decisions:
        check_truth(one.answer, records.get(one.answer.post_id))
        assert (one.next is Next.ADVANCE) == (one.answer.verdict is Verdict.ACKED) == (one.status is Status.ACKED)
    by_ric = {post.ric: post for post in posts}
    for ric, one in ended.items():
        attempts = [each for each in decisions if each.post.ric == ric and each.answer.sent_s is not None]
        assert one.post.attempts + (one.answer.sent_s is not None) == len(attempts)
        if by_ric[ric].fields.count("NOSUCHFLD"):
            assert one.status is not Status.ACKED
        elif one.status is Status.ACKED:
            assert records[one.answer.post_id].fields == json_tokens(one.post.fields)


def json_tokens(fields: str) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in json.loads(fields).items()}


@pytest.mark.parametrize("pack", [1, 7])
@pytest.mark.parametrize("form", [FORM, ON_STREAM])
def test_without_faults_every_post_goes_exactly_once(pack: int, form: PostFormat) -> None:
    ads = SimulatedAds(DICTIONARY)
    load(ads, range(500))
    limits = Limits(window=20, pack=pack, rate_limit=500)
    posts = [Post(n, f"R{n}", Action.REFRESH, '{"BID":1}', '{"BID":1}', "") for n in range(500)]
    world = World(ads, limits, random.Random(1))
    decisions = deliver(world, Delivery(posts, retries=3), limits.window, form)
    assert [one.status for one in decisions] == [Status.ACKED] * 500
    assert [record.ric for record in ads.posts] == [post.ric for post in posts]
    assert all(record.verdict is AdsVerdict.APPLIED for record in ads.posts)
    assert 0.8 <= world.now_s - 1000.0 <= 1.3  # 500 posts at 500 a second


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("errors_first", [True, False])
def test_one_bad_post_in_a_pack_harms_no_other(debug: bool, errors_first: bool) -> None:
    script = FaultScript((Fault(kind=FaultKind.ERROR, ric="R3", debug=debug),))
    ads = SimulatedAds(DICTIONARY, script, errors_first=errors_first)
    posts = [Post(n, f"R{n}", Action.REFRESH, '{"BID":1}', '{"BID":1}', "") for n in range(10)]
    limits = Limits(window=10, pack=10, rate_limit=0)
    decisions = deliver(World(ads, limits, random.Random(1)), Delivery(posts, retries=3), 10)
    ended = {one.post.ric: one.status for one in decisions if one.status is not None}
    assert ended == {f"R{n}": Status.NAKKED if n == 3 else Status.ACKED for n in range(10)}


def test_a_post_that_kills_every_connection_takes_no_other_with_it() -> None:
    ads = SimulatedAds(DICTIONARY, FaultScript((Fault(kind=FaultKind.DROP_CONNECTION_BEFORE, ric="R5"),)))
    posts = [Post(n, f"R{n}", Action.REFRESH, '{"BID":1}', '{"BID":1}', "") for n in range(20)]
    limits = Limits(window=20, rate_limit=0)
    decisions = deliver(World(ads, limits, random.Random(1)), Delivery(posts, retries=1), 20)
    ended = {one.post.ric: one.status for one in decisions if one.status is not None}
    assert ended == {f"R{n}": Status.UNCONFIRMED if n == 5 else Status.ACKED for n in range(20)}
