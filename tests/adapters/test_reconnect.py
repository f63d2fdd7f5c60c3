"""What happens between two connections: the waits, fail-over, refusals, and the way through a proxy."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from connections import DEADLINE_S, PROMPT_S, endpoint, simulated, started, until
from msgspec.structs import replace

from contrib_watch.adapters.connection import Connection, ConnectionLost
from contrib_watch.adapters.endpoint import Endpoint, Line, open_websocket, own_ipv4
from contrib_watch.ads.backoff import Waits
from contrib_watch.ads.exchange import LoggedIn, LoginEnded, Outgoing, Verdict
from contrib_watch.ads.messages import PostFormat
from contrib_watch.core.model import Action
from contrib_watch.errors import LoginRefused, NoConnection
from contrib_watch.simulator.faults import Fault, FaultKind
from contrib_watch.simulator.server import SimulatedServer

FORM = PostFormat(service="S", address="127.0.0.1", user_id=1)
POST = Outgoing(1, FORM.text(1, "A=", Action.REFRESH, '{"BID":1}'))
NOBODY = Endpoint(host="127.0.0.1", port=1)


def told(connection: Connection, enough: Callable[[list[object]], bool]) -> list[object]:
    """All events, until they are enough."""
    return [*until(connection, lambda came: enough([*came.events])).events]


def losses(connection: Connection, count: int) -> list[ConnectionLost]:
    """The next ``count`` connections that are lost or cannot be made."""
    events = told(connection, lambda came: sum(isinstance(one, ConnectionLost) for one in came) >= count)
    return [one for one in events if isinstance(one, ConnectionLost)]


# --- waits


def test_it_says_when_it_tries_again_and_then_does() -> None:
    with started(NOBODY, waits=Waits(first_s=0.1, longest_s=0.4)) as connection:
        begun_s = time.monotonic()
        found = losses(connection, 5)
        took_s = time.monotonic() - begun_s
    waits = [one.retry_in_s for one in found]
    for wait_s, longest_s in zip(waits, [0.2, 0.4, 0.4, 0.4, 0.4], strict=True):
        assert longest_s / 2 <= wait_s <= longest_s
    assert took_s >= sum(waits[:-1])


def test_hosts_are_tried_in_order() -> None:
    hosts = [Endpoint(host="127.0.0.1", port=port) for port in (1, 2, 3)]
    with started(*hosts, waits=Waits(first_s=0.01, longest_s=0.02)) as connection:
        found = losses(connection, 7)
    assert [one.endpoint for one in found[:7]] == [f"127.0.0.1:{port}" for port in (1, 2, 3, 1, 2, 3, 1)]


def test_a_server_that_takes_each_login_and_drops_it_is_left_alone_for_longer_and_longer() -> None:
    logout = Fault(kind=FaultKind.DROP_CONNECTION_BEFORE)
    with (
        SimulatedServer(simulated(logout)) as server,
        started(endpoint(server), waits=Waits(first_s=0.02, longest_s=10)) as connection,
    ):
        waits = []
        for number in range(6):
            connection.post([replace(POST, post_id=number + 1)])
            waits.append(losses(connection, 1)[0].retry_in_s)
    for earlier, later in zip(waits, waits[2:], strict=False):
        assert later > earlier * 1.5
    assert waits[-1] >= 0.02 * 2**6 / 2


def test_a_login_that_lasted_makes_the_waits_short_again() -> None:
    with SimulatedServer(simulated()) as server:
        waits = Waits(first_s=0.05, longest_s=10, lasting_s=0.5)
        server.refuse(True)
        with started(endpoint(server), waits=waits) as connection:
            assert losses(connection, 4)[-1].retry_in_s >= 0.4
            server.refuse(False)
            told(connection, lambda came: any(isinstance(one, LoggedIn) for one in came))
            assert connection.collect(0.6).events == []  # it lasts
            server.drop_all()
            assert losses(connection, 1)[0].retry_in_s <= 0.05


@pytest.mark.parametrize("seconds", [30.0, 600.0])
def test_a_wait_can_be_interrupted(seconds: float) -> None:
    with started(NOBODY, waits=Waits(first_s=seconds, longest_s=seconds, longest_unreached_s=seconds)) as connection:
        assert losses(connection, 1)[0].retry_in_s >= seconds / 2
        begun_s = time.monotonic()
        connection.close()
        assert time.monotonic() - begun_s < PROMPT_S


def test_a_post_that_is_handed_over_during_a_wait_goes_out_after_it() -> None:
    with SimulatedServer(simulated()) as server:
        server.refuse(True)
        with started(endpoint(server), waits=Waits(first_s=0.1)) as connection:
            losses(connection, 1)
            connection.post([POST])
            server.refuse(False)
            until_s = time.monotonic() + DEADLINE_S
            answers = []
            while not answers and time.monotonic() < until_s:
                answers = connection.collect(1).answers
    assert [answer.verdict for answer in answers] == [Verdict.ACKED]


# --- refusals


def test_a_login_that_is_still_pending_is_not_asked_for_again_soon() -> None:
    pending = Fault(kind=FaultKind.REFUSE_LOGIN, code="NotEntitled", text="Already pending login")
    with SimulatedServer(simulated(pending)) as server, started(endpoint(server), waits=Waits()) as connection:
        (lost,) = losses(connection, 1)
        assert lost.retry_in_s >= 60
        assert "Already pending login" in lost.reason
        assert connection.collect(1.0).events == []


def test_refusals_wait_longer_each_time_until_the_login_is_taken() -> None:
    pending = Fault(kind=FaultKind.REFUSE_LOGIN, code="NotEntitled", text="Already pending login", times=3)
    with (
        SimulatedServer(simulated(pending)) as server,
        started(endpoint(server), waits=Waits(first_refused_s=0.1)) as connection,
    ):
        events = told(connection, lambda came: any(isinstance(one, LoggedIn) for one in came))
    waits = [one.retry_in_s for one in events if isinstance(one, ConnectionLost)]
    for wait_s, shortest_s in zip(waits, [0.1, 0.2, 0.4], strict=True):
        assert shortest_s <= wait_s <= 1.25 * shortest_s
    assert sum(isinstance(one, LoginEnded) for one in events) == 3


def test_a_refusal_for_good_is_told_once_and_not_tried_again() -> None:
    refusal = Fault(kind=FaultKind.REFUSE_LOGIN, code="UserUnknownToPermSys", text="unknown")
    with (
        SimulatedServer(simulated(refusal)) as server,
        started(endpoint(server), NOBODY, waits=Waits(first_s=0.01)) as connection,
    ):
        events = told(connection, lambda came: any(isinstance(one, LoginEnded) for one in came))
        with pytest.raises(LoginRefused, match="UserUnknownToPermSys: unknown"):
            told(connection, lambda came: any(isinstance(one, ConnectionLost) for one in came))
    assert [type(one) for one in events].count(LoginEnded) == 1


# --- a proxy


class Proxy:
    """An HTTP proxy that knows CONNECT, or answers something else."""

    def __init__(self, answer: bytes = b"") -> None:
        """``answer``: what it says instead of leading anywhere."""
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []

    def __enter__(self) -> Proxy:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self._do(self._lead, client)

    def _do(self, work: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=work, args=args))
        self._threads[-1].start()

    def _lead(self, client: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            chunk = client.recv(4096)
            if not chunk:
                return
            request += chunk
        self.asked.append(request.decode())
        if self._answer:
            client.sendall(self._answer)
            return
        found = re.match(rb"CONNECT (\S+):(\d+) HTTP/1.1\r\n", request)
        assert found is not None
        server = socket.create_connection((found[1].decode(), int(found[2])))
        self._open.append(server)
        client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        self._do(_pass_on, client, server)
        self._do(_pass_on, server, client)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)


def acked(server: SimulatedServer, where: Endpoint) -> None:
    """A post by way of the endpoint arrives."""
    with started(where, waits=Waits()) as connection:
        connection.post([POST])
        until_s, answers = time.monotonic() + DEADLINE_S, []
        while not answers and time.monotonic() < until_s:
            answers = connection.collect(1).answers
        assert [answer.verdict for answer in answers] == [Verdict.ACKED]
    with server.inspect() as ads:
        assert [record.ric for record in ads.posts] == ["A="]


def test_through_a_proxy() -> None:
    with SimulatedServer(simulated()) as server, Proxy() as proxy:
        where = endpoint(server, proxy=proxy.url)
        acked(server, where)
        assert own_ipv4(where) == "127.0.0.1"
    assert proxy.asked == [f"CONNECT {server.address} HTTP/1.1\r\nHost: {server.address}\r\n\r\n"]


def test_through_a_proxy_with_tls(tmp_path: Path) -> None:
    """The certificate that is checked is the ADS's, and the proxy sees nothing of what is said."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-days", "2", "-subj", "/CN=ads", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with SimulatedServer(simulated(), ssl_context=context) as server, Proxy() as proxy:
        where = Endpoint(host=server.host, port=server.port, tls=True, ca_file=certificate, proxy=proxy.url)
        acked(server, where)
    assert len(proxy.asked) == 1


def test_without_one_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with SimulatedServer(simulated()) as server:
        acked(server, endpoint(server))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "'HTTP/1.1 407 Proxy Authentication Required'"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "'HTTP/1.1 502 Bad Gateway'"),
        (b"SSH-2.0\r\n\r\n", "'SSH-2.0'"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "gave no whole answer"),
    ],
)
def test_a_proxy_that_leads_nowhere_is_an_outage(answer: bytes, reason: str) -> None:
    with Proxy(answer) as proxy:
        where = Endpoint(host="ads.invalid", port=15000, proxy=proxy.url)
        with started(where, waits=Waits(first_s=0.01)) as connection:
            first, _ = losses(connection, 2)[:2]
    assert reason in first.reason
    assert proxy.url.removeprefix("http://") in first.reason


def test_a_proxy_that_says_nothing_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"127.0.0.1:{silent.getsockname()[1]}"
        line = Line()
        with pytest.raises(NoConnection) as caught:
            open_websocket(Endpoint(host="127.0.0.1", port=1, proxy=f"http://{proxy}"), 0.2, line)
    assert caught.value.what == f"no WebSocket within 0.2 s by way of the proxy {proxy}"


def test_a_proxy_that_is_not_there() -> None:
    where = Endpoint(host="ads.invalid", port=15000, proxy="http://127.0.0.1:1")
    with started(where, waits=Waits(first_s=0.01)) as connection:
        assert losses(connection, 1)[0].reason == "the proxy 127.0.0.1:1 cannot be reached: Connection refused"
