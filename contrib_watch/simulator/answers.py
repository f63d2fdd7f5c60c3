"""The messages that the simulated ADS sends, in the form in which the real one sends them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from contrib_watch.simulator.items import ItemKey
from contrib_watch.simulator.messages import Post
from contrib_watch.simulator.values import Value

Answer = dict[str, Any]
"""One message, ready for JSON."""

_ACCEPTED = "[1]: Contribution Accepted"
_DELETED = "[3]: Delete Accepted"
_ENCODER = msgspec.json.Encoder()


class Nak(NamedTuple):
    """Why a post is refused; ``code`` is a number where the server knows no name for it."""

    code: str | int
    text: str


def json_text(value: object) -> str:
    """JSON as it goes on the wire: compact, non-ASCII characters as they are."""
    return _ENCODER.encode(value).decode()


def login_refresh(stream_id: int, user: str, limits: Mapping[str, float]) -> Answer:
    """The login is accepted; ``limits`` are MaxMsgSize (bytes) and PingTimeout (seconds)."""
    return {
        "ID": stream_id,
        "Type": "Refresh",
        "Domain": "Login",
        "Key": {"Name": user, "Elements": {"SupportOMMPost": 1, "SupportBatchRequests": 7}},
        "State": {"Stream": "Open", "Data": "Ok", "Text": "Login accepted by the simulated ADS"},
        "Elements": limits,
    }


def login_status(stream_id: int, code: str | int, text: str) -> Answer:
    """The login is refused, or ended later."""
    state = {"Stream": "Closed", "Data": "Suspect", "Code": code, "Text": text}
    return {"ID": stream_id, "Type": "Status", "Domain": "Login", "State": state}


def usage_error(stream_id: int, text: str) -> Answer:
    """The client may not ask this, or not yet."""
    state = {"Stream": "ClosedRecover", "Data": "Suspect", "Code": "UsageError", "Text": text}
    return {"ID": stream_id, "Type": "Status", "State": state}


def ack(post: Post, key: ItemKey, nak: Nak | None) -> Answer:
    """The post is accepted, or refused with a NakCode."""
    message: Answer = {"ID": post.stream_id, "Type": "Ack", "AckID": post.post_id}
    if post.seq_number is not None:
        message["SeqNumber"] = post.seq_number
    if nak is not None:
        message["NakCode"] = nak.code
    message["Key"] = _key(key)
    message["Text"] = nak.text if nak is not None else _DELETED if post.closes else _ACCEPTED
    return message


def error(stream_id: int, text: str, debug: Mapping[str, Any]) -> Answer:
    """A message could not be converted. It carries no AckID."""
    return {"ID": stream_id, "Type": "Error", "Text": text, "Debug": debug}


def item_refresh(
    stream_id: int, key: ItemKey, sequence: int, values: Mapping[str, Value], *, streaming: bool
) -> Answer:
    """All fields of an item."""
    return {
        "ID": stream_id,
        "Type": "Refresh",
        "Key": _key(key),
        "State": {"Stream": "Open" if streaming else "NonStreaming", "Data": "Ok", "Text": "All is well"},
        "Qos": {"Timeliness": "Realtime", "Rate": "TickByTick"},
        "SeqNumber": sequence,
        "Fields": _presented(values),
    }


def item_update(stream_id: int, key: ItemKey, sequence: int, values: Mapping[str, Value]) -> Answer:
    """The changed fields of an item."""
    return {
        "ID": stream_id,
        "Type": "Update",
        "UpdateType": "Unspecified",
        "Key": _key(key),
        "SeqNumber": sequence,
        "Fields": _presented(values),
    }


def closed_item(stream_id: int, key: ItemKey, code: str, text: str) -> Answer:
    """There is no such item (any more)."""
    state = {"Stream": "Closed", "Data": "Suspect", "Code": code, "Text": text}
    return {"ID": stream_id, "Type": "Status", "Key": _key(key), "State": state}


def batch_done(stream_id: int, count: int) -> Answer:
    """A batch request was taken apart; its own stream closes."""
    text = f"Processed {count} total items from Batch Request. {count} Ok."
    return {"ID": stream_id, "Type": "Status", "State": {"Stream": "Closed", "Data": "Ok", "Text": text}}


def _key(key: ItemKey) -> dict[str, str]:
    return {"Service": key[0], "Name": key[1]}


def _presented(values: Mapping[str, Value]) -> dict[str, object]:
    """Fields as they go out: a REAL as a number in fixed notation."""
    return {
        name: msgspec.Raw(format(value, "f").encode()) if isinstance(value, Decimal) else value
        for name, value in values.items()
    }
