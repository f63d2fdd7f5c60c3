"""Posts and requests as the JSON text that an ADS accepts, and the JSON text of an ADS as typed messages.

Frames are built by hand and not by ``json.dumps``: LSEG's converter stores ``\\u00e9`` as ``u00e9`` and ``\\n`` as
``n``, so that only ``\\"`` and ``\\\\`` may be escaped and everything else goes out as it is (seen on LSEG's SDK
provider). Values arrive here as tokens (see core.model), which already are JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from contrib_watch.core.model import Action, Post

LOGIN_STREAM = 1
PONG = '{"Type":"Pong"}'
MAX_CONVERTED_BYTES = 65_535
"""One converted message may not be larger; above it the SDK's converter answers Error -29."""

_POST_AFTER_ID = ',"Type":"Post","Domain":"MarketPrice","Ack":true,"PostID":'
_POST_START = f'{{"ID":{LOGIN_STREAM}{_POST_AFTER_ID}'
_POST_ID = re.compile(rb'\{"ID":\d+' + re.escape(_POST_AFTER_ID.encode()) + rb"(\d+)")
"""With all that stands before it in a post, so that no field's text is taken for one."""


def quoted(text: str) -> str:
    """``text`` as a JSON string with the only two escapes that survive the ADS's converter.

    Raises ValueError for a control character: it cannot be sent.
    """
    if not text.isprintable() and any(ord(character) < 0x20 for character in text):
        raise ValueError(f"{text!r} has a control character, which cannot be sent to an ADS")
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def quoted_all(texts: Sequence[str]) -> list[str]:
    """Each of the texts as :func:`quoted` gives it."""
    together = "".join(texts)
    if together.isprintable() and '"' not in together and "\\" not in together:
        return [f'"{text}"' for text in texts]
    return [quoted(text) for text in texts]


def login_request(*, user: str, app_id: str, position: str) -> str:
    """The request that opens the login stream with a DACS user (spec: Login domain, stream 1)."""
    return (
        f'{{"ID":{LOGIN_STREAM},"Domain":"Login","Key":{{"Name":{quoted(user)},"Elements":'
        f'{{"ApplicationId":{quoted(app_id)},"Position":{quoted(position)}}}}}}}'
    )


def token_login_request(*, token: str, app_id: str, position: str, refresh: bool) -> str:
    """The request that opens the login stream with a token, or puts a new one in the place of the last.

    ``refresh`` False: the stream is open, and no answer need come (seen in LSEG's examples).
    """
    answered = "" if refresh else ',"Refresh":false'
    return (
        f'{{"ID":{LOGIN_STREAM},"Domain":"Login","Key":{{"NameType":"AuthnToken","Elements":'
        f'{{"ApplicationId":{quoted(app_id)},"Position":{quoted(position)},"AuthenticationToken":{quoted(token)}}}}}'
        f"{answered}}}"
    )


def close_request(*streams: int) -> str:
    """Closes streams, at least one; on the login stream it logs out."""
    ids = str(streams[0]) if len(streams) == 1 else f"[{','.join(map(str, streams))}]"
    return f'{{"ID":{ids},"Type":"Close"}}'


def item_request(
    stream: int, service: str, names: Sequence[str], view: Sequence[str] = (), *, streaming: bool = False
) -> str:
    """Asks for what the ADS holds of some items, once, or (``streaming``) with every change until they are closed.

    Without ``view`` it asks for all fields; an empty ``service`` is the server's default one. Several ``names`` are a
    batch: its own ``stream`` is closed by a Status, and the items are answered on the ids that follow it, in their
    order (spec: batch requests).
    """
    name = quoted(names[0]) if len(names) == 1 else _array(names)
    fields = f',"View":{_array(view)}' if view else ""
    of_service = f'"Service":{quoted(service)},' if service else ""
    once = "" if streaming else ',"Streaming":false'
    return f'{{"ID":{stream},"Key":{{{of_service}"Name":{name}}}{fields}{once}}}'


def _array(texts: Iterable[str]) -> str:
    return "[" + ",".join(map(quoted, texts)) + "]"


class PostFormat:
    """What all posts of one Service have in common, so that each post costs one concatenation.

    ``address`` is a dotted IPv4 and ``user_id`` a uint32: PostUserInfo takes nothing else (a host name or IPv6 is
    an Error). Off-stream ``service`` is always sent: without one the server silently takes its default service.
    ``on_stream`` leaves the Key out, for the stream says what the post is for.
    """

    def __init__(self, *, service: str, address: str, user_id: int, on_stream: bool = False) -> None:
        self.stream_service = service if on_stream else ""
        """The Service of the items on whose streams these posts go; empty: they go on the login's."""
        self._before_name = f',"Key":{{"Service":{quoted(service)},"Name":'
        user = f',"PostUserInfo":{{"Address":"{address}","UserID":{user_id}}}'
        self._before_fields = {
            Action.REFRESH: user + ',"Message":{"ID":0,"Type":"Refresh","Domain":"MarketPrice","Solicited":false,'
            '"State":{"Stream":"Open","Data":"Ok"},"Fields":',
            Action.UPDATE: user + ',"Message":{"ID":0,"Type":"Update","Domain":"MarketPrice","Fields":',
        }

    def texts(self, post_ids: Iterable[int], posts: Sequence[Post]) -> list[str]:
        """Many posts, each with its PostID."""
        names = quoted_all([post.ric for post in posts])
        keys = [""] * len(names) if self.stream_service else [f"{self._before_name}{name}}}" for name in names]
        update, refresh = self._before_fields[Action.UPDATE], self._before_fields[Action.REFRESH]
        is_update = Action.UPDATE  # to look a member up takes as long as to make a text
        return [
            f"{_POST_START}{post_id}{key}{update if post.action is is_update else refresh}{post.fields}}}}}"
            for post_id, key, post in zip(post_ids, keys, posts, strict=True)
        ]

    def text(self, post_id: int, ric: str, action: Action, fields: str) -> str:
        """One post; ``fields`` is the JSON object of its tokens."""
        key = "" if self.stream_service else f"{self._before_name}{quoted(ric)}}}"
        return f"{_POST_START}{post_id}{key}{self._before_fields[action]}{fields}}}}}"


def on_stream(post: str, stream: int) -> str:
    """The text of a post, on this stream."""
    return f'{{"ID":{stream}{post[post.index(",") :]}'


class StreamState(msgspec.Struct, frozen=True, rename="pascal"):
    """The ``State`` of a Refresh or Status."""

    stream: str = ""
    data: str = ""
    code: str | int = ""
    """A name; a number where the server knows no name for it."""
    text: str = ""

    @property
    def reason(self) -> str:
        """The code as text; empty for ``None``, which servers say where there is nothing to say."""
        return "" if self.code == "None" else str(self.code)


class Key(msgspec.Struct, frozen=True, rename="pascal"):
    """The ``Key`` of a message, as far as it is used."""

    name: Any = None
    service: Any = None
    elements: Any = None


class Debug(msgspec.Struct, frozen=True, rename="pascal"):
    """Where an Error happened; every part of it can be missing."""

    message: str = ""
    offset: int | None = None


class LoginElements(msgspec.Struct, frozen=True, rename="pascal"):
    """What a login refresh announces."""

    max_msg_size: int | None = None
    ping_timeout: float | None = None


class ServerMessage(msgspec.Struct, frozen=True, gc=False, rename="pascal"):
    """Any message of an ADS. Absent parts have the protocol's defaults."""

    id: int = msgspec.field(name="ID", default=0)
    type: str = "Request"
    domain: str = "MarketPrice"
    ack_id: int | None = msgspec.field(name="AckID", default=None)
    nak_code: str | int | None = None
    text: str = ""
    key: Key | None = None
    state: StreamState | None = None
    elements: LoginElements | None = None
    fields: msgspec.Raw = msgspec.Raw()
    debug: Debug | None = None


_FRAME = msgspec.json.Decoder(list[ServerMessage] | ServerMessage)
_MESSAGE = msgspec.json.Decoder(ServerMessage)
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode(frame: str | bytes) -> list[ServerMessage]:
    """The messages of one frame, which holds one message or an array of them.

    Raises ValueError when the frame is not JSON of that form.
    """
    try:
        decoded = _FRAME.decode(frame)
    except _NOT_READ as error:
        raise ValueError(f"the server sent what is no message: {error}") from error
    return decoded if isinstance(decoded, list) else [decoded]


def sound_ones(frame: str | bytes) -> list[ServerMessage]:
    """The messages of an array some of whose members are none; empty where it is no array."""
    found: list[ServerMessage] = []
    with suppress(*_NOT_READ):
        for part in _PARTS.decode(frame):
            with suppress(*_NOT_READ):
                found.append(_MESSAGE.decode(part))
    return found


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def field_texts(message: ServerMessage) -> dict[str, str]:
    """The ``Fields`` of a Refresh or Update, each value as it is written; empty where they are no object."""
    try:
        values = _FIELDS.decode(message.fields) if message.fields else {}
    except msgspec.ValidationError:
        return {}
    return {name: bytes(value).decode() for name, value in values.items()}


def takes_batches(login: ServerMessage) -> bool:
    """Whether a login refresh says that several items may be asked for at once (spec: SupportBatchRequests)."""
    elements = login.key.elements if login.key is not None else None
    support = elements.get("SupportBatchRequests") if isinstance(elements, dict) else None
    return isinstance(support, int) and bool(support & 1)


def culprit(error: ServerMessage) -> tuple[int | None, set[int]]:
    """The post that an Error is about, and all posts that its frame held.

    An Error has no AckID; the PostIDs stand in ``Debug.Message`` alone, which holds the whole frame, and in a pack
    the post at fault is the one at ``Debug.Offset``, in bytes (seen on LSEG's SDK provider). The first is None where
    that cannot be told, the second empty where the text is of no use.
    """
    if error.debug is None:
        return None, set()
    frame = error.debug.message.encode()
    found = [(match.start(), int(match.group(1))) for match in _POST_ID.finditer(frame)]
    if found and not frame.startswith(b"["):  # one post: whatever follows is its own text
        return found[0][1], {found[0][1]}
    offset = error.debug.offset
    if offset is None or offset >= len(frame):  # beyond a text that was cut short, any later post may be the one
        return None, {post_id for _, post_id in found}
    before = [post_id for start, post_id in found if start <= offset]
    return (before[-1] if before else None), {post_id for _, post_id in found}
