"""A frame of JSON text to the messages it holds, or to the Error that the server's converter makes of it.

There are two readings of a frame. ``Converter.ordinary_posts`` takes posts as a publisher ought to write them, fast.
``Converter.read`` takes anything, token by token, and knows the place of what it refuses; it is the reference, and
whatever the first does not understand goes to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from contrib_watch.core.fields import Dictionary
from contrib_watch.simulator.json_tokens import Kind, Token, tokenize
from contrib_watch.simulator.values import Convert, Unconvertible, Value, converted_bytes, converter, unescape

MAX_RIC_BYTES = 255
MAX_MESSAGE_BYTES = 65_535
"""One message after its conversion (seen on LSEG's SDK provider)."""
_HEADER_BYTES = 60
_POST_ID_MODULUS = 2**32
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)", re.ASCII)
_INT = re.compile(r"-?\d+", re.ASCII)


class ConversionError(Exception):
    """The message is refused with a message of Type Error, and the rest of its frame is lost."""

    def __init__(self, text: str, *, stream_id: int = 0, offset: int | None = None) -> None:
        """``offset`` counts characters from the frame's start; None where the server does not say it."""
        super().__init__(text)
        self.text = text
        self.stream_id = stream_id
        self.offset = offset


@dataclass(slots=True)
class Post:
    """A decoded post. ``service`` is None where it names an unknown id, ``name`` where the key has none."""

    stream_id: int
    service: str | None
    name: str | None
    kind: str
    """The inner message's Type: Refresh, Update or Status."""
    values: dict[str, Value]
    tokens: dict[str, str]
    """The fields' values as written."""
    post_id: int = 0
    ack: bool = False
    seq_number: int | None = None
    closes: bool = False
    """An inner Status that closes the item's stream: the item is deleted."""


@dataclass(slots=True)
class Login:
    """A request in the Login domain."""

    stream_id: int
    name: str
    """The user's name, or the authentication token."""
    is_token: bool
    wants_refresh: bool

    @property
    def shown(self) -> str:
        """The name as it may be shown; a token is a secret."""
        return "(token)" if self.is_token else self.name


@dataclass(slots=True)
class ItemRequest:
    """A request for items; more than one ``name`` is a batch."""

    stream_id: int
    domain: str
    service: str | None
    names: tuple[str, ...]
    is_batch: bool
    view: frozenset[str] | None
    streaming: bool


@dataclass(slots=True)
class Close:
    """The client closes streams."""

    stream_ids: tuple[int, ...]


@dataclass(slots=True)
class Ping:
    """The client asks for a Pong."""


@dataclass(slots=True)
class Ignored:
    """A message that gets no answer: a Pong, or a kind that a client has no business sending."""


Message = Post | Login | ItemRequest | Close | Ping | Ignored


@dataclass(frozen=True)
class Services:
    """The services that exist, by name. Ids count from 1 in the order of ``names``; the first is the default.

    Without names every service exists and the default is ``DEFAULT``.
    """

    names: tuple[str, ...] = ()

    @property
    def default(self) -> str:
        """What a missing Service means."""
        return self.names[0] if self.names else "DEFAULT"

    def knows(self, name: str) -> bool:
        """Whether a service of this name exists."""
        return not self.names or name in self.names

    def by_id(self, number: int) -> str | None:
        """The service with this id, or None."""
        if not self.names:
            return str(number)
        return self.names[number - 1] if 1 <= number <= len(self.names) else None


class Converter:
    """Reads frames by one field dictionary and one set of services."""

    def __init__(self, dictionary: Dictionary, services: Services) -> None:
        self.services = services
        self._dictionary = dictionary
        self._converts: dict[str, Convert | None] = {}

    def convert(self, acronym: str) -> Convert | None:
        """The conversion of a field's values, or None for a name that the dictionary does not have."""
        try:
            return self._converts[acronym]
        except KeyError:
            definition = self._dictionary.get(acronym)
            found = self._converts[acronym] = None if definition is None else converter(definition)
            return found

    def ordinary_posts(self, text: str) -> list[Post] | None:
        """The frame's posts where it holds nothing but plain ones in ASCII without escapes, else None."""
        # The JSON is longer than what it is converted to, so that a short frame needs no check of its size.
        if not text.isascii() or "\\" in text or len(text) > MAX_MESSAGE_BYTES:
            return None
        try:
            written = _ORDINARY.decode(text)
            return [self._ordinary(post) for post in (written if isinstance(written, list) else [written])]
        except (msgspec.MsgspecError, Unconvertible, LookupError):
            return None

    def _ordinary(self, post: _OrdinaryPost) -> Post:
        user = post.PostUserInfo
        if user is not None and _IPV4.fullmatch(user.Address) is None:
            raise LookupError
        if not self.services.knows(post.Key.Service):
            raise LookupError
        tokens = {acronym: str(raw, "ascii") for acronym, raw in post.Message.Fields.items()}
        values = {}
        for acronym, token in tokens.items():
            convert = self.convert(acronym)
            if convert is None:
                raise LookupError
            values[acronym] = convert(token)
        return Post(
            stream_id=post.ID,
            service=post.Key.Service,
            name=post.Key.Name,
            kind=post.Message.Type,
            values=values,
            tokens=tokens,
            post_id=post.PostID,
            ack=post.Ack,
            seq_number=post.SeqNumber,
        )

    def read(self, text: str) -> FrameReading:
        """Any frame. Raises Unparsable at once."""
        return FrameReading(self, text)


class FrameReading:
    """One frame, converted message by message."""

    def __init__(self, owner: Converter, text: str) -> None:
        root = tokenize(text)
        self._owner = owner
        self.text = text
        self._roots = root.items if root.kind is Kind.ARRAY else [root]
        self._unescaped: list[Token] = []

    def messages(self) -> Iterator[Message]:
        """Converts one message at a time, so that what stands before a bad one has been dealt with."""
        for root in self._roots:
            yield self._message(root)

    def offset(self, index: int) -> int:
        """Where the frame's message number ``index`` starts, in characters."""
        return self._roots[index].start

    def debug_message(self) -> str:
        """The frame as the converter leaves it: strings read so far are unescaped in place.

        What an unescaped string no longer fills keeps its old characters, so that the whole need not parse.
        """
        text = self.text
        for token in self._unescaped:
            raw = text[token.start : token.end]
            short = unescape(raw)
            text = text[: token.start] + short + raw[len(short) :] + text[token.end :]
        return text

    def _message(self, root: Token) -> Message:
        stream_ids: tuple[int, ...] = (0,)
        try:
            members = self._members(root, "Message")
            stream_ids = self._stream_ids(members)
            return self._typed(stream_ids, members)
        except ConversionError as error:
            error.stream_id = stream_ids[0]
            raise

    def _stream_ids(self, members: dict[str, Token]) -> tuple[int, ...]:
        """The message's ID; a Close may have an array of them, a Ping or Pong needs none."""
        token = members.get("ID")
        if token is None:
            kind = members.get("Type")
            if kind is not None and self._raw(kind) in ("Ping", "Pong"):
                return (0,)
            raise _missing("ID")
        if token.kind is Kind.ARRAY and token.items:
            return tuple(self._integer(item, "ID") for item in token.items)
        return (self._integer(token, "ID"),)

    def _typed(self, stream_ids: tuple[int, ...], members: dict[str, Token]) -> Message:
        kind = self._string(members["Type"], "Type") if "Type" in members else "Request"
        if kind == "Post":
            return self._post(stream_ids[0], members)
        if kind == "Request":
            return self._request(stream_ids[0], members)
        if kind == "Close":
            return Close(stream_ids)
        if kind == "Ping":
            return Ping()
        if kind in ("Pong", "Refresh", "Update", "Status", "Generic", "Ack"):
            return Ignored()
        raise self._unexpected(members["Type"], "Type")

    def _request(self, stream_id: int, members: dict[str, Token]) -> Message:
        domain = self._string(members["Domain"], "Domain") if "Domain" in members else "MarketPrice"
        if "Message" in members:
            return Ignored()  # a post whose Type is missing
        key = self._members(_required(members, "Key"), "Key")
        if domain == "Login":
            return self._login(stream_id, key, self._boolean(members, "Refresh", default=True))
        name = _required(key, "Name")
        names = name.items if name.kind is Kind.ARRAY else [name]
        return ItemRequest(
            stream_id,
            domain,
            self._service(key),
            tuple(self._name(token) for token in names),
            name.kind is Kind.ARRAY,
            self._view(members.get("View")),
            self._boolean(members, "Streaming", default=True),
        )

    def _login(self, stream_id: int, key: dict[str, Token], wants_refresh: bool) -> Login:
        is_token = "NameType" in key and self._written(key["NameType"]) == '"AuthnToken"'
        if is_token:
            elements = self._members(_required(key, "Elements"), "Elements")
            name = self._string(_required(elements, "AuthenticationToken"), "AuthenticationToken")
        else:
            name = self._string(_required(key, "Name"), "Name")
        return Login(stream_id, name, is_token, wants_refresh)

    def _view(self, token: Token | None) -> frozenset[str] | None:
        if token is None:
            return None
        if token.kind is not Kind.ARRAY:
            raise _token_type(Kind.ARRAY, token, "View")
        return frozenset(self._string(name, "View") for name in token.items)

    def _post(self, stream_id: int, members: dict[str, Token]) -> Post:
        key = self._members(members["Key"], "Key") if "Key" in members else {}
        if "PostUserInfo" in members:
            self._check_user(members["PostUserInfo"])
        post = Post(
            stream_id,
            self._service(key),
            self._name(key["Name"]) if "Name" in key else None,
            kind="",
            values={},
            tokens={},
            post_id=self._unsigned(members, "PostID") or 0,
            ack=self._boolean(members, "Ack", default=False),
            seq_number=self._unsigned(members, "SeqNumber"),
        )
        self._inner(post, _required(members, "Message"))
        if _HEADER_BYTES + sum(map(converted_bytes, post.values.values())) > MAX_MESSAGE_BYTES:
            raise ConversionError("JSON RSSL Conversion Error. RSSL error code: -29")
        return post

    def _inner(self, post: Post, token: Token) -> None:
        inner = self._members(token, "Message")
        self._integer(_required(inner, "ID"), "ID")
        kind = _required(inner, "Type")
        post.kind = self._string(kind, "Type")
        if post.kind not in ("Refresh", "Update", "Status"):
            raise self._unexpected(kind, "Type")
        if "State" in inner:
            stream = self._members(inner["State"], "State").get("Stream")
            post.closes = post.kind == "Status" and stream is not None and self._written(stream) == '"Closed"'
        if "Fields" in inner:
            self._fields(post, inner["Fields"])

    def _fields(self, post: Post, token: Token) -> None:
        if token.kind is not Kind.OBJECT:
            raise _token_type(Kind.OBJECT, token, "Fields")
        for name, value in token.members:
            acronym = self._raw(name)
            convert = self._owner.convert(acronym)
            if convert is None:
                raise ConversionError(
                    f"JSON Unexpected FID. Received '{acronym}' for key 'Fields'", offset=name.start
                )
            written = self._written(value)
            try:
                post.values[acronym] = convert(written)
            except Unconvertible as error:
                raise ConversionError(error.text, offset=value.start if error.has_offset else None) from error
            post.tokens[acronym] = written
            if value.kind is Kind.STRING and "\\" in written:
                self._unescaped.append(value)

    def _check_user(self, token: Token) -> None:
        user = self._members(token, "PostUserInfo")
        address = _required(user, "Address", "PostUserInfo")
        if address.kind is Kind.STRING:
            if _IPV4.fullmatch(self._raw(address)) is None:
                raise self._unexpected(address, "Address")
        else:
            self._integer(address, "Address")
        self._integer(_required(user, "UserID", "PostUserInfo"), "UserID")

    def _service(self, key: dict[str, Token]) -> str | None:
        token = key.get("Service")
        services = self._owner.services
        if token is None:
            return services.default
        if token.kind is Kind.STRING:
            name = self._raw(token)
            if not services.knows(name):
                raise self._unexpected(token, "Service")
            return name
        return services.by_id(self._integer(token, "Service"))

    def _name(self, token: Token) -> str:
        name = self._string(token, "Name")  # taken as written: backslashes stay
        if len(name.encode()) > MAX_RIC_BYTES:
            raise self._unexpected(token, "Name")
        return name

    def _unsigned(self, members: dict[str, Token], key: str) -> int | None:
        token = members.get(key)
        if token is None:
            return None
        if token.kind is Kind.PRIMITIVE and not self._raw(token).isdecimal():
            raise self._unexpected(token, key)
        return self._integer(token, key) % _POST_ID_MODULUS

    def _integer(self, token: Token, key: str) -> int:
        if token.kind is not Kind.PRIMITIVE:
            raise _token_type(Kind.PRIMITIVE, token, key)
        match = _INT.match(self._raw(token))
        if match is None:
            raise self._unexpected(token, key)
        return int(match[0])

    def _boolean(self, members: dict[str, Token], key: str, *, default: bool) -> bool:
        token = members.get(key)
        if token is None:
            return default
        if token.kind is not Kind.PRIMITIVE:
            raise _token_type(Kind.PRIMITIVE, token, key)
        if self._raw(token)[0] not in "tf":
            raise self._unexpected(token, key)
        return self._raw(token).startswith("t")

    def _string(self, token: Token, key: str) -> str:
        if token.kind is not Kind.STRING:
            raise _token_type(Kind.STRING, token, key)
        return self._raw(token)

    def _members(self, token: Token, key: str) -> dict[str, Token]:
        if token.kind is not Kind.OBJECT:
            raise _token_type(Kind.OBJECT, token, key)
        return {self._raw(name): value for name, value in token.members}

    def _raw(self, token: Token) -> str:
        return self.text[token.start : token.end]

    def _written(self, token: Token) -> str:
        quote = token.kind is Kind.STRING
        return self.text[token.start - quote : token.end + quote]

    def _unexpected(self, token: Token, key: str) -> ConversionError:
        return ConversionError(
            f"JSON Unexpected Value. Received '{self._raw(token)}' for key '{key}'", offset=token.start
        )


def _required(members: dict[str, Token], key: str, parent: str = "") -> Token:
    if key not in members:
        raise _missing(key, parent)
    return members[key]


def _missing(key: str, parent: str = "") -> ConversionError:
    where = f" for '{parent}'" if parent else ""
    return ConversionError(f"JSON Missing required key '{key}'{where}")


def _token_type(expected: Kind, token: Token, key: str) -> ConversionError:
    return ConversionError(
        f"JSON Converter Token Type error: Expected '{expected}' for key '{key}' Received '{token.kind}'",
        offset=token.start,
    )


_UInt32 = Annotated[int, msgspec.Meta(ge=0, lt=_POST_ID_MODULUS)]
_Ric = Annotated[str, msgspec.Meta(max_length=MAX_RIC_BYTES)]


class _Key(msgspec.Struct, forbid_unknown_fields=True):
    Name: _Ric
    Service: str


class _UserInfo(msgspec.Struct, forbid_unknown_fields=True):
    Address: str
    UserID: int


class _State(msgspec.Struct, forbid_unknown_fields=True):
    Stream: str
    Data: str


class _OrdinaryInner(msgspec.Struct, forbid_unknown_fields=True):
    ID: int
    Type: Literal["Refresh", "Update"]
    Fields: dict[str, msgspec.Raw]
    Domain: Literal["MarketPrice"] = "MarketPrice"
    Solicited: bool = False
    State: _State | None = None


class _OrdinaryPost(msgspec.Struct, forbid_unknown_fields=True):
    ID: int
    Type: Literal["Post"]
    Key: _Key
    PostID: _UInt32
    Message: _OrdinaryInner
    Ack: bool = False
    Domain: Literal["MarketPrice"] = "MarketPrice"
    PostUserInfo: _UserInfo | None = None
    SeqNumber: _UInt32 | None = None


_ORDINARY = msgspec.json.Decoder(list[_OrdinaryPost] | _OrdinaryPost)
