"""The connection to an ADS: one thread owns the socket and the Session, everybody else talks to it by queues."""

from __future__ import annotations

import random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import structlog
import websocket
from websocket import ABNF, WebSocket

from contrib_watch.ads.session import Answer, CloseConnection, Event, LoggedIn, LoginEnded, Notice, Outgoing, Session
from contrib_watch.errors import ConnectionFailed, LoginRefused, NoConnection

SUBPROTOCOL = "tr_json2"
PATH = "/WebSocket"
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
PARTIAL_FRAME_S = 10.0
"""How long the rest of a frame, or room to send, may take before the connection counts as dead."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where an ADS listens, and how it proves who it is."""

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address of the WebSocket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}{PATH}"


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """A connection ended or could not be made; the next one is tried by itself."""

    endpoint: str
    reason: str


class Collected(NamedTuple):
    """What came since the last time."""

    answers: list[Answer]
    events: list[Event | ConnectionLost]


@dataclass
class _Mailbox:
    """What the threads hand each other, under one lock."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    posts: list[Outgoing] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    events: list[Event | ConnectionLost] = field(default_factory=list)
    failed: ConnectionFailed | None = None


class Connection:
    """Keeps a session with one of several endpoints alive, tried in order."""

    def __init__(self, endpoints: Sequence[Endpoint], session: Session, *, connect_timeout_s: float) -> None:
        self._endpoints = list(endpoints)
        self._session = session
        self._connect_timeout_s = connect_timeout_s
        self._mail = _Mailbox()
        self._stopping = threading.Event()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="ads-connection", daemon=True)

    @property
    def own_address(self) -> str:
        """This machine's IPv4 address as the first endpoint sees it."""
        return own_ipv4(self._endpoints[0])

    def start(self) -> None:
        """Connect, and stay connected."""
        self._thread.start()

    def post(self, posts: Sequence[Outgoing]) -> None:
        """Hand over numbered posts; each ends in exactly one Answer."""
        with self._mail.changed:
            self._mail.posts.extend(posts)
        self._wake()

    def collect(self, timeout_s: float) -> Collected:
        """Wait for answers or events, at most ``timeout_s``.

        Raises LoginRefused once trying again cannot help.
        """
        mail = self._mail
        with mail.changed:
            mail.changed.wait_for(lambda: mail.answers or mail.events or mail.failed, timeout_s)
            collected = Collected(mail.answers, mail.events)
            mail.answers, mail.events = [], []
            if mail.failed is not None and not collected.answers:
                raise mail.failed
        return collected

    def interrupt(self) -> None:
        """Let a waiting collect() return; for signal handlers and other threads."""
        with self._mail.changed:
            self._mail.events.append(Notice(""))
            self._mail.changed.notify_all()

    def close(self) -> None:
        """Log out and end the thread."""
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(PARTIAL_FRAME_S + self._connect_timeout_s)
        self._wake_in.close()
        self._wake_out.close()

    def _wake(self) -> None:
        try:
            self._wake_in.send(b"\0")
        except BlockingIOError:
            return  # it is full of wake-ups already

    # All below runs in the connection's own thread.

    def _run(self) -> None:
        try:
            self._keep_connected()
        except ConnectionFailed as error:
            self._fail(error)
        except Exception as error:  # a fault of the program must reach the caller, not end in a silent thread
            log.exception("connection thread failed")
            self._fail(ConnectionFailed(f"the connection failed by a fault of the program: {error!r}"))

    def _keep_connected(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            endpoint = self._endpoints[attempt % len(self._endpoints)]
            attempt += 1
            try:
                channel = _open(endpoint, self._connect_timeout_s)
            except NoConnection as error:
                reason, logged_in = error.what, False
            else:
                try:
                    reason, logged_in = self._converse(channel, endpoint)
                finally:
                    channel.shutdown()  # type: ignore[no-untyped-call]
            self._session.disconnected(time.monotonic(), reason)
            if self._stopping.is_set():
                self._deliver()
                return
            self._deliver(ConnectionLost(str(endpoint), reason))
            attempt = 0 if logged_in else attempt
            rounds = attempt // len(self._endpoints)
            wait_s = min(FIRST_WAIT_S * 2 ** min(rounds, 10), LONGEST_WAIT_S)
            self._stopping.wait(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter is no secret

    def _converse(self, channel: WebSocket, endpoint: Endpoint) -> tuple[str, bool]:
        """Drive the session until the connection ends: why, and whether the login had been accepted."""
        session, logged_in = self._session, False
        with selectors.DefaultSelector() as selector:
            selector.register(channel.fileno(), selectors.EVENT_READ)  # type: ignore[no-untyped-call]
            selector.register(self._wake_out, selectors.EVENT_READ)
            session.connected(time.monotonic())
            try:
                while True:
                    session.post(self._outbox(), time.monotonic())
                    session.tick(time.monotonic())
                    for frame in session.output():
                        channel.send(frame)
                    events = session.events()
                    self._deliver(*events)
                    for event in events:
                        if isinstance(event, LoggedIn):
                            logged_in = True
                            log.info("logged in", endpoint=str(endpoint))
                        elif isinstance(event, LoginEnded) and event.final:
                            raise _refused(event, endpoint)
                        elif isinstance(event, CloseConnection):
                            return event.reason, logged_in
                    if self._stopping.is_set():
                        session.logout()
                        for frame in session.output():
                            channel.send(frame)
                        return "stopped", logged_in
                    due_s = session.due_s
                    timeout_s = None if due_s is None else max(due_s - time.monotonic(), 0.0)
                    for ready, _ in selector.select(timeout_s):
                        if ready.fileobj is self._wake_out:
                            self._drain_wakes()
                        else:
                            self._receive(channel, selector)
            except (websocket.WebSocketException, OSError) as error:
                return f"{error or type(error).__name__}", logged_in

    def _receive(self, channel: WebSocket, selector: selectors.BaseSelector) -> None:
        """Everything that is there to read, frame by frame."""
        while True:
            opcode, data = channel.recv_data(control_frame=True)
            if opcode == ABNF.OPCODE_CLOSE:
                code = int.from_bytes(data[:2]) if len(data) >= 2 else 1005
                raise websocket.WebSocketConnectionClosedException(f"the server closed the connection (code {code})")
            if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                self._session.receive(data, time.monotonic())
            pending = channel.sock.pending() if isinstance(channel.sock, ssl.SSLSocket) else 0
            if not pending and not any(ready.fileobj is not self._wake_out for ready, _ in selector.select(0)):
                return

    def _outbox(self) -> list[Outgoing]:
        with self._mail.changed:
            posts, self._mail.posts = self._mail.posts, []
        return posts

    def _deliver(self, *events: Event | ConnectionLost) -> None:
        answers = self._session.answers()
        if answers or events:
            with self._mail.changed:
                self._mail.answers.extend(answers)
                self._mail.events.extend(events)
                self._mail.changed.notify_all()

    def _fail(self, error: ConnectionFailed) -> None:
        self._session.disconnected(time.monotonic(), error.what)
        self._deliver()
        with self._mail.changed:
            self._mail.failed = error
            self._mail.changed.notify_all()

    def _drain_wakes(self) -> None:
        try:
            while self._wake_out.recv(4096):
                pass
        except BlockingIOError:
            return


def own_ipv4(endpoint: Endpoint) -> str:
    """This machine's IPv4 address as the endpoint sees it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((endpoint.host, endpoint.port))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _open(endpoint: Endpoint, timeout_s: float) -> WebSocket:
    """A WebSocket that speaks tr_json2; raises NoConnection, or LoginRefused for an untrusted certificate."""
    sslopt: dict[str, object] = {"cert_reqs": ssl.CERT_REQUIRED}
    if endpoint.ca_file is not None:
        sslopt["ca_certs"] = str(endpoint.ca_file)
    try:
        channel = websocket.create_connection(
            endpoint.url,
            timeout=timeout_s,
            subprotocols=[SUBPROTOCOL],  # mandatory and case-sensitive: without it an ADS answers HTTP 400
            sslopt=sslopt if endpoint.tls else None,
            sockopt=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
            skip_utf8_validation=True,  # 5 to 9 times faster; msgspec checks what it decodes
            suppress_origin=True,
        )
    except ssl.SSLCertVerificationError as error:
        hint = "Set ads.ca_file to the authority that signed it, or connect to the name that it was issued for"
        raise LoginRefused(
            f"its certificate is not trusted: {error.verify_message}", where=str(endpoint), hint=hint
        ) from error
    except websocket.WebSocketBadStatusException as error:
        what = f"it answered HTTP {error.status_code} and not with a WebSocket"
        raise NoConnection(what, where=str(endpoint), hint="Is this the WebSocket port of an ADS?") from error
    except (websocket.WebSocketException, OSError) as error:
        raise NoConnection(f"{error or type(error).__name__}", where=str(endpoint)) from error
    if channel.subprotocol != SUBPROTOCOL:
        channel.shutdown()  # type: ignore[no-untyped-call]
        raise NoConnection(f"it does not speak {SUBPROTOCOL}", where=str(endpoint))
    channel.settimeout(PARTIAL_FRAME_S)
    return channel


def _refused(event: LoginEnded, endpoint: Endpoint) -> LoginRefused:
    code = f"{event.code}: " if event.code else ""
    hint = "Give this text to your Market Data team; check ads.user, ads.app_id and ads.position"
    return LoginRefused(f"the login was refused: {code}{event.text}", where=str(endpoint), hint=hint)
