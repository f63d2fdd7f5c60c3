"""Access tokens and endpoints over HTTPS, from LSEG's token service and its service discovery.

``Platform`` asks once for each call; ``TokenLogin`` is where a connection gets the tokens of its logins. While a
login is open nobody waits for the network: the next token is asked for in a thread of its own.
"""

from __future__ import annotations

import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx
import structlog
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from contrib_watch.ads import tokens
from contrib_watch.ads.tokens import Account, Course, Discovered, Grant, Host, Renewal, Token
from contrib_watch.errors import ConfigurationError, LoginRefused, NoConnection

MOST_REDIRECTS = 5
MOST_BODY_BYTES = 1_000_000
MOST_REQUESTS = 3
"""What one login may have to ask: by refresh token, by password, and discovery."""
LOOK_S = 0.05
"""How often a wait for an answer looks whether it is to stop."""
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
"""What a key signs with that does not say it itself."""

log = structlog.get_logger()

E = TypeVar("E")
T = TypeVar("T")


class _Answer(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes


class Platform:
    """LSEG's token service and service discovery, for one account. May be used from any thread."""

    def __init__(self, account: Account, *, ca_file: Path | None = None, proxy: str = "", timeout_s: float) -> None:
        """``ca_file``: the authorities to trust, None: the system's. ``timeout_s``: for one request, with redirects.

        Raises ConfigurationError where the file is none of authorities.
        """
        self.account = account
        self.timeout_s = timeout_s
        self._proxy = proxy or None
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            hint = "Name a PEM file of the authorities to trust"
            raise ConfigurationError("cannot be used as ads.ca_file", where=str(ca_file), hint=hint) from error

    def token(self, refresh: str = "") -> Token:
        """A new token, by ``refresh`` token where there is one; where that is refused, as without one.

        Raises LoginRefused or NoConnection.
        """
        if refresh:
            try:
                return self._token(refresh)
            except _RefreshRefused as error:
                log.info("the refresh token was refused; asking by password", why=error.what)
        return self._token("")

    def discover(self, token: Token) -> Discovered:
        """The WebSocket endpoints of the account's region.

        Raises LoginRefused, also where the region has none, or NoConnection.
        """
        url, region = self.account.discovery_url, self.account.region
        headers = {"Authorization": f"Bearer {token.access}"}
        body = self._ask("service discovery", "GET", url, headers=headers, params={"transport": "websocket"})
        try:
            discovered = tokens.read_discovery(body, region)
        except ValueError as error:
            raise NoConnection(f"service discovery: {error}", where=_place(url)) from error
        if not discovered.locations:  # no region can be at fault
            raise NoConnection("service discovery names no WebSocket endpoint at all", where=_place(url))
        if not discovered.hosts:
            what = f'service discovery names no WebSocket endpoint in region "{region}"'
            there = ", ".join(discovered.locations)
            raise LoginRefused(what, where=_place(url), hint=f"There are endpoints in: {there}. Set cloud.region")
        return discovered

    def _token(self, refresh: str) -> Token:
        account, asked_s = self.account, time.monotonic()
        assertion = signed_assertion(account, int(time.time())) if account.grant is Grant.JWT else ""
        form = tokens.token_form(account, refresh=refresh, assertion=assertion)
        body = self._ask("the token service", "POST", account.token_url, data=form)
        try:
            return tokens.read_token(body, asked_s)
        except ValueError as error:
            raise NoConnection(f"the token service: {error}", where=_place(account.token_url)) from error

    def _ask(self, who: str, method: str, url: str, **request: Any) -> bytes:
        """The body of an answer with status 200. A redirect is followed with the same request, and to https alone."""
        until_s = time.monotonic() + self.timeout_s
        # trust_env: the environment's proxies, netrc and authorities are ignored, as for the WebSocket.
        with httpx.Client(verify=self._tls, proxy=self._proxy, trust_env=False) as client:
            for _ in range(MOST_REDIRECTS + 1):
                answer = self._attempt(client, who, method, url, request, until_s)
                what_to_do = tokens.course(answer.status)
                if what_to_do is Course.TAKE:
                    return answer.body
                if what_to_do is not Course.FOLLOW:
                    raise self._failure(who, url, answer, what_to_do, request)
                url = _redirected(who, url, answer.headers.get("Location", ""))
                request.pop("params", None)  # the new place has its own
        raise NoConnection(f"{who} redirects more than {MOST_REDIRECTS} times", where=_place(url))

    def _attempt(
        self, client: httpx.Client, who: str, method: str, url: str, request: dict[str, Any], until_s: float
    ) -> _Answer:
        too_late = f"{who} did not answer within {self.timeout_s:g} s"
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise NoConnection(too_late, where=_place(url))
        request = {**request, "headers": {"Accept": "application/json", **request.get("headers", {})}}
        try:
            with client.stream(method, url, timeout=left_s, **request) as response:
                body = b""
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MOST_BODY_BYTES:
                        raise NoConnection(f"{who} answers more than {MOST_BODY_BYTES} bytes", where=_place(url))
                    if time.monotonic() > until_s:
                        raise NoConnection(too_late, where=_place(url))
                return _Answer(response.status_code, response.headers, body)
        except httpx.TimeoutException as error:
            raise NoConnection(too_late, where=_place(url)) from error
        except UnicodeError:  # not "from": the error holds the text
            hint = "Type the user name, the client id and the secret anew, as UTF-8"
            raise LoginRefused(f"{who} cannot be asked with such characters", where=_place(url), hint=hint) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if untrusted := _untrusted(error):
                hint = (
                    "Set ads.ca_file to the authority that signed it, or connect to the name that it was issued for"
                )
                what = f"its certificate is not trusted: {untrusted.verify_message.rstrip('.')}"
                raise LoginRefused(what, where=_place(url), hint=hint) from error
            raise NoConnection(f"{who} cannot be reached: {_reason(error)}", where=_place(url)) from error

    def _failure(
        self, who: str, url: str, answer: _Answer, what_to_do: Course, request: dict[str, Any]
    ) -> LoginRefused | NoConnection:
        told = _without(_secrets_of(request), tokens.read_refusal(answer.body))
        why = f"{told} (HTTP {answer.status})" if told else f"HTTP {answer.status}"
        if what_to_do is Course.LATER:
            wait_s = tokens.retry_after_s(answer.headers.get("Retry-After"), time.time())
            return NoConnection(f"{who} has no answer for now: {why}", where=_place(url), retry_after_s=wait_s)
        what, by_token = f"{who} refused the login: {why}", "data" not in request
        if what_to_do is not Course.REFUSED:
            address = "cloud.discovery_url" if by_token else "cloud.token_url"
            hint = f"Check {address}, and ask LSEG whether the account may use the service"
            return LoginRefused(what, where=_place(url), hint=hint)
        if by_token:
            hint = "Ask LSEG whether the account may use service discovery, and check cloud.scope"
            return _CredentialsRefused(what, where=_place(url), hint=hint)
        if "refresh_token" in request["data"]:
            return _RefreshRefused(why)
        return _CredentialsRefused(what, where=_place(url), hint=_HINTS[self.account.grant])


_PUBLIC = {"grant_type", "username", "client_id", "scope", "client_assertion_type", "takeExclusiveSignOnControl"}
"""The parts of a token request's form that may be shown."""


def _secrets_of(request: dict[str, Any]) -> list[str]:
    """What a request holds that nobody may see, of which a refusal may quote any."""
    form: dict[str, str] = request.get("data", {})
    bearer = request.get("headers", {}).get("Authorization", "").removeprefix("Bearer ")
    return [bearer, *(value for name, value in form.items() if name not in _PUBLIC)]


def _without(secrets: Iterable[str], text: str) -> str:
    """Somebody else's text, as it may be shown: a line of bounded length, without the secrets."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else " " for character in text)[:300]


_HINTS = {
    Grant.PASSWORD: "Check cloud.username, cloud.client_id and the password, in this order",
    Grant.CLIENT_CREDENTIALS: "Check cloud.client_id and the client secret, and whether they have expired",
    Grant.JWT: "Check cloud.client_id, and whether its public key belongs to the private key that signs",
}


class _CredentialsRefused(LoginRefused):
    """The secret, or the token, is not taken (HTTP 400 or 401)."""


class _RefreshRefused(LoginRefused):
    """The refresh token is worth nothing any more; the password may be."""


def signed_assertion(account: Account, now_epoch_s: int) -> str:
    """The assertion of the grant ``jwt``, signed with the account's key; raises LoginRefused where that is no key."""
    hint = "Give the private key as a JWK in JSON, as LSEG's platform made it"
    try:
        private = json.loads(account.secret)
        key = jwk.import_key(private)
        if not key.is_private:
            raise LoginRefused("the key of the account is not a private one", hint=hint)
        header = {"alg": private.get("alg") or _ALGORITHMS.get(private["kty"], "ES256"), "typ": "JWT"}
        if "kid" in private:
            header["kid"] = private["kid"]
        claims = tokens.assertion_claims(account.client_id, now_epoch_s)
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        # Not "from": the message of the cause may hold parts of the key.
        raise LoginRefused("the key of the account cannot sign", hint=hint) from None


class TokenLogin(Generic[E]):
    """The tokens of a connection's logins, and its endpoints where discovery names them.

    All methods are called by one thread. ``E`` is what the caller makes of a host.
    """

    def __init__(self, platform: Platform, endpoint: Callable[[Host], E] | None = None) -> None:
        """``endpoint``: what a discovered host becomes; None: the endpoints are not asked for."""
        self._platform = platform
        self._endpoint = endpoint
        self._renewal = Renewal(renews=platform.account.renews)
        self._renewing: _Errand[Token] | None = None
        self._lifetime_s = 0.0
        self._untried = False  # no login with the token was accepted yet
        self._known: Sequence[E] = ()

    def log_in(self, stopping: threading.Event, *, find: bool) -> tuple[str, Sequence[E]]:
        """The token for a new login, and (``find``) the endpoints that discovery names now; where it does not answer,
        those that it named last; empty: it is not asked.

        Asks for a token where there is none that lasts. Raises LoginRefused where trying again cannot help, otherwise
        NoConnection, soon after ``stopping`` too.
        """
        self._renewing = None  # its answer is not waited for: whoever asks last has the sign-on
        token = self._renewal.for_login(time.monotonic())
        if token is None:
            refresh = self._renewal.refresh
            token = self._took(self._wait_for(lambda: self._platform.token(refresh), stopping))
            self._untried = True
        return token.access, self._endpoints(token, stopping) if find else ()

    def _endpoints(self, token: Token, stopping: threading.Event) -> Sequence[E]:
        make = self._endpoint
        if make is None:
            return ()
        try:
            hosts = self._wait_for(lambda: self._platform.discover(token), stopping).hosts
        except (LoginRefused, NoConnection) as error:
            if isinstance(error, _CredentialsRefused) and self.may_help:
                self.discard()
                raise NoConnection(error.what, where=error.where) from error  # a new token may be taken
            if not self._known or stopping.is_set():
                raise
            log.warning("discovery failed: trying the endpoints that it named last", why=str(error))
        else:
            self._known = [make(host) for host in hosts]
            log.info("discovered", endpoints=[str(one) for one in self._known])
        return self._known

    @property
    def lifetime_s(self) -> float:
        """How long the newest token is good for, from when it was asked for; 0: there was none."""
        return self._lifetime_s

    @property
    def due_s(self) -> float | None:
        """When to call ``renewed`` while a login is open; None: not before it asks to be woken."""
        return None if self._renewing is not None else self._renewal.due_s

    def renewed(self, wake: Callable[[], object]) -> str:
        """A new token for the open login, or an empty text; begins to ask for one where it is time.

        ``wake`` is called, from another thread, when an answer is there. Raises LoginRefused.
        """
        now_s = time.monotonic()
        if self._renewing is None:
            due_s = self._renewal.due_s
            if due_s is not None and now_s >= due_s:
                refresh = self._renewal.refresh
                self._renewing = _Errand(lambda: self._platform.token(refresh), wake)
            return ""
        if not self._renewing.done:
            return ""
        errand, self._renewing = self._renewing, None
        try:
            return self._took(errand.result()).access
        except NoConnection as error:
            chance = random.random()  # noqa: S311 - jitter is no secret
            self._renewal.failed(now_s, at_least_s=error.retry_after_s, chance=chance)
            log.warning("the token cannot be renewed for now", why=str(error))
            return ""

    def accepted(self) -> None:
        """A login with the token was accepted."""
        self._untried = False

    @property
    def may_help(self) -> bool:
        """Whether a new token may be taken where this one is refused: a login with this one was accepted before."""
        return not self._untried

    def discard(self) -> None:
        """The token is refused, or its login was closed: the next login asks for a new one."""
        self._renewal.discard()

    def _took(self, token: Token) -> Token:
        self._renewal.took(token)
        self._lifetime_s = token.lifetime_s
        log.info("token obtained", grant=self._platform.account.grant.value, lifetime_s=token.lifetime_s)
        return token

    def _wait_for(self, call: Callable[[], T], stopping: threading.Event) -> T:
        """The answer to a call, which is left alone when it is time to stop, or when it takes too long."""
        limit_s = MOST_REQUESTS * self._platform.timeout_s
        until_s = time.monotonic() + limit_s
        errand = _Errand(call, lambda: None)
        while not errand.done:
            if stopping.is_set():
                raise NoConnection("stopped")
            if time.monotonic() > until_s:
                raise NoConnection(f"no answer within {limit_s:g} s", where=_place(self._platform.account.token_url))
            errand.wait(LOOK_S)
        return errand.result()


class _Errand(Generic[T]):
    """A call in a thread of its own, for which nobody has to wait."""

    def __init__(self, call: Callable[[], T], then: Callable[[], object]) -> None:
        self._answer: Future[T] = Future()
        self._thread = threading.Thread(target=self._run, args=(call, then), name="token", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T], then: Callable[[], object]) -> None:
        try:
            self._answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed to whoever takes the result
            self._answer.set_exception(error)
        then()

    @property
    def done(self) -> bool:
        return self._answer.done()

    def wait(self, timeout_s: float) -> None:
        wait([self._answer], timeout_s)

    def result(self) -> T:
        """What the call gave or raised; it has to be done."""
        self._thread.join()
        return self._answer.result()


def _redirected(who: str, url: str, location: str) -> str:
    hint = "Ask LSEG for the address of the service that is in use now"
    try:
        new = urljoin(url, location)
        parts = urlsplit(new)
        secure = bool(location) and parts.scheme == "https" and parts.port != 0  # ValueError: above 65535
    except ValueError:
        raise LoginRefused(f"{who} redirects to what is no address", where=_place(url), hint=hint) from None
    if not secure:
        what = f'{who} redirects to "{_place(new) if location else ""}", which is no https address'
        raise LoginRefused(what, where=_place(url), hint=hint)
    log.info("redirected", who=who, to=_place(new))
    return new


def _place(url: str) -> str:
    """An address without its query, which may hold what is no matter of others."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _untrusted(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate that is behind an error, if one is."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _reason(error: BaseException) -> str:
    """The first cause in words, without the system's number for it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
