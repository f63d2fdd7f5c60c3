"""A session that is logged in, what is posted by it, and what a server says to it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from contrib_watch.ads.exchange import CloseConnection, Outgoing, Verdict
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Phase, Session
from contrib_watch.core.model import Action

FORM = PostFormat(service="NIPROV", address="127.0.0.1", user_id=1)
LOGIN = Login(user="analyst", app_id="256", position="127.0.0.1")


def outgoing(post_id: int, *, alone: bool = False, fields: str = '{"BID":1}') -> Outgoing:
    return Outgoing(post_id, FORM.text(post_id, f"R{post_id}", Action.REFRESH, fields), alone)


def posts(*post_ids: int) -> list[Outgoing]:
    return [outgoing(post_id) for post_id in post_ids]


def login_ok(*, batches: bool = True, max_msg_size: int = 61_430, ping_timeout_s: int = 30) -> str:
    """A login's answer, of a server that takes batches of item requests or does not."""
    key = {"Name": "analyst", "Elements": {"SupportBatchRequests": 7}} if batches else {"Name": "analyst"}
    limits = {"MaxMsgSize": max_msg_size, "PingTimeout": ping_timeout_s}
    state = {"Stream": "Open", "Data": "Ok"}
    return json.dumps(
        [{"ID": 1, "Type": "Refresh", "Domain": "Login", "Key": key, "State": state, "Elements": limits}]
    )


LOGIN_OK = login_ok()


def opened(now_s: float = 0.0, *, login: str = LOGIN_OK, **limits: float) -> Session:
    """A session that is logged in; without a rate limit where none is given."""
    session = Session(LOGIN, Limits(**({"rate_limit": 0} | limits)))  # type: ignore[arg-type]
    session.connected(now_s)
    session.receive(login, now_s)
    assert session.phase is Phase.OPEN
    session.output()
    session.events()
    return session


def ids(frames: Iterable[str]) -> list[list[int]]:
    """The PostIDs of each frame."""
    return [
        [post["PostID"] for post in (read if isinstance(read, list) else [read])] for read in map(json.loads, frames)
    ]


def ack(post_id: int, *, nak: str | int | None = None, text: str = "") -> str:
    message: dict[str, object] = {"ID": 1, "Type": "Ack", "AckID": post_id, "Text": text}
    if nak is not None:
        message["NakCode"] = nak
    return json.dumps([message])


def error(message: str | None = None, offset: int | None = None) -> str:
    debug = {"Message": message, **({} if offset is None else {"Offset": offset})}
    extra = {} if message is None else {"Debug": debug}
    return json.dumps([{"ID": 1, "Type": "Error", "Text": "JSON Unexpected FID", **extra}])


def verdicts(session: Session) -> dict[int, Verdict]:
    answers = session.answers()
    told = {answer.post_id: answer.verdict for answer in answers}
    assert len(told) == len(answers)
    return told


def closing(session: Session) -> str:
    """Why the driver is told to close; empty: it is not."""
    return "; ".join(event.reason for event in session.events() if isinstance(event, CloseConnection))
