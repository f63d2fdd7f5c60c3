"""Tokens and discovery over HTTPS, and connections whose logins are by token, against the simulated platform."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from connections import DICTIONARY, answered, posts, running, seen, until
from joserfc.jwk import RSAKey
from structlog.testing import capture_logs

from contrib_watch.adapters.connection import Collected, Connection, ConnectionLost, Endpoint
from contrib_watch.adapters.tokens import Platform, TokenLogin
from contrib_watch.adapters.trace import Trace
from contrib_watch.ads.backoff import Waits
from contrib_watch.ads.exchange import LoggedIn, Verdict
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.ads.tokens import Account, Grant, Host, Token
from contrib_watch.errors import ConfigurationError, ConnectionFailed, LoginRefused, NoConnection
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript
from contrib_watch.simulator.platform import (
    Certificates,
    Clients,
    HttpFault,
    PlatformScript,
    PlatformServer,
    SimulatedPlatform,
)

DEADLINE_S = 20.0
CLIENTS = Clients()
QUICK = Waits(first_s=0.05, longest_s=0.2, first_refused_s=0.1)

pytestmark = pytest.mark.usefixtures("quick_collections", "nothing_is_left")


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture(scope="module")
def ca_file(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.write(tmp_path_factory.mktemp("ca") / "ca.pem")


Serve = Callable[..., "contextmanager[PlatformServer]"]


@pytest.fixture
def serve(certificates: Certificates) -> Serve:
    """Starts a platform with these faults."""

    @contextmanager
    def started(
        *faults: HttpFault,
        lifetime_s: float = 300,
        names: tuple[str, ...] = ("127.0.0.1",),
        clients: Clients = CLIENTS,
        of_ads: Sequence[Fault] = (),
    ) -> Iterator[PlatformServer]:
        platform = SimulatedPlatform(PlatformScript(lifetime_s=lifetime_s, faults=faults), clients)
        ads = SimulatedAds(DICTIONARY, FaultScript(tuple(of_ads)))
        with PlatformServer(platform, ads, certificates, names=names) as server:
            yield server

    return started


def account(server: PlatformServer, grant: Grant = Grant.PASSWORD, **changed: str) -> Account:
    by_password = grant is Grant.PASSWORD
    values = {
        "grant": grant,
        "client_id": CLIENTS.client_id,
        "username": CLIENTS.username if by_password else "",
        "secret": CLIENTS.password if by_password else CLIENTS.client_secret,
        "token_url": server.token_url_v1 if by_password else server.token_url_v2,
        "discovery_url": server.discovery_url,
        "region": "simulated-1",
        "scope": "trapi.streaming.pricing.read",
    }
    return Account(**{**values, **changed})  # type: ignore[arg-type]


def asking(who: Account, ca_file: Path | None, timeout_s: float = 10) -> Platform:
    return Platform(who, ca_file=ca_file, timeout_s=timeout_s)


class TestTokens:
    def test_by_password_then_by_refresh_token(self, serve: Serve, ca_file: Path) -> None:
        with serve() as server:
            platform = asking(account(server), ca_file)
            first = platform.token()
            assert first.lifetime_s == 300
            second = platform.token(first.refresh)
            assert {first.access, first.refresh}.isdisjoint({second.access, second.refresh})
            assert server.platform.asked == ["password", "refresh_token"]

    def test_a_refresh_token_that_is_worth_nothing_gives_way_to_the_password(
        self, serve: Serve, ca_file: Path
    ) -> None:
        with serve() as server:
            assert asking(account(server), ca_file).token("worth nothing").access
            assert server.platform.asked == ["password"]

    def test_by_client_credentials(self, serve: Serve, ca_file: Path) -> None:
        with serve() as server:
            token = asking(account(server, Grant.CLIENT_CREDENTIALS), ca_file).token()
            assert (token.lifetime_s, token.refresh) == (300, "")

    def test_by_a_signed_assertion(self, serve: Serve, ca_file: Path) -> None:
        key = RSAKey.generate_key(2048, {"kid": "k1"})
        private = json.dumps(key.as_dict(private=True))
        with serve(clients=Clients(public_key=key)) as server:
            assert asking(account(server, Grant.JWT, secret=private), ca_file).token().access
            other = json.dumps(RSAKey.generate_key(2048).as_dict(private=True))
            with pytest.raises(LoginRefused, match=r"Check cloud\.client_id, and whether its public key"):
                asking(account(server, Grant.JWT, secret=other), ca_file).token()

    @pytest.mark.parametrize("secret", ["", "no JSON", "[]", '{"kty": "RSA", "n": "SECRETPART"}', '{"kty": "x"}'])
    def test_what_is_no_private_key(self, serve: Serve, ca_file: Path, secret: str) -> None:
        with serve() as server, pytest.raises(LoginRefused, match="as a JWK in JSON") as caught:
            asking(account(server, Grant.JWT, secret=secret), ca_file).token()
        assert "SECRETPART" not in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        ("grant", "changed", "words"),
        [
            (Grant.PASSWORD, {"secret": "wr0ng"}, "access_denied: Invalid username or password"),
            (Grant.PASSWORD, {"client_id": "other"}, "Check cloud.username, cloud.client_id and the password"),
            (Grant.CLIENT_CREDENTIALS, {"secret": "wr0ng"}, "invalid_client: Invalid Application Credential"),
        ],
    )
    def test_refused(self, serve: Serve, ca_file: Path, grant: Grant, changed: dict[str, str], words: str) -> None:
        with serve() as server, pytest.raises(LoginRefused, match=words) as caught:
            asking(account(server, grant, **changed), ca_file).token()
        assert caught.value.exit_code == 5
        assert "wr0ng" not in str(caught.value)

    @pytest.mark.parametrize("status", [403, 404, 410, 451, 418])
    def test_statuses_that_end_it(self, serve: Serve, ca_file: Path, status: int) -> None:
        with (
            serve(HttpFault(path="token", status=status)) as server,
            pytest.raises(LoginRefused, match=f"HTTP {status}"),
        ):
            asking(account(server), ca_file).token()

    @pytest.mark.parametrize("status", [429, 500, 503, 408, 204])
    def test_statuses_that_pass(self, serve: Serve, ca_file: Path, status: int) -> None:
        fault = HttpFault(path="token", status=status, headers={"Retry-After": "7"})
        with serve(fault) as server, pytest.raises(NoConnection) as caught:
            asking(account(server), ca_file).token()
        assert caught.value.retry_after_s == 7

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirects_carry_the_request_along(self, serve: Serve, ca_file: Path, status: int) -> None:
        moved = HttpFault(path="token", status=status, headers={"Location": "/auth/oauth2/v1/token?moved=1"})
        with serve(moved) as server:
            assert asking(account(server), ca_file).token().access

    def test_a_redirect_to_what_is_not_https_gets_no_password(self, serve: Serve, ca_file: Path) -> None:
        moved = HttpFault(path="token", status=302, headers={"Location": "http://127.0.0.1:1/token"})
        with serve(moved) as server, pytest.raises(LoginRefused, match="no https address"):
            asking(account(server), ca_file).token()

    @pytest.mark.parametrize("location", ["https://[bad/", "https://127.0.0.1:99999/token"])
    def test_a_redirect_to_what_is_no_address(self, serve: Serve, ca_file: Path, location: str) -> None:
        moved = HttpFault(path="token", status=302, headers={"Location": location})
        with serve(moved) as server, pytest.raises(LoginRefused, match="redirects to what is no address"):
            asking(account(server), ca_file).token()

    def test_redirects_have_an_end(self, serve: Serve, ca_file: Path) -> None:
        moved = HttpFault(path="token", status=302, headers={"Location": "/auth/oauth2/v1/token"}, times=0)
        with serve(moved) as server, pytest.raises(NoConnection, match="redirects more than 5 times"):
            asking(account(server), ca_file).token()

    @pytest.mark.parametrize("body", [{}, {"access_token": 7}, {"access_token": "t\n", "expires_in": 300}])
    def test_an_answer_without_a_token(self, serve: Serve, ca_file: Path, body: dict[str, object]) -> None:
        with (
            serve(HttpFault(path="token", status=200, body=body)) as server,
            pytest.raises(NoConnection, match="its answer holds no"),
        ):
            asking(account(server), ca_file).token()

    def test_what_a_refusal_says_is_shown_without_the_secret(self, serve: Serve, ca_file: Path) -> None:
        told = {"error": "invalid\x1b[31m", "error_description": f"no {CLIENTS.password} here"}
        with (
            serve(HttpFault(path="token", status=400, body=told)) as server,
            pytest.raises(LoginRefused, match=r"invalid \[31m: no \*\*\* here \(HTTP 400\)"),
        ):
            asking(account(server), ca_file).token()

    def test_no_refusal_shows_the_tokens_of_its_request(self, serve: Serve, ca_file: Path) -> None:
        told = {"error": "invalid_grant", "error_description": "no r3fresh here"}
        faults = [
            HttpFault(path="refresh", status=403, body=told),
            HttpFault(path="discovery", status=401, body=told),
        ]
        with serve(*faults) as server:
            platform = asking(account(server), ca_file)
            with pytest.raises(LoginRefused, match=r"no \*\*\* here"):
                platform.token("r3fresh")
            with pytest.raises(LoginRefused, match=r"no \*\*\* here"):
                platform.discover(Token(access="r3fresh", lifetime_s=1, since_s=0))

    def test_hints_are_of_what_was_asked(self, serve: Serve, ca_file: Path) -> None:
        faults = [HttpFault(path="token", status=404), HttpFault(path="discovery", status=404)]
        with serve(*faults) as server:
            platform = asking(account(server), ca_file)
            with pytest.raises(LoginRefused, match=r"Check cloud\.token_url"):
                platform.token()
            with pytest.raises(LoginRefused, match=r"Check cloud\.discovery_url"):
                platform.discover(platform.token())

    def test_a_secret_that_cannot_be_encoded_is_not_shown(self, serve: Serve, ca_file: Path) -> None:
        with serve() as server, pytest.raises(LoginRefused, match="cannot be asked with such characters") as caught:
            asking(account(server, secret="caf\udce9-S3cret"), ca_file).token()
        assert "S3cret" not in repr(caught.value)
        assert caught.value.__cause__ is None


class TestReaching:
    def test_a_certificate_that_is_not_trusted(self, serve: Serve) -> None:
        with serve() as server, pytest.raises(LoginRefused, match=r"certificate is not trusted.*Set ads\.ca_file"):
            asking(account(server), None).token()

    def test_a_certificate_for_another_name(self, serve: Serve, ca_file: Path) -> None:
        with (
            serve(names=("platform.example",)) as server,
            pytest.raises(LoginRefused, match=r"certificate is not valid for '127\.0\.0\.1'"),
        ):
            asking(account(server), ca_file).token()

    def test_nobody_listens(self, ca_file: Path) -> None:
        nowhere = Account(
            grant=Grant.PASSWORD,
            client_id="c",
            token_url="https://127.0.0.1:1/t",
            discovery_url="https://127.0.0.1:1/d",
            scope="s",
        )
        with pytest.raises(NoConnection, match="the token service cannot be reached: Connection refused"):
            asking(nowhere, ca_file).token()

    def test_a_service_that_says_nothing(self, ca_file: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"https://127.0.0.1:{silent.getsockname()[1]}/t"
            mute = Account(grant=Grant.PASSWORD, client_id="c", token_url=url, discovery_url=url, scope="s")
            with pytest.raises(NoConnection, match=r"did not answer within 0\.2 s"):
                asking(mute, ca_file, timeout_s=0.2).token()

    def test_a_file_without_authorities(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("nothing")
        who = Account(grant=Grant.PASSWORD, client_id="c", token_url="", discovery_url="", scope="")
        with pytest.raises(ConfigurationError, match=r"ads\.ca_file"):
            asking(who, tmp_path / "ca.pem")


class TestDiscovery:
    def test_several_zones_first(self, serve: Serve, ca_file: Path) -> None:
        with serve() as server:
            balanced, a, b = server.endpoints
            server.announce(a, balanced, b)
            platform = asking(account(server), ca_file)
            found = platform.discover(platform.token())
        assert found.hosts == tuple(Host("127.0.0.1", one.port) for one in (balanced, a, b))

    def test_no_endpoint_in_any_region_may_pass(self, serve: Serve, ca_file: Path) -> None:
        with serve() as server:
            server.announce()
            platform = asking(account(server), ca_file)
            token = platform.token()
            with pytest.raises(NoConnection, match="names no WebSocket endpoint at all"):
                platform.discover(token)

    def test_a_region_that_is_not_there(self, serve: Serve, ca_file: Path) -> None:
        with serve() as server:
            platform = asking(account(server, region="nowhere"), ca_file)
            token = platform.token()
            with pytest.raises(
                LoginRefused, match=r'region "nowhere".*There are endpoints in: simulated-1a'
            ) as caught:
                platform.discover(token)
        assert caught.value.exit_code == 5


@contextmanager
def connected(
    server: PlatformServer,
    ca_file: Path,
    who: Account | None = None,
    *,
    named: bool = False,
    waits: Waits = QUICK,
    trace: Trace | None = None,
    rate_limit: float = 0,
) -> Iterator[Connection]:
    """A connection that is started: to discovered endpoints, or to the named first two."""

    def made(host: Host) -> Endpoint:
        return Endpoint(host=host.name, port=host.port, tls=True, ca_file=ca_file)

    first = [made(Host("127.0.0.1", one.port)) for one in server.endpoints[:2]] if named else []
    access = TokenLogin(asking(who or account(server), ca_file), None if named else made)
    session = Session(Login(user="", app_id="256", position="127.0.0.1"), Limits(window=50, rate_limit=rate_limit))
    connection = Connection(first, session, connect_timeout_s=10, waits=waits, trace=trace, access=access)
    with running(connection):
        yield connection


class TestLogins:
    @pytest.mark.parametrize("named", [True, False])
    @pytest.mark.parametrize("grant", [Grant.PASSWORD, Grant.CLIENT_CREDENTIALS])
    def test_posts_go_out_over_tls_after_a_login_by_token(
        self, serve: Serve, ca_file: Path, grant: Grant, named: bool
    ) -> None:
        with serve() as server, connected(server, ca_file, account(server, grant), named=named) as connection:
            connection.post(posts(1, 200))
            assert {one.verdict for one in answered(connection, 200)} == {Verdict.ACKED}
            assert len(server.platform.asked) == len(server.platform.logins) == 1

    def test_renewals_on_the_open_stream_lose_and_delay_nothing(self, serve: Serve, ca_file: Path) -> None:
        """Posts go on while the token is renewed three times: one login, one token request for each renewal."""
        with (
            serve(lifetime_s=1.5) as server,
            connected(server, ca_file, rate_limit=100) as connection,
        ):
            connection.post(posts(1, 450))
            came = until(connection, lambda came: len(came.answers) >= 450)
            assert {one.verdict for one in came.answers} == {Verdict.ACKED}
            assert not [one for one in came.events if isinstance(one, ConnectionLost)]
            assert len([one for one in came.events if isinstance(one, LoggedIn)]) == 1
            asked, logins = server.platform.asked, server.platform.logins
            assert asked[:4] == ["password", "refresh_token", "refresh_token", "refresh_token"]
            assert len(set(logins)) == len(logins) >= 4

    def test_a_service_that_is_down_for_a_while_at_a_renewal(self, serve: Serve, ca_file: Path) -> None:
        """It is asked again before the token ends, so that the login stays."""
        down = HttpFault(path="refresh", status=503, times=2)
        with serve(down, lifetime_s=2) as server, connected(server, ca_file) as connection:
            seen(connection, LoggedIn)
            deadline_s = time.monotonic() + DEADLINE_S
            events: list[object] = []
            while len(server.platform.logins) < 2 and time.monotonic() < deadline_s:
                events += connection.collect(0.05).events
            assert not [one for one in events if isinstance(one, ConnectionLost)]
            assert server.platform.asked == ["password", "refresh_token"]

    def test_a_login_that_ends_with_its_token_is_begun_anew(self, serve: Serve, ca_file: Path) -> None:
        """No renewal comes in time: the server closes the login, and the posts go on after the next."""
        down = HttpFault(path="refresh", status=429, headers={"Retry-After": "2"})
        with serve(down, lifetime_s=1) as server, connected(server, ca_file, waits=QUICK) as connection:
            came = until(connection, lambda came: sum(isinstance(one, LoggedIn) for one in came.events) == 2)
            assert [one.reason for one in came.events if isinstance(one, ConnectionLost)] == [
                "the login stream was closed: The access token has expired"
            ]
            connection.post(posts(1, 20))
            assert {one.verdict for one in answered(connection, 20)} == {Verdict.ACKED}
            assert server.platform.asked[:2] == ["password", "refresh_token"]

    def test_a_token_that_lasts_is_used_again(self, serve: Serve, ca_file: Path) -> None:
        with serve() as server, connected(server, ca_file) as connection:
            seen(connection, LoggedIn)
            server.endpoints[0].drop_all()
            seen(connection, LoggedIn)
            assert server.platform.asked == ["password"]
            assert len(server.platform.logins) == 2

    def test_near_its_end_a_version_2_token_is_replaced_at_the_next_login_and_not_before(
        self, serve: Serve, ca_file: Path
    ) -> None:
        who = Grant.CLIENT_CREDENTIALS
        with (
            serve(lifetime_s=0.3) as server,
            connected(server, ca_file, account(server, who)) as connection,
        ):
            seen(connection, LoggedIn)
            time_up_s = time.monotonic() + 0.5
            while time.monotonic() < time_up_s:  # the token's end passes, and nothing happens
                assert connection.collect(0.1) == Collected([], [])
            server.endpoints[0].drop_all()
            seen(connection, LoggedIn)
            assert len(set(server.platform.logins)) == 2

    def test_a_token_that_was_revoked_is_replaced(self, serve: Serve, ca_file: Path) -> None:
        """Another application has signed on with the same machine id: the old token is refused, a new one is not."""
        with serve() as server, connected(server, ca_file, named=True) as connection:
            seen(connection, LoggedIn)
            server.platform.revoke()
            server.endpoints[0].drop_all()
            seen(connection, LoggedIn)
            assert server.platform.asked == ["password", "password"]

    def test_a_login_that_a_new_token_does_not_open_is_final(self, serve: Serve, ca_file: Path) -> None:
        refused = Fault(kind=FaultKind.REFUSE_LOGIN, code="UserUnknownToPermSys", text="no permission")
        with (
            serve(of_ads=[refused]) as server,
            connected(server, ca_file) as connection,
            pytest.raises(LoginRefused, match="UserUnknownToPermSys: no permission"),
        ):
            until(connection, lambda _: False)

    def test_a_fault_of_the_program_tells_nothing_that_may_be_secret(self, ca_file: Path) -> None:
        class Faulty(TokenLogin[Endpoint]):
            def log_in(self, stopping: threading.Event, *, find: bool) -> tuple[str, Sequence[Endpoint]]:
                raise UnicodeEncodeError("utf-8", "S3cret", 0, 1, "no such character")

        who = Account(grant=Grant.PASSWORD, client_id="c", token_url="", discovery_url="", scope="")
        session = Session(Login(user="", app_id="256", position="127.0.0.1"), Limits())
        connection = Connection([], session, connect_timeout_s=1, access=Faulty(asking(who, ca_file)))
        with capture_logs():
            connection.start()
            with pytest.raises(ConnectionFailed, match="fault of the program: UnicodeEncodeError") as caught:
                until(connection, lambda _: False)
            connection.close()
        assert "S3cret" not in str(caught.value)

    def test_a_refused_password_is_final(self, serve: Serve, ca_file: Path) -> None:
        with (
            serve() as server,
            connected(server, ca_file, account(server, secret="wr0ng")) as connection,
            pytest.raises(LoginRefused, match="Invalid username or password"),
        ):
            until(connection, lambda _: False)

    def test_a_service_that_is_down_is_asked_again(self, serve: Serve, ca_file: Path) -> None:
        down = HttpFault(path="token", status=503, times=3)
        with serve(down) as server, connected(server, ca_file) as connection:
            came = seen(connection, LoggedIn)
            reasons = [one.reason for one in came.events if isinstance(one, ConnectionLost)]
            assert len(reasons) == 3
            assert set(reasons) == {"the token service has no answer for now: HTTP 503"}

    @pytest.mark.parametrize("named", [True, False])
    def test_a_retry_after_is_honoured_and_can_be_interrupted(self, serve: Serve, ca_file: Path, named: bool) -> None:
        busy = HttpFault(path="token", status=429, headers={"Retry-After": "900"})
        with serve(busy) as server, connected(server, ca_file, named=named) as connection:
            (event,) = [one for one in seen(connection, ConnectionLost).events if isinstance(one, ConnectionLost)]
            assert event.retry_in_s == 900
            assert event.all_tried  # no host will have its turn before

    def test_close_while_the_token_service_says_nothing(self, serve: Serve, ca_file: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent, serve() as server:
            url = f"https://127.0.0.1:{silent.getsockname()[1]}/t"
            with connected(server, ca_file, account(server, token_url=url)):
                silent.accept()[0].close()

    def test_what_discovery_names_next_is_tried_when_an_endpoint_is_gone(self, serve: Serve, ca_file: Path) -> None:
        with serve() as server:
            first, second, _ = server.endpoints
            server.announce(first)
            with connected(server, ca_file) as connection:
                seen(connection, LoggedIn)
                server.announce(second)
                first.refuse(True)
                first.drop_all()
                seen(connection, LoggedIn)
                connection.post(posts(1, 20))
                assert {one.verdict for one in answered(connection, 20)} == {Verdict.ACKED}

    def test_the_last_endpoints_are_tried_while_discovery_is_down(self, serve: Serve, ca_file: Path) -> None:
        down = HttpFault(path="discovery", status=500, after=1, times=0)
        with serve(down) as server, connected(server, ca_file) as connection:
            seen(connection, LoggedIn)
            server.endpoints[0].drop_all()
            seen(connection, LoggedIn)

    def test_a_token_that_discovery_has_no_use_for_is_renewed_all_the_same(self, serve: Serve, ca_file: Path) -> None:
        gone = HttpFault(path="discovery", status=404, after=1, times=0)
        with serve(gone, lifetime_s=2) as server:
            server.announce(server.endpoints[0])
            with connected(server, ca_file) as connection:
                seen(connection, LoggedIn)
                server.endpoints[0].drop_all()
                seen(connection, LoggedIn)
                deadline_s = time.monotonic() + DEADLINE_S
                while len(set(server.platform.logins)) < 2 and time.monotonic() < deadline_s:
                    assert not [one for one in connection.collect(0.05).events if isinstance(one, ConnectionLost)]
                assert server.platform.asked == ["password", "refresh_token"]

    def test_no_secret_is_in_the_trace_or_the_log(self, serve: Serve, ca_file: Path, tmp_path: Path) -> None:
        told = Fault(kind=FaultKind.FORCE_LOGOUT, ric="R3", text="bye")
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
        try:
            with (
                capture_logs() as logs,
                serve(lifetime_s=0.8, of_ads=[told]) as server,
                Trace(tmp_path / "trace") as trace,
                connected(server, ca_file, trace=trace) as connection,
            ):
                connection.post(posts(1, 5))
                until(connection, lambda came: sum(isinstance(one, LoggedIn) for one in came.events) >= 2)
                tokens = list(server.platform.logins)
        finally:
            structlog.reset_defaults()
        written = (tmp_path / "trace").read_text() + repr(logs)
        assert "AuthnToken" in written
        assert "token obtained" in written
        assert len(tokens) >= 2
        for secret in (*tokens, CLIENTS.password):
            assert secret not in written
