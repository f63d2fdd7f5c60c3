"""Logging in by token: what is asked of LSEG's token service and of its service discovery, and what the answers mean.

Two generations are in use. Version 1 (grant ``password``) gives an access token and a refresh token; a new access
token is sent on the open login stream before the old one ends, or the server closes the login. Version 2
(``client_credentials``, and ``jwt`` with a signed assertion in place of the secret) has no refresh token, and a
stream outlives its token: a new one is needed for a new login only. Sources: LSEG's public examples for each.

No clock, no socket: whoever asks passes the time. Times are seconds of one monotonic clock unless they say epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, StrEnum, auto
from typing import Any, NamedTuple

import msgspec

ASSERTION_AUDIENCE = "https://login.ciam.refinitiv.com/as/token.oauth2"
"""Whom a signed assertion is for: what LSEG's example and SDKs say, whatever the URL that the token is asked of."""
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME_S = 3600
RENEW_AT = 0.8
"""The part of a token's life after which the next is asked for: 80 to 90 % of it, however long it is."""
LONGEST_RETRY_S = 30.0
"""The longest wait between two tries to renew, where the service does not ask for more."""
LONGEST_RETRY_AFTER_S = 3600.0
"""What a Retry-After above this is taken for."""
NEAR_END_S = 300.0
NEAR_END_PART = 0.05
"""With less than either left, a version 2 token is not used for a new login."""


class Grant(StrEnum):
    """How the program proves who it is."""

    PASSWORD = "password"  # noqa: S105 - the grant's name
    CLIENT_CREDENTIALS = "client_credentials"
    JWT = "jwt"
    """``client_credentials``, with an assertion signed by a private key (JWK) in place of the client's secret."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who asks for tokens, and where."""

    grant: Grant
    client_id: str
    """Version 1: the AppKey; version 2: the service account."""
    username: str = ""
    """Version 1: the machine id."""
    secret: str = field(default="", repr=False)
    """Password, client secret, or private key as a JWK in JSON."""
    token_url: str
    discovery_url: str
    region: str = ""
    """How the location of an endpoint begins, such as ``eu-west-1``."""
    scope: str

    @property
    def renews(self) -> bool:
        """Whether an open login needs a new token before the old one ends."""
        return self.grant is Grant.PASSWORD


@dataclass(frozen=True, kw_only=True)
class Token:
    """What the token service gave."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    lifetime_s: float
    since_s: float
    """When it was asked for."""

    @property
    def ends_s(self) -> float:
        """When it is worth nothing any more."""
        return self.since_s + self.lifetime_s


class Host(NamedTuple):
    """An endpoint that discovery names."""

    name: str
    port: int


class Course(Enum):
    """What to do about the status code of an answer."""

    TAKE = auto()
    FOLLOW = auto()
    """Ask at the answer's Location."""
    REFUSED = auto()
    """Not with these credentials: after a refresh token, try the password; otherwise stop."""
    STOP = auto()
    """Trying again cannot help."""
    LATER = auto()


def course(status: int) -> Course:
    """What an HTTP status asks for, as LSEG's examples have it; any other client error stops, too."""
    if status == 200:
        return Course.TAKE
    if status in (301, 302, 307, 308):
        return Course.FOLLOW
    if status in (400, 401):
        return Course.REFUSED
    if status in (408, 425, 429) or not 400 <= status < 500:
        return Course.LATER
    return Course.STOP


def token_form(account: Account, *, refresh: str = "", assertion: str = "") -> dict[str, str]:
    """The form of a token request: by ``refresh`` token where there is one, else by what the account's grant asks."""
    match account.grant:
        case Grant.PASSWORD if refresh:
            return {
                "grant_type": "refresh_token",
                "refresh_token": refresh,
                "username": account.username,
                "client_id": account.client_id,
            }
        case Grant.PASSWORD:
            return {
                "grant_type": "password",
                "username": account.username,
                "password": account.secret,
                "client_id": account.client_id,
                "scope": account.scope,
                "takeExclusiveSignOnControl": "True",  # one machine id, one application: the latest has it
            }
        case Grant.CLIENT_CREDENTIALS:
            proof = {"client_secret": account.secret}
        case Grant.JWT:
            proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    return {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "scope": account.scope,
        **proof,
    }


def assertion_claims(client_id: str, now_epoch_s: int) -> dict[str, str | int]:
    """What a signed assertion says: the client speaks for itself, for an hour."""
    return {
        "iss": client_id,
        "sub": client_id,
        "aud": ASSERTION_AUDIENCE,
        "iat": now_epoch_s,
        "exp": now_epoch_s + ASSERTION_LIFETIME_S,
    }


class _TokenAnswer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float
    """A number, or a number as text (seen on the version 1 service)."""
    refresh_token: str = ""


def read_token(body: bytes, asked_s: float) -> Token:
    """The token of an answer; raises ValueError, without any of the body, where it holds none."""
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("its answer holds no access_token with expires_in") from None
    token = answer.access_token
    if not (token and token.isascii() and token.isprintable() and 0 < answer.expires_in < float("inf")):
        raise ValueError("its answer holds no token that can be used")
    return Token(access=token, refresh=answer.refresh_token, lifetime_s=answer.expires_in, since_s=asked_s)


def read_refusal(body: bytes) -> str:
    """What an answer says of why: ``invalid_client: ...``; empty where it says nothing that can be understood."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    error = told.get("error")
    if isinstance(error, dict):  # the gateway before the service has a form of its own
        texts: Iterable[Any] = (error.get("code") or error.get("id"), error.get("message"))
    else:
        texts = (error, told.get("error_description") or told.get("message"))
    return ": ".join(text for text in texts if isinstance(text, str) and text)


def retry_after_s(value: str | None, now_epoch_s: float) -> float:
    """How long a Retry-After asks to wait: seconds, or a date (RFC 9110, 10.2.3); 0 where it says nothing."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        wait_s = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):  # OverflowError: a year that no clock knows
            return 0.0
        wait_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_epoch_s
    return min(max(wait_s, 0.0), LONGEST_RETRY_AFTER_S)


class _Service(msgspec.Struct, frozen=True):
    endpoint: str
    port: int
    location: list[str] = msgspec.field(default_factory=list)
    transport: str = "websocket"


class _Services(msgspec.Struct, frozen=True):
    services: list[Any]


class Discovered(NamedTuple):
    """What discovery answered."""

    hosts: tuple[Host, ...]
    """The region's, in the order in which to try them."""
    locations: tuple[str, ...]
    """Of all endpoints."""


def read_discovery(body: bytes, region: str) -> Discovered:
    """The WebSocket endpoints of a region: those in several availability zones first, as LSEG's examples choose.

    An entry that cannot be an endpoint is left out. Raises ValueError where the answer is no list of services.
    """
    try:
        services = msgspec.json.decode(body, type=_Services, strict=False).services
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("its answer is no list of services") from None
    found = [one for one in map(_service, services) if one is not None]
    ours = [one for one in found if one.location[0].startswith(region)]
    ours.sort(key=lambda one: len(one.location) < 2)
    hosts = dict.fromkeys(Host(one.endpoint, one.port) for one in ours)
    return Discovered(tuple(hosts), tuple(sorted({place for one in found for place in one.location})))


def _service(entry: object) -> _Service | None:
    """An entry of discovery's list, where it is a WebSocket endpoint that can be connected to."""
    try:
        service = msgspec.convert(entry, _Service, strict=False)
    except msgspec.ValidationError:
        return None
    usable = service.transport == "websocket" and service.location and service.endpoint and 0 < service.port < 65536
    return service if usable else None


class Renewal:
    """Which token to log in with, and when to ask for the next."""

    def __init__(self, *, renews: bool) -> None:
        """``renews``: an open login needs a new token before the old one ends."""
        self._renews = renews
        self._token: Token | None = None
        self._next_try_s = 0.0
        self.refresh = ""
        """The newest refresh token; it outlives the access token."""

    @property
    def due_s(self) -> float | None:
        """When to ask for the next token while a login is open; None: not at all."""
        return self._next_try_s if self._renews and self._token is not None else None

    def took(self, token: Token) -> None:
        """A token was given."""
        self._token = token
        self.refresh = token.refresh or self.refresh  # an answer may leave out one that stays valid (RFC 6749, 6)
        self._next_try_s = token.since_s + RENEW_AT * token.lifetime_s

    def failed(self, now_s: float, *, at_least_s: float, chance: float) -> None:
        """No token was given for now. ``at_least_s``: what the service asked to wait; ``chance``: 0 to 1, jitter."""
        left_s, lifetime_s = (self._token.ends_s - now_s, self._token.lifetime_s) if self._token else (0.0, 0.0)
        wait_s = max(left_s / 4, lifetime_s / 100) if left_s > 0 else LONGEST_RETRY_S
        self._next_try_s = now_s + max(min(wait_s, LONGEST_RETRY_S) * (1.0 + chance) / 2, at_least_s)

    def discard(self) -> None:
        """The access token is worth nothing (any more)."""
        self._token = None

    def for_login(self, now_s: float) -> Token | None:
        """The token that a new login may use; None: ask for one."""
        token = self._token
        if token is None:
            return None
        left_s = token.ends_s - now_s
        if self._renews:
            good = now_s < token.since_s + RENEW_AT * token.lifetime_s
        else:
            good = left_s > NEAR_END_S and left_s > NEAR_END_PART * token.lifetime_s
        return token if good else None
