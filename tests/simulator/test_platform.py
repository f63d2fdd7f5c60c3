"""The simulated platform without sockets: who gets a token, what it opens, and for how long."""

from __future__ import annotations

import math

import pytest

from contrib_watch.simulator.platform import HttpFault, PlatformScript, SimulatedPlatform
from contrib_watch.simulator.platform.core import DISCOVERY, TOKEN_V1, TOKEN_V2, Reply


class Client:
    """Asks a platform; the time is what the test says."""

    def __init__(self, *faults: HttpFault) -> None:
        self.platform = SimulatedPlatform(PlatformScript(lifetime_s=100, faults=faults))
        self.now_s = 0.0

    def post(self, path: str, **form: str) -> Reply:
        return self.platform.reply("POST", path, {}, form, "", self.now_s)

    def sign_on(self, **changed: str) -> Reply:
        clients = self.platform.clients
        names = {"username": clients.username, "client_id": clients.client_id, "password": clients.password}
        return self.post(TOKEN_V1, grant_type="password", **names | {"takeExclusiveSignOnControl": "True"} | changed)

    def refresh(self, token: str) -> Reply:
        clients = self.platform.clients
        names = {"username": clients.username, "client_id": clients.client_id}
        return self.post(TOKEN_V1, grant_type="refresh_token", refresh_token=token, **names)

    def discover(self, bearer: str) -> Reply:
        return self.platform.reply("GET", DISCOVERY, {"transport": "websocket"}, {}, bearer, self.now_s)


def test_a_token_opens_discovery_and_a_login_until_it_ends() -> None:
    client = Client()
    token = client.sign_on().body["access_token"]
    assert client.discover(token).status == 200
    assert client.platform.login(token, 99.0) == 100.0
    client.now_s = 100.0
    assert client.discover(token).status == 401
    assert client.platform.login(token, 100.0) is None
    assert client.platform.login("another", 0.0) is None


def test_a_version_2_login_outlives_its_token() -> None:
    client = Client()
    clients = client.platform.clients
    reply = client.post(
        TOKEN_V2,
        grant_type="client_credentials",
        client_id=clients.client_id,
        client_secret=clients.client_secret,
    )
    assert "refresh_token" not in reply.body
    assert client.platform.login(reply.body["access_token"], 1.0) == math.inf


def test_a_refresh_token_is_good_once() -> None:
    client = Client()
    first = client.sign_on().body["refresh_token"]
    assert client.refresh(first).status == 200
    assert client.refresh(first).status == 400


def test_a_second_sign_on_takes_over_only_where_it_says_so() -> None:
    client = Client()
    first = client.sign_on().body
    assert client.sign_on(takeExclusiveSignOnControl="False").status == 400
    assert client.sign_on().status == 200
    assert client.refresh(first["refresh_token"]).status == 400
    assert client.platform.login(first["access_token"], 0.0) is None


@pytest.mark.parametrize(
    ("changed", "status"), [({"password": "x"}, 400), ({"username": "x"}, 400), ({"grant_type": "x"}, 400)]
)
def test_who_gets_none(changed: dict[str, str], status: int) -> None:
    client = Client()
    clients = client.platform.clients
    form = {"username": clients.username, "client_id": clients.client_id, "password": clients.password}
    assert client.post(TOKEN_V1, **{"grant_type": "password", **form, **changed}).status == status
    assert client.platform.asked == []


def test_faults_come_when_and_as_often_as_they_say() -> None:
    busy = HttpFault(path="discovery", status=429, times=0)
    client = Client(HttpFault(path="token", status=503, after=1, times=2), busy)
    assert [client.sign_on().status for _ in range(5)] == [200, 503, 503, 200, 200]
    assert [client.discover("").status for _ in range(3)] == [429] * 3
