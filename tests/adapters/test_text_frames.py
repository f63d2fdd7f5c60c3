"""Text frames many at a time are those of websocket-client, one at a time."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websocket import ABNF, WebSocket, WebSocketProtocolException

from contrib_watch.adapters.text_frames import MOST_MESSAGE_BYTES, bound, decoded, encoded, receive, send_texts

SIZES = st.one_of(st.integers(0, 9), st.sampled_from([124, 125, 126, 127, 65_534, 65_535, 65_536]))
TEXTS = st.lists(st.builds(lambda size, letter: letter * size, SIZES, st.sampled_from("aé€")), max_size=6)


Ends = tuple[WebSocket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A connected channel, and its other end."""
    near, far = socket.socketpair()
    near.settimeout(5)
    channel = WebSocket(skip_utf8_validation=True)
    channel.sock = near
    with near, far:
        yield channel, far


def from_server(opcode: int, payload: bytes, *, last: bool = True) -> bytes:
    frame = ABNF.create_frame(payload, opcode, int(last))
    frame.mask_value = 0
    return frame.format()


@given(TEXTS)
def test_what_is_encoded_is_what_websocket_client_encodes(texts: list[str]) -> None:
    keys = os.urandom(4 * len(texts))
    frames = [ABNF.create_frame(text, ABNF.OPCODE_TEXT) for text in texts]
    for number, frame in enumerate(frames):
        frame.get_mask_key = lambda _, number=number: keys[4 * number : 4 * number + 4]
    assert encoded(texts, keys) == b"".join(frame.format() for frame in frames)


@given(TEXTS, st.integers(0, 200_000))
def test_a_cut_anywhere_loses_nothing(texts: list[str], cut: int) -> None:
    stream = b"".join(from_server(ABNF.OPCODE_TEXT, text.encode()) for text in texts)
    first, rest = decoded(stream[:cut])
    second, none = decoded(rest + stream[cut:])
    assert [text.decode() for text in first + second] == texts
    assert none == b""


PIECES = {
    "text": from_server(ABNF.OPCODE_TEXT, b"one"),
    "ping": from_server(ABNF.OPCODE_PING, b"p"),
    "begun": from_server(ABNF.OPCODE_TEXT, b"tw", last=False),
    "ended": from_server(ABNF.OPCODE_CONT, b"o"),
    "binary": from_server(ABNF.OPCODE_BINARY, b"three"),
    "close": from_server(ABNF.OPCODE_CLOSE, b"\x03\xe8"),
}


def heard(channel: WebSocket) -> list[tuple[int | None, bytes]]:
    found = []
    while not found or found[-1][0] != ABNF.OPCODE_CLOSE:
        found += [(opcode, one) for opcode, data in receive(channel) for one in data]
    return found


def test_other_frames_come_in_their_place(ends: Ends) -> None:
    channel, far = ends
    order = ["text", "begun", "ping", "ended", "text", "binary", "text", "close"]
    far.sendall(b"".join(PIECES[name] for name in order))
    assert [data for _, data in heard(channel)] == [b"one", b"p", b"two", b"one", b"three", b"one", b"\x03\xe8"]


def test_frames_that_come_byte_by_byte_are_waited_for(ends: Ends) -> None:
    channel, far = ends
    stream = b"".join(PIECES[name] for name in ("text", "begun", "ping", "ended", "text", "close"))
    sender = threading.Thread(target=lambda: [far.send(bytes((byte,))) for byte in stream])
    sender.start()
    assert [data for _, data in heard(channel)] == [b"one", b"p", b"two", b"one", b"\x03\xe8"]
    sender.join()


def test_what_is_sent_arrives(ends: Ends) -> None:
    channel, far = ends
    texts = ["{}", "é" * 70_000]
    far.settimeout(5)
    received = b""
    send_texts(channel, texts[:1])
    received += far.recv(1 << 20)
    assert ABNF.mask(received[2:6], received[6:]) == b"{}"
    channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    send_texts(channel, texts[1:])
    while len(received) < 8 + 14 + 140_000:
        received += far.recv(1 << 20)
    assert ABNF.mask(received[18:22], received[22:]).decode() == texts[1]


def test_the_end_of_the_connection_is_told_as_ever(ends: Ends) -> None:
    channel, far = ends
    far.close()
    with pytest.raises(Exception, match="lost"):
        list(receive(channel))


def test_fragments_without_end_are_refused(ends: Ends) -> None:
    channel, far = ends
    bound(channel)
    fragment = from_server(ABNF.OPCODE_CONT, b"x" * 65_536, last=False)

    def endless() -> None:
        far.sendall(PIECES["begun"])
        for _ in range(MOST_MESSAGE_BYTES // 65_536):
            far.sendall(fragment)

    sender = threading.Thread(target=endless)
    sender.start()
    with pytest.raises(WebSocketProtocolException, match="a message of"):
        heard(channel)
    sender.join()
