"""Text frames of a WebSocket (RFC 6455, 5.2) many at a time; whatever else a connection needs is websocket-client's.

A call of that library costs several times what the operating system does for a frame, and an ADS answers every post
with a frame of its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from websocket import ABNF, WebSocket, WebSocketProtocolException, continuous_frame, frame_buffer

MOST_MESSAGE_BYTES = 1 << 24
"""A larger one, in one frame or in fragments, ends the connection; an ADS announces a MaxMsgSize of some 60,000."""
_FINAL_TEXT = 0x81
_MASKED = 0x80
_MASK_BYTES = 4
_READ_BYTES = 1 << 18
_SEND_BYTES = 1 << 16
"""For each of these the socket's timeout begins anew."""
_SEND_TEXTS = 512
"""Texts that are masked together: few enough to stay in the processor's cache, which halves the time."""


def bound(channel: WebSocket) -> None:
    """Refuse messages above MOST_MESSAGE_BYTES, which would otherwise be collected until there is no memory."""
    channel.frame_buffer = _Frames(channel.frame_buffer.recv, skip_utf8_validation=True)
    channel.cont_frame = _Fragments(fire_cont_frame=False, skip_utf8_validation=True)


class _Frames(frame_buffer):
    def recv_length(self) -> None:
        super().recv_length()
        _refuse_above(self.length or 0)


class _Fragments(continuous_frame):
    def add(self, frame: ABNF) -> None:
        super().add(frame)
        _refuse_above(len(self.cont_data[1]) if self.cont_data else 0)


def _refuse_above(size_bytes: int) -> None:
    if size_bytes > MOST_MESSAGE_BYTES:
        raise WebSocketProtocolException(f"a message of {size_bytes:,} bytes")


def send_texts(channel: WebSocket, texts: Sequence[str]) -> None:
    """Send each text as a frame of its own; raises OSError."""
    for start in range(0, len(texts), _SEND_TEXTS):
        some = texts[start : start + _SEND_TEXTS]
        waiting = memoryview(encoded(some, os.urandom(_MASK_BYTES * len(some))))
        while waiting:
            waiting = waiting[_socket(channel).send(waiting[:_SEND_BYTES]) :]


def receive(channel: WebSocket) -> Iterator[tuple[int | None, list[bytes]]]:
    """What there is to read, in its order: whole texts (None), or the opcode and the data of one other message.

    Waits as the channel does for the rest of what has begun; raises as it does.
    """
    data = _socket(channel).recv(_READ_BYTES)
    while True:
        texts, rest = ([], data) if channel.cont_frame.recving_frames else decoded(data)
        if texts:
            yield None, texts
        if data and not rest:
            return
        channel.frame_buffer.recv_buffer = [rest]  # no plain text, not all of one, or the end of the connection
        opcode, message = channel.recv_data(control_frame=True)
        yield opcode, [message]
        data = b"".join(channel.frame_buffer.recv_buffer)
        channel.frame_buffer.recv_buffer = []
        if not data:
            return


def _socket(channel: WebSocket) -> socket.socket:
    if channel.sock is None:
        raise ConnectionAbortedError("the connection is closed")
    return channel.sock


def encoded(texts: Sequence[str], keys: bytes) -> bytes:
    """A client's frames of these texts, masked with four bytes of ``keys`` each."""
    payloads = [text.encode() for text in texts]
    words = [-(-len(payload) // _MASK_BYTES) for payload in payloads]
    # All are masked at once, each filled up to whole masks.
    padded = b"".join([payload.ljust(_MASK_BYTES * count) for payload, count in zip(payloads, words, strict=True)])
    masked = np.frombuffer(padded, np.uint32) ^ np.repeat(np.frombuffer(keys, np.uint32), words)
    octets = masked.view(np.uint8).data
    frames: list[bytes | memoryview] = []
    start = key = 0
    for payload, count in zip(payloads, words, strict=True):
        frames += (_header(len(payload)), keys[key : key + _MASK_BYTES], octets[start : start + len(payload)])
        start += _MASK_BYTES * count
        key += _MASK_BYTES
    return b"".join(frames)


@cache
def _header(size_bytes: int) -> bytes:
    if size_bytes < 126:
        return bytes((_FINAL_TEXT, _MASKED | size_bytes))
    if size_bytes < 1 << 16:
        return b"\x81\xfe" + size_bytes.to_bytes(2)
    return b"\x81\xff" + size_bytes.to_bytes(8)


def decoded(data: bytes) -> tuple[list[bytes], bytes]:
    """The texts of the whole, unmasked, unfragmented text frames that ``data`` begins with, and what follows them."""
    texts: list[bytes] = []
    start, end = 0, len(data)
    while start + 2 <= end and data[start] == _FINAL_TEXT:
        size, first = data[start + 1], start + 2
        if size == 126:
            size, first = int.from_bytes(data[first : first + 2]), first + 2
        elif size == 127:
            size, first = int.from_bytes(data[first : first + 8]), first + 8
        elif size & _MASKED:
            break
        if first + size > end:
            break
        texts.append(data[first : first + size])
        start = first + size
    return texts, data[start:]
