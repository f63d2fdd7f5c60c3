"""On-stream posts: each waits for its item's stream, and ends unsent where there is none."""

from __future__ import annotations

import json

import pytest

from contrib_watch.ads.exchange import Notice, Outgoing, Verdict
from contrib_watch.ads.item_streams import CLOSED, NOT_OPEN, STREAMS
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.core.model import Action

FORM = PostFormat(service="NIPROV", address="127.0.0.1", user_id=1, on_stream=True)
OFF_STREAM = PostFormat(service="NIPROV", address="127.0.0.1", user_id=1)
LOGIN_OK = '{"ID":1,"Type":"Refresh","Domain":"Login","State":{"Stream":"Open","Data":"Ok"}}'
FIRST = STREAMS.start


def post(post_id: int, ric: str = "A=") -> Outgoing:
    text = FORM.text(post_id, ric, Action.UPDATE, '{"BID":1}')
    return Outgoing(post_id, text, ric=ric, service=FORM.stream_service)


def connected(session: Session, now_s: float = 0.0) -> Session:
    session.connected(now_s)
    session.receive(LOGIN_OK, now_s)
    session.output()
    session.events()
    return session


@pytest.fixture
def session() -> Session:
    """Logged in; two posts or openings at once, answered within 10 s."""
    limits = Limits(window=2, pack=2, rate_limit=0, ack_timeout_s=10)
    return connected(Session(Login(user="analyst", app_id="256", position="127.0.0.1"), limits))


def sent(session: Session) -> list[tuple[int, str]]:
    """Stream, and what went out on it: a RIC asked for, a post's number, or Close."""
    told = []
    for frame in map(json.loads, session.output()):
        for message in frame if isinstance(frame, list) else [frame]:
            asked = message.get("Key", {}).get("Name", "") if message.get("Type") is None else ""
            told.append((message["ID"], asked or str(message.get("PostID", message.get("Type")))))
    return told


def refresh(stream: int) -> str:
    return f'{{"ID":{stream},"Type":"Refresh","State":{{"Stream":"Open","Data":"Ok"}},"Fields":{{"BID":9}}}}'


def status(stream: int, state: str, code: str = "NotFound", text: str = "no such item") -> str:
    told = {"Stream": state, "Data": "Suspect", "Code": code, "Text": text}
    return json.dumps({"ID": stream, "Type": "Status", "State": told})


def ack(stream: int, post_id: int) -> str:
    return f'{{"ID":{stream},"Type":"Ack","AckID":{post_id}}}'


def ended(session: Session) -> dict[int, tuple[Verdict, str, bool]]:
    """PostID to verdict, code, and whether it went on the wire."""
    answers = session.answers()
    assert len({answer.post_id for answer in answers}) == len(answers)
    return {answer.post_id: (answer.verdict, answer.code, answer.sent_s is not None) for answer in answers}


def test_a_post_waits_for_its_items_refresh_and_is_acknowledged_there(session: Session) -> None:
    session.post([post(1)], 0.0)
    assert sent(session) == [(FIRST, "A=")]
    session.receive(refresh(FIRST), 1.0)
    (frame,) = session.output()
    posted = json.loads(frame)
    assert (posted["ID"], posted["PostID"], posted["Ack"], "Key" in posted) == (FIRST, 1, True, False)
    session.receive(ack(FIRST, 1), 1.5)
    assert ended(session) == {1: (Verdict.ACKED, "", True)}
    session.post([post(2)], 2.0)  # the item stays open
    assert sent(session) == [(FIRST, "2")]


def test_an_ack_on_another_stream_is_no_answer(session: Session) -> None:
    session.post([post(1)], 0.0)
    session.receive(refresh(FIRST), 1.0)
    session.receive(ack(1, 1), 1.5)
    assert ended(session) == {}
    (notice,) = session.events()
    assert isinstance(notice, Notice)
    assert "another stream" in notice.text


def test_no_more_items_are_opened_at_once_than_the_window_has_room_for(session: Session) -> None:
    session.post([post(n, f"R{n}") for n in range(1, 5)], 0.0)
    assert sent(session) == [(FIRST, "R1"), (FIRST + 1, "R2")]
    session.receive(status(FIRST, "Closed"), 1.0)
    assert sent(session) == [(FIRST + 2, "R3")]
    session.tick(11.0)
    assert sent(session) == [(FIRST + 1, "Close"), (FIRST + 2, "Close"), (FIRST + 3, "R4")]
    assert ended(session).keys() == {1, 2, 3}


def test_off_stream_posts_do_not_wait_for_an_item(session: Session) -> None:
    plain = Outgoing(2, OFF_STREAM.text(2, "B=", Action.REFRESH, '{"BID":1}'), ric="B=")
    session.post([post(1), plain], 0.0)
    assert sorted(sent(session)) == [(1, "2"), (FIRST, "A=")]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (status(FIRST, "Closed"), CLOSED),
        (status(FIRST, "ClosedRecover", "", "service is down"), NOT_OPEN),
        (f'{{"ID":{FIRST},"Type":"Error","Text":"no such service"}}', CLOSED),
    ],
)
def test_an_item_that_is_not_opened(session: Session, answer: str, code: str) -> None:
    session.post([post(1), post(2)], 0.0)
    session.output()
    session.receive(answer, 1.0)
    assert ended(session) == dict.fromkeys((1, 2), (Verdict.NAKKED, code, False))
    session.post([post(3)], 2.0)  # the next post asks anew
    assert sent(session) == [(FIRST + 1, "A=")]


def test_an_item_that_gets_no_answer(session: Session) -> None:
    session.post([post(1)], 0.0)
    assert session.due_s == 10.0
    session.tick(10.0)
    assert ended(session) == {1: (Verdict.NAKKED, NOT_OPEN, False)}
    assert sent(session) == [(FIRST, "A="), (FIRST, "Close")]
    session.receive(refresh(FIRST), 11.0)
    session.post([post(2)], 12.0)
    assert sent(session) == [(FIRST + 1, "A=")]


@pytest.mark.parametrize("state", ["Closed", "ClosedRecover"])
def test_an_open_item_that_is_closed_is_opened_again_by_the_next_post(session: Session, state: str) -> None:
    """What has not left ends unsent; what was on the wire is of unknown fate, and its Ack may still come."""
    session.post([post(1), post(2, "B=")], 0.0)
    session.receive_all([refresh(FIRST), refresh(FIRST + 1)], 1.0)
    session.post([post(3)], 1.0)  # no room in the window
    session.output()
    session.receive(status(FIRST, state), 2.0)
    assert ended(session) == {3: (Verdict.NAKKED, NOT_OPEN, False)}
    session.post([post(4)], 3.0)
    assert sent(session) == [(FIRST + 2, "A=")]
    session.receive(ack(FIRST, 1), 4.0)
    assert ended(session) == {1: (Verdict.ACKED, "", True)}
    session.receive(refresh(FIRST + 2), 5.0)
    assert sent(session) == [(FIRST + 2, "4")]
    session.tick(11.0)
    assert ended(session) == {2: (Verdict.TIMEOUT, "", True)}


def test_an_error_on_an_open_stream_is_a_posts(session: Session) -> None:
    session.post([post(1)], 0.0)
    session.receive(refresh(FIRST), 1.0)
    frame = session.output()[-1]
    error = {"ID": FIRST, "Type": "Error", "Text": "JSON Unexpected FID", "Debug": {"Message": frame, "Offset": 9}}
    session.receive(json.dumps(error), 2.0)
    assert ended(session) == {1: (Verdict.NAKKED, "", True)}
    session.post([post(2)], 3.0)
    assert sent(session) == [(FIRST, "2")]


def test_a_lost_connection_takes_the_streams_along(session: Session) -> None:
    session.post([post(1), post(2, "B=")], 0.0)
    session.receive(refresh(FIRST), 1.0)
    session.disconnected(2.0, "gone")
    assert ended(session) == {1: (Verdict.LOST, "", True), 2: (Verdict.LOST, "", False)}
    connected(session, 3.0)
    assert sent(session) == []  # nothing is opened for nobody
    session.post([post(3)], 4.0)
    assert [what for _, what in sent(session)] == ["A="]


def test_what_is_handed_over_before_the_login_is_opened_after_it(session: Session) -> None:
    session.disconnected(0.0, "gone")
    session.post([post(1)], 1.0)
    session.connected(2.0)
    session.receive(LOGIN_OK, 3.0)
    assert [what for _, what in sent(session)][1:] == ["A="]
