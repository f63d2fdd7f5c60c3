"""A small field dictionary, a post as text, and a client that talks to the simulated ADS's core in memory."""

from __future__ import annotations

import json
from typing import Any

from contrib_watch.simulator.core import Closing, Reactions, ServerSession

FIELDS = """
!ACRONYM    DDE ACRONYM          FID  RIPPLES TO  FIELD TYPE     LENGTH  RWF TYPE   RWF LEN
DSPLY_NAME "DISPLAY NAME"          3  NULL        ALPHANUMERIC       16  RMTES_STRING    16
CURRENCY   "CURRENCY"             15  NULL        ENUMERATED    5 ( 3 )  ENUM             2
TRADE_DATE "TRADE DATE"           16  NULL        DATE               11  DATE             4
TRDTIM_1   "TRADE TIME 1"         18  NULL        TIME                5  TIME             8
BID        "BID"                  22  NULL        PRICE              17  REAL64           7
ASK        "ASK"                  25  NULL        PRICE              17  REAL64           7
ACVOL_1    "VOL ACCUMULATED"      32  NULL        INTEGER            15  UINT64           7
RATING     "RATING"              103  NULL        ENUMERATED    3 ( 4 )  ENUM             1
BKGD_REF   "BKGD REF"            967  NULL        ALPHANUMERIC       21  ASCII_STRING    21
NET_INT    "NET INT"            5001  NULL        INTEGER            15  INT64            8
NAME_U     "NAME U"             5003  NULL        ALPHANUMERIC       21  UTF8_STRING     21
BLOB       "BLOB"               5002  NULL        BINARY            255  BUFFER         255
"""
ENUMS = """
CURRENCY 15
  0 "   " undefined
  840 "USD" US dollar
  978 "EUR" euro
"""

LOGIN = '{"ID":1,"Domain":"Login","Key":{"Name":"analyst","Elements":{"ApplicationId":"256","Position":"127.0.0.1"}}}'


def post(
    fields: str = '{"BID":22.1,"ASK":24.5}',
    *,
    kind: str = "Refresh",
    post_id: int | str = 7,
    ric: str = "UMER.TST",
    top: str = "",
    key: str | None = None,
) -> str:
    """A post as a publisher writes it; ``fields``, ``key`` and ``top`` (further members) are JSON text."""
    key = f'{{"Service":"NIPROV","Name":"{ric}"}}' if key is None else key
    return (
        f'{{"ID":1,"Type":"Post","Domain":"MarketPrice","Ack":true,"PostID":{post_id},"Key":{key},{top}'
        f'"Message":{{"ID":0,"Type":"{kind}","Domain":"MarketPrice","Fields":{fields}}}}}'
    )


class Peer:
    """A client in memory: says a frame, gets the messages of all frames that come back."""

    def __init__(self, session: ServerSession) -> None:
        self.session = session
        self.now_s = 0.0
        self.close = Closing.NO
        self.frames: list[str] = []
        """The texts of the last reaction's frames."""
        self.delays: list[float] = []

    def say(self, text: str) -> list[dict[str, Any]]:
        return self._heard(self.session.receive(text, self.now_s))

    def wait(self, seconds: float = 0.0) -> list[dict[str, Any]]:
        self.now_s += seconds
        return self._heard(self.session.tick(self.now_s))

    def _heard(self, reactions: Reactions) -> list[dict[str, Any]]:
        self.close = reactions.close
        self.frames = [frame.text for frame in reactions.frames]
        self.delays = [frame.delay_s for frame in reactions.frames]
        return [message for text in self.frames for message in _messages(text)]


def _messages(text: str) -> list[dict[str, Any]]:
    try:
        messages = json.loads(text)
    except json.JSONDecodeError:
        return [{"Type": "garbage", "Text": text}]
    assert isinstance(messages, list)
    return messages
