"""How a session logs in, stays alive, and ends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import LOGIN, LOGIN_OK, ack, closing, ids, login_ok, opened, posts, verdicts

from contrib_watch.ads.exchange import CloseConnection, LoggedIn, LoginEnded, Notice, Verdict
from contrib_watch.ads.messages import PONG
from contrib_watch.ads.session import (
    DEFAULT_MAX_MSG_SIZE,
    DEFAULT_PING_TIMEOUT_S,
    LOGIN_TIMEOUT_S,
    Limits,
    Phase,
    Session,
)


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
        session = opened(login=login_ok(max_msg_size=900, ping_timeout_s=6))
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
        session.receive(LOGIN_OK.replace('"MaxMsgSize": 61430, "PingTimeout": 30', elements), 0.0)
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
        session.receive(login_ok(max_msg_size=1, ping_timeout_s=1), 1.0)
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
