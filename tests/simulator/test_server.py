"""The server with real sockets: handshakes, answers, timers, outages. The client is websocket-client."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket
from ads_peer import LOGIN, post

from contrib_watch.core.fields import Dictionary
from contrib_watch.errors import ConfigurationError
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import FaultScript
from contrib_watch.simulator.server import FRAGMENT_BYTES, SimulatedServer

TIMEOUT_S = 10


@contextmanager
def connected(server: SimulatedServer, *, login: bool = True) -> Iterator[websocket.WebSocket]:
    client = websocket.create_connection(server.url, subprotocols=["tr_json2"], timeout=TIMEOUT_S)
    try:
        if login:
            client.send(LOGIN)
            assert hear(client)["Type"] == "Refresh"
        yield client
    finally:
        client.shutdown()  # close() leaves the socket open where a close frame has come


def hear(client: websocket.WebSocket) -> dict[str, Any]:
    """The one message of the next frame."""
    (message,) = json.loads(client.recv())
    assert isinstance(message, dict)
    return message


def close_code(client: websocket.WebSocket) -> int:
    """The code of the close frame that comes next."""
    opcode, data = client.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    return int.from_bytes(data[:2], "big")


@pytest.fixture
def server(ads: SimulatedAds) -> Iterator[SimulatedServer]:
    with SimulatedServer(ads) as running:
        yield running


class TestHandshake:
    @pytest.mark.parametrize("subprotocol", ["tr_json2", "rssl.json.v2"])
    def test_the_subprotocol_is_agreed(self, server: SimulatedServer, subprotocol: str) -> None:
        client = websocket.create_connection(server.url, subprotocols=[subprotocol], timeout=TIMEOUT_S)
        with closing(client):
            assert client.getsubprotocol() == subprotocol

    def test_with_tls(self, ads: SimulatedAds, tmp_path: Path) -> None:
        certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
        request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
        names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key]
        subprocess.run(["openssl", *request.split(), *names], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with SimulatedServer(ads, ssl_context=context) as server:
            assert server.url.startswith("wss://127.0.0.1:")
            client = websocket.create_connection(
                server.url,
                subprotocols=["tr_json2"],
                timeout=TIMEOUT_S,
                sslopt={"ca_certs": str(certificate)},
            )
            client.send(LOGIN)
            assert hear(client)["Type"] == "Refresh"
            client.shutdown()

    @pytest.mark.parametrize(
        ("path", "subprotocols"),
        [
            ("/WebSocket", []),
            ("/WebSocket", ["TR_JSON2"]),
            ("/WebSocket", ["chat"]),
            ("/websocket", ["tr_json2"]),
            ("/WebSocket/", ["tr_json2"]),
            ("/", ["tr_json2"]),
        ],
    )
    def test_anything_else_is_a_bad_request(
        self, server: SimulatedServer, path: str, subprotocols: list[str]
    ) -> None:
        with pytest.raises(websocket.WebSocketBadStatusException) as raised:
            websocket.create_connection(f"ws://{server.address}{path}", subprotocols=subprotocols, timeout=TIMEOUT_S)
        assert raised.value.status_code == 400

    def test_no_http_at_all_closes(self, server: SimulatedServer) -> None:
        with socket.create_connection((server.host, server.port), timeout=TIMEOUT_S) as plain:
            plain.sendall(b"\x00\x01\x02\r\n\r\n")
            assert plain.recv(100) == b""


class TestConversation:
    def test_posts_are_acknowledged_in_order(self, server: SimulatedServer) -> None:
        with connected(server) as client:
            for number in range(1, 501):
                client.send(post(post_id=number, ric=f"R{number % 10}"))
            assert [hear(client)["AckID"] for _ in range(500)] == list(range(1, 501))
        with server.inspect() as ads:
            assert len(ads.posts) == 500
            assert len(ads.cache) == 10

    def test_updates_reach_other_clients(self, server: SimulatedServer) -> None:
        with connected(server) as publisher, connected(server) as reader:
            publisher.send(post())
            assert hear(publisher)["AckID"] == 7
            reader.send('{"ID":2,"Key":{"Service":"NIPROV","Name":"UMER.TST"}}')
            assert hear(reader)["Fields"] == {"BID": 22.1, "ASK": 24.5}
            publisher.send(post('{"BID":22.3}', kind="Update"))
            assert hear(reader)["Fields"] == {"BID": 22.3}

    def test_a_fragmented_message_is_one(self, server: SimulatedServer) -> None:
        with connected(server) as client:
            text = post()
            client.send_frame(websocket.ABNF.create_frame(text[:50], websocket.ABNF.OPCODE_TEXT, fin=0))
            client.send_frame(websocket.ABNF.create_frame(text[50:], websocket.ABNF.OPCODE_CONT, fin=1))
            assert hear(client)["AckID"] == 7

    def test_a_large_message_comes_in_fragments(self, server: SimulatedServer) -> None:
        with connected(server) as client:
            client.send(post('{"NOSUCHFLD":"%s"}' % ("x" * 3 * FRAGMENT_BYTES)))
            frame = client.recv_frame()
            assert not frame.fin
            assert len(frame.data) == FRAGMENT_BYTES
            pieces = [frame.data]
            while not frame.fin:
                frame = client.recv_frame()
                pieces.append(frame.data)
            (error,) = json.loads(b"".join(pieces))
            assert error["Text"].startswith("JSON Unexpected FID")

    def test_what_came_before_a_close_frame_counts(self, server: SimulatedServer) -> None:
        with connected(server) as client:
            close = websocket.ABNF.create_frame(b"\x03\xe8", websocket.ABNF.OPCODE_CLOSE)
            text = websocket.ABNF.create_frame(post(), websocket.ABNF.OPCODE_TEXT)
            client.sock.sendall(text.format() + close.format())
            assert close_code(client) == 1000
        with server.inspect() as ads:
            assert len(ads.posts) == 1

    def test_a_refused_login_is_said_and_closed(self, dictionary: Dictionary) -> None:
        with (
            SimulatedServer(SimulatedAds(dictionary, users=[])) as server,
            connected(server, login=False) as client,
        ):
            client.send(LOGIN)
            assert hear(client)["State"]["Code"] == "UserUnknownToPermSys"
            assert close_code(client) == 1000

    def test_what_is_not_json_closes(self, server: SimulatedServer) -> None:
        with connected(server) as client:
            client.send(post('{"BID":NaN}'))
            assert close_code(client) == 1000

    @pytest.mark.parametrize(
        ("opcode", "data", "code"),
        [(websocket.ABNF.OPCODE_TEXT, b"\xff\xfe", 1007), (websocket.ABNF.OPCODE_BINARY, b"{}", 1003)],
    )
    def test_what_is_not_text_closes(self, server: SimulatedServer, opcode: int, data: bytes, code: int) -> None:
        with connected(server) as client:
            client.send_frame(websocket.ABNF.create_frame(data, opcode))
            assert close_code(client) == code

    def test_a_websocket_ping_with_a_payload_closes(self, server: SimulatedServer) -> None:
        with connected(server) as client:
            client.ping("")
            assert client.recv_frame().opcode == websocket.ABNF.OPCODE_PONG
            client.send(post())
            assert hear(client)["AckID"] == 7
            client.ping("alive?")
            assert client.recv_frame().opcode == websocket.ABNF.OPCODE_PONG
            assert close_code(client) == 1000


class TestTimers:
    def test_pings_come_and_a_silent_client_is_closed(self, dictionary: Dictionary) -> None:
        with SimulatedServer(SimulatedAds(dictionary, ping_timeout_s=0.9)) as server, connected(server) as client:
            assert hear(client) == {"Type": "Ping"}
            opcode, data = client.recv_data()
            while opcode == websocket.ABNF.OPCODE_TEXT:  # how many come depends on how busy the machine is
                assert json.loads(data) == [{"Type": "Ping"}]
                opcode, data = client.recv_data()
            assert (opcode, int.from_bytes(data[:2])) == (websocket.ABNF.OPCODE_CLOSE, 1000)

    def test_a_client_that_answers_stays(self, dictionary: Dictionary) -> None:
        with SimulatedServer(SimulatedAds(dictionary, ping_timeout_s=0.3)) as server, connected(server) as client:
            for _ in range(8):
                assert hear(client) == {"Type": "Ping"}
                client.send('{"Type":"Pong"}')

    def test_a_delayed_ack_is_overtaken(self, dictionary: Dictionary) -> None:
        faults = FaultScript.from_dict({"faults": [{"kind": "delay_ack", "post_ids": [1], "delay_s": 0.2}]})
        with SimulatedServer(SimulatedAds(dictionary, faults)) as server, connected(server) as client:
            sent_s = time.monotonic()
            client.send(post(post_id=1))
            client.send(post(post_id=2))
            assert [hear(client)["AckID"] for _ in range(2)] == [2, 1]
            assert time.monotonic() - sent_s >= 0.2

    def test_stopping_does_not_wait_for_a_delayed_ack(self, dictionary: Dictionary) -> None:
        faults = FaultScript.from_dict({"faults": [{"kind": "delay_ack", "post_ids": [1], "delay_s": 1000}]})
        with SimulatedServer(SimulatedAds(dictionary, faults)) as server, connected(server) as client:
            client.send(post(post_id=1))
            client.send(post(post_id=2))
            assert hear(client)["AckID"] == 2


class TestOutages:
    def test_a_fault_breaks_the_connection_off(self, dictionary: Dictionary) -> None:
        faults = FaultScript.from_dict({"faults": [{"kind": "drop_connection_after"}]})
        with SimulatedServer(SimulatedAds(dictionary, faults)) as server, connected(server) as client:
            client.send(post())
            with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
                client.recv()
            with server.inspect() as ads:
                assert len(ads.cache) == 1

    def test_drop_all(self, server: SimulatedServer) -> None:
        with connected(server) as one, connected(server) as two:
            server.drop_all()
            for client in (one, two):
                with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
                    client.recv()
        with connected(server):
            pass

    def test_refusing_lets_nobody_in_and_those_who_are_stay(self, server: SimulatedServer) -> None:
        with connected(server) as client:
            server.refuse(True)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((server.host, server.port), timeout=TIMEOUT_S)
            client.send(post())
            assert hear(client)["AckID"] == 7
            server.refuse(False)
            with connected(server):
                pass

    def test_it_starts_again_on_its_port(self, server: SimulatedServer) -> None:
        port = server.port
        with connected(server) as client:
            client.send(post())
            hear(client)
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            assert close_code(client) == 1000
            stopping.join(TIMEOUT_S)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((server.host, port), timeout=TIMEOUT_S)
        server.start()
        assert server.port == port
        with connected(server) as client:
            client.send(post(kind="Update"))
            assert "NakCode" not in hear(client)

    def test_stopping_ends_its_thread_and_sessions(self, ads: SimulatedAds) -> None:
        before = threading.active_count()
        server = SimulatedServer(ads)
        server.start()
        assert threading.active_count() == before + 1
        with connected(server), connected(server):
            server.stop()
        assert threading.active_count() == before
        assert not ads.sessions
        server.stop()

    def test_stopping_with_a_client_that_does_not_answer(self, server: SimulatedServer) -> None:
        with (
            socket.create_connection((server.host, server.port), timeout=TIMEOUT_S) as half_open,
            connected(server) as client,
        ):
            assert client.connected
            started_s = time.monotonic()
            server.stop()
            assert time.monotonic() - started_s < 5
            with pytest.raises(ConnectionError):
                _expect_data(half_open)

    def test_a_taken_port_is_said(self, server: SimulatedServer, ads: SimulatedAds) -> None:
        second = SimulatedServer(ads, port=server.port)
        with pytest.raises(ConfigurationError, match=server.address):
            second.start()

    def test_it_listens_on_the_loopback_address_only(self, server: SimulatedServer) -> None:
        assert server.address == f"127.0.0.1:{server.port}"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", server.port), timeout=TIMEOUT_S)


def _expect_data(connection: socket.socket) -> None:
    if connection.recv(1) == b"":
        raise ConnectionAbortedError
