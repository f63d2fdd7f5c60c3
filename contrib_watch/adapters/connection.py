"""The connection to an ADS: one thread owns the socket and the Session, everybody else talks to it by queues."""

from __future__ import annotations

import random
import re
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import structlog
import websocket
from websocket import ABNF, WebSocket

from contrib_watch.adapters.text_frames import receive, send_texts
from contrib_watch.ads.backoff import USUAL_WAITS, Backoff, Waits
from contrib_watch.ads.reading import ItemAnswer, ItemRequest
from contrib_watch.ads.session import (
    Answer,
    CloseConnection,
    Event,
    LoggedIn,
    LoginEnded,
    Notice,
    Outgoing,
    Phase,
    Session,
)
from contrib_watch.errors import ConnectionFailed, LoginRefused, NoConnection

SUBPROTOCOL = "tr_json2"
PATH = "/WebSocket"
PARTIAL_FRAME_S = 10.0
"""How long the rest of a frame, or room to send, may take before the connection counts as dead."""
MOST_PROXY_BYTES = 16_384
"""How long the answer of a proxy may be."""
GOODBYE_S = 1.0
"""How long close() leaves for a logout in good order before it cuts the connection."""
LOOKUP_S = 5.0
"""How long close() waits beyond that: a name lookup cannot be interrupted."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where an ADS listens, and how it proves who it is."""

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None
    proxy: str = ""
    """``http://host:port``; empty: none, whatever the environment says."""

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
    retry_in_s: float = 0.0
    """When the next one is tried, counted from when this was told."""


class Trace(Protocol):
    """Who is told of every frame. ``host`` is ``host:port``; a frame is one message or a pack of them."""

    def sent(self, host: str, frame: str) -> None:
        """A frame went out."""
        ...

    def received(self, host: str, frame: bytes) -> None:
        """A frame came in."""
        ...

    def noted(self, host: str, text: str) -> None:
        """The connection was made, or ended."""
        ...


class Access(Protocol):
    """Who gives the tokens of the logins, and may name the endpoints. Asked by the connection's thread alone."""

    def log_in(self, stopping: threading.Event, *, find: bool) -> tuple[str, Sequence[Endpoint]]:
        """The token for a new login, and (``find``) the endpoints to try; none: as before.

        Raises LoginRefused or NoConnection, soon after ``stopping`` too.
        """
        ...

    def accepted(self) -> None:
        """The login stands."""
        ...

    def ended(self) -> bool:
        """The login was refused or closed: whether one with a new token may be accepted."""
        ...

    @property
    def due_s(self) -> float | None:
        """When to call ``renewed``, while a login is open."""
        ...

    def renewed(self, wake: Callable[[], object]) -> str:
        """A new token for the open login; empty: none yet, and ``wake`` is called when to ask again."""
        ...


class _Ended(NamedTuple):
    """How a connection ended."""

    reason: str
    logged_in_s: float | None = None
    """How long its login stood; None: it had none."""
    refused: bool = False
    """Its login was refused, and may be taken later."""
    reached: bool = True
    """Somebody had work with it."""
    retry_after_s: float = 0.0
    """How long to leave the other side alone, as it asked."""


class Collected(NamedTuple):
    """What came since the last time."""

    answers: list[Answer]
    events: list[Event | ConnectionLost]
    items: tuple[ItemAnswer, ...] = ()
    """What was read back."""


class _Line:
    """The socket of one connection, which another thread may cut: whatever waits for it then ends."""

    def __init__(self) -> None:
        self.cut_because = ""
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def hold(self, held: socket.socket) -> None:
        """This is the socket from now on. Raises ConnectionAbortedError where the line is cut already."""
        with self._lock:
            self._socket = held
            if self.cut_because:
                raise ConnectionAbortedError(self.cut_because)

    def cut(self, because: str) -> None:
        """End it, from any thread; does nothing to a socket that is closed."""
        with self._lock:
            self.cut_because = self.cut_because or because
            if self._socket is not None:
                with suppress(OSError):  # not connected, or closed already
                    # SSLSocket's own shutdown would let the other thread write one more frame in clear text.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@dataclass
class _Mailbox:
    """What the threads hand each other, under one lock."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    posts: list[Outgoing] = field(default_factory=list)
    requests: list[ItemRequest] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    items: list[ItemAnswer] = field(default_factory=list)
    events: list[Event | ConnectionLost] = field(default_factory=list)
    failed: ConnectionFailed | None = None


class Connection:
    """Keeps a session with one of several endpoints alive, tried in order."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        session: Session,
        *,
        connect_timeout_s: float,
        waits: Waits = USUAL_WAITS,
        trace: Trace | None = None,
        access: Access | None = None,
    ) -> None:
        """``connect_timeout_s``: for one attempt. ``waits``: between attempts. ``trace`` is told of every frame.

        ``access`` gives the tokens, where logins are by token; it may name other endpoints than the given ones.
        """
        self._endpoints = list(endpoints)
        self._access = access
        self._backoff = Backoff(len(self._endpoints), waits)
        self._trace = trace
        self._session = session
        self._connect_timeout_s = connect_timeout_s
        self._mail = _Mailbox()
        self._stopping = threading.Event()
        self._line = _Line()
        self._conversing = False
        self._wakes: tuple[socket.socket, socket.socket] | None = None
        self._thread = threading.Thread(target=self._run, name="ads-connection", daemon=True)

    def start(self) -> None:
        """Connect, and stay connected."""
        self._wakes = socket.socketpair()
        for end in self._wakes:
            end.setblocking(False)
        self._thread.start()

    def post(self, posts: Sequence[Outgoing]) -> None:
        """Hand over numbered posts; each ends in exactly one Answer."""
        with self._mail.changed:
            self._mail.posts.extend(posts)
        self._wake()

    def request(self, wanted: ItemRequest) -> None:
        """Read items back; each ends in exactly one ItemAnswer."""
        with self._mail.changed:
            self._mail.requests.append(wanted)
        self._wake()

    def collect(self, timeout_s: float) -> Collected:
        """Wait for answers or events, at most ``timeout_s``.

        Raises LoginRefused once trying again cannot help and all that came before has been collected.
        """
        mail = self._mail
        with mail.changed:
            mail.changed.wait_for(lambda: mail.answers or mail.events or mail.items or mail.failed, timeout_s)
            collected = Collected(mail.answers, mail.events, tuple(mail.items))
            mail.answers, mail.events, mail.items = [], [], []
            if mail.failed is not None and not any(collected):
                raise mail.failed
        return collected

    def interrupt(self) -> None:
        """Let a waiting collect() return; for signal handlers and other threads."""
        with self._mail.changed:
            self._mail.events.append(Notice(""))
            self._mail.changed.notify_all()

    def close(self) -> None:
        """Log out and end the thread; harmless where it never started or is closed already.

        What was handed over and has no answer then gets one: lost.
        """
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(GOODBYE_S if self._conversing else 0)
            if self._thread.is_alive():
                self._line.cut("stopped")
                self._thread.join(LOOKUP_S)
        with self._mail.changed:
            ends, self._wakes = self._wakes or (), None
        for end in ends:
            end.close()

    def _wake(self) -> None:
        with self._mail.changed:
            if self._wakes is not None:
                with suppress(BlockingIOError):  # it is full of wake-ups already
                    self._wakes[0].send(b"\0")

    # All below runs in the connection's own thread.

    def _run(self) -> None:
        failed: ConnectionFailed | None = None
        try:
            self._keep_connected()
        except ConnectionFailed as error:
            failed = error
        except Exception as error:  # a fault of the program must reach the caller, not end in a silent thread
            log.exception("connection thread failed")
            failed = ConnectionFailed(f"the connection failed by a fault of the program: {error!r}")
        self._retire(failed)

    def _keep_connected(self) -> None:
        while True:
            self._line = _Line()
            if self._stopping.is_set():
                return
            try:
                endpoint, token = self._prepare()
                where, ended = str(endpoint), self._attempt(endpoint, token)
            except NoConnection as error:
                where, ended = error.where, _Ended(error.what, retry_after_s=error.retry_after_s)
            self._session.disconnected(time.monotonic(), ended.reason)
            if self._stopping.is_set():
                return
            chance = random.random()  # noqa: S311 - jitter is no secret
            wait_s = self._backoff.wait_s(
                logged_in_s=ended.logged_in_s, refused=ended.refused, reached=ended.reached, chance=chance
            )
            wait_s = max(wait_s, ended.retry_after_s)
            self._deliver(ConnectionLost(where, ended.reason, wait_s))
            self._stopping.wait(wait_s)

    def _prepare(self) -> tuple[Endpoint, str]:
        """Where to connect, and the token to log in with; raises LoginRefused or NoConnection."""
        if self._access is None:
            return self._endpoints[self._backoff.host], ""
        all_tried = self._backoff.host == 0  # others may be in use by now
        token, found = self._access.log_in(self._stopping, find=all_tried or not self._endpoints)
        if found:
            self._endpoints = list(found)
            self._backoff.hosts = len(found)
        return self._endpoints[self._backoff.host], token

    def _attempt(self, endpoint: Endpoint, token: str) -> _Ended:
        """One connection, from its beginning to its end."""
        try:
            channel = _open(endpoint, self._connect_timeout_s, self._line)
        except NoConnection as error:
            self._note(endpoint, f"not connected: {error.what}")
            asked = self._access is not None  # for a token or hosts
            return _Ended(error.what, reached=asked)
        self._note(endpoint, "connected")
        self._conversing = True
        try:
            ended = self._converse(channel, endpoint, token)
        finally:
            self._conversing = False
            channel.shutdown()  # type: ignore[no-untyped-call]
        self._note(endpoint, f"ended: {ended.reason}")
        return ended

    def _note(self, endpoint: Endpoint, text: str) -> None:
        if self._trace is not None:
            self._trace.noted(str(endpoint), text)

    def _converse(self, channel: WebSocket, endpoint: Endpoint, token: str) -> _Ended:
        """Drive the session until the connection ends."""
        session = self._session
        logged_in_at_s: float | None = None
        refused = False

        def ended(reason: str) -> _Ended:
            stood_s = None if logged_in_at_s is None else time.monotonic() - logged_in_at_s
            return _Ended(reason, stood_s, refused)

        with selectors.DefaultSelector() as selector:
            selector.register(channel.fileno(), selectors.EVENT_READ)  # type: ignore[no-untyped-call]
            selector.register(self._wake_out, selectors.EVENT_READ)
            session.connected(time.monotonic(), token)
            try:
                while True:
                    self._hand_over()
                    self._renew_token()
                    session.tick(time.monotonic())
                    self._send(channel, endpoint)
                    for event in self._heed_events(endpoint):
                        if isinstance(event, LoggedIn):
                            logged_in_at_s = time.monotonic()
                            log.info("logged in", endpoint=str(endpoint))
                            if self._access is not None:
                                self._access.accepted()
                        elif isinstance(event, LoginEnded):
                            refused = logged_in_at_s is None and not event.final
                        elif isinstance(event, CloseConnection):
                            return ended(event.reason)
                    if self._stopping.is_set():
                        session.logout()
                        self._send(channel, endpoint)
                        return ended("stopped")
                    due_s = self._due_s()
                    timeout_s = None if due_s is None else max(due_s - time.monotonic(), 0.0)
                    for ready, _ in selector.select(timeout_s):
                        if ready.fileobj is self._wake_out:
                            self._drain_wakes()
                        else:
                            self._receive(channel, endpoint)
            except (websocket.WebSocketException, OSError) as error:
                events = self._heed_events(endpoint)  # a refused login and the end of the connection come together
                told_refused = any(isinstance(one, LoginEnded) and not one.final for one in events)
                refused = refused or (logged_in_at_s is None and told_refused)
                told = [event.reason for event in events if isinstance(event, CloseConnection)]
                return ended(told[0] if told else _reason(error))

    def _send(self, channel: WebSocket, endpoint: Endpoint) -> None:
        """Everything that the session has to say."""
        frames = self._session.output()
        if self._trace is not None:
            for frame in frames:
                self._trace.sent(str(endpoint), frame)
        if frames:
            send_texts(channel, frames)

    def _heed_events(self, endpoint: Endpoint) -> list[Event]:
        """Deliver what the session has to tell; raises LoginRefused where trying again cannot help."""
        events = self._session.events()
        self._deliver(*events)
        for event in events:
            if isinstance(event, LoginEnded):
                curable = self._access is not None and self._access.ended()
                if event.final and not curable:
                    raise _refused(event, endpoint, by_token=self._access is not None)
        return events

    def _renew_token(self) -> None:
        """Keep an open login's token valid; raises LoginRefused where no new one is given."""
        if self._access is not None and self._session.phase is Phase.OPEN:
            token = self._access.renewed(self._wake)
            if token:
                self._session.renew(token)

    def _due_s(self) -> float | None:
        """When there is something to do at the latest, though nothing is received."""
        due_s = [self._session.due_s]
        if self._access is not None and self._session.phase is Phase.OPEN:
            due_s.append(self._access.due_s)
        return min((one for one in due_s if one is not None), default=None)

    def _receive(self, channel: WebSocket, endpoint: Endpoint) -> None:
        """Everything that is there to read."""
        while True:
            for opcode, data in receive(channel):
                if opcode == ABNF.OPCODE_CLOSE:
                    code = int.from_bytes(data[0][:2]) if len(data[0]) >= 2 else 1005
                    what = f"the server closed the connection (code {code})"
                    raise websocket.WebSocketConnectionClosedException(what)
                if opcode in (None, ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                    if self._trace is not None:
                        for frame in data:
                            self._trace.received(str(endpoint), frame)
                    self._session.receive_all(data, time.monotonic())
            if not isinstance(channel.sock, ssl.SSLSocket) or not channel.sock.pending():
                return

    def _hand_over(self) -> None:
        """What the other threads want said goes to the session."""
        with self._mail.changed:
            posts, self._mail.posts = self._mail.posts, []
            requests, self._mail.requests = self._mail.requests, []
        self._session.post(posts, time.monotonic())
        for wanted in requests:
            self._session.request(wanted, time.monotonic())

    def _deliver(self, *events: Event | ConnectionLost) -> None:
        answers, items = self._session.answers(), self._session.item_answers()
        if answers or items or events:
            with self._mail.changed:
                self._mail.answers.extend(answers)
                self._mail.items.extend(items)
                self._mail.events.extend(events)
                self._mail.changed.notify_all()

    def _retire(self, failed: ConnectionFailed | None) -> None:
        """The end: every post that was handed over gets its answer, those too that were never tried."""
        session, reason = self._session, failed.what if failed else "stopped"
        try:
            session.disconnected(time.monotonic(), reason)
            self._hand_over()
            session.disconnected(time.monotonic(), reason)
            self._deliver()
        finally:
            with self._mail.changed:
                self._mail.failed = failed
                self._mail.changed.notify_all()

    @property
    def _wake_out(self) -> socket.socket:
        if self._wakes is None:
            raise ConnectionAbortedError("stopped")
        return self._wakes[1]

    def _drain_wakes(self) -> None:
        try:
            while self._wake_out.recv(4096):
                pass
        except BlockingIOError:
            return


def own_ipv4(endpoint: Endpoint) -> str:
    """This machine's IPv4 address as the endpoint, or the proxy before it, sees it; nothing is sent."""
    proxy = urlsplit(endpoint.proxy)
    address = (proxy.hostname, proxy.port or 80) if proxy.hostname else (endpoint.host, endpoint.port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _open(endpoint: Endpoint, timeout_s: float, line: _Line) -> WebSocket:
    """A WebSocket that speaks tr_json2; raises NoConnection, or LoginRefused for an untrusted certificate."""
    # A socket's timeout is for each read: a server that sends a byte now and then would hold it for ever.
    too_late = f"no WebSocket within {timeout_s:g} s"
    overdue = threading.Timer(timeout_s, line.cut, [too_late])
    overdue.daemon = True
    overdue.start()
    try:
        return _shake_hands(endpoint, _secured(_reached(endpoint, timeout_s, line), endpoint, line))
    except ssl.SSLCertVerificationError as error:
        hint = "Set ads.ca_file to the authority that signed it, or connect to the name that it was issued for"
        raise LoginRefused(
            f"its certificate is not trusted: {error.verify_message}", where=str(endpoint), hint=hint
        ) from error
    except websocket.WebSocketBadStatusException as error:
        what = f"it answered HTTP {error.status_code} and not with a WebSocket"
        raise NoConnection(what, where=str(endpoint), hint="Is this the WebSocket port of an ADS?") from error
    except (TimeoutError, websocket.WebSocketTimeoutException) as error:
        raise NoConnection(too_late, where=str(endpoint)) from error
    except (websocket.WebSocketException, OSError, UnicodeError) as error:  # UnicodeError: no such host name can be
        what = line.cut_because or _reason(error)
        raise NoConnection(what, where=str(endpoint)) from error
    finally:
        overdue.cancel()
        overdue.join()


def _reason(error: Exception) -> str:
    """An error in words, without the system's number for it."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _reached(endpoint: Endpoint, timeout_s: float, line: _Line) -> socket.socket:
    """A TCP connection to the endpoint, by way of its proxy where it has one."""
    if not endpoint.proxy:
        return _dial(endpoint.host, endpoint.port, timeout_s, line)
    proxy = urlsplit(endpoint.proxy)
    try:
        connected = _dial(proxy.hostname or "", proxy.port or 80, timeout_s, line)
    except (OSError, UnicodeError) as error:
        raise OSError(f"the proxy {proxy.netloc} cannot be reached: {_reason(error)}") from error
    try:
        _tunnel(connected, endpoint, proxy.netloc)
    except BaseException:
        connected.close()
        raise
    return connected


def _tunnel(connected: socket.socket, endpoint: Endpoint, proxy: str) -> None:
    """Ask an HTTP proxy for the way through to the endpoint (RFC 9110, 9.3.6)."""
    authority = endpoint.url.partition("://")[2].removesuffix(PATH)
    connected.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii"))
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        byte = connected.recv(1)  # what comes after the answer is the endpoint's
        if not byte or len(answer) > MOST_PROXY_BYTES:
            raise OSError(f"the proxy {proxy} gave no whole answer")
        answer += byte
    status = answer.partition(b"\r\n")[0].decode("latin-1")
    if not re.match(r"HTTP/1\.[01] 2\d\d(?: |$)", status):
        raise OSError(f"the proxy {proxy} leads not to {endpoint}: it answered {status!r}")


def _dial(host: str, port: int, timeout_s: float, line: _Line) -> socket.socket:
    """A TCP connection to the first of the host's addresses that takes one; they share the time."""
    failed = OSError("the host has no address")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.settimeout(timeout_s / len(found))
            candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.hold(candidate)
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            failed = error
        else:
            candidate.settimeout(timeout_s)
            return candidate
    raise failed


def _secured(plain: socket.socket, endpoint: Endpoint, line: _Line) -> socket.socket:
    """The same connection over TLS, where the endpoint asks for it; certificate and host name are checked."""
    if not endpoint.tls:
        return plain
    held = plain
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if endpoint.ca_file is not None:
            context.load_verify_locations(endpoint.ca_file)
        else:
            context.load_default_certs()
        held = secured = context.wrap_socket(plain, server_hostname=endpoint.host, do_handshake_on_connect=False)
        line.hold(secured)
        secured.do_handshake()
    except BaseException:
        held.close()
        raise
    return secured


def _shake_hands(endpoint: Endpoint, connected: socket.socket) -> WebSocket:
    """The WebSocket on a connected socket, which is closed where there is none."""
    channel = WebSocket(skip_utf8_validation=True)  # 5 to 9 times faster; msgspec checks what it decodes
    channel.connect(  # type: ignore[no-untyped-call]
        endpoint.url,
        socket=connected,
        subprotocols=[SUBPROTOCOL],  # mandatory and case-sensitive: without it an ADS answers HTTP 400
        suppress_origin=True,
        redirect_limit=0,
    )
    channel.settimeout(PARTIAL_FRAME_S)
    return channel


def _refused(event: LoginEnded, endpoint: Endpoint, *, by_token: bool) -> LoginRefused:
    code = f"{event.code}: " if event.code else ""
    who = "whether the account of [cloud] may log in there" if by_token else "ads.user"
    hint = f"Give this text to your Market Data team; check {who}, ads.app_id and ads.position"
    return LoginRefused(f"the login was refused: {code}{event.text}", where=str(endpoint), hint=hint)
