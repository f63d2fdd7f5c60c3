"""The same posts, encoded before the clock starts, blasted over a raw socket: what the wire and the server allow.

Prints the seconds from the first byte sent to the last Ack received.
"""

from __future__ import annotations

import socket
import sys
import threading
import time

import pandas as pd

from contrib_watch.ads.messages import PostFormat
from contrib_watch.core.model import Action


def masked(text: str) -> bytes:
    """A client's text frame; a mask of zeros leaves the payload as it is."""
    payload = text.encode()
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
    return head + b"\0\0\0\0" + payload


def main(port: str, file: str) -> None:
    form = PostFormat(service="S", address="127.0.0.1", user_id=1)
    table = (pd.read_excel if file.endswith(".xlsx") else pd.read_csv)(file, dtype=str)
    names = list(table.columns[1:])
    posts = b"".join(
        masked(
            form.text(
                number,
                row[0],
                Action.REFRESH,
                "{" + ",".join(f'"{n}":{v}' for n, v in zip(names, row[1:], strict=True)) + "}",
            )
        )
        for number, row in enumerate(table.itertuples(index=False), start=1)
    )
    with socket.create_connection(("127.0.0.1", int(port))) as wire:
        wire.sendall(
            b"GET /WebSocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: tr_json2\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
        )
        wire.recv(65536)
        wire.sendall(masked('{"ID":1,"Domain":"Login","Key":{"Name":"u"}}'))
        wire.recv(65536)
        start = time.perf_counter()
        sender = threading.Thread(target=wire.sendall, args=(posts,))
        sender.start()
        acks, tail = 0, b""
        while acks < len(table):
            data = tail + wire.recv(1 << 20)
            acks += data.count(b'"AckID":')
            tail = data[-8:] if not data.endswith(b"]") else b""
            acks -= tail.count(b'"AckID":')
        sender.join()
        print(time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
