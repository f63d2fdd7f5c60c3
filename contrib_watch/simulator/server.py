"""A real WebSocket server around the simulated ADS: one thread, one event loop, only on the address it is given.

The ``websockets`` package's Sans-I/O protocol does the framing, because the session has to see the client's
WebSocket Pings, and because one write for all answers to what one read brought is what makes it fast.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Final, cast

from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import BytesLike, Subprotocol

from contrib_watch.errors import ConfigurationError
from contrib_watch.simulator.core import Closing, Reactions, ServerSession, SimulatedAds

PATH: Final = "/WebSocket"
SUBPROTOCOLS: Final = (Subprotocol("tr_json2"), Subprotocol("rssl.json.v2"))
FRAGMENT_BYTES: Final = 6_000
"""Larger messages are sent in fragments, as LSEG's SDK does."""
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""What the WebSocket layer takes in at all; the ADS's own MaxMsgSize is far below."""
_CLOSE_TIMEOUT_S: Final = 0.5
_START_TIMEOUT_S: Final = 10.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class SimulatedServer:
    """Serves a SimulatedAds on ``ws://host:port/WebSocket`` (wss with an ``ssl_context``).

    A context manager; ``start`` and ``stop`` do the same by hand, and a stopped server starts again on its port.
    Methods may be called from any thread.
    """

    def __init__(
        self,
        ads: SimulatedAds,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        *,
        lock: threading.RLock | None = None,
    ) -> None:
        """``port`` 0 takes a free one when the server starts. Servers of one ADS share a ``lock``."""
        self.host = host
        self.port = port
        self._ads = ads
        self._ssl_context = ssl_context
        self._lock = lock or threading.RLock()
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """``127.0.0.1:15000``: what ``ads.hosts`` takes."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The WebSocket's URL."""
        return f"{'wss' if self._ssl_context else 'ws'}://{self.address}{PATH}"

    def __enter__(self) -> SimulatedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, and returns when clients can connect. Raises ConfigurationError where the port is taken."""
        if self._thread is not None:
            return
        listening = self._bind()
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening, ready)), name="simulated-ads", daemon=True
        )
        self._thread.start()
        ready.result(_START_TIMEOUT_S)

    def stop(self) -> None:
        """Stops listening, closes every connection with a close frame, and ends the thread."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = self._loop = self._stopping = None

    def drop_all(self) -> None:
        """Breaks every connection off, without a close frame, as a failing network does."""
        self._call(self._abort_all)

    def refuse(self, refusing: bool) -> None:
        """With True nobody can connect any more, as in an outage; with False they can again. Who is in stays."""
        if refusing:
            self._call(self._stop_listening)
        elif self._loop is not None and self._listener is None:
            coroutine = self._listen(self._bind())
            asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_START_TIMEOUT_S)

    @contextmanager
    def inspect(self) -> Iterator[SimulatedAds]:
        """The ADS, while no session works on it: to read its cache and posts, or to change it."""
        with self._lock:
            yield self._ads

    def _bind(self) -> socket.socket:
        try:
            listening = socket.create_server((self.host, self.port), backlog=128)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen: {error.strerror}",
                where=self.address,
                hint="Choose another port, or end the program that uses this one",
            ) from error
        self.port = listening.getsockname()[1]
        return listening

    async def _serve(self, listening: socket.socket, ready: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await self._listen(listening)
        ready.set_result(None)
        await self._stopping.wait()
        self._stop_listening()
        for connection in tuple(self._connections):
            connection.shut()
        deadline_s = self._loop.time() + _CLOSE_TIMEOUT_S
        while self._connections:
            waiting = [connection.ended for connection in self._connections]
            _, open_ones = await asyncio.wait(waiting, timeout=max(0.0, deadline_s - self._loop.time()))
            if open_ones:
                self._abort_all()

    async def _listen(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: _Connection(self._ads, self._lock, self._connections), sock=listening, ssl=self._ssl_context
        )

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _abort_all(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()

    def _call(self, function: Callable[[], None]) -> None:
        """Runs ``function`` in the server's thread and waits for it."""
        if self._loop is None:
            return
        done: Future[None] = Future()

        def run() -> None:
            function()
            done.set_result(None)

        self._loop.call_soon_threadsafe(run)
        done.result(_START_TIMEOUT_S)


class _Connection(asyncio.Protocol):
    """One client: bytes to frames to the session, and its reactions back."""

    def __init__(self, ads: SimulatedAds, lock: threading.RLock, connections: set[_Connection]) -> None:
        self._ads = ads
        self._lock = lock
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._protocol = ServerProtocol(subprotocols=SUBPROTOCOLS, max_size=MAX_FRAME_BYTES)
        self._session: ServerSession | None = None
        self._fragments: list[BytesLike] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._duty: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._open(event)
            elif isinstance(event, WebSocketFrame):
                self._frame(event)
        self._flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._disarm()
        if self._session is not None:
            with self._lock:
                self._session.disconnected()
        self._connections.discard(self)
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(None)

    def abort(self) -> None:
        """Resets the TCP connection; what was not sent yet is lost."""
        if self._transport is None:
            return
        connected = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def shut(self) -> None:
        """Closes with a close frame, or at once where the handshake is not done."""
        if self._session is None:
            self.abort()
        else:
            self.react(Reactions([], Closing.NORMAL))

    def react(self, reactions: Reactions) -> None:
        """Sends what the session wants sent, and closes if it says so."""
        self._do(reactions)
        self._flush()

    def _do(self, reactions: Reactions) -> None:
        for frame in reactions.frames:
            if frame.delay_s > 0:
                self._later(frame.delay_s, partial(self._send_late, frame.text))
            else:
                self._send(frame.text.encode())
        if reactions.close is Closing.ABRUPT:
            self._flush()
            self.abort()
        elif reactions.close is Closing.NORMAL and self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._later(_CLOSE_TIMEOUT_S, self.abort)

    def _open(self, request: Request) -> None:
        if request.path == PATH:
            response = self._protocol.accept(request)
        else:
            response = self._protocol.reject(400, "Wrong path\n")
        self._protocol.send_response(response)
        if response.status_code == 101:
            with self._lock:
                self._session = self._ads.connect(self._loop.time(), self._on_output)
            self._arm()

    def _frame(self, frame: WebSocketFrame) -> None:
        # Whether the connection is still open does not matter: what came before a close frame counts.
        if self._session is None:
            return
        if frame.opcode is Opcode.PING:
            self._do(self._session.websocket_ping(bytes(frame.data)))
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._fragments.append(frame.data)
            if frame.fin:
                data, self._fragments = b"".join(self._fragments), []
                self._text(self._session, data)
        elif frame.opcode is Opcode.BINARY:
            self._protocol.fail(1003, "text only")

    def _text(self, session: ServerSession, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._protocol.fail(1007, "not UTF-8")
            return
        with self._lock:
            reactions = session.receive(text, self._loop.time())
        self._do(reactions)
        due_s = session.next_due_s
        if self._duty is not None and due_s is not None and due_s < self._duty.when():  # a login that ends
            self._arm()

    def _send(self, data: bytes) -> None:
        if self._protocol.state is not State.OPEN:
            return
        fragments = [data[at : at + FRAGMENT_BYTES] for at in range(0, len(data), FRAGMENT_BYTES)]
        self._protocol.send_text(fragments[0], fin=len(fragments) == 1)
        for number, fragment in enumerate(fragments[1:], start=2):
            self._protocol.send_continuation(fragment, fin=number == len(fragments))

    def _send_late(self, text: str) -> None:
        self._send(text.encode())
        self._flush()

    def _flush(self) -> None:
        pieces = self._protocol.data_to_send()
        if self._transport is None or self._transport.is_closing():
            return
        if pieces:
            self._transport.write(b"".join(pieces))
            if not pieces[-1]:  # the protocol's sign for the end of the stream
                self._transport.close()

    def _on_output(self) -> None:
        self._loop.call_soon_threadsafe(self._tick)

    def _arm(self) -> None:
        """Sets the timer for the session's next duty."""
        self._disarm()
        due_s = self._session.next_due_s if self._session is not None else None
        if due_s is not None:
            self._duty = self._loop.call_at(due_s, self._on_due)

    def _disarm(self) -> None:
        if self._duty is not None:
            self._duty.cancel()
            self._duty = None

    def _on_due(self) -> None:
        self._tick()
        self._arm()

    def _tick(self) -> None:
        if self._session is None or self._transport is None:
            return
        with self._lock:
            reactions = self._session.tick(self._loop.time())
        self.react(reactions)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = self._loop.call_later(delay_s, run)
        self._timers.add(timer)
