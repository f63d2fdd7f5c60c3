"""The simulated ADS without sockets, threads or clock: JSON text in, JSON text out, time as a parameter.

It does what an ADS and a provider built on LSEG's Real-Time SDK were seen to do, where that is inconvenient too: a
bad post takes the rest of its frame with it, an Error names no post, and text that is not JSON closes the connection
without a word. A fault script makes it misbehave on purpose. Where a provider on LSEG's SDK for Java answers
otherwise, tests/interop/test_sdk_protocol.py has both answers.

The caller owns the connection: it feeds each text frame to ``ServerSession.receive``, calls ``tick`` when
``next_due_s`` has come (and when ``on_output`` was called), sends the frames it gets, and then closes if told to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, Protocol

from contrib_watch.core.fields import Dictionary
from contrib_watch.simulator import answers
from contrib_watch.simulator.answers import Nak
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript
from contrib_watch.simulator.items import ItemKey, Items
from contrib_watch.simulator.json_tokens import Unparsable
from contrib_watch.simulator.messages import (
    Close,
    ConversionError,
    Converter,
    FrameReading,
    Ignored,
    ItemRequest,
    Login,
    Message,
    Ping,
    Post,
    Services,
)
from contrib_watch.simulator.values import Value


class Closing(IntEnum):
    """What becomes of the connection once the frames are sent; NO is false."""

    NO = 0
    NORMAL = 1
    """A WebSocket close with code 1000."""
    ABRUPT = 2
    """The connection breaks off without a close frame."""


class Frame(NamedTuple):
    """A text frame to send, ``delay_s`` seconds from now."""

    text: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reactions:
    """What the caller has to do: send the frames in order, then close if told to."""

    frames: list[Frame]
    close: Closing = Closing.NO


class Verdict(StrEnum):
    """What became of a decoded post."""

    APPLIED = "applied"
    NAKKED = "nakked"
    ERROR = "error"
    IGNORED = "ignored"
    """Acknowledged and not applied, by the fault script."""
    LOST = "lost"
    """Neither applied nor answered, by the fault script."""


@dataclass(frozen=True, slots=True)
class PostRecord:
    """One decoded post."""

    service: str
    ric: str
    kind: str
    """Refresh, Update or Status."""
    fields: Mapping[str, str]
    """The values as they were written in JSON."""
    post_id: int
    verdict: Verdict
    nak_code: str | int = ""


class Gate(Protocol):
    """Who knows the tokens, where logins are by token alone."""

    def login(self, token: str, now_s: float) -> float | None:
        """Until when a login with this token stands, on the clock of the sessions; None: it is not accepted."""
        ...


class _Stream(NamedTuple):
    key: ItemKey
    view: frozenset[str] | None


class SimulatedAds:
    """The server's state, shared by its sessions: the cache, the fault script's progress, the posts seen."""

    def __init__(
        self,
        dictionary: Dictionary,
        faults: FaultScript | None = None,
        *,
        services: Collection[str] | None = None,
        users: Collection[str] | None = None,
        ping_timeout_s: float = 30,
        max_msg_size: int = 61_430,
        packed_acks: bool = False,
        errors_first: bool = False,
        errors_lost: bool = False,
        keep_posts: bool = True,
        readable: bool | Collection[str] = True,
    ) -> None:
        """``services`` and ``users`` (names or authentication tokens): None lets any pass. A post without a Service
        goes to the alphabetically first of ``services``, or to ``DEFAULT``.

        ``max_msg_size`` is in bytes. ``packed_acks`` puts all Acks of a frame into one; ``errors_first`` sends a
        frame's Error before the Acks of the posts that stand before it. ``errors_lost`` sends no Error at all: a
        provider on LSEG's SDK for Java was seen to drop the rest of the frame in silence. ``keep_posts`` False
        leaves ``posts`` empty, for load tests. ``readable``: whether anybody is entitled to read items, or those of
        which Services.
        """
        self.ping_timeout_s = ping_timeout_s
        self.max_msg_size = max_msg_size
        self.packed_acks = packed_acks
        self.errors_first = errors_first
        self.errors_lost = errors_lost
        self.readable = readable
        self.converter = Converter(dictionary, Services(tuple(sorted(services or ()))))
        self.posts: list[PostRecord] = []
        self._keep_posts = keep_posts
        self._users = None if users is None else frozenset(users)
        self.items = Items()
        self.faults = (faults or FaultScript()).start()
        self.sessions: set[ServerSession] = set()
        self.logouts = 0
        """How many clients have closed their login stream themselves."""
        self.gate: Gate | None = None
        """Where one is set, logins are by its tokens and end when it says."""

    def entitles(self, service: str) -> bool:
        """Whether items of a Service may be read."""
        return self.readable if isinstance(self.readable, bool) else service in self.readable

    @property
    def cache(self) -> Mapping[ItemKey, Mapping[str, Value]]:
        """By service and RIC, the fields as a reader would get them; None is blank."""
        return self.items.cache

    def connect(self, now_s: float = 0.0, on_output: Callable[[], None] | None = None) -> ServerSession:
        """A new connection. ``on_output`` is called when something to send arises from elsewhere: then tick."""
        session = ServerSession(self, now_s, on_output)
        self.sessions.add(session)
        return session

    def load(self, service: str, ric: str, fields_json: str) -> None:
        """Puts an item into the cache; ``fields_json`` is what a post would have as Fields.

        Raises ConversionError where a post with these fields would get an Error.
        """
        frame = (
            f'{{"ID":1,"Type":"Post","Domain":"MarketPrice","Ack":true,"PostID":1,'
            f'"Key":{{"Service":{answers.json_text(service)},"Name":{answers.json_text(ric)}}},'
            f'"Message":{{"ID":0,"Type":"Refresh","Domain":"MarketPrice","Fields":{fields_json}}}}}'
        )
        for post in self.converter.ordinary_posts(frame) or self.converter.read(frame).messages():
            if isinstance(post, Post):
                self.items.apply(post, (service, ric))

    def force_logout(self, code: str = "", text: str = "Force Logout") -> None:
        """Closes the login stream of every session that is logged in; the connections stay."""
        for session in tuple(self.sessions):
            session.end_login(code, text)

    def admits_until_s(self, login: Login, now_s: float) -> float | None:
        """Until when a user, or the bearer of a token, may be logged in; None: not at all."""
        if self.gate is not None:
            return self.gate.login(login.name, now_s) if login.is_token else None
        return math.inf if self._users is None or login.name in self._users else None

    def record(self, post: Post, key: ItemKey, verdict: Verdict, nak_code: str | int = "") -> None:
        """Keeps what became of a post for ``posts``."""
        if self._keep_posts:
            record = PostRecord(*key, post.kind, post.tokens, post.post_id, verdict, nak_code)
            self.posts.append(record)


class ServerSession:
    """One connection, from its WebSocket handshake on."""

    def __init__(self, ads: SimulatedAds, now_s: float, on_output: Callable[[], None] | None) -> None:
        self._ads = ads
        self._on_output = on_output
        self._heard_s = now_s
        self._ping_s = now_s + ads.ping_timeout_s / 3
        self._login_id: int | None = None
        self._login_ends_s = math.inf
        self._streams: dict[int, _Stream] = {}
        self._outbox: list[Frame] = []
        self._acks: list[dict[str, Any]] = []
        self._close = Closing.NO
        self._silent = False
        self._receiving = False
        self._sequence = 0

    @property
    def next_due_s(self) -> float | None:
        """When to call ``tick``, on the clock of the ``now_s`` given so far; None once there is nothing to do."""
        if self._close or self._silent:
            return None
        return min(self._ping_s, self._heard_s + self._ads.ping_timeout_s, self._login_ends_s)

    def receive(self, text: str, now_s: float) -> Reactions:
        """One text frame from the client."""
        if self._close or self._silent:
            return Reactions([])
        self._heard_s = now_s
        if _size_bytes(text) > self._ads.max_msg_size:
            return self._end(Closing.ABRUPT)
        self._receiving = True
        try:
            self._read(text)
        except Unparsable:
            self._close = Closing.NORMAL
        finally:
            self._receiving = False
        return self._take()

    def tick(self, now_s: float) -> Reactions:
        """What is due: a Ping, the end of a client not heard of for too long, and what other sessions caused."""
        if self._close or self._silent:
            return Reactions([])
        if now_s >= self._heard_s + self._ads.ping_timeout_s:
            return self._end(Closing.NORMAL)
        if now_s >= self._login_ends_s:
            self.end_login("UserAccessToAppDenied", "The access token has expired")
        if now_s >= self._ping_s:
            self._send({"Type": "Ping"})
            self._ping_s = now_s + self._ads.ping_timeout_s / 3
        return self._take()

    def websocket_ping(self, payload: bytes) -> Reactions:
        """A Ping of the WebSocket layer; one with a payload ends the session.

        Seen on a provider on LSEG's SDK; one on the SDK for Java answers it and goes on.
        """
        return self._end(Closing.NORMAL) if payload else Reactions([])

    def disconnected(self) -> None:
        """The connection is gone; its streams end with it."""
        self._close = self._close or Closing.ABRUPT
        self._close_streams()
        self._ads.sessions.discard(self)

    def end_login(self, code: str | int, text: str) -> None:
        """Closes the login stream, and with it every other, and says so to the client if it is logged in."""
        if self._login_id is None or self._close or self._silent:
            return
        self._send(answers.login_status(self._login_id, code, text))
        self._login_id = None
        self._login_ends_s = math.inf
        self._close_streams()

    def deliver(self, stream_id: int, post: Post, cached: Mapping[str, Value] | None) -> None:
        """A post has changed (or, with ``cached`` None, deleted) the item of one of this session's streams."""
        stream = self._streams.get(stream_id)
        if stream is None or self._close or self._silent:
            return
        if cached is None:
            self._forget_stream(stream_id)
            self._send(answers.closed_item(stream_id, stream.key, "NotFound", "The item was deleted"))
            return
        values = _viewed(post.values, stream.view)
        if post.kind == "Refresh":
            self._send(answers.item_refresh(stream_id, stream.key, self._next_sequence(), values, streaming=True))
        elif values:
            self._send(answers.item_update(stream_id, stream.key, self._next_sequence(), values))

    def _read(self, text: str) -> None:
        converter = self._ads.converter
        posts = converter.ordinary_posts(text)
        reading = converter.read(text) if posts is None else None
        messages: Iterable[Message] = reading.messages() if reading else posts or ()
        index = 0
        try:
            for index, message in enumerate(messages):  # noqa: B007 - an Error names its message
                self._handle(message)
                if self._close or self._silent:
                    break
        except ConversionError as error:
            self._refuse(error, reading or converter.read(text), _CONVERTER_PLACE)
        except _Injected as injected:
            reading = reading or converter.read(text)
            fault = injected.fault
            as_error = ConversionError(
                fault.text or "JSON Unexpected Value.",
                stream_id=injected.stream_id,
                offset=reading.offset(index) if fault.debug else None,
            )
            self._refuse(as_error, reading, _CONVERTER_PLACE if fault.debug else {})
        self._flush_acks()

    def _refuse(self, error: ConversionError, reading: FrameReading, place: Mapping[str, Any]) -> None:
        """Sends the one Error that a frame can get."""
        if self._ads.errors_lost:
            return
        if not self._ads.errors_first:
            self._flush_acks()
        debug = dict(place)
        if error.offset is not None:
            debug["Offset"] = _size_bytes(reading.text[: error.offset])
        debug["Message"] = reading.debug_message()
        self._send(answers.error(error.stream_id, error.text, debug))

    def _handle(self, message: Message) -> None:
        match message:
            case Post():
                self._post(message)
            case Login():
                self._login(message)
            case ItemRequest():
                self._request(message)
            case Close():
                self._close_by_client(message)
            case Ping():
                self._send({"Type": "Pong"})
            case Ignored():
                pass

    def _login(self, login: Login) -> None:
        fault = self._ads.faults.for_login(login.name)
        if fault is not None:
            self._refuse_login(login, fault.code, fault.text or "Login refused")
        elif (ends_s := self._ads.admits_until_s(login, self._heard_s)) is None:
            self._refuse_login(login, "UserUnknownToPermSys", f"{login.shown}, unknown to system")
        else:
            self._login_ends_s = ends_s
            again = self._login_id == login.stream_id
            self._login_id = login.stream_id
            if login.wants_refresh or not again:
                limits = {"MaxMsgSize": self._ads.max_msg_size, "PingTimeout": self._ads.ping_timeout_s}
                self._send(answers.login_refresh(login.stream_id, login.shown, limits))

    def _refuse_login(self, login: Login, code: str | int, text: str) -> None:
        self._send(answers.login_status(login.stream_id, code, text))
        self._close = Closing.NORMAL

    def _post(self, post: Post) -> None:
        if self._login_id is None:
            self._send(answers.usage_error(post.stream_id, "Not logged in"))
            return
        key = self._target(post)
        if key is None:
            return  # the stream is not open: dropped without a word
        faults = self._ads.faults.for_post(key[1], post.post_id)
        if faults and not self._misbehave(post, key, faults):
            return
        nak = self._nak(post, key, faults)
        applied = Verdict.IGNORED if FaultKind.ACK_UNAPPLIED in faults else Verdict.APPLIED
        self._ads.record(post, key, Verdict.NAKKED if nak else applied, nak.code if nak else "")
        if FaultKind.DROP_CONNECTION_AFTER in faults:
            self._close = Closing.ABRUPT
            return
        if post.ack and FaultKind.LOSE_ACK not in faults:
            self._answer(post, key, nak, faults)
        if logout := faults.get(FaultKind.FORCE_LOGOUT):
            self._flush_acks()
            self.end_login(logout.code, logout.text or "Force Logout")

    def _target(self, post: Post) -> ItemKey | None:
        """The item that the post is for: its key's, or the one whose stream it goes on."""
        if post.stream_id == self._login_id:
            return (post.service or "", post.name or "")
        stream = self._streams.get(post.stream_id)
        return stream.key if stream else None

    def _misbehave(self, post: Post, key: ItemKey, faults: Mapping[FaultKind, Fault]) -> bool:
        """Faults that come before the post is applied; False when it is not to be."""
        if garbage := faults.get(FaultKind.GARBAGE):
            self._flush_acks()
            self._outbox.append(Frame(garbage.text or _GARBAGE))
        if FaultKind.FORGET_CACHE in faults:
            self._ads.items.forget()
        if error := faults.get(FaultKind.ERROR):
            self._ads.record(post, key, Verdict.ERROR)
            raise _Injected(error, post.stream_id)
        self._silent = FaultKind.SILENCE in faults
        if FaultKind.DROP_CONNECTION_BEFORE in faults:
            self._close = Closing.ABRUPT
        if self._silent or self._close or FaultKind.LOSE_POST in faults:
            self._ads.record(post, key, Verdict.LOST)
            return False
        return True

    def _nak(self, post: Post, key: ItemKey, faults: Mapping[FaultKind, Fault]) -> Nak | None:
        """Applies the post, or says why not."""
        if fault := faults.get(FaultKind.NAK):
            return Nak(fault.code, fault.text)
        if not key[0]:
            return Nak("SourceUnknown", "No service has this id")
        if not key[1]:
            return Nak("InvalidContent", "The post names no item")
        if FaultKind.ACK_UNAPPLIED in faults:
            return None
        if not self._ads.items.apply(post, key):
            return Nak("SymbolUnknown", "F44: Unable to find item on post update.")
        return None

    def _answer(self, post: Post, key: ItemKey, nak: Nak | None, faults: Mapping[FaultKind, Fault]) -> None:
        ack = answers.ack(post, key, nak)
        copies = 2 if FaultKind.REPEAT_ACK in faults else 1
        if delay := faults.get(FaultKind.DELAY_ACK):
            self._outbox += [Frame(answers.json_text([ack]), delay.delay_s)] * copies
        else:
            self._acks += [ack] * copies

    def _request(self, request: ItemRequest) -> None:
        if request.stream_id == self._login_id:
            return  # a request on the stream of the login: dropped without a word
        if self._login_id is None:
            self._send(answers.usage_error(request.stream_id, "Not logged in"))
        elif request.domain != "MarketPrice":
            text = f"Domain {request.domain} is not supported"
            self._send(answers.usage_error(request.stream_id, text) | {"Domain": request.domain})
        elif request.is_batch:
            self._batch(request)
        else:
            self._open_item(request.stream_id, request, request.names[0])

    def _batch(self, request: ItemRequest) -> None:
        """Closes the batch's own stream and answers for each item on the ids that follow it (spec of the batch)."""
        self._send(answers.batch_done(request.stream_id, len(request.names)))
        for stream_id, name in enumerate(request.names, start=request.stream_id + 1):
            self._open_item(stream_id, request, name)

    def _open_item(self, stream_id: int, request: ItemRequest, name: str) -> None:
        key = (request.service or "", name)
        self._forget_stream(stream_id)
        if not self._ads.entitles(key[0]):
            self._send(answers.closed_item(stream_id, key, "NotEntitled", "Access denied to this item"))
            return
        cached = self._ads.cache.get(key)
        if cached is None:
            text = "The record could not be found" if key[0] else "No service has this id"
            code = "NotFound" if key[0] else "SourceUnknown"
            self._send(answers.closed_item(stream_id, key, code, text))
            return
        stream = _Stream(key, request.view)
        if request.streaming:
            self._streams[stream_id] = stream
            self._ads.items.watch(key, self, stream_id)
        values = _viewed(cached, stream.view)
        streaming = request.streaming
        self._send(answers.item_refresh(stream_id, key, self._next_sequence(), values, streaming=streaming))

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _close_by_client(self, message: Close) -> None:
        for stream_id in message.stream_ids:
            if stream_id == self._login_id:
                self._login_id = None
                self._ads.logouts += 1
                self._close_streams()
            else:
                self._forget_stream(stream_id)

    def _forget_stream(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._ads.items.unwatch(stream.key, self, stream_id)

    def _close_streams(self) -> None:
        for stream_id in tuple(self._streams):
            self._forget_stream(stream_id)

    def _send(self, message: dict[str, Any]) -> None:
        """Queues one message in a frame of its own; the server always sends arrays."""
        self._outbox.append(Frame(answers.json_text([message])))
        if self._on_output is not None and not self._receiving:
            self._on_output()

    def _flush_acks(self) -> None:
        if self._ads.packed_acks and self._acks:
            self._outbox.append(Frame(answers.json_text(self._acks)))
        else:
            self._outbox += [Frame(answers.json_text([ack])) for ack in self._acks]
        self._acks = []

    def _end(self, close: Closing) -> Reactions:
        self._close = close
        return self._take()

    def _take(self) -> Reactions:
        frames, self._outbox = self._outbox, []
        return Reactions(frames, self._close)


_CONVERTER_PLACE = {"File": "Converter/jsonToRwfSimple.C", "Line": 1}
_GARBAGE = '[{"ID":1,"Type":"Ack","AckI'


class _Injected(Exception):  # noqa: N818 - carries a fault of the script to the end of its frame
    def __init__(self, fault: Fault, stream_id: int) -> None:
        super().__init__(fault)
        self.fault = fault
        self.stream_id = stream_id


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _viewed(values: Mapping[str, Value], view: frozenset[str] | None) -> Mapping[str, Value]:
    return values if view is None else {name: value for name, value in values.items() if name in view}
