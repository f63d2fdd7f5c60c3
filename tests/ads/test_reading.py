"""Items read back beside the posts: every item asked for gets one answer, whatever the server does."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import LOGIN, login_ok, opened

from contrib_watch.ads.exchange import Outgoing
from contrib_watch.ads.messages import PostFormat, decode, field_texts, item_request
from contrib_watch.ads.reading import (
    ANSWER_TIMEOUT_S,
    BATCH_ITEMS,
    LAST_STREAM,
    MOST_OUTSTANDING,
    ItemAnswer,
    ItemRequest,
    Seen,
)
from contrib_watch.ads.session import Limits, Session
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.model import Action
from contrib_watch.simulator.core import SimulatedAds

FORM = PostFormat(service="S", address="127.0.0.1", user_id=1)
DICTIONARY = load_dictionary(Fields())


def names(count: int) -> tuple[str, ...]:
    return tuple(f"R{number}" for number in range(count))


def asked(session: Session) -> list[Any]:
    return [json.loads(frame) for frame in session.output()]


def refresh(stream: int, fields: str = '{"BID":1}', **state: str) -> str:
    state = {"Stream": "NonStreaming", "Data": "Ok", **state}
    return f'[{{"ID":{stream},"Type":"Refresh","State":{json.dumps(state)},"Fields":{fields}}}]'


def status(stream: int, code: str = "", text: str = "", *, closed: str = "Closed", data: str = "Suspect") -> str:
    state = {"Stream": closed, "Data": data, "Code": code, "Text": text}
    return json.dumps([{"ID": stream, "Type": "Status", "State": state}])


def one(session: Session) -> ItemAnswer:
    (answer,) = session.item_answers()
    return answer


# What is sent.


def test_a_single_item_and_a_batch_are_snapshots() -> None:
    assert json.loads(item_request(2, "S", ["A"])) == {
        "ID": 2,
        "Key": {"Service": "S", "Name": "A"},
        "Streaming": False,
    }
    assert json.loads(item_request(2, "S", ['A"', "B\\"], ["BID"])) == {
        "ID": 2,
        "Key": {"Service": "S", "Name": ['A"', "B\\"]},
        "View": ["BID"],
        "Streaming": False,
    }


def test_batches_with_stream_ids_of_their_own_and_no_more_than_the_limit() -> None:
    session = opened()
    session.request(ItemRequest("S", names(MOST_OUTSTANDING + 30)), 0.0)
    frames = asked(session)
    assert [len(frame["Key"]["Name"]) for frame in frames] == [BATCH_ITEMS] * (MOST_OUTSTANDING // BATCH_ITEMS)
    assert [frame["ID"] for frame in frames] == [2 + n * (BATCH_ITEMS + 1) for n in range(len(frames))]
    session.receive(refresh(3), 1.0)
    (more,) = asked(session)
    assert more["Key"]["Name"] == f"R{MOST_OUTSTANDING}"  # there is room for a single one


def test_nothing_before_the_login() -> None:
    session = Session(LOGIN, Limits())
    session.connected(0.0)
    session.output()
    session.request(ItemRequest("S", ("A",)), 0.0)
    assert session.output() == []
    session.receive(login_ok(), 0.0)
    assert [frame["Key"]["Name"] for frame in asked(session)] == ["A"]


def test_single_requests_where_the_login_offers_no_batches() -> None:
    session = opened(login=login_ok(batches=False))
    session.request(ItemRequest("S", names(3)), 0.0)
    assert [(frame["ID"], frame["Key"]["Name"]) for frame in asked(session)] == [(2, "R0"), (3, "R1"), (4, "R2")]


def test_a_refused_batch_goes_again_as_single_requests() -> None:
    session = opened()
    session.request(ItemRequest("S", names(3)), 0.0)
    asked(session)
    session.receive(status(2, "UnableToRequestAsBatch"), 0.1)
    assert [frame["Key"]["Name"] for frame in asked(session)] == ["R0", "R1", "R2"]
    assert session.item_answers() == []


def test_no_frame_is_larger_than_the_server_takes() -> None:
    session = opened(login=login_ok(max_msg_size=400))
    session.request(ItemRequest("S", tuple(f"{'X' * 60}{n}" for n in range(10))), 0.0)
    frames = session.output()
    assert max(len(frame.encode()) for frame in frames) <= 400
    assert sum(len(json.loads(frame)["Key"]["Name"]) for frame in frames) == 10


def test_a_request_that_cannot_fit_is_answered() -> None:
    session = opened(login=login_ok(max_msg_size=256))
    session.request(ItemRequest("S", ("X" * 256, "A")), 0.0)
    assert one(session)[:5] == ("S", "X" * 256, Seen.CLOSED, {}, "TooLarge")
    assert [frame["Key"]["Name"] for frame in asked(session)] == ["A"]


def test_posts_keep_their_window_and_requests_do_not_wait_for_it() -> None:
    session = opened(window=2)
    session.post([Outgoing(n, FORM.text(n, f"P{n}", Action.REFRESH, '{"BID":1}')) for n in range(1, 5)], 0.0)
    session.request(ItemRequest("S", ("A",)), 0.0)
    sent = asked(session)
    assert [frame.get("PostID") for frame in sent] == [1, 2, None]
    session.receive(refresh(2), 0.0)
    assert asked(session) == []  # an item that is answered makes no room for posts
    assert session.answers() == []


def test_ids_begin_anew_without_touching_an_open_stream() -> None:
    session = opened()
    session.request(ItemRequest("S", ("A",)), 0.0)
    assert [frame["ID"] for frame in asked(session)] == [2]
    session._reading._next_stream = LAST_STREAM  # a long life later, and A is still not answered
    session.request(ItemRequest("S", ("B", "C")), 0.0)
    assert [frame["ID"] for frame in asked(session)] == [3]  # 4 and 5 are the items'
    for stream, name in ((4, "B"), (2, "A"), (5, "C")):
        session.receive(refresh(stream), 0.5)
        assert one(session).name == name


# What comes back.


def test_fields_keep_the_text_that_the_server_wrote() -> None:
    session = opened()
    session.request(ItemRequest("S", ("A",)), 0.0)
    session.receive(refresh(2, '{"BID":1.10,"ASK":9007199254740993.25,"DSPLY_NAME":"a\\"b","X":null}'), 0.5)
    answer = one(session)
    assert answer[:3] == ("S", "A", Seen.FIELDS)
    assert answer.fields == {"BID": "1.10", "ASK": "9007199254740993.25", "DSPLY_NAME": '"a\\"b"', "X": "null"}


@pytest.mark.parametrize("fields", ["null", "[]", "3"])
def test_fields_that_are_no_object_are_none(fields: str) -> None:
    (message,) = decode(refresh(2, fields))
    assert field_texts(message) == {}


@pytest.mark.parametrize(
    ("code", "told"), [("NotFound", "NotFound"), ("NotEntitled", "NotEntitled"), (77, "77"), ("None", "")]
)
def test_a_closed_stream_says_why(code: str, told: str) -> None:
    session = opened()
    session.request(ItemRequest("S", ("A",)), 0.0)
    session.receive(status(2, code, "no"), 0.5)
    assert one(session) == ItemAnswer("S", "A", Seen.CLOSED, {}, told, "no")


def test_an_open_status_is_not_the_answer() -> None:
    session = opened()
    session.request(ItemRequest("S", ("A",)), 0.0)
    session.receive(status(2, closed="Open"), 0.5)
    assert session.item_answers() == []
    session.receive(refresh(2), 0.6)
    assert one(session).seen is Seen.FIELDS


def test_suspect_fields_say_nothing() -> None:
    session = opened()
    session.request(ItemRequest("S", ("A",)), 0.0)
    session.receive(refresh(2, Data="Suspect", Text="stale"), 0.5)
    assert one(session) == ItemAnswer("S", "A", Seen.CLOSED, {"BID": "1"}, "Suspect", "stale")


def test_a_stream_that_stays_open_is_closed() -> None:
    session = opened()
    session.request(ItemRequest("S", ("A",)), 0.0)
    asked(session)
    session.receive(refresh(2, Stream="Open"), 0.5)
    assert one(session).seen is Seen.FIELDS
    assert asked(session) == [{"ID": 2, "Type": "Close"}]


def test_a_batch_that_fails_as_a_whole() -> None:
    session = opened()
    session.request(ItemRequest("S", ("A", "B")), 0.0)
    session.receive(status(2, "SourceUnknown", "no such service"), 0.5)
    assert [(answer.name, answer.code) for answer in session.item_answers()] == [
        ("A", "SourceUnknown"),
        ("B", "SourceUnknown"),
    ]


def test_an_error_about_a_request_is_no_post_s() -> None:
    session = opened()
    session.post([Outgoing(1, FORM.text(1, "P", Action.REFRESH, '{"BID":1}'))], 0.0)
    session.request(ItemRequest("S", ("A", "B")), 0.0)
    session.receive(json.dumps([{"ID": 2, "Type": "Error", "Text": "JSON Unexpected Value"}]), 0.5)
    assert {answer.text for answer in session.item_answers()} == {"JSON Unexpected Value"}
    assert session.answers() == []
    session.receive(json.dumps([{"ID": 1, "Type": "Ack", "AckID": 1}]), 0.6)
    assert [answer.post_id for answer in session.answers()] == [1]


def test_what_is_never_answered_expires_and_its_streams_are_closed() -> None:
    session = opened()
    session.request(ItemRequest("S", ("A", "B")), 5.0)
    asked(session)
    session.receive(refresh(3), 6.0)
    assert one(session).name == "A"
    assert session.due_s == 5.0 + ANSWER_TIMEOUT_S
    session.tick(5.0 + ANSWER_TIMEOUT_S)
    assert one(session)[1:3] == ("B", Seen.TIMEOUT)
    assert asked(session) == [{"ID": 4, "Type": "Close"}]
    session.receive(refresh(4), 30.0)  # too late
    assert session.item_answers() == []


def test_a_lost_connection_answers_all() -> None:
    session = opened()
    session.request(ItemRequest("S", names(MOST_OUTSTANDING + 5)), 0.0)
    session.disconnected(1.0, "reset")
    answers = session.item_answers()
    assert Counter(answer.seen for answer in answers) == {Seen.LOST: MOST_OUTSTANDING + 5}
    assert {answer.name for answer in answers} == set(names(MOST_OUTSTANDING + 5))
    session.connected(2.0)
    session.receive(login_ok(), 2.0)
    assert [frame["ID"] for frame in asked(session)] == [1]  # the login alone


# Against the simulated ADS.


@given(
    wanted=st.lists(st.sampled_from([f"R{n}" for n in range(300)]), unique=True, max_size=300),
    held=st.sets(st.integers(0, 299)),
    batches=st.booleans(),
    breaks_after=st.none() | st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_every_item_gets_exactly_one_answer(
    wanted: list[str], held: set[int], batches: bool, breaks_after: int | None, seed: int
) -> None:
    server = SimulatedAds(DICTIONARY)
    for number in held:
        server.load("S", f"R{number}", f'{{"BID":{number}}}')
    dice = random.Random(seed)
    session, line = Session(LOGIN, Limits(rate_limit=0)), server.connect(0.0)
    session.connected(0.0)
    answers: list[ItemAnswer] = []
    left, frames = list(wanted), 0
    while True:
        said = session.output()
        if not said and not left:
            break
        for frame in said:
            frames += 1
            for reply in line.receive(frame, 0.0).frames:
                session.receive(reply.text, 0.0)
        session._reading.batches &= batches
        if breaks_after is not None and frames >= breaks_after:
            break
        some = dice.randint(0, 40)
        if left:
            session.request(ItemRequest("S", tuple(left[: some + 1])), 0.0)
            left = left[some + 1 :]
        answers += session.item_answers()
    session.disconnected(1.0, "gone")
    answers += session.item_answers()
    expected = wanted[: len(wanted) - len(left)]
    assert Counter(answer.name for answer in answers) == Counter(expected)
    for answer in answers:
        number = int(answer.name[1:])
        if answer.seen is Seen.FIELDS:
            assert answer.fields == {"BID": str(number)}
        elif answer.seen is Seen.CLOSED:
            assert (answer.code, number in held) == ("NotFound", False)
        else:
            assert (answer.seen, breaks_after is None) == (Seen.LOST, False)


@given(
    st.lists(st.tuples(st.sampled_from("ST"), st.sampled_from("ABC"), st.sampled_from([(), ("BID",)])), max_size=30)
)
def test_each_answer_is_of_the_item_that_was_asked_for(wanted: list[tuple[str, str, tuple[str, ...]]]) -> None:
    """Items of several Services and views that were asked for in turn: as when several feeds are read back."""
    session = opened()
    for service, name, view in wanted:
        session.request(ItemRequest(service, (name,), view), 0.0)
    for request in asked(session):
        given_names = request["Key"]["Name"]
        many = isinstance(given_names, list)
        for number, name in enumerate(given_names if many else [given_names]):
            value = json.dumps({request["Key"]["Service"]: name, "View": request.get("View", [])})
            session.receive(refresh(request["ID"] + many + number, value), 1.0)
    answers = session.item_answers()
    assert Counter((answer.service, answer.name) for answer in answers) == Counter(item[:2] for item in wanted)
    for answer in answers:
        assert answer.fields[answer.service] == json.dumps(answer.name)
