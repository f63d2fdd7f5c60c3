"""The session's rules one by one, and all together against the simulated ADS in virtual time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contrib_watch.ads.exchange import Answer, CloseConnection, LoggedIn, LoginEnded, Notice, Outgoing, Verdict
from contrib_watch.ads.messages import MAX_CONVERTED_BYTES, PONG, PostFormat
from contrib_watch.ads.session import (
    DEFAULT_MAX_MSG_SIZE,
    DEFAULT_PING_TIMEOUT_S,
    LOGIN_TIMEOUT_S,
    RATE_BURST_S,
    Limits,
    Login,
    Phase,
    Session,
)
from contrib_watch.config import load_dictionary
from contrib_watch.config.settings import Fields
from contrib_watch.core.model import Action

FORM = PostFormat(service="NIPROV", address="127.0.0.1", user_id=1)
LOGIN = Login(user="analyst", app_id="256", position="127.0.0.1")
LOGIN_OK = (
    '[{"ID":1,"Type":"Refresh","Domain":"Login","State":{"Stream":"Open","Data":"Ok"},'
    '"Elements":{"MaxMsgSize":61430,"PingTimeout":30}}]'
)
DICTIONARY = load_dictionary(Fields())


def outgoing(post_id: int, *, alone: bool = False, fields: str = '{"BID":1}') -> Outgoing:
    return Outgoing(post_id, FORM.text(post_id, f"R{post_id}", Action.REFRESH, fields), alone)


def posts(*post_ids: int) -> list[Outgoing]:
    return [outgoing(post_id) for post_id in post_ids]


def opened(now_s: float = 0.0, *, login: str = LOGIN_OK, **limits: float) -> Session:
    """A session that is logged in; without a rate limit where none is given."""
    session = Session(LOGIN, Limits(**({"rate_limit": 0} | limits)))  # type: ignore[arg-type]
    session.connected(now_s)
    session.receive(login, now_s)
    assert session.phase is Phase.OPEN
    session.output()
    session.events()
    return session


def ids(frames: Iterable[str]) -> list[list[int]]:
    """The PostIDs of each frame."""
    return [
        [post["PostID"] for post in (read if isinstance(read, list) else [read])] for read in map(json.loads, frames)
    ]


def ack(post_id: int, *, nak: str | int | None = None, text: str = "") -> str:
    message: dict[str, object] = {"ID": 1, "Type": "Ack", "AckID": post_id, "Text": text}
    if nak is not None:
        message["NakCode"] = nak
    return json.dumps([message])


def error(message: str | None = None, offset: int | None = None) -> str:
    debug = {"Message": message, **({} if offset is None else {"Offset": offset})}
    extra = {} if message is None else {"Debug": debug}
    return json.dumps([{"ID": 1, "Type": "Error", "Text": "JSON Unexpected FID", **extra}])


def verdicts(session: Session) -> dict[int, Verdict]:
    answers = session.answers()
    told = {answer.post_id: answer.verdict for answer in answers}
    assert len(told) == len(answers)
    return told


def closing(session: Session) -> str:
    """Why the driver is told to close; empty: it is not."""
    return "; ".join(event.reason for event in session.events() if isinstance(event, CloseConnection))


class TestStall:
    """What a fast server's window would have taken soon, and one that answers nothing would take for hours."""

    def test_what_has_not_left_comes_back_from_a_server_that_answers_nothing(self) -> None:
        session = opened(window=2, ack_timeout_s=15.0)
        session.post(posts(*range(1, 7)), 0.0)
        session.receive(ack(1), 1.0)
        assert ids(session.output()) == [[1], [2], [3]]
        assert verdicts(session) == {1: Verdict.ACKED}
        session.tick(15.0)  # of the second, which may be lost alone: the first was answered since
        assert verdicts(session) == {2: Verdict.TIMEOUT}
        assert ids(session.output()) == [[4]]
        session.tick(16.0)
        answers = {answer.post_id: answer for answer in session.answers()}
        assert {key: (one.verdict, one.sent_s) for key, one in answers.items()} == {
            3: (Verdict.TIMEOUT, 1.0),
            5: (Verdict.LOST, None),
            6: (Verdict.LOST, None),
        }
        assert answers[5].text == "not sent: the server answers no posts"
        session.receive(ack(4), 17.0)
        session.post(posts(7), 17.0)
        assert ids(session.output()) == [[7]]

    def test_what_is_recalled_comes_back_unsent_and_what_is_on_the_wire_stays(self) -> None:
        session = opened(window=1)
        on_stream = replace(outgoing(3), service="NIPROV", ric="R3")  # waits for its item's stream
        session.post([*posts(1, 2), on_stream], 0.0)
        session.recall(posts(4), 1.0)
        answers = {answer.post_id: answer for answer in session.answers()}
        assert {key: (one.verdict, one.sent_s, one.text) for key, one in answers.items()} == {
            2: (Verdict.LOST, None, "not sent: recalled"),
            3: (Verdict.LOST, None, "not sent: recalled"),
            4: (Verdict.LOST, None, "not sent: recalled"),
        }
        session.receive(ack(1), 2.0)
        assert verdicts(session) == {1: Verdict.ACKED}
        session.post(posts(5), 2.0)
        assert [5] in ids(frame for frame in session.output() if "PostID" in frame)


class TestLogin:
    def test_login_is_the_first_frame_and_nothing_else_goes_before_it_is_accepted(self) -> None:
        session = Session(LOGIN, Limits())
        session.post(posts(1), 0.0)
        session.connected(1.0)
        session.post(posts(2), 1.0)
        (frame,) = session.output()
        assert json.loads(frame)["Key"]["Name"] == "analyst"
        assert session.phase is Phase.LOGGING_IN
        session.tick(2.0)
        assert session.output() == []
        session.receive(LOGIN_OK, 3.0)
        assert session.events() == [LoggedIn(30.0, 61430)]
        assert ids(session.output()) == [[1], [2]]

    def test_limits_of_the_login_refresh_count_for_this_connection_alone(self) -> None:
        session = opened(login=LOGIN_OK.replace("61430", "900").replace("30}", "6}"))
        assert (session.max_msg_size, session.ping_timeout_s) == (900, 6)
        session.disconnected(1.0, "gone")
        session.connected(2.0)
        assert (session.max_msg_size, session.ping_timeout_s) == (DEFAULT_MAX_MSG_SIZE, DEFAULT_PING_TIMEOUT_S)

    def test_refresh_without_elements_has_the_defaults(self) -> None:
        session = opened(login='{"ID":1,"Type":"Refresh","Domain":"Login","State":{"Stream":"Open","Data":"Ok"}}')
        assert (session.max_msg_size, session.ping_timeout_s) == (DEFAULT_MAX_MSG_SIZE, DEFAULT_PING_TIMEOUT_S)

    @pytest.mark.parametrize("elements", ['"MaxMsgSize":1,"PingTimeout":0', '"MaxMsgSize":-5,"PingTimeout":-1e-9'])
    def test_limits_that_cannot_be_meant_are_told_and_not_obeyed(self, elements: str) -> None:
        session = Session(LOGIN, Limits())
        session.connected(0.0)
        session.receive(LOGIN_OK.replace('"MaxMsgSize":61430,"PingTimeout":30', elements), 0.0)
        *notices, logged_in = session.events()
        assert logged_in == LoggedIn(DEFAULT_PING_TIMEOUT_S, DEFAULT_MAX_MSG_SIZE)
        assert ["PingTimeout" in str(notices[0]), "MaxMsgSize" in str(notices[1])] == [True, True]
        session.post(posts(1), 0.0)
        session.tick(1.0)
        assert (session.phase, session.answers()) == (Phase.OPEN, [])

    @pytest.mark.parametrize(("written", "code"), [('"UserUnknownToPermSys"', "UserUnknownToPermSys"), ("57", "57")])
    def test_refused_is_final_and_says_code_and_text(self, written: str, code: str) -> None:
        session = Session(LOGIN, Limits())
        session.connected(0.0)
        session.receive(
            '[{"ID":1,"Type":"Status","Domain":"Login","State":{"Stream":"Closed","Data":"Suspect",'
            f'"Code":{written},"Text":"analyst, unknown to system"}}}}]',
            0.1,
        )
        ended, close = session.events()
        assert ended == LoginEnded(code, "analyst, unknown to system", final=True)
        assert isinstance(close, CloseConnection)
        assert session.phase is Phase.CLOSING
        assert session.due_s is None

    @pytest.mark.parametrize(
        ("stream", "text"),
        [("Closed", "Already pending login"), ("ClosedRecover", "the service is down"), ("Redirected", "elsewhere")],
    )
    def test_what_waiting_may_cure_is_not_final(self, stream: str, text: str) -> None:
        session = Session(LOGIN, Limits())
        session.connected(0.0)
        state = {"Stream": stream, "Data": "Suspect", "Text": text}
        session.receive(json.dumps({"ID": 1, "Type": "Status", "Domain": "Login", "State": state}), 0.1)
        ended, _ = session.events()
        assert ended == LoginEnded("", text, final=False)

    def test_pending_status_is_no_login(self) -> None:
        session = Session(LOGIN, Limits())
        session.connected(0.0)
        pending = {"Stream": "Open", "Data": "Suspect", "Text": "Login request pending"}
        session.receive(json.dumps({"ID": 1, "Type": "Status", "Domain": "Login", "State": pending}), 0.1)
        assert session.events() == []
        session.receive(LOGIN_OK, 0.2)
        assert session.phase is Phase.OPEN

    def test_login_that_is_never_answered_ends_though_pings_come(self) -> None:
        session = Session(LOGIN, Limits())
        session.connected(100.0)
        for second in range(1, int(LOGIN_TIMEOUT_S)):
            session.receive('{"Type":"Ping"}', 100.0 + second)
        assert session.due_s == 100.0 + LOGIN_TIMEOUT_S
        assert closing(session) == ""
        session.tick(100.0 + LOGIN_TIMEOUT_S)
        assert "login was not answered" in closing(session)

    def test_later_close_of_the_login_stream_is_not_final(self) -> None:
        session = opened()
        session.post(posts(1), 1.0)
        state = {"Stream": "Closed", "Data": "Suspect", "Text": "Force Logout"}
        session.receive(json.dumps([{"ID": 1, "Type": "Status", "Domain": "Login", "State": state}]), 2.0)
        ended, _ = session.events()
        assert ended == LoginEnded("", "Force Logout", final=False)
        session.output()
        session.post(posts(2), 3.0)
        session.tick(4.0)
        assert session.output() == []
        session.disconnected(99.0, "closed")
        first, second = session.answers()
        assert (first.post_id, first.verdict, first.sent_s) == (1, Verdict.LOST, 1.0)
        assert (second.post_id, second.verdict, second.sent_s) == (2, Verdict.LOST, None)

    def test_what_a_frame_says_after_the_close_of_the_login_still_counts(self) -> None:
        session = opened(pack=3)
        session.post(posts(1, 2, 3), 0.0)
        closed = {"ID": 1, "Type": "Status", "Domain": "Login", "State": {"Stream": "Closed", "Data": "Suspect"}}
        session.receive(json.dumps([*json.loads(ack(1)), closed, *json.loads(ack(2)), closed]), 1.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.ACKED}
        assert "login stream was closed" in closing(session)
        session.disconnected(2.0, "closed")
        assert verdicts(session) == {3: Verdict.LOST}

    def test_a_second_login_refresh_changes_nothing(self) -> None:
        session = opened()
        session.post(posts(1), 0.0)
        session.output()
        session.receive(LOGIN_OK.replace("61430", "1").replace('"PingTimeout":30', '"PingTimeout":1'), 1.0)
        assert session.events() == []
        assert (session.max_msg_size, session.ping_timeout_s) == (61_430, 30)
        session.receive(ack(1), 2.0)
        assert verdicts(session) == {1: Verdict.ACKED}

    def test_state_of_another_stream_does_not_touch_the_login(self) -> None:
        session = opened()
        session.receive('[{"ID":5,"Type":"Status","State":{"Stream":"Closed","Data":"Suspect"}}]', 1.0)
        assert session.phase is Phase.OPEN
        assert session.events() == []

    def test_open_status_after_the_login_changes_nothing(self) -> None:
        session = opened()
        session.receive('[{"ID":1,"Type":"Status","State":{"Stream":"Open","Data":"Suspect"}}]', 1.0)
        assert session.phase is Phase.OPEN
        session.post(posts(1), 1.0)
        assert ids(session.output()) == [[1]]

    def test_a_login_ends_once(self) -> None:
        session = opened()
        closed = '{"ID":1,"Type":"Status","Domain":"Login","State":{"Stream":"Closed","Data":"Suspect","Text":"%s"}}'
        session.receive_all([closed % "moved", closed % "Not logged in", closed % "Not logged in"], 1.0)
        assert session.events() == [
            LoginEnded("", "moved", final=False),
            CloseConnection("the login stream was closed: moved"),
        ]

    def test_logout_closes_the_stream_and_sends_nothing_more(self) -> None:
        session = opened(window=1)
        session.post(posts(1, 2), 0.0)
        session.output()
        session.logout()
        assert [json.loads(frame) for frame in session.output()] == [{"ID": 1, "Type": "Close"}]
        session.receive(ack(1), 1.0)
        assert session.output() == []
        assert verdicts(session) == {1: Verdict.ACKED}

    def test_logout_before_the_login_is_accepted_has_nothing_to_close(self) -> None:
        session = Session(LOGIN, Limits())
        session.connected(0.0)
        session.output()
        session.logout()
        assert session.output() == []


class TestTokenLogin:
    def test_the_login_names_the_token_and_no_user(self) -> None:
        session = Session(LOGIN, Limits())
        session.connected(0.0, "t0ken")
        (login,) = session.output()
        assert json.loads(login) == {
            "ID": 1,
            "Domain": "Login",
            "Key": {
                "NameType": "AuthnToken",
                "Elements": {"ApplicationId": "256", "Position": "127.0.0.1", "AuthenticationToken": "t0ken"},
            },
        }

    @pytest.mark.parametrize("answer", ["", LOGIN_OK])
    def test_a_renewal_stands_before_the_next_posts_and_needs_no_answer(self, answer: str) -> None:
        session = opened()
        session.post(posts(1), 1.0)
        session.renew("n3w")
        session.post(posts(2), 1.0)
        first, renewal, second = session.output()
        assert json.loads(renewal)["Refresh"] is False
        assert json.loads(renewal)["Key"]["Elements"]["AuthenticationToken"] == "n3w"
        assert ids([first, second]) == [[1], [2]]
        if answer:
            session.receive(answer, 1.0)
        session.receive(ack(1), 1.0)
        session.receive(ack(2), 1.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.ACKED}
        assert session.events() == []

    def test_a_refused_renewal_ends_the_login_and_may_be_cured(self) -> None:
        session = opened()
        session.renew("s3cret")
        told = "no such token: s3cret"
        state = {"Stream": "Closed", "Data": "Suspect", "Code": "UserUnknownToPermSys", "Text": told}
        session.receive(json.dumps({"ID": 1, "Type": "Status", "Domain": "Login", "State": state}), 1.0)
        ended, close = session.events()
        assert ended == LoginEnded("UserUnknownToPermSys", "no such token: ***", final=False)
        assert close == CloseConnection("the login stream was closed: no such token: ***")

    def test_an_error_that_repeats_the_token_does_not_show_it(self) -> None:
        session = Session(LOGIN, Limits())
        session.connected(0.0, "s3cret")
        session.receive('{"ID":1,"Type":"Error","Text":"Unexpected Value s3cret for AuthenticationToken"}', 0.1)
        told = "an Error belongs to no post that waits: Unexpected Value *** for AuthenticationToken"
        assert session.events() == [Notice(told)]

    def test_the_token_before_a_renewal_is_not_shown_either(self) -> None:
        session = opened()
        session.renew("0ld")
        session.renew("n3w")
        state = {"Stream": "Closed", "Data": "Suspect", "Text": "0ld has ended, n3w is not known"}
        session.receive(json.dumps({"ID": 1, "Type": "Status", "Domain": "Login", "State": state}), 1.0)
        assert "*** has ended, *** is not known" in str(session.events())


class TestLife:
    def test_ping_gets_a_pong_each(self) -> None:
        session = opened()
        session.receive('[{"Type":"Ping"},{"Type":"Ping"}]', 1.0)
        assert session.output() == [PONG, PONG]

    def test_a_flood_of_pings_holds_up_no_post(self) -> None:
        session = opened()
        session.receive(json.dumps([{"Type": "Ping"}] * 10_000), 1.0)
        session.post(posts(1), 1.0)
        *pongs, post = session.output()
        assert pongs == [PONG] * 10_000
        assert ids([post]) == [[1]]

    def test_ping_is_answered_while_logging_in(self) -> None:
        session = Session(LOGIN, Limits())
        session.connected(0.0)
        session.output()
        session.receive('{"Type":"Ping"}', 1.0)
        assert session.output() == [PONG]

    def test_silence_for_ping_timeout_ends_the_connection(self) -> None:
        session = opened(10.1)
        session.receive('{"Type":"Ping"}', 17.3)
        assert session.due_s == 17.3 + 30
        session.tick(17.3 + 29.999)
        assert session.phase is Phase.OPEN
        session.tick(session.due_s)
        assert "nothing was received for 30 s" in closing(session)
        assert session.due_s is None

    @given(st.floats(0, 1e8), st.floats(0.001, 1e3), st.floats(0.001, 1e3))
    def test_who_ticks_exactly_at_due_s_is_never_sent_away(self, now_s: float, ack_s: float, later_s: float) -> None:
        session = opened(now_s, ack_timeout_s=ack_s, rate_limit=0)
        session.receive('{"Type":"Ping"}', now_s + later_s)
        session.post(posts(1), now_s + later_s)
        while session.phase is Phase.OPEN:
            due_s = session.due_s
            assert due_s is not None
            session.tick(due_s)
            assert session.due_s != due_s

    @pytest.mark.parametrize("garbage", ["", "garbage", '[{"ID":1,"Type":"Ack","AckI', b"\xff\x00", "[[[", "17"])
    def test_garbage_is_noticed_and_the_session_lives(self, garbage: str | bytes) -> None:
        session = opened()
        session.post(posts(1), 0.0)
        session.receive(garbage, 29.0)
        (notice,) = session.events()
        assert isinstance(notice, Notice)
        session.receive(ack(1), 29.5)
        assert verdicts(session) == {1: Verdict.ACKED}

    def test_acks_beside_what_is_no_message_still_count(self) -> None:
        session = opened()
        session.post(posts(1, 2), 0.0)
        session.receive(f'[{ack(1)[1:-1]},{{"ID":"one"}},17,{ack(2)[1:-1]}]', 1.0)
        assert [type(event) for event in session.events()] == [Notice]
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.ACKED}

    def test_disconnected_session_has_nothing_due(self) -> None:
        session = Session(LOGIN, Limits())
        assert session.due_s is None
        session.post(posts(1), 0.0)
        assert session.due_s is None
        assert (session.output(), session.answers()) == ([], [])


class TestFlow:
    def test_window_bounds_what_is_unanswered(self) -> None:
        session = opened(window=3)
        session.post(posts(1, 2, 3, 4, 5), 0.0)
        assert ids(session.output()) == [[1], [2], [3]]
        session.receive(ack(2), 1.0)
        assert ids(session.output()) == [[4]]
        session.receive(ack(1, nak="DeniedBySrc"), 1.0)
        assert ids(session.output()) == [[5]]
        assert sorted(session._outstanding) == [3, 4, 5]

    def test_expired_post_frees_its_place(self) -> None:
        session = opened(window=1, ack_timeout_s=5)
        session.post(posts(1, 2), 0.0)
        session.output()
        session.tick(5.0)
        session.post(posts(3), 5.0)
        assert ids(session.output()) == [[3]]
        assert verdicts(session) == {1: Verdict.TIMEOUT, 2: Verdict.LOST}

    def test_what_is_to_go_apart_shares_no_frame_and_keeps_the_others_flowing(self) -> None:
        session = opened(pack=10)
        session.post([*posts(1, 2), replace(outgoing(3), apart=True), *posts(4, 5)], 0.0)
        sent = [json.loads(frame) for frame in session.output()]
        assert [[one["PostID"] for one in ([said] if isinstance(said, dict) else said)] for said in sent] == [
            [1, 2], [3], [4, 5]
        ]  # fmt: skip

    def test_pack_fills_frames_up_to_the_window(self) -> None:
        session = opened(window=5, pack=3)
        session.post(posts(*range(1, 8)), 0.0)
        assert ids(session.output()) == [[1, 2, 3], [4, 5]]
        session.receive(ack(1), 1.0)
        assert ids(session.output()) == [[6]]

    def test_single_post_goes_without_an_array(self) -> None:
        session = opened(pack=10)
        session.post(posts(1), 0.0)
        assert session.output() == [outgoing(1).text]

    @given(
        sizes=st.lists(st.integers(0, 900), min_size=1, max_size=12),
        most_bytes=st.integers(300, 1500),
        non_ascii=st.booleans(),
    )
    def test_no_frame_is_above_max_msg_size(self, sizes: list[int], most_bytes: int, non_ascii: bool) -> None:
        session = opened(login=LOGIN_OK.replace("61430", str(most_bytes)), pack=5)
        letter = "é" if non_ascii else "e"
        made = [outgoing(n, fields=f'{{"DSPLY_NAME":"{letter * size}"}}') for n, size in enumerate(sizes, 1)]
        session.post(made, 0.0)
        frames = session.output()
        assert all(len(frame.encode()) <= most_bytes for frame in frames)
        too_large = {post.post_id for post in made if len(post.text.encode()) > most_bytes}
        refused = session.answers()
        assert {answer.post_id for answer in refused} == too_large
        for answer in refused:
            assert (answer.verdict, answer.code, answer.sent_s) == (Verdict.NAKKED, "TooLarge", None)
            assert f"the server takes {most_bytes}" in answer.text
        assert sorted(itertools.chain(*ids(frames))) == [n for n in range(1, len(sizes) + 1) if n not in too_large]

    def test_post_of_exactly_max_msg_size_goes(self) -> None:
        size = len(outgoing(1).text)
        session = opened(login=LOGIN_OK.replace("61430", str(size)), pack=5)
        session.post(posts(1, 2), 0.0)
        assert ids(session.output()) == [[1], [2]]
        session = opened(login=LOGIN_OK.replace("61430", str(size - 1)))
        session.post(posts(1), 0.0)
        assert session.output() == []
        assert verdicts(session) == {1: Verdict.NAKKED}

    def test_converter_limit_holds_where_the_server_takes_more(self) -> None:
        session = opened(login=LOGIN_OK.replace("61430", "1000000"))
        session.post([outgoing(1, fields='{"DSPLY_NAME":"' + "x" * MAX_CONVERTED_BYTES + '"}')], 0.0)
        assert session.output() == []
        (answer,) = session.answers()
        assert str(MAX_CONVERTED_BYTES) in answer.text

    def test_too_large_post_is_refused_without_waiting_for_room(self) -> None:
        session = opened(login=LOGIN_OK.replace("61430", "400"), window=1)
        session.post([*posts(1), outgoing(2, fields='{"DSPLY_NAME":"' + "x" * 400 + '"}')], 0.0)
        session.receive(ack(1), 1.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.NAKKED}


class TestAlone:
    def test_nothing_else_is_outstanding_before_with_or_after(self) -> None:
        session = opened(pack=10)
        session.post([*posts(1, 2), outgoing(3, alone=True), *posts(4, 5)], 0.0)
        assert not session.searching
        assert ids(session.output()) == [[1, 2]]
        session.receive(ack(1), 1.0)
        assert session.output() == []
        session.receive(ack(2), 1.0)
        assert ids(session.output()) == [[3]]
        session.receive(ack(3), 2.0)
        assert ids(session.output()) == [[4, 5]]

    def test_several_go_one_after_the_other(self) -> None:
        session = opened(pack=10)
        session.post([outgoing(n, alone=True) for n in (1, 2)], 0.0)
        assert session.searching
        assert ids(session.output()) == [[1]]
        session.receive(ack(1), 1.0)
        assert ids(session.output()) == [[2]]

    def test_too_large_post_before_it_opens_no_gap(self) -> None:
        session = opened(login=LOGIN_OK.replace("61430", "400"))
        large = outgoing(2, fields='{"DSPLY_NAME":"' + "x" * 400 + '"}')
        session.post([*posts(1), large, outgoing(3, alone=True)], 0.0)
        assert ids(session.output()) == [[1]]
        assert verdicts(session) == {2: Verdict.NAKKED}

    def test_error_that_names_no_post_is_its_own(self) -> None:
        session = opened()
        session.post([outgoing(1, alone=True), *posts(2)], 0.0)
        session.output()
        session.receive(error(), 1.0)
        (answer,) = session.answers()
        assert answer == Answer(1, Verdict.NAKKED, "", "JSON Unexpected FID", 0.0, 1.0)
        assert ids(session.output()) == [[2]]


class TestAnswers:
    def test_ack_whatever_its_text(self) -> None:
        session = opened()
        session.post(posts(1, 2), 0.5)
        session.receive(ack(2, text="[1]: Contribution Accepted"), 1.0)
        session.receive(ack(1, text="denied"), 2.0)
        assert session.answers() == [
            Answer(2, Verdict.ACKED, "", "[1]: Contribution Accepted", 0.5, 1.0),
            Answer(1, Verdict.ACKED, "", "denied", 0.5, 2.0),
        ]

    @pytest.mark.parametrize(("code", "told"), [("SymbolUnknown", "SymbolUnknown"), (132, "132"), (0, "0"), ("", "")])
    def test_any_nak_code_is_a_refusal(self, code: str | int, told: str) -> None:
        session = opened()
        session.post(posts(1), 0.0)
        session.receive(ack(1, nak=code, text="F44"), 1.0)
        assert session.answers() == [Answer(1, Verdict.NAKKED, told, "F44", 0.0, 1.0)]

    def test_packed_acks(self) -> None:
        session = opened()
        session.post(posts(1, 2), 0.0)
        session.receive(json.dumps([*json.loads(ack(1)), {"Type": "Ping"}, *json.loads(ack(2, nak="NotOpen"))]), 1.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.NAKKED}
        assert session.output()[-1] == PONG

    @pytest.mark.parametrize("stray", [ack(99), ack(1), ack(1, nak="NotOpen"), '[{"ID":1,"Type":"Ack"}]'])
    def test_late_repeated_and_unknown_acks_are_noticed(self, stray: str) -> None:
        session = opened(ack_timeout_s=5)
        session.post(posts(1, 2), 0.0)
        session.receive(ack(1), 1.0)
        session.answers()
        session.receive(stray, 2.0)
        (notice,) = session.events()
        assert isinstance(notice, Notice)
        assert session.answers() == []
        assert list(session._outstanding) == [2]

    @pytest.mark.parametrize("nak", ["", '"NakCode":"DeniedBySrc",'])
    def test_an_ack_that_names_another_item_is_no_answer(self, nak: str) -> None:
        session = opened(ack_timeout_s=5)
        session.post([replace(outgoing(1), ric="R1")], 0.0)
        session.receive(f'{{"ID":1,"Type":"Ack","AckID":1,{nak}"Key":{{"Name":"R2"}}}}', 1.0)
        (notice,) = session.events()
        assert isinstance(notice, Notice)
        session.tick(5.0)
        assert verdicts(session) == {1: Verdict.TIMEOUT}

    @pytest.mark.parametrize("key", ['{"Name":"A\\\\B"}', '{"Name":"AB"}', '{"Name":7}', '{"Service":"S"}', "null"])
    def test_an_ack_whose_key_may_be_the_posts_is_its_answer(self, key: str) -> None:
        session = opened()
        session.post([replace(outgoing(1), ric="A\\B")], 0.0)
        session.receive(f'{{"ID":1,"Type":"Ack","AckID":1,"Key":{key}}}', 1.0)
        assert verdicts(session) == {1: Verdict.ACKED}

    def test_deadline_runs_from_sending(self) -> None:
        session = opened(window=1, ack_timeout_s=5)
        session.post(posts(1, 2), 0.0)
        session.receive(ack(1), 4.0)
        session.tick(8.9)
        assert verdicts(session) == {1: Verdict.ACKED}
        assert session.due_s == 9.0
        session.tick(9.0)
        assert session.answers() == [Answer(2, Verdict.TIMEOUT, "", "no answer within 5 s", 4.0, 9.0)]

    def test_ack_after_the_deadline_changes_nothing(self) -> None:
        session = opened(ack_timeout_s=5)
        session.post(posts(1), 0.0)
        session.tick(5.0)
        session.answers()
        session.receive(ack(1), 5.1)
        assert session.answers() == []

    def test_disconnect_ends_every_post_once(self) -> None:
        session = opened(window=1)
        session.post(posts(1, 2), 1.0)
        session.disconnected(2.0, "reset by peer")
        assert session.answers() == [
            Answer(1, Verdict.LOST, "", "connection lost before an answer: reset by peer", 1.0, 2.0),
            Answer(2, Verdict.LOST, "", "not sent: reset by peer", None, 2.0),
        ]
        assert session.output() == []
        session.disconnected(3.0, "again")
        assert session.answers() == []

    def test_frames_of_a_lost_connection_do_not_go_on_the_next(self) -> None:
        session = opened()
        session.post(posts(1), 1.0)
        session.disconnected(2.0, "gone")
        session.connected(3.0)
        (login,) = session.output()
        assert json.loads(login)["Domain"] == "Login"


class TestErrors:
    def test_in_a_pack_the_post_at_the_offset_is_at_fault_and_the_rest_goes_again(self) -> None:
        session = opened(pack=3)
        session.post(posts(1, 2, 3, 4), 0.0)
        frame, _ = session.output()
        session.receive(ack(1), 0.5)
        session.receive(error(frame, frame.index('"Name":"R2"')), 1.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.NAKKED, 3: Verdict.RETURNED}
        assert list(session._outstanding) == [4]

    def test_in_a_pack_without_an_offset_every_unanswered_post_goes_again(self) -> None:
        session = opened(pack=3)
        session.post(posts(1, 2, 3, 4), 0.0)
        frame, _ = session.output()
        session.receive(error(frame), 1.0)
        assert verdicts(session) == dict.fromkeys((1, 2, 3), Verdict.RETURNED)

    def test_single_post_is_known_by_its_post_id(self) -> None:
        session = opened()
        session.post(posts(1, 2, 3), 0.0)
        session.receive(error(outgoing(2).text), 1.0)
        assert session.answers() == [Answer(2, Verdict.NAKKED, "", "JSON Unexpected FID", 0.0, 1.0)]

    def test_without_any_place_all_that_wait_are_suspects_until_their_deadline(self) -> None:
        session = opened(ack_timeout_s=5)
        session.post(posts(1, 2, 3), 0.0)
        session.receive(error(), 1.0)
        session.post(posts(4), 1.0)
        assert session.answers() == []
        session.receive(ack(1), 2.0)
        session.receive(ack(2, nak="NotOpen"), 2.0)
        session.tick(5.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.NAKKED, 3: Verdict.RETURNED}
        session.tick(6.0)
        assert verdicts(session) == {4: Verdict.TIMEOUT}

    def test_suspicion_ends_with_the_connection(self) -> None:
        session = opened(ack_timeout_s=5)
        session.post(posts(1, 2), 0.0)
        session.receive(error(), 1.0)
        session.disconnected(2.0, "gone")
        assert verdicts(session) == {1: Verdict.LOST, 2: Verdict.LOST}
        session.connected(2.0)
        session.receive(LOGIN_OK, 2.0)
        session.post(posts(1), 2.0)
        session.tick(7.0)
        assert verdicts(session) == {1: Verdict.TIMEOUT}

    def test_of_a_post_that_does_not_wait(self) -> None:
        session = opened()
        session.post(posts(1), 0.0)
        session.receive(error(outgoing(9).text), 1.0)
        assert session.answers() == []
        (notice,) = session.events()
        assert isinstance(notice, Notice)

    def test_a_text_that_looks_like_another_post_accuses_nobody_else(self) -> None:
        session = opened()
        tricky = outgoing(2, fields='{"DSPLY_NAME":"\\"PostID\\":1","BAD":1}')
        session.post([*posts(1), tricky], 0.0)
        session.receive(error(tricky.text.replace('\\"PostID\\"', '"PostID"  '), len(tricky.text) - 5), 1.0)
        assert verdicts(session) == {2: Verdict.NAKKED}


@given(
    rate=st.floats(0.5, 20_000) | st.integers(1, 2_000),
    start_s=st.floats(0, 1e7),
    count=st.integers(1, 120),
    pack=st.integers(1, 20),
)
def test_rate_limit_is_a_token_bucket(rate: float, start_s: float, count: int, pack: int) -> None:
    """Never more than rate x time + burst; and who sleeps exactly until due_s is done when the bucket allows it."""
    session = opened(start_s, rate_limit=rate, pack=pack, window=1000, ack_timeout_s=1e6)
    sent_s: list[float] = []
    now_s, ticks = start_s, 0
    session.post(posts(*range(1, count + 1)), now_s)
    while True:
        for frame in ids(session.output()):
            sent_s += [now_s] * len(frame)
            for post_id in frame:
                session.receive(ack(post_id), now_s)
        if len(sent_s) == count:
            break
        due_s = session.due_s
        assert due_s is not None
        assert due_s > now_s
        now_s, ticks = due_s, ticks + 1
        if now_s - start_s < DEFAULT_PING_TIMEOUT_S:
            session.tick(now_s)
        else:
            session.receive("[]", now_s)
        assert session.phase is Phase.OPEN
    burst = rate * RATE_BURST_S + 1
    rounding_s = count * start_s * 4e-16 + 1e-9
    for first, last in itertools.combinations(range(count), 2):
        assert last - first + 1 <= rate * (sent_s[last] - sent_s[first] + rounding_s) + burst + 1e-6
    assert ticks <= count
    expected_s = max(0.0, (count - burst) / rate)
    assert now_s - start_s <= expected_s + 1 / rate + rounding_s


def test_rate_limit_goes_on_over_a_reconnect() -> None:
    session = opened(rate_limit=10, window=100)
    session.post(posts(1, 2, 3), 0.0)
    assert len(session.output()) == 2
    session.disconnected(0.0, "gone")
    session.connected(0.0)
    session.receive(LOGIN_OK, 0.0)
    session.output()
    session.post(posts(4), 0.0)
    assert session.output() == []
    assert session.due_s == pytest.approx(0.1)


def test_no_rate_limit_sends_all_at_once() -> None:
    session = opened(rate_limit=0, window=1000)
    session.post(posts(*range(1, 501)), 0.0)
    assert len(session.output()) == 500
