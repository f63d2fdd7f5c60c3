"""One login session with an ADS as a state machine: text and time in, text and events out.

It owns no socket, thread or clock. Whoever drives it

- calls :meth:`Session.connected` when a WebSocket is open, :meth:`Session.receive` for every text frame,
  :meth:`Session.disconnected` when the socket is gone, and :meth:`Session.tick` no later than :attr:`Session.due_s`;
- after each call sends the frames of :meth:`Session.output` in their order, and acts on :meth:`Session.events`.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from contrib_watch.ads import messages
from contrib_watch.ads.exchange import (
    ACKED,
    Answer,
    CloseConnection,
    Event,
    LoggedIn,
    LoginEnded,
    Notice,
    Outgoing,
    Verdict,
)
from contrib_watch.ads.item_streams import Item, ItemStreams
from contrib_watch.ads.messages import LOGIN_STREAM, ServerMessage
from contrib_watch.ads.reading import ItemAnswer, ItemRequest, Reading
from contrib_watch.ads.watching import ItemChange, Watching

DEFAULT_PING_TIMEOUT_S = 30.0
DEFAULT_MAX_MSG_SIZE = 61_430
LEAST_PING_TIMEOUT_S = 1.0
"""A server that announces less, or nothing sensible, is taken to mean the default: it would be left at once."""
LEAST_MAX_MSG_SIZE = 256
"""As above: no post fits into less, and each would be refused for good."""
LOGIN_TIMEOUT_S = 30.0
"""How long a login may stay without an answer, also where Pings come."""
MOST_CHARACTER_BYTES = 4
"""In UTF-8."""
RATE_BURST_S = 0.1
"""How much of a second's allowance may go out at once: a Market Data team's limit is per second."""


class Phase(StrEnum):
    """Where the session stands."""

    DISCONNECTED = "disconnected"
    LOGGING_IN = "logging in"
    OPEN = "open"
    CLOSING = "closing"
    """Nothing more is sent; the driver has been told to close the connection."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """Who logs in, as the Market Data team has it."""

    user: str
    app_id: str
    position: str = ""
    """Empty: the address from which it connects."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How fast a session may post."""

    window: int = 256
    """Posts without an answer, at most."""
    pack: int = 1
    """Posts in one frame, at most."""
    rate_limit: float = 500.0
    """Posts a second; 0: no limit."""
    ack_timeout_s: float = 15.0


class Session:
    """The state machine; see the module's text for how to drive it."""

    def __init__(self, login: Login, limits: Limits) -> None:
        self.phase = Phase.DISCONNECTED
        self.max_msg_size = DEFAULT_MAX_MSG_SIZE
        self.ping_timeout_s = DEFAULT_PING_TIMEOUT_S
        self._login = login
        self._position = login.position
        self._token = ""
        self._previous_token = ""
        self._limits = limits
        self._queue: deque[Outgoing] = deque()
        self._held: dict[Item, list[Outgoing]] = {}  # until their item is open
        self._outstanding: dict[int, Outgoing] = {}  # in the order of sending, so that the first expires first
        self._suspects: set[int] = set()  # outstanding when an Error came that names no post
        self._frames = 0
        self._answered_s = 0.0  # when the server last answered a post
        self._heard_s = 0.0
        self._login_due_s = 0.0
        self._next_free_s = 0.0  # the rate limit's virtual clock (GCRA)
        self._output: list[str] = []
        self._events: list[Event] = []
        self._answers: list[Answer] = []
        self._reading = Reading()
        self._watching = Watching()
        self._items = ItemStreams(most_opening=limits.window, timeout_s=limits.ack_timeout_s)

    # What the driver reads.

    def output(self) -> list[str]:
        """The frames to send now, in order; each is handed out once."""
        taken, self._output = self._output, []
        return taken

    def events(self) -> list[Event]:
        """What happened since the last call."""
        taken, self._events = self._events, []
        return taken

    def answers(self) -> list[Answer]:
        """The posts that ended since the last call."""
        taken, self._answers = self._answers, []
        return taken

    def item_answers(self) -> list[ItemAnswer]:
        """The items read back since the last call."""
        return self._reading.answers()

    def item_changes(self) -> list[ItemChange]:
        """What happened to the watched items since the last call."""
        return self._watching.changes()

    @property
    def searching(self) -> bool:
        """What is on the wire is one post that goes alone: the one at fault is looked for."""
        return len(self._outstanding) == 1 and next(iter(self._outstanding.values())).alone

    @property
    def due_s(self) -> float | None:
        """When tick() must be called at the latest; None: not before something else happens."""
        if self.phase not in (Phase.LOGGING_IN, Phase.OPEN):
            return None
        due = self._heard_s + self.ping_timeout_s
        if self.phase is Phase.LOGGING_IN:
            return min(due, self._login_due_s)
        if self._outstanding:
            first = next(iter(self._outstanding.values()))
            due = min(due, first.sent_s + self._limits.ack_timeout_s)
        if self._queue and self._has_room(self._queue[0]):
            due = min(due, self._next_free_s - RATE_BURST_S)
        others = (self._reading.due_s, self._watching.due_s, self._items.due_s)
        return min([due, *(other for other in others if other is not None)])

    # What happens to it.

    def connected(self, now_s: float, token: str = "", address: str = "") -> None:
        """A WebSocket is open, from ``address``: log in, with the token where there is one, else as the user."""
        self.phase = Phase.LOGGING_IN
        self.max_msg_size = DEFAULT_MAX_MSG_SIZE
        self.ping_timeout_s = DEFAULT_PING_TIMEOUT_S
        self._heard_s = now_s
        self._login_due_s = now_s + LOGIN_TIMEOUT_S
        self._token, self._previous_token = token, ""
        self._position = self._login.position or address
        self._output = [self._login_request(refresh=True)]

    def renew(self, token: str) -> None:
        """Put a new token in the place of the login's: the stream stays open, and posts go on. Only while OPEN."""
        self._token, self._previous_token = token, self._token
        self._output.append(self._login_request(refresh=False))

    def post(self, posts: Iterable[Outgoing], now_s: float) -> None:
        """Queue posts; they go out as login, their items' streams, window, rate limit and frame size allow."""
        for post in posts:
            if post.service:
                self._queue_on_stream(post)
            else:
                self._queue.append(post)
        self._pump(now_s)

    def recall(self, posts: Iterable[Outgoing], now_s: float) -> None:
        """End every post that has not left, and these, as lost and unsent; what is on the wire stays there."""
        self._queue_held()
        self._queue.extend(posts)
        self._give_back("recalled", now_s)

    def request(self, wanted: ItemRequest, now_s: float) -> None:
        """Read items back, beside the posts; each ends in exactly one ItemAnswer."""
        self._reading.request(wanted)
        self._pump(now_s)

    def watch(self, wanted: ItemRequest, now_s: float) -> None:
        """Open items, and open them again after each login, until the server closes them for good."""
        self._watching.watch(wanted)
        self._pump(now_s)

    def receive(self, frame: str | bytes, now_s: float) -> None:
        """One text frame from the server."""
        self.receive_all([frame], now_s)

    def receive_all(self, frames: Iterable[str | bytes], now_s: float) -> None:
        """Text frames from the server, in the order in which they came."""
        self._heard_s = now_s
        waiting = len(self._outstanding)
        for frame in frames:
            try:
                received = messages.decode(frame)
            except ValueError as error:
                self._events.append(Notice(str(error)))
                received = messages.sound_ones(frame)
            for message in received:
                if message.type == "Ack":
                    self._on_ack(message, now_s)
                else:
                    self._hear(message, now_s)
        if len(self._outstanding) < waiting:
            self._answered_s = now_s
        self._pump(now_s)

    def _hear(self, message: ServerMessage, now_s: float) -> None:
        if message.type == "Ping":
            self._output.append(messages.PONG)
        elif self._reading.takes(message) or self._watching.takes(message, now_s) or self._items.takes(message):
            return
        elif message.type == "Error":
            self._on_error(message, now_s)
        elif message.id == LOGIN_STREAM and message.state is not None:
            self._on_login_state(message, message.state)

    def tick(self, now_s: float) -> None:
        """Time has passed: expire what waited too long, send what may go now."""
        # Compared as due_s adds it up: rounding must not send a caller away who comes exactly then.
        if self.phase in (Phase.LOGGING_IN, Phase.OPEN) and now_s >= self._heard_s + self.ping_timeout_s:
            self._close(f"nothing was received for {self.ping_timeout_s:g} s")
            return
        if self.phase is Phase.LOGGING_IN and now_s >= self._login_due_s:
            self._close(f"the login was not answered within {LOGIN_TIMEOUT_S:g} s")
            return
        stalled = False
        while self._outstanding:
            post_id, sent = next(iter(self._outstanding.items()))
            if now_s < sent.sent_s + self._limits.ack_timeout_s:
                break
            stalled = sent.sent_s >= self._answered_s
            if post_id in self._suspects:
                text = "no answer, and an Error came that names no post"
                self._end(post_id, Verdict.RETURNED, "", text, now_s)
            else:
                text = f"no answer within {self._limits.ack_timeout_s:g} s"
                self._end(post_id, Verdict.TIMEOUT, "", text, now_s)
        if stalled:  # what was queued for a fast server must not be beyond recall at one that answers nothing
            self._give_back("the server answers no posts", now_s)
        self._reading.tick(now_s)
        self._watching.tick(now_s)
        self._items.tick(now_s)
        self._pump(now_s)

    def logout(self) -> None:
        """Close the watched items and the login stream in good order; the driver then closes the socket.

        The streams of on-stream posts end with the login's.
        """
        if self.phase is Phase.OPEN:
            self._output.extend(self._watching.close())
            self._output.append(messages.close_request(LOGIN_STREAM))
        self.phase = Phase.CLOSING

    def disconnected(self, now_s: float, reason: str) -> None:
        """The socket is gone: every post without an answer ends as lost."""
        self.phase = Phase.DISCONNECTED
        self._output = []
        for post_id in list(self._outstanding):
            self._end(post_id, Verdict.LOST, "", f"connection lost before an answer: {reason}", now_s)
        self._items.lost()
        self._queue_held()
        self._give_back(reason, now_s)
        self._reading.lost(f"connection lost before an answer: {reason}")
        self._watching.lost(f"connection lost: {reason}")

    # How it decides.

    def _queue_held(self) -> None:
        """Queue the posts whose items are not open, only for what follows: none of them can go."""
        self._queue.extend(post for held in self._held.values() for post in held)
        self._held.clear()

    def _give_back(self, reason: str, now_s: float) -> None:
        """End what is queued, none of which has left."""
        unsent = (Answer(post.post_id, Verdict.LOST, "", f"not sent: {reason}", None, now_s) for post in self._queue)
        self._answers.extend(unsent)
        self._queue.clear()

    def _login_request(self, *, refresh: bool) -> str:
        login = self._login
        if not self._token:
            return messages.login_request(user=login.user, app_id=login.app_id, position=self._position)
        return messages.token_login_request(
            token=self._token, app_id=login.app_id, position=self._position, refresh=refresh
        )

    def _on_ack(self, message: ServerMessage, now_s: float) -> None:
        post_id = message.ack_id
        if post_id is None or (sent := self._outstanding.get(post_id)) is None:
            self._events.append(Notice(f"an Ack came for {post_id}, which waits for none (late or repeated)"))
        elif message.id != sent.stream:
            what = f"an Ack for {post_id} came on another stream than the post's, and is not taken for its answer"
            self._events.append(Notice(what))
        elif message.key is not None and _is_another(message.key.name, sent.ric):
            what = f"an Ack for {post_id} names another item than the post, and is not taken for its answer"
            self._events.append(Notice(what))
        elif message.nak_code is None:  # the text says nothing: success is the absence of a NakCode
            self._end(post_id, ACKED, "", message.text, now_s)
        else:
            self._end(post_id, Verdict.NAKKED, str(message.nak_code), self._without_tokens(message.text), now_s)

    def _on_error(self, message: ServerMessage, now_s: float) -> None:
        text = self._without_tokens(message.text) or "Error without a text"
        at_fault, in_frame = messages.culprit(message)
        if at_fault is None and not in_frame and len(self._outstanding) == 1:
            at_fault = next(iter(self._outstanding))  # nothing else was on the wire
        if at_fault in self._outstanding:
            frame = self._outstanding[at_fault].frame
            self._end(at_fault, Verdict.NAKKED, "", text, now_s)
            self._return_frame(frame, text, now_s)
        elif known := in_frame & self._outstanding.keys():
            for frame in {self._outstanding[post_id].frame for post_id in known}:
                self._return_frame(frame, text, now_s)
        elif not in_frame and self._outstanding:
            self._suspects.update(self._outstanding)
            self._events.append(Notice(f"an Error names no post: {text}"))
        else:
            self._events.append(Notice(f"an Error belongs to no post that waits: {text}"))

    def _return_frame(self, frame: int, text: str, now_s: float) -> None:
        """Whatever else was in the frame of a bad post may be lost without a word (seen on the SDK's provider)."""
        for post_id in [key for key, sent in self._outstanding.items() if sent.frame == frame]:
            self._end(post_id, Verdict.RETURNED, "", f"shared a frame with an Error: {text}", now_s)

    def _on_login_state(self, message: ServerMessage, state: messages.StreamState) -> None:
        if self.phase is Phase.CLOSING:  # posts on the wire may each be answered that nobody is logged in
            return
        if state.stream == "Open":
            if self.phase is Phase.LOGGING_IN and message.type == "Refresh":
                self.phase = Phase.OPEN
                elements = message.elements or messages.LoginElements()
                self.ping_timeout_s = self._sensible(
                    "PingTimeout", elements.ping_timeout, LEAST_PING_TIMEOUT_S, DEFAULT_PING_TIMEOUT_S
                )
                self.max_msg_size = int(
                    self._sensible("MaxMsgSize", elements.max_msg_size, LEAST_MAX_MSG_SIZE, DEFAULT_MAX_MSG_SIZE)
                )
                self._reading.batches = self._watching.batches = messages.takes_batches(message)
                self._events.append(LoggedIn(self.ping_timeout_s, self.max_msg_size))
            return
        refused = self.phase is Phase.LOGGING_IN and state.stream == "Closed"
        # A re-login that comes too soon is refused like a wrong user, for minutes; waiting cures it.
        final = refused and "pending login" not in state.text.lower()
        text = self._without_tokens(state.text or message.text)
        self._events.append(LoginEnded(state.reason, text, final))
        self._close(f"the login stream was closed: {text or state.reason or state.stream}")

    def _without_tokens(self, text: str) -> str:
        """A server's text, which may repeat the login's tokens: they are secret."""
        for token in filter(None, (self._token, self._previous_token)):
            text = text.replace(token, "***")
        return text

    def _sensible(self, name: str, announced: float | None, least: float, default: float) -> float:
        """A limit as the login announces it; the default where there is none, or one that cannot be meant."""
        if announced is None:
            return default
        if announced < least:
            self._events.append(Notice(f"the login announces {name} {announced:g}; {default:g} is used instead"))
            return default
        return announced

    def _close(self, reason: str) -> None:
        self.phase = Phase.CLOSING
        self._events.append(CloseConnection(reason))

    def _end(self, post_id: int, verdict: Verdict, code: str, text: str, now_s: float) -> None:
        sent = self._outstanding.pop(post_id)
        if self._suspects:
            self._suspects.discard(post_id)
        self._answers.append(Answer(post_id, verdict, code, text, sent.sent_s, now_s))

    def _has_room(self, post: Outgoing) -> bool:
        if post.alone:
            return not self._outstanding
        if len(self._outstanding) >= self._limits.window:
            return False
        return len(self._outstanding) != 1 or not next(iter(self._outstanding.values())).alone

    def _pump(self, now_s: float) -> None:
        """Put on the wire what login, window and rate limit allow."""
        self._heed_items(now_s)
        self._pump_posts(now_s)
        if self.phase is Phase.OPEN:
            self._output.extend(self._items.frames(now_s))
            self._output.extend(self._reading.frames(now_s, self._most_bytes))
            self._output.extend(self._watching.frames(self._most_bytes))

    def _queue_on_stream(self, post: Outgoing) -> None:
        """Queue a post with its item's stream, or hold it until there is one."""
        stream = self._items.stream(post.item)
        if stream is None:
            self._held.setdefault(post.item, []).append(post)
            self._items.open(post.item)
        else:
            self._queue.append(replace(post, text=messages.on_stream(post.text, stream), stream=stream))

    def _heed_items(self, now_s: float) -> None:
        """Queue the posts whose items are open now; what has not left when its item is closed ends unsent."""
        opened = self._items.opened()
        unopened = {one.item: one for one in self._items.unopened()}
        if unopened:
            stay = deque(post for post in self._queue if post.item not in unopened)
            gone = [post for post in self._queue if post.item in unopened]
            gone += [post for item in unopened for post in self._held.pop(item, ())]
            self._queue = stay
            for post in gone:
                _, code, text = unopened[post.item]
                self._answers.append(Answer(post.post_id, Verdict.NAKKED, code, text, None, now_s))
        for item in opened:
            for post in self._held.pop(item, ()):
                self._queue_on_stream(post)

    def _pump_posts(self, now_s: float) -> None:
        while self.phase is Phase.OPEN and self._queue:
            if self._too_large(self._queue[0]):
                self._refuse(self._queue.popleft(), now_s)
                continue
            allowed = self._allowance(now_s)
            if allowed < 1 or not self._has_room(self._queue[0]):
                return
            send = self._send_singly if self._limits.pack == 1 else self._send_packed
            sent = send(allowed, now_s)
            if self._limits.rate_limit:
                self._next_free_s = max(self._next_free_s, now_s) + sent / self._limits.rate_limit

    def _allowance(self, now_s: float) -> int:
        """Posts that the rate limit lets go at this moment."""
        rate = self._limits.rate_limit
        if not rate:
            return self._limits.window
        if now_s < self._next_free_s - RATE_BURST_S:
            return 0
        ahead_s = max(self._next_free_s - now_s, 0.0)
        return 1 + max(int((RATE_BURST_S - ahead_s) * rate), 0)

    @property
    def _most_bytes(self) -> int:
        return min(self.max_msg_size, messages.MAX_CONVERTED_BYTES)

    def _too_large(self, post: Outgoing) -> bool:
        return _size_bytes(post.text) > self._most_bytes

    def _refuse(self, post: Outgoing, now_s: float) -> None:
        text = f"not sent: the post is {_size_bytes(post.text)} bytes, the server takes {self._most_bytes}"
        self._answers.append(Answer(post.post_id, Verdict.NAKKED, "TooLarge", text, None, now_s))

    def _send_singly(self, most: int, now_s: float) -> int:
        """Send posts in frames of their own, at least the first that waits, and tell how many."""
        posts = [self._queue.popleft()]
        room = min(most, self._limits.window - len(self._outstanding))
        small = self._most_bytes // MOST_CHARACTER_BYTES  # what may be larger is looked at when it is the first
        while self._queue and len(posts) < room and not posts[0].alone:
            if self._queue[0].alone or len(self._queue[0].text) > small:
                break
            posts.append(self._queue.popleft())
        for post in posts:
            self._frames += 1
            self._outstanding[post.post_id] = post
            post.sent_s, post.frame = now_s, self._frames
        self._output += [post.text for post in posts]
        return len(posts)

    def _send_packed(self, most: int, now_s: float) -> int:
        """Send posts in one frame, at least the first that waits, and tell how many fitted it."""
        posts = [self._queue.popleft()]
        room = min(most, self._limits.pack, self._limits.window - len(self._outstanding))
        size_bytes = len("[]") + _size_bytes(posts[0].text)
        while self._queue and len(posts) < room and posts[0].packs and self._queue[0].packs:
            size_bytes += len(",") + _size_bytes(self._queue[0].text)
            if size_bytes > self.max_msg_size:
                break
            posts.append(self._queue.popleft())
        self._frames += 1
        for post in posts:
            self._outstanding[post.post_id] = post
            post.sent_s, post.frame = now_s, self._frames
        texts = [post.text for post in posts]
        self._output.append(texts[0] if len(texts) == 1 else "[" + ",".join(texts) + "]")
        return len(posts)


def _is_another(name: object, ric: str) -> bool:
    """Whether an Ack's name is not the post's; backslashes are passed by: names are not unescaped everywhere.

    That was seen on LSEG's SDK provider. Of a post without a name, none is another.
    """
    if not ric or not isinstance(name, str) or name == ric:
        return False
    return name.replace("\\", "") != ric.replace("\\", "")


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
