"""The token service and service discovery without sockets or clock: a request and the time in, an answer out.

What it checks and how it refuses is taken from LSEG's public examples, and from RFC 6749 where these are silent.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key

from contrib_watch.ads.tokens import ASSERTION_AUDIENCE, ASSERTION_TYPE
from contrib_watch.errors import ConfigurationError

TOKEN_V1 = "/auth/oauth2/v1/token"  # noqa: S105 - a path
TOKEN_V2 = "/auth/oauth2/v2/token"  # noqa: S105
DISCOVERY = "/streaming/pricing/v1/"
REFRESH_LIFETIME_S = 86_400.0


class Reply(NamedTuple):
    """An answer over HTTP; ``body`` becomes JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}


class HttpFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A status in place of the answer that a request would get."""

    path: Literal["token", "refresh", "discovery"]
    """Of what; ``refresh`` is a token request by refresh token."""
    status: int
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Such as Retry-After or Location."""
    after: int = 0
    """So many such requests are answered first."""
    times: int = 1
    """How often; 0: for ever."""
    body: dict[str, Any] = msgspec.field(default_factory=dict)


class PlatformScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fault script says of the platform, in its table ``platform``."""

    lifetime_s: float = 300.0
    """Of access tokens."""
    faults: tuple[HttpFault, ...] = ()

    @classmethod
    def from_dict(cls, data: object) -> PlatformScript:
        """The script of a parsed table. Raises ConfigurationError."""
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            hint = "Mend the script and start again"
            raise ConfigurationError(str(error), where="fault script, platform", hint=hint) from error


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Who may ask for tokens."""

    username: str = "GE-A-00000000-1-0001"
    password: str = field(default="Simulated-password-1", repr=False)
    client_id: str = "simulated-client"
    client_secret: str = field(default="Simulated-secret-1", repr=False)
    public_key: Key | None = None
    """What verifies the assertions of ``client_id``."""


class _Counted:
    def __init__(self, fault: HttpFault) -> None:
        self.fault = fault
        self._seen = 0

    def is_due(self, kind: str) -> bool:
        """Whether it happens to this request of a kind, which counts."""
        fault = self.fault
        if fault.path != kind:
            return False
        self._seen += 1
        first = fault.after + 1
        return self._seen >= first and (not fault.times or self._seen < first + fault.times)


@dataclass(slots=True)
class _Grant:
    """An access token that was given."""

    ends_s: float
    login_ends_s: float
    """A version 2 login outlives its token."""


class SimulatedPlatform:
    """Gives tokens, names endpoints, and tells an ADS until when a token's login stands."""

    def __init__(self, script: PlatformScript | None = None, clients: Clients | None = None) -> None:
        script = script or PlatformScript()
        self.clients = clients or Clients()
        self.lifetime_s = script.lifetime_s
        self.services: list[dict[str, Any]] = []
        """What discovery answers."""
        self.asked: list[str] = []
        """What each token request was granted for: ``password``, ``refresh_token`` or ``client_credentials``."""
        self.logins: list[str] = []
        """The tokens of all logins that were accepted, renewals included."""
        self._faults = [_Counted(fault) for fault in script.faults]
        self._grants: dict[str, _Grant] = {}
        self._refreshes: dict[str, float] = {}

    def reply(
        self, method: str, path: str, query: Mapping[str, str], form: Mapping[str, str], bearer: str, now_s: float
    ) -> Reply:
        """The answer to a request; ``bearer`` is the token of its Authorization."""
        if path == DISCOVERY and method == "GET":
            return self._faulty("discovery") or self._discover(query, bearer, now_s)
        if path not in (TOKEN_V1, TOKEN_V2):
            return Reply(404, {"error": "not_found", "error_description": "There is nothing at this address"})
        if method != "POST":
            return Reply(405, {"error": "invalid_request", "error_description": "Use POST"})
        kind = "refresh" if form.get("grant_type") == "refresh_token" else "token"
        faulty = self._faulty(kind)
        if faulty is not None:
            return faulty
        return self._v1(form, now_s) if path == TOKEN_V1 else self._v2(form, now_s)

    def login(self, token: str, now_s: float) -> float | None:
        """Until when a login with this token stands; None: the token is not valid."""
        grant = self._grants.get(token)
        if grant is None or now_s >= grant.ends_s:
            return None
        self.logins.append(token)
        return grant.login_ends_s

    def revoke(self) -> None:
        """Makes all tokens worthless, as when another application signs on with the same machine id."""
        self._grants.clear()
        self._refreshes.clear()

    def _faulty(self, kind: str) -> Reply | None:
        for one in self._faults:
            if one.is_due(kind):
                return Reply(one.fault.status, one.fault.body, one.fault.headers)
        return None

    def _v1(self, form: Mapping[str, str], now_s: float) -> Reply:
        clients, grant = self.clients, form.get("grant_type")
        known = (form.get("username"), form.get("client_id")) == (clients.username, clients.client_id)
        if grant == "refresh_token":
            if not known or self._refreshes.pop(form.get("refresh_token", ""), 0.0) <= now_s:
                return _refused(400, "invalid_grant", "Invalid or expired refresh token.")
        elif grant != "password":
            return _refused(400, "unsupported_grant_type", "Use password or refresh_token.")
        elif not known or form.get("password") != clients.password:
            return _refused(400, "access_denied", "Invalid username or password.")
        elif form.get("takeExclusiveSignOnControl") == "True":
            self.revoke()
        elif self._refreshes:
            return _refused(400, "access_denied", "Session quota is reached.")
        refresh = _random_token()
        self._refreshes[refresh] = now_s + REFRESH_LIFETIME_S
        answer = self._granted(grant, now_s, login_ends_s=now_s + self.lifetime_s)
        # As text, which the version 1 service was seen to do.
        return Reply(200, {**answer, "refresh_token": refresh, "expires_in": f"{self.lifetime_s:g}"})

    def _v2(self, form: Mapping[str, str], now_s: float) -> Reply:
        if form.get("grant_type") != "client_credentials":
            return _refused(400, "unsupported_grant_type", "Use client_credentials.")
        if form.get("client_id") != self.clients.client_id or not self._proven(form):
            return _refused(401, "invalid_client", "Invalid Application Credential.")
        answer = self._granted("client_credentials", now_s, login_ends_s=math.inf)
        return Reply(200, {**answer, "expires_in": self.lifetime_s})

    def _proven(self, form: Mapping[str, str]) -> bool:
        clients = self.clients
        if "client_assertion" not in form:
            return form.get("client_secret") == clients.client_secret
        if clients.public_key is None or form.get("client_assertion_type") != ASSERTION_TYPE:
            return False
        try:
            token = jwt.decode(form["client_assertion"], clients.public_key, algorithms=["RS256", "ES256"])
        except (JoseError, ValueError):
            return False
        told = token.claims
        names = told.get("iss"), told.get("sub"), told.get("aud")
        return names == (clients.client_id, clients.client_id, ASSERTION_AUDIENCE) and told["exp"] > told["iat"]

    def _granted(self, grant: str, now_s: float, *, login_ends_s: float) -> dict[str, Any]:
        token = _random_token()
        self._grants[token] = _Grant(now_s + self.lifetime_s, login_ends_s)
        self.asked.append(grant)
        return {"access_token": token, "token_type": "Bearer", "scope": "trapi.streaming.pricing.read"}

    def _discover(self, query: Mapping[str, str], bearer: str, now_s: float) -> Reply:
        grant = self._grants.get(bearer)
        if grant is None or now_s >= grant.ends_s:
            return Reply(401, {"error": {"id": "1", "code": "401", "message": "token expired or invalid"}})
        wanted = query.get("transport")
        return Reply(200, {"services": [one for one in self.services if wanted in (None, one["transport"])]})


def _refused(status: int, error: str, description: str) -> Reply:
    return Reply(status, {"error": error, "error_description": description})


def _random_token() -> str:
    """Of the form and about the length of LSEG's: a JWT."""
    return ".".join(("eyJhbGciOiJSUzI1NiJ9", secrets.token_urlsafe(90), secrets.token_urlsafe(60)))
