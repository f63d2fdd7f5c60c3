"""The connection against servers that are no ADS."""

from __future__ import annotations

import socket
import time

import pytest
from connections import (
    DEADLINE_S,
    answered,
    lost,
    posts,
    seen,
    started,
    until,
)
from other_servers import LOGIN_OK, OtherServer, frame, saying, silent, upgrade

from contrib_watch.adapters.connection import ConnectionLost
from contrib_watch.adapters.endpoint import Endpoint
from contrib_watch.ads.exchange import LoggedIn, Notice, Verdict

pytestmark = pytest.mark.usefixtures("quick_collections", "nothing_is_left")


class TestOtherServers:
    def test_the_handshake_is_an_ads_clients(self) -> None:
        requests: list[str] = []

        def serve(client: socket.socket) -> None:
            requests.append(upgrade(client))
            client.sendall(LOGIN_OK)
            silent(client)

        with OtherServer(serve) as server, started(server.endpoint) as connection:
            seen(connection, LoggedIn)
        (request,) = requests
        assert request.startswith("GET /WebSocket HTTP/1.1\r\n")
        assert "Sec-WebSocket-Protocol: tr_json2\r\n" in request
        assert f"Host: {server.endpoint}\r\n" in request
        assert "Origin" not in request

    @pytest.mark.parametrize("body", [b"", b"Wrong path\n"])
    def test_http_400(self, body: bytes) -> None:
        answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        with OtherServer(saying(answer)) as server, started(server.endpoint) as connection:
            event = lost(connection)
            assert event.endpoint == str(server.endpoint)
            assert "HTTP 400" in event.reason

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 abc def\r\n\r\n",
            b"\xff\xfe\x00\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nno colon\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/Elsewhere\r\n\r\n",
            b"HTTP/1.1 302 Found\r\n\r\n",
            b"\x15\x03\x01\x00\x02\x02\x46",
        ],
    )
    def test_what_is_no_websocket_is_an_outage_and_is_tried_again(self, answer: bytes) -> None:
        with OtherServer(saying(answer)) as server, started(server.endpoint) as connection:
            event = lost(connection)
            assert event.reason
            assert event.endpoint == str(server.endpoint)

    def test_who_was_no_ads_is_tried_again(self) -> None:
        with OtherServer(saying(b"SSH-2.0-OpenSSH_9.6\r\n")) as server, started(server.endpoint) as connection:
            lost(connection)
            lost(connection)
            assert server.connections == 2

    @pytest.mark.parametrize("subprotocol", ["", "rssl.json.v2"])
    def test_a_server_of_another_subprotocol_is_none(self, subprotocol: str) -> None:
        def serve(client: socket.socket) -> None:
            upgrade(client, subprotocol=subprotocol)
            silent(client)

        with OtherServer(serve) as server, started(server.endpoint) as connection:
            assert lost(connection).reason

    def test_a_server_that_says_nothing_has_a_time_limit(self) -> None:
        with OtherServer(silent) as server, started(server.endpoint, connect_timeout_s=0.3) as connection:
            assert lost(connection).reason == "no WebSocket within 0.3 s"
            assert lost(connection).reason == "no WebSocket within 0.3 s"

    def test_a_server_that_says_a_byte_now_and_then_has_the_same_limit(self) -> None:
        def dribble(client: socket.socket) -> None:
            while True:
                client.sendall(b"H")
                time.sleep(0.05)  # its pace, not a wait

        with OtherServer(dribble) as server, started(server.endpoint, connect_timeout_s=0.5) as connection:
            begun_s = time.monotonic()
            assert lost(connection).reason == "no WebSocket within 0.5 s"
            assert time.monotonic() - begun_s < 5

    def test_tls_to_a_server_that_says_nothing(self) -> None:
        with OtherServer(silent) as server:
            secured = Endpoint(host="127.0.0.1", port=server.endpoint.port, tls=True)
            with started(secured, connect_timeout_s=0.3) as connection:
                assert lost(connection).reason

    @pytest.mark.parametrize(
        "said",
        [
            b"\xf1\x00",  # reserved bits
            b"\x83\x00",  # an opcode that there is not
            frame(b"rest", opcode=0),  # a continuation of nothing
            b"\x01\x01{\x81\x01{",  # a new message inside another
            frame(b"x", opcode=8),  # a close frame with half a code
            b"\x89\x7e\x00\x80" + b"p" * 128,  # a Ping that is too long
            b"\x81\x7f" + (1 << 40).to_bytes(8),  # more than there is memory for
        ],
    )
    def test_what_is_no_websocket_frame_ends_the_connection(self, said: bytes) -> None:
        def serve(client: socket.socket) -> None:
            upgrade(client)
            client.sendall(LOGIN_OK + said)
            silent(client)

        with OtherServer(serve) as server, started(server.endpoint) as connection:
            login, end = seen(connection, ConnectionLost).events
            assert isinstance(login, LoggedIn)
            assert isinstance(end, ConnectionLost)
            assert end.reason.startswith("what came is no WebSocket frame (")

    def test_a_ping_timeout_beyond_all_waits(self) -> None:
        def serve(client: socket.socket) -> None:
            upgrade(client)
            assert client.recv(4096)  # the login, before its answer, and then the post: they never come in one piece
            client.sendall(frame(LOGIN_OK[2:].replace(b'"Domain"', b'"Elements":{"PingTimeout":1e15},"Domain"')))
            assert client.recv(4096)
            client.sendall(frame(b'[{"ID":1,"Type":"Ack","AckID":1}]'))
            silent(client)

        with OtherServer(serve) as server, started(server.endpoint) as connection:
            (login,) = seen(connection, LoggedIn).events
            assert isinstance(login, LoggedIn)
            assert login.ping_timeout_s == 1e15
            connection.post(posts(1, 1))
            assert [answer.verdict for answer in answered(connection, 1)] == [Verdict.ACKED]

    @pytest.mark.parametrize(
        "said", [b"\xff\xfe", b"[" * 50_000, b"", b'[{"ID":1}', b'{"Key":{"Name":' + b"[" * 50_000]
    )
    def test_what_is_no_message_is_noticed(self, said: bytes) -> None:
        def serve(client: socket.socket) -> None:
            upgrade(client)
            client.sendall(LOGIN_OK + frame(said) + frame(said, opcode=2))
            silent(client)

        with OtherServer(serve) as server, started(server.endpoint) as connection:
            came = until(connection, lambda came: len(came.events) >= 3)
            assert [type(event) for event in came.events] == [LoggedIn, Notice, Notice]

    def test_websocket_pings_are_answered_and_never_sent(self) -> None:
        heard: list[int] = []

        def serve(client: socket.socket) -> None:
            upgrade(client)
            client.sendall(LOGIN_OK + frame(b"are you there", opcode=9) + frame(b'{"Type":"Ping"}'))
            with client.makefile("rb") as stream:
                while head := stream.read(2):
                    size = head[1] & 0x7F
                    stream.read((int.from_bytes(stream.read(2)) if size == 126 else size) + 4)
                    heard.append(head[0] & 0x0F)

        with OtherServer(serve) as server, started(server.endpoint) as connection:
            seen(connection, LoggedIn)
            deadline_s = time.monotonic() + DEADLINE_S
            while len(heard) < 3 and time.monotonic() < deadline_s:
                connection.collect(0.01)
        assert heard[:3] == [1, 10, 1]  # login, WebSocket Pong, Pong
        assert 9 not in heard
