"""The connection with real sockets, against the simulated ADS; how it begins and ends."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing

import pytest
from connections import (
    DEADLINE_S,
    answered,
    endpoint,
    lost,
    made,
    posts,
    seen,
    simulated,
    started,
    until,
    unused,
)
from other_servers import LOGIN_OK, OtherServer, overfull, silent, upgrade

from contrib_watch.adapters.connection import Collected, ConnectionLost
from contrib_watch.adapters.endpoint import Endpoint, own_ipv4
from contrib_watch.ads.exchange import LoggedIn, LoginEnded, Notice, Verdict
from contrib_watch.errors import LoginRefused
from contrib_watch.simulator.faults import Fault, FaultKind
from contrib_watch.simulator.server import SimulatedServer

pytestmark = pytest.mark.usefixtures("quick_collections", "nothing_is_left")


class TestPosting:
    def test_a_thousand_posts_are_acknowledged_in_order(self) -> None:
        with SimulatedServer(simulated()) as server, started(endpoint(server), window=100) as connection:
            connection.post(posts(1, 600))
            connection.post(posts(601, 400))
            answers = answered(connection, 1000)
            assert [answer.post_id for answer in answers] == list(range(1, 1001))
            assert {answer.verdict for answer in answers} == {Verdict.ACKED}
            assert all(answer.sent_s is not None and answer.sent_s <= answer.answered_s for answer in answers)
            with server.inspect() as ads:
                assert [record.post_id for record in ads.posts] == list(range(1, 1001))

    def test_what_has_not_left_is_called_back(self) -> None:
        silent = Fault(kind=FaultKind.LOSE_ACK, ric="R[23]")
        with SimulatedServer(simulated(silent)) as server, started(endpoint(server), window=2) as connection:
            connection.post(posts(1, 9))
            assert [answer.verdict for answer in answered(connection, 1)] == [Verdict.ACKED]  # 2 and 3 are sent
            connection.post(posts(10, 2))
            connection.recall()
            back = answered(connection, 8)
            assert {answer.post_id for answer in back} == set(range(4, 12))
            assert {(answer.verdict, answer.sent_s) for answer in back} == {(Verdict.LOST, None)}

    def test_posts_handed_over_before_the_start_go_after_the_login(self) -> None:
        with SimulatedServer(simulated()) as server:
            connection = made(endpoint(server))
            connection.post(posts(1, 3))
            connection.start()
            with closing(connection):
                assert len(answered(connection, 3)) == 3

    def test_naks_and_errors_arrive_as_answers(self) -> None:
        nak = Fault(kind=FaultKind.NAK, ric="R2", code="AccessDenied", text="not yours")
        with SimulatedServer(simulated(nak)) as server, started(endpoint(server)) as connection:
            connection.post([*posts(1, 2), *posts(3, 1, fields='{"NOSUCHFLD":1}')])
            told = {answer.post_id: (answer.verdict, answer.code) for answer in answered(connection, 3)}
            assert told == {
                1: (Verdict.ACKED, ""),
                2: (Verdict.NAKKED, "AccessDenied"),
                3: (Verdict.NAKKED, ""),
            }

    def test_garbage_frames_are_noticed_and_harm_nothing(self) -> None:
        garbage = Fault(kind=FaultKind.GARBAGE, ric="R2")
        with SimulatedServer(simulated(garbage)) as server, started(endpoint(server)) as connection:
            connection.post(posts(1, 3))
            came = until(connection, lambda came: len(came.answers) >= 3)
            assert {answer.verdict for answer in came.answers} == {Verdict.ACKED}
            assert any(isinstance(event, Notice) and "no message" in event.text for event in came.events)

    def test_pings_are_answered(self) -> None:
        with SimulatedServer(simulated(ping_timeout_s=1.0)) as server, started(endpoint(server)) as connection:
            seen(connection, LoggedIn)
            assert connection.collect(2.0) == Collected([], [])  # a client without Pongs is closed after 1 s
            connection.post(posts(1, 1))
            assert answered(connection, 1)[0].verdict is Verdict.ACKED

    def test_fragmented_messages_are_put_together(self) -> None:
        long = Fault(kind=FaultKind.NAK, ric="R1", code="NotOpen", text="x" * 20_000)
        with SimulatedServer(simulated(long)) as server, started(endpoint(server)) as connection:
            connection.post(posts(1, 1))
            assert answered(connection, 1)[0].text == "x" * 20_000


class TestOutages:
    def test_a_connection_that_breaks_comes_back(self) -> None:
        drop = Fault(kind=FaultKind.DROP_CONNECTION_AFTER, nth=20)
        with SimulatedServer(simulated(drop)) as server, started(endpoint(server), window=5) as connection:
            connection.post(posts(1, 50))
            answers = answered(connection, 50)
            assert sorted(answer.post_id for answer in answers) == list(range(1, 51))
            told = {answer.post_id: answer for answer in answers}
            assert told[20].verdict is Verdict.LOST
            assert told[20].sent_s is not None
            assert (told[50].verdict, told[50].sent_s) == (Verdict.LOST, None)
            seen(connection, LoggedIn)
            connection.post(posts(51, 5))
            assert {answer.verdict for answer in answered(connection, 5)} == {Verdict.ACKED}

    def test_an_outage_ends(self) -> None:
        with SimulatedServer(simulated()) as server, started(endpoint(server)) as connection:
            seen(connection, LoggedIn)
            server.refuse(True)
            server.drop_all()
            assert lost(connection).endpoint == server.address
            lost(connection)  # a second attempt, which nobody answers
            connection.post(posts(1, 2))
            server.refuse(False)
            assert {answer.verdict for answer in answered(connection, 2)} == {Verdict.ACKED}

    def test_a_close_frame_is_told_with_its_code(self) -> None:
        with SimulatedServer(simulated()) as server, started(endpoint(server)) as connection:
            seen(connection, LoggedIn)
            server.stop()
            assert "closed the connection (code 1000)" in lost(connection).reason

    def test_silence_counts_as_a_lost_connection(self) -> None:
        silence = Fault(kind=FaultKind.SILENCE, times=1)
        ads = simulated(silence, ping_timeout_s=1.0)
        with SimulatedServer(ads) as server, started(endpoint(server)) as connection:
            connection.post(posts(1, 1))
            came = seen(connection, ConnectionLost)
            assert [answer.verdict for answer in came.answers] == [Verdict.LOST]
            assert "nothing was received for 1 s" in str(came.events)
            seen(connection, LoggedIn)

    def test_forced_logout_is_followed_by_a_new_login(self) -> None:
        with SimulatedServer(simulated()) as server, started(endpoint(server)) as connection:
            seen(connection, LoggedIn)
            with server.inspect() as ads:
                ads.force_logout("", "maintenance")
            came = seen(connection, ConnectionLost)
            assert LoginEnded("", "maintenance", final=False) in came.events
            seen(connection, LoggedIn)

    def test_second_endpoint_takes_over_where_nobody_listens_on_the_first(self) -> None:
        with SimulatedServer(simulated()) as server, started(unused(), endpoint(server)) as connection:
            connection.post(posts(1, 1))
            assert answered(connection, 1)[0].verdict is Verdict.ACKED

    def test_second_endpoint_takes_over_and_the_first_is_preferred(self) -> None:
        with SimulatedServer(simulated()) as first, SimulatedServer(simulated()) as second:
            with started(endpoint(first), endpoint(second)) as connection:
                seen(connection, LoggedIn)
                first.refuse(True)
                first.drop_all()
                seen(connection, LoggedIn)
                connection.post(posts(1, 1))
                answered(connection, 1)
                first.refuse(False)
                second.drop_all()
                seen(connection, LoggedIn)
                connection.post(posts(2, 1))
                answered(connection, 1)
            with first.inspect() as ads:
                assert [record.post_id for record in ads.posts] == [2]
            with second.inspect() as ads:
                assert [record.post_id for record in ads.posts] == [1]

    def test_no_such_host(self) -> None:
        hosts = ("nowhere.invalid", "a" * 70 + ".invalid", "two..dots")
        with started(*(Endpoint(host=host, port=1) for host in hosts)) as connection:
            came = until(connection, lambda came: len(came.events) >= len(hosts))
            assert [event.endpoint for event in came.events[:3] if isinstance(event, ConnectionLost)] == [
                f"{host}:1" for host in hosts
            ]


class TestRefused:
    def test_refused_login_is_raised_after_all_that_came_before(self) -> None:
        with SimulatedServer(simulated(users=["somebody"])) as server, started(endpoint(server)) as connection:
            connection.post(posts(1, 2))
            came = until(connection, lambda came: len(came.answers) == 2)
            assert [event.code for event in came.events if isinstance(event, LoginEnded)] == ["UserUnknownToPermSys"]
            with pytest.raises(LoginRefused) as caught:
                until(connection, lambda _: False)
            assert "UserUnknownToPermSys" in caught.value.what
            assert caught.value.where == server.address
            assert "Market Data team" in caught.value.hint
            with pytest.raises(LoginRefused):
                connection.collect(0)

    def test_posts_that_never_left_are_answered(self) -> None:
        with SimulatedServer(simulated(users=["somebody"])) as server, started(endpoint(server)) as connection:
            connection.post(posts(1, 2))
            answers = answered(connection, 2)
            assert [(one.post_id, one.verdict, one.sent_s) for one in answers] == [
                (1, Verdict.LOST, None),
                (2, Verdict.LOST, None),
            ]

    def test_pending_login_is_tried_again(self) -> None:
        pending = Fault(kind=FaultKind.REFUSE_LOGIN, code="NotEntitled", text="Already pending login", times=1)
        with SimulatedServer(simulated(pending)) as server, started(endpoint(server)) as connection:
            came = seen(connection, LoggedIn)
            assert LoginEnded("NotEntitled", "Already pending login", final=False) in came.events


class TestClose:
    """It is prompt in every state: ``started`` measures it."""

    def test_never_started(self) -> None:
        connection = made(unused())
        connection.post(posts(1, 1))
        connection.close()

    def test_forgotten_without_a_start_leaks_nothing(self) -> None:
        made(unused())

    def test_twice_and_used_afterwards(self) -> None:
        with SimulatedServer(simulated()) as server, started(endpoint(server)) as connection:
            seen(connection, LoggedIn)
            connection.close()
            connection.close()
            connection.post(posts(1, 1))
            connection.interrupt()
            connection.collect(0)

    def test_while_a_tcp_connection_is_made(self) -> None:
        with overfull() as full, started(full, connect_timeout_s=30) as connection:
            assert connection.collect(0.2) == Collected([], [])

    @pytest.mark.parametrize("tls", [False, True])
    def test_while_a_server_says_nothing(self, tls: bool) -> None:
        reached = threading.Event()

        def serve(client: socket.socket) -> None:
            client.recv(1)
            reached.set()
            silent(client)

        with OtherServer(serve) as server:
            silent_one = Endpoint(host="127.0.0.1", port=server.endpoint.port, tls=tls)
            with started(silent_one, connect_timeout_s=30):
                assert reached.wait(DEADLINE_S)

    def test_while_a_login_waits(self) -> None:
        reached = threading.Event()

        def serve(client: socket.socket) -> None:
            upgrade(client)
            client.recv(1)
            reached.set()
            silent(client)

        with OtherServer(serve) as server, started(server.endpoint):
            assert reached.wait(DEADLINE_S)

    def test_while_connected_logs_out_and_answers_what_waits(self) -> None:
        lose = Fault(kind=FaultKind.LOSE_ACK)
        with SimulatedServer(simulated(lose)) as server, started(endpoint(server), window=1) as connection:
            seen(connection, LoggedIn)
            connection.post(posts(1, 2))
            deadline_s = time.monotonic() + DEADLINE_S
            posted = 0
            while not posted and time.monotonic() < deadline_s:
                connection.collect(0.01)
                with server.inspect() as ads:
                    posted = len(ads.posts)
            assert posted == 1
            connection.close()
            first, second = connection.collect(0).answers
            assert (first.post_id, first.verdict, first.sent_s is None) == (1, Verdict.LOST, False)
            assert (second.post_id, second.verdict, second.sent_s) == (2, Verdict.LOST, None)

    def test_while_waiting_to_connect_again(self) -> None:
        with started(unused()) as connection:
            lost(connection)

    def test_posts_that_waited_for_a_connection_are_answered(self) -> None:
        with started(unused()) as connection:
            lost(connection)
            connection.post(posts(1, 1))
            connection.close()
            (answer,) = connection.collect(0).answers
            assert (answer.verdict, answer.sent_s, answer.text) == (Verdict.LOST, None, "not sent: stopped")

    def test_while_half_a_frame_is_there(self) -> None:
        logged_in, reached = threading.Event(), threading.Event()

        def serve(client: socket.socket) -> None:
            upgrade(client)
            client.sendall(LOGIN_OK)
            logged_in.wait(DEADLINE_S)
            client.sendall(b"\x81\x7e\x10\x00half")
            reached.set()
            silent(client)

        with OtherServer(serve) as server, started(server.endpoint) as connection:
            seen(connection, LoggedIn)
            logged_in.set()
            assert reached.wait(DEADLINE_S)

    def test_while_the_server_does_not_read(self) -> None:
        deaf = threading.Event()

        def serve(client: socket.socket) -> None:
            upgrade(client)
            client.sendall(LOGIN_OK)
            deaf.wait(DEADLINE_S)

        with OtherServer(serve) as server:
            try:
                with started(server.endpoint, window=1000) as connection:
                    seen(connection, LoggedIn)
                    connection.post(posts(1, 400, fields='{"DSPLY_NAME":"' + "x" * 60_000 + '"}'))
                    assert connection.collect(0.3) == Collected([], [])
            finally:
                deaf.set()

    def test_after_a_refused_login(self) -> None:
        with SimulatedServer(simulated(users=["somebody"])) as server, started(endpoint(server)) as connection:  # noqa: SIM117
            with pytest.raises(LoginRefused):  # inside, so that close() comes after it
                until(connection, lambda _: False)


class TestCollect:
    def test_returns_empty_after_its_time(self) -> None:
        with overfull() as full, started(full) as connection:
            begun_s = time.monotonic()
            assert connection.collect(0.1) == Collected([], [])
            assert 0.1 <= time.monotonic() - begun_s < 2

    def test_interrupt_from_another_thread(self) -> None:
        with overfull() as full, started(full) as connection:
            waker = threading.Timer(0.05, connection.interrupt)
            waker.start()
            begun_s = time.monotonic()
            assert connection.collect(DEADLINE_S) == Collected([], [Notice("")])
            assert time.monotonic() - begun_s < DEADLINE_S / 2
            waker.join()


class TestEndpoint:
    @pytest.mark.parametrize(
        ("made_of", "url"),
        [
            (Endpoint(host="ads1", port=15000), "ws://ads1:15000/WebSocket"),
            (Endpoint(host="ads1", port=443, tls=True), "wss://ads1:443/WebSocket"),
            (Endpoint(host="::1", port=15000), "ws://[::1]:15000/WebSocket"),
        ],
    )
    def test_url(self, made_of: Endpoint, url: str) -> None:
        assert made_of.url == url

    def test_own_address_is_an_ipv4(self) -> None:
        assert own_ipv4(Endpoint(host="127.0.0.1", port=1)) == "127.0.0.1"
        assert own_ipv4(Endpoint(host="nowhere.invalid", port=1)) == "127.0.0.1"
        assert own_ipv4(Endpoint(host="127.0.0.1", port=99_999)) == "127.0.0.1"
