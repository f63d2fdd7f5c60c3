"""The connection to an ADS: one thread owns the socket and the Session, everybody else talks to it by queues."""

from __future__ import annotations

import random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import structlog
import websocket
from websocket import ABNF, WebSocket

from contrib_watch.adapters.endpoint import Endpoint, Line, open_websocket, reason_of
from contrib_watch.adapters.text_frames import receive, send_texts
from contrib_watch.ads.backoff import USUAL_WAITS, Backoff, Waits
from contrib_watch.ads.exchange import Answer, CloseConnection, Event, LoggedIn, LoginEnded, Notice, Outgoing
from contrib_watch.ads.reading import ItemAnswer, ItemRequest
from contrib_watch.ads.session import Phase, Session
from contrib_watch.ads.watching import ItemChange
from contrib_watch.errors import ConnectionFailed, LoginRefused, NoConnection

GOODBYE_S = 1.0
"""How long close() leaves for a logout in good order before it cuts the connection."""
LONGEST_WAIT_S = 3600.0
"""How long the thread sleeps at most: beyond weeks, which a server's PingTimeout may be, no system's wait goes."""
LOOKUP_S = 5.0
"""How long close() waits beyond that: a name lookup cannot be interrupted."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """A connection ended or could not be made; the next one is tried by itself."""

    endpoint: str
    reason: str
    retry_in_s: float = 0.0
    """When the next one is tried, counted from when this was told."""
    all_tried: bool = True
    """Each host had its turn since the last login, or nobody can have one, for want of a token."""


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

    @property
    def may_help(self) -> bool:
        """Whether a login with a new token may be accepted where this one was refused."""
        ...

    def discard(self) -> None:
        """The login was refused or closed: its token is not used again."""
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
    tried: bool = True
    """A host had its turn; otherwise nobody can have one, for want of a token."""
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
    changes: tuple[ItemChange, ...] = ()
    """What happened to the watched items."""


@dataclass
class _Mailbox:
    """What the threads hand each other, under one lock."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    posts: list[Outgoing] = field(default_factory=list)
    recalled: bool = False
    """What was handed over by now, and has not left, is to come back."""
    requests: list[ItemRequest] = field(default_factory=list)
    watches: list[ItemRequest] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    items: list[ItemAnswer] = field(default_factory=list)
    changes: list[ItemChange] = field(default_factory=list)
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
        self.endpoint = ""
        """The last one that a connection was made to."""
        self._endpoints = list(endpoints)
        self._access = access
        self._backoff = Backoff(len(self._endpoints), waits)
        self._trace = trace
        self._session = session
        self._connect_timeout_s = connect_timeout_s
        self._mail = _Mailbox()
        self._stopping = threading.Event()
        self._line = Line()
        self._untrusted: set[str] = set()  # endpoints whose certificate was refused the last time
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

    def recall(self) -> None:
        """Give back, unsent, what was handed over and has not left."""
        with self._mail.changed:
            self._mail.recalled = True
        self._wake()

    def request(self, wanted: ItemRequest) -> None:
        """Read items back; each ends in exactly one ItemAnswer."""
        with self._mail.changed:
            self._mail.requests.append(wanted)
        self._wake()

    def watch(self, wanted: ItemRequest) -> None:
        """Keep items open, over all connections; what happens to them are the changes."""
        with self._mail.changed:
            self._mail.watches.append(wanted)
        self._wake()

    def collect(self, timeout_s: float) -> Collected:
        """Wait for answers or events, at most ``timeout_s``.

        Raises LoginRefused once trying again cannot help and all that came before has been collected.
        """
        mail = self._mail
        with mail.changed:
            mail.changed.wait_for(
                lambda: mail.answers or mail.events or mail.items or mail.changes or mail.failed, timeout_s
            )
            collected = Collected(mail.answers, mail.events, tuple(mail.items), tuple(mail.changes))
            mail.answers, mail.events, mail.items, mail.changes = [], [], [], []
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
            # Its name alone: an error may hold a secret, such as the text that could not be encoded.
            hint = "Report it with the lines of the log"
            failed = ConnectionFailed(
                f"the connection failed by a fault of the program: {type(error).__name__}", hint=hint
            )
        self._retire(failed)

    def _keep_connected(self) -> None:
        while True:
            self._line = Line()
            if self._stopping.is_set():
                return
            try:
                endpoint, token = self._prepare()
                where, ended = str(endpoint), self._attempt(endpoint, token)
            except NoConnection as error:
                where, ended = error.where, _Ended(error.what, tried=False, retry_after_s=error.retry_after_s)
            searching = self._session.searching
            self._session.disconnected(time.monotonic(), ended.reason)
            if self._stopping.is_set():
                return
            chance = random.random()  # noqa: S311 - jitter is no secret
            wait_s = self._backoff.wait_s(
                logged_in_s=ended.logged_in_s,
                refused=ended.refused,
                tried=ended.tried,
                reached=ended.reached,
                searching=searching,
                chance=chance,
            )
            wait_s = max(wait_s, ended.retry_after_s)
            all_tried = not ended.tried or self._backoff.all_tried
            self._deliver(ConnectionLost(where, ended.reason, wait_s, all_tried=all_tried))
            self._stopping.wait(wait_s)

    def _prepare(self) -> tuple[Endpoint, str]:
        """Where to connect, and the token to log in with; raises LoginRefused or NoConnection."""
        if self._access is None:
            return self._endpoints[self._backoff.host], ""
        anew = self._backoff.host == 0  # others may be in use by now
        token, found = self._access.log_in(self._stopping, find=anew or not self._endpoints)
        if found:
            self._endpoints = list(found)
            self._backoff.begin_with(len(found))
        return self._endpoints[self._backoff.host], token

    def _attempt(self, endpoint: Endpoint, token: str) -> _Ended:
        """One connection, from its beginning to its end."""
        self._untrusted.discard(str(endpoint))
        try:
            channel = open_websocket(endpoint, self._connect_timeout_s, self._line)
        except (NoConnection, LoginRefused) as error:
            self._note(endpoint, f"not connected: {error.what}")
            if isinstance(error, LoginRefused):  # its certificate; another host's may be good
                self._untrusted.add(str(endpoint))
                if self._untrusted.issuperset(map(str, self._endpoints)):
                    raise
            asked = self._access is not None  # for a token or hosts
            return _Ended(error.what, reached=asked)
        self._note(endpoint, "connected")
        self.endpoint = str(endpoint)
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
            here = channel.sock.getsockname()[0] if channel.sock else ""
            session.connected(time.monotonic(), token, here)
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
                    timeout_s = None if due_s is None else min(max(due_s - time.monotonic(), 0.0), LONGEST_WAIT_S)
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
                return ended(told[0] if told else reason_of(error))

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
                curable = self._access is not None and self._access.may_help
                if self._access is not None:
                    self._access.discard()
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
            watches, self._mail.watches = self._mail.watches, []
            recalled, self._mail.recalled = self._mail.recalled, False
        if recalled:
            self._session.recall(posts, time.monotonic())
        else:
            self._session.post(posts, time.monotonic())
        for wanted in requests:
            self._session.request(wanted, time.monotonic())
        for wanted in watches:
            self._session.watch(wanted, time.monotonic())

    def _deliver(self, *events: Event | ConnectionLost) -> None:
        answers, items = self._session.answers(), self._session.item_answers()
        changes = self._session.item_changes()
        if answers or items or changes or events:
            with self._mail.changed:
                self._mail.answers.extend(answers)
                self._mail.items.extend(items)
                self._mail.changes.extend(changes)
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


def _refused(event: LoginEnded, endpoint: Endpoint, *, by_token: bool) -> LoginRefused:
    code = f"{event.code}: " if event.code else ""
    who = "whether the account of [cloud] may log in there" if by_token else "ads.user"
    hint = f"Give this text to your Market Data team; check {who}, ads.app_id and ads.position"
    return LoginRefused(f"the login was refused: {code}{event.text}", where=str(endpoint), hint=hint)
