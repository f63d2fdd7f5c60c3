"""The connection with real sockets: against the simulated ADS, and against servers that are none."""

from __future__ import annotations

import base64
import gc
import hashlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from contrib_watch.adapters.connection import Collected, Connection, ConnectionLost
from contrib_watch.adapters.endpoint import Endpoint, own_ipv4
from contrib_watch.ads.backoff import Waits
from contrib_watch.ads.exchange import Answer, LoggedIn, LoginEnded, Notice, Outgoing, Verdict
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.config import load_dictionary
from contrib_watch.config.settings import Fields
from contrib_watch.core.model import Action
from contrib_watch.errors import LoginRefused
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript
from contrib_watch.simulator.server import SimulatedServer

DEADLINE_S = 15.0
PROMPT_S = 2.5
"""The longest that close() may take in any state."""
FORM = PostFormat(service="NIPROV", address="127.0.0.1", user_id=1)
DICTIONARY = load_dictionary(Fields())


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """What the libraries made is no concern of these tests' garbage collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No thread outlives its test, and a socket that nobody closed is an error."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    assert {thread.name for thread in threading.enumerate() if thread not in before} == set()


def simulated(*faults: Fault, ping_timeout_s: float = 30, users: Iterable[str] | None = None) -> SimulatedAds:
    users = None if users is None else frozenset(users)
    return SimulatedAds(DICTIONARY, FaultScript(faults), ping_timeout_s=ping_timeout_s, users=users)


def endpoint(server: SimulatedServer) -> Endpoint:
    return Endpoint(host=server.host, port=server.port)


def made(*endpoints: Endpoint, connect_timeout_s: float = 10, window: int = 256, rate_limit: float = 0) -> Connection:
    session = Session(
        Login(user="analyst", app_id="256", position="127.0.0.1"), Limits(window=window, rate_limit=rate_limit)
    )
    return Connection(endpoints, session, connect_timeout_s=connect_timeout_s, waits=Waits(first_refused_s=0.1))


@contextmanager
def started(*endpoints: Endpoint, connect_timeout_s: float = 10, window: int = 256) -> Iterator[Connection]:
    connection = made(*endpoints, connect_timeout_s=connect_timeout_s, window=window)
    connection.start()
    try:
        yield connection
    finally:
        begun_s = time.monotonic()
        connection.close()
        assert time.monotonic() - begun_s < PROMPT_S


def posts(first: int, count: int, *, fields: str = '{"BID":22.1}') -> list[Outgoing]:
    return [Outgoing(n, FORM.text(n, f"R{n}", Action.REFRESH, fields)) for n in range(first, first + count)]


def until(connection: Connection, enough: Callable[[Collected], bool]) -> Collected:
    """All answers and events, until they are enough."""
    deadline_s = time.monotonic() + DEADLINE_S
    gathered = Collected([], [])
    while not enough(gathered):
        left_s = deadline_s - time.monotonic()
        assert left_s > 0, f"waited in vain; so far {gathered}"
        answers, events, *_ = connection.collect(left_s)
        gathered.answers.extend(answers)
        gathered.events.extend(events)
    return gathered


def answered(connection: Connection, count: int) -> list[Answer]:
    return until(connection, lambda came: len(came.answers) >= count).answers


def seen(connection: Connection, kind: type) -> Collected:
    return until(connection, lambda came: any(isinstance(event, kind) for event in came.events))


def lost(connection: Connection) -> ConnectionLost:
    event = seen(connection, ConnectionLost).events[-1]
    assert isinstance(event, ConnectionLost)
    return event


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


class OtherServer:
    """Listens, and does with each connection what it is told."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.endpoint = Endpoint(host="127.0.0.1", port=self._listener.getsockname()[1])
        self.connections = 0

    def __enter__(self) -> OtherServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._threads[0].join()
        for accepted in self._accepted:
            with suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._accepted):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                self._accepted.append(accepted)
                self.connections += 1
                self._threads.append(threading.Thread(target=self._run, args=[accepted]))
                self._threads[-1].start()

    def _run(self, accepted: socket.socket) -> None:
        with suppress(OSError):
            self._serve(accepted)


def silent(client: socket.socket) -> None:
    while client.recv(4096):
        pass


def saying(answer: bytes, *, hang_up: bool = True) -> Callable[[socket.socket], None]:
    """Reads a request, says ``answer``, and closes or stays."""

    def serve(client: socket.socket) -> None:
        read_request(client)
        client.sendall(answer)
        if hang_up:
            client.shutdown(socket.SHUT_WR)
        silent(client)

    return serve


def read_request(client: socket.socket) -> str:
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = client.recv(4096)
        if not chunk:
            raise ConnectionError
        request += chunk
    return request.decode()


def upgrade(client: socket.socket, *, subprotocol: str = "tr_json2") -> str:
    """The WebSocket handshake; returns the request."""
    request = read_request(client)
    found = re.search(r"Sec-WebSocket-Key: (\S+)", request)
    assert found is not None
    accept = base64.b64encode(hashlib.sha1(f"{found[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
    chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n" + chosen.encode() + b"\r\n"
    )
    return request


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A whole WebSocket frame of a server."""
    size = len(payload)
    return bytes([0x80 | opcode]) + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2)) + payload


LOGIN_OK = frame(b'[{"ID":1,"Type":"Refresh","Domain":"Login","State":{"Stream":"Open","Data":"Ok"}}]')


def unused() -> Endpoint:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return Endpoint(host="127.0.0.1", port=taken.getsockname()[1])


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
            client.sendall(frame(LOGIN_OK[2:].replace(b'"Domain"', b'"Elements":{"PingTimeout":1e15},"Domain"')))
            login, post = client.recv(4096), client.recv(4096)
            assert login
            assert post
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


@contextmanager
def overfull() -> Iterator[Endpoint]:
    """A port that takes no connection and refuses none: its queue is full, as behind a firewall that drops."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            yield Endpoint(host="127.0.0.1", port=address[1])
        finally:
            for filler in fillers:
                filler.close()


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


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


class Certificate:
    """A self-signed certificate for a name, and a server's context with it."""

    def __init__(self, folder: Path, names: str) -> None:
        self.ca_file, key = folder / "cert.pem", folder / "key.pem"
        request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        named = ["-subj", "/CN=ads", "-addext", f"subjectAltName={names}"]
        openssl(*request, *named, "-days", "2", "-keyout", key, "-out", self.ca_file)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.ca_file, key)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Certificate]:
    """One for 127.0.0.1, one for another host."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    names = ("IP:127.0.0.1", "DNS:ads.example")
    return [Certificate(tmp_path_factory.mktemp("tls"), name) for name in names]


class TestTls:
    def test_trusted_by_its_ca_file(self, certificates: Sequence[Certificate]) -> None:
        ours, _ = certificates
        with SimulatedServer(simulated(), ssl_context=ours.context) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True, ca_file=ours.ca_file)
            with started(secured) as connection:
                connection.post(posts(1, 300))
                assert {answer.verdict for answer in answered(connection, 300)} == {Verdict.ACKED}

    def test_close_while_connected(self, certificates: Sequence[Certificate]) -> None:
        ours, _ = certificates
        with SimulatedServer(simulated(), ssl_context=ours.context) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True, ca_file=ours.ca_file)
            with started(secured) as connection:
                seen(connection, LoggedIn)

    @pytest.mark.parametrize("trusted", [0, None])
    @pytest.mark.parametrize("serving", [1, 0])
    def test_any_other_certificate_is_refused_at_once(
        self, certificates: Sequence[Certificate], serving: int, trusted: int | None
    ) -> None:
        ca_file = None if trusted is None else certificates[trusted].ca_file
        if serving == trusted:
            ca_file = certificates[1].ca_file
        with SimulatedServer(simulated(), ssl_context=certificates[serving].context) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True, ca_file=ca_file)
            with started(secured) as connection, pytest.raises(LoginRefused) as caught:
                until(connection, lambda _: False)
            assert "certificate is not trusted" in caught.value.what
            assert caught.value.where == server.address
            assert "ads.ca_file" in caught.value.hint

    def test_certificate_of_another_host_is_refused(self, certificates: Sequence[Certificate]) -> None:
        _, other = certificates
        with SimulatedServer(simulated(), ssl_context=other.context) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True, ca_file=other.ca_file)
            with started(secured) as connection, pytest.raises(LoginRefused, match=r"127\.0\.0\.1"):
                until(connection, lambda _: False)

    def test_a_host_that_is_not_trusted_gives_way_to_one_that_is(self, certificates: Sequence[Certificate]) -> None:
        ours, other = certificates
        with (
            SimulatedServer(simulated(), ssl_context=other.context) as bad,
            SimulatedServer(simulated(), ssl_context=ours.context) as good,
        ):
            hosts = [Endpoint(host="127.0.0.1", port=one.port, tls=True, ca_file=ours.ca_file) for one in (bad, good)]
            with started(*hosts) as connection:
                first, second = seen(connection, LoggedIn).events
                assert isinstance(first, ConnectionLost)
                assert "certificate is not trusted" in first.reason
                assert isinstance(second, LoggedIn)

    def test_hosts_none_of_which_is_trusted_are_refused(self, certificates: Sequence[Certificate]) -> None:
        ours, other = certificates
        with (
            SimulatedServer(simulated(), ssl_context=other.context) as one,
            SimulatedServer(simulated(), ssl_context=other.context) as two,
        ):
            hosts = [
                Endpoint(host="127.0.0.1", port=each.port, tls=True, ca_file=ours.ca_file) for each in (one, two)
            ]
            with started(*hosts) as connection, pytest.raises(LoginRefused, match="not trusted"):
                until(connection, lambda _: False)

    def test_plain_server_is_an_outage(self) -> None:
        with SimulatedServer(simulated()) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True)
            with started(secured) as connection:
                assert lost(connection).reason

    def test_tls_server_without_tls_is_an_outage(self, certificates: Sequence[Certificate]) -> None:
        ours, _ = certificates
        with (
            SimulatedServer(simulated(), ssl_context=ours.context) as server,
            started(endpoint(server)) as connection,
        ):
            assert lost(connection).reason


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
