"""An ADS that does nothing but acknowledge, fast enough not to be the limit of what is measured.

It looks only at the first bytes of each post, keeps no cache, and answers each read of the socket with one write:
one Ack a frame, or all of them packed in one.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import re

KEY = re.compile(rb"Sec-WebSocket-Key: *(\S+)", re.IGNORECASE)
POST_ID = re.compile(rb'"PostID": ?(\d+)')
STREAM = re.compile(rb'"ID": ?(\d+)')
LOGIN = (
    b'[{"ID":%s,"Type":"Refresh","Domain":"Login","State":{"Stream":"Open","Data":"Ok"},'
    b'"Elements":{"MaxMsgSize":61430,"PingTimeout":30}}]'
)
CLOSE = 8
"""The opcode of a frame that ends the connection."""
HEAD_BYTES = 96
"""Where this program's posts have their PostID: nothing behind it is looked at."""


def frame(payload: bytes) -> bytes:
    """A server's text frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


def unmasked(data: bytes, mask: bytes) -> bytes:
    """A client's payload, or the beginning of it."""
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(len(data))


class Server(asyncio.Protocol):
    """One connection."""

    def __init__(self, *, packed: bool, delay_s: float) -> None:
        self._packed = packed
        self._delay_s = delay_s
        self._buffer = bytearray()
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            if b"\r\n\r\n" not in self._buffer:
                return
            key = KEY.search(self._buffer)[1]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: tr_json2\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self._buffer.clear()
            self._open = True
            return
        answers = self._answers()
        if not answers:
            return
        if self._packed:
            joined = b"[" + b",".join(one[1:-1] for one in answers) + b"]"
            out = frame(joined)
        else:
            out = b"".join(map(frame, answers))
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, out)
        else:
            self._transport.write(out)

    def _answers(self) -> list[bytes]:
        buffer, at, end, answers = self._buffer, 0, len(self._buffer), []
        while end - at >= 6:
            size, header = buffer[at + 1] & 0x7F, 2
            if size == 126:
                size, header = int.from_bytes(buffer[at + 2 : at + 4]), 4
            elif size == 127:
                size, header = int.from_bytes(buffer[at + 2 : at + 10]), 10
            start = at + header + 4
            if end < start + size:
                break
            if buffer[at] & 0x0F == CLOSE:
                self._transport.close()  # a client would wait three seconds for that
            mask = bytes(buffer[at + header : start])
            text = unmasked(bytes(buffer[start : start + min(HEAD_BYTES, size)]), mask)
            found = POST_ID.findall(text)
            if not found and b'"Login"' not in text and size > HEAD_BYTES:  # other programs have it further behind
                found = POST_ID.findall(unmasked(bytes(buffer[start : start + size]), mask))
            if found:
                stream = STREAM.search(text)[1]
                answers += [b'[{"ID":%s,"Type":"Ack","AckID":%s}]' % (stream, post_id) for post_id in found]
            elif b'"Login"' in text and b'"Close"' not in text:
                answers.append(LOGIN % STREAM.search(text)[1])
            at = start + size
        del buffer[:at]
        return answers


async def serve(port: int, *, packed: bool, delay_s: float) -> None:
    """Serve until killed; prints the port when ready."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(packed=packed, delay_s=delay_s), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--packed", action="store_true")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, packed=arguments.packed, delay_s=arguments.delay_ms / 1000))
