"""What a session takes and what it tells: posts, their answers, and what becomes of the connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from contrib_watch.ads.item_streams import Item
from contrib_watch.ads.messages import LOGIN_STREAM


class Outgoing(msgspec.Struct, gc=False):
    """A post ready for the wire, and where it is on its way."""

    post_id: int
    text: str
    alone: bool = False
    """With nothing else outstanding."""
    apart: bool = False
    """In a frame of its own."""
    ric: str = ""
    """What it is for: an Ack that names another item is no answer to it. Empty: any name will do."""
    service: str = ""
    """Of the item on whose stream it goes, once that is open; empty: it goes on the login's."""
    stream: int = LOGIN_STREAM
    """The session's to say, as is what follows."""
    sent_s: float = 0.0
    frame: int = 0
    """In which of the session's frames it was sent."""

    @property
    def item(self) -> Item:
        """What an on-stream post is for."""
        return Item(self.service, self.ric)

    @property
    def packs(self) -> bool:
        """Whether it may share a frame."""
        return not (self.alone or self.apart)


class Verdict(StrEnum):
    """What is known of one post."""

    ACKED = "acked"
    NAKKED = "nakked"
    """Refused, with a Nak code or an Error's text."""
    TIMEOUT = "timeout"
    """No answer before its deadline: the ADS may or may not hold it."""
    LOST = "lost"
    """The connection went before the answer came: the ADS may or may not hold it. What never left may also end so
    where the server has answered nothing for as long as a post may wait."""
    RETURNED = "returned"
    """It shared a frame with a post at fault, or may itself be the one: it has to go again, alone."""


ACKED = Verdict.ACKED
"""To look a member up takes as long as to take an answer, and there is one for every post."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The end of one post on the wire. Every post handed to a session gets exactly one."""

    post_id: int
    verdict: Verdict
    code: str
    """The NakCode; empty for an Error, which has none. ``TooLarge`` and those of ``item_streams`` are our own."""
    text: str
    sent_s: float | None
    """None: it never left."""
    answered_s: float


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The login was accepted."""

    ping_timeout_s: float
    max_msg_size: int


@dataclass(frozen=True, slots=True)
class LoginEnded:
    """The login was refused, or its stream was closed later."""

    code: str
    text: str
    final: bool
    """Trying again with the same configuration cannot help."""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """The driver is to close the socket, then to call disconnected()."""

    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something for the log: a late Ack, an Error that belongs to no post, a frame that is no message."""

    text: str


Event = LoggedIn | LoginEnded | CloseConnection | Notice
