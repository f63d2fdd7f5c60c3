"""The loop that every example teaches: read_csv, iterrows, a post at a time, waiting for its Ack.

Reads what was sent before from a CSV beside it, posts new RICs as Refresh and changed fields as Update. Prints the
seconds of all that, without those of its own start.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
import websocket


def main(port: str, file: str, sent: str) -> None:
    start = time.perf_counter()
    ws = websocket.create_connection(f"ws://127.0.0.1:{port}/WebSocket", subprotocols=["tr_json2"])
    ws.send(json.dumps({"ID": 1, "Domain": "Login", "Key": {"Name": "u", "Elements": {"ApplicationId": "256"}}}))
    ws.recv()
    table = pd.read_excel(file, engine="openpyxl") if file.endswith(".xlsx") else pd.read_csv(file)
    table = table.set_index("RIC")
    before = pd.read_csv(sent).set_index("RIC") if Path(sent).exists() else None
    post_id = 0
    for ric, row in table.iterrows():
        fields, kind = row.to_dict(), "Refresh"
        if before is not None and ric in before.index:
            old = before.loc[ric]
            fields, kind = {name: value for name, value in fields.items() if value != old[name]}, "Update"
            if not fields:
                continue
        post_id += 1
        message = {"ID": 0, "Type": kind, "Domain": "MarketPrice", "Fields": fields}
        post = {"ID": 1, "Type": "Post", "Domain": "MarketPrice", "Ack": True, "PostID": post_id}
        ws.send(json.dumps({**post, "Key": {"Service": "S", "Name": ric}, "Message": message}))
        json.loads(ws.recv())
    table.to_csv(sent)
    ws.close()
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
