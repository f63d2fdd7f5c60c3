"""Servers that are no ADS, and what they say."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from contrib_watch.adapters.endpoint import Endpoint


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
