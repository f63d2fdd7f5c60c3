"""The connection by TLS: which certificates are trusted."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from connections import (
    answered,
    endpoint,
    lost,
    posts,
    seen,
    simulated,
    started,
    until,
)

from contrib_watch.adapters.connection import ConnectionLost
from contrib_watch.adapters.endpoint import Endpoint
from contrib_watch.ads.exchange import LoggedIn, Verdict
from contrib_watch.errors import LoginRefused
from contrib_watch.simulator.server import SimulatedServer

pytestmark = pytest.mark.usefixtures("quick_collections", "nothing_is_left")


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


class Certificate:
    """A self-signed certificate for a name, and a server's context with it."""

    def __init__(self, folder: Path, names: str) -> None:
        self.ca_file, key = folder / "cert.pem", folder / "key.pem"
        request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        named = ["-subj", "/CN=ads", "-addext", f"subjectAltName={names}"]
        openssl(*request, *named, "-days", "2", "-keyout", key, "-out", self.ca_file)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.ca_file, key)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Certificate]:
    """One for 127.0.0.1, one for another host."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    names = ("IP:127.0.0.1", "DNS:ads.example")
    return [Certificate(tmp_path_factory.mktemp("tls"), name) for name in names]


class TestTls:
    def test_trusted_by_its_ca_file(self, certificates: Sequence[Certificate]) -> None:
        ours, _ = certificates
        with SimulatedServer(simulated(), ssl_context=ours.context) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True, ca_file=ours.ca_file)
            with started(secured) as connection:
                connection.post(posts(1, 300))
                assert {answer.verdict for answer in answered(connection, 300)} == {Verdict.ACKED}

    def test_close_while_connected(self, certificates: Sequence[Certificate]) -> None:
        ours, _ = certificates
        with SimulatedServer(simulated(), ssl_context=ours.context) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True, ca_file=ours.ca_file)
            with started(secured) as connection:
                seen(connection, LoggedIn)

    @pytest.mark.parametrize("trusted", [0, None])
    @pytest.mark.parametrize("serving", [1, 0])
    def test_any_other_certificate_is_refused_at_once(
        self, certificates: Sequence[Certificate], serving: int, trusted: int | None
    ) -> None:
        ca_file = None if trusted is None else certificates[trusted].ca_file
        if serving == trusted:
            ca_file = certificates[1].ca_file
        with SimulatedServer(simulated(), ssl_context=certificates[serving].context) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True, ca_file=ca_file)
            with started(secured) as connection, pytest.raises(LoginRefused) as caught:
                until(connection, lambda _: False)
            assert "certificate is not trusted" in caught.value.what
            assert caught.value.where == server.address
            assert "ads.ca_file" in caught.value.hint

    def test_certificate_of_another_host_is_refused(self, certificates: Sequence[Certificate]) -> None:
        _, other = certificates
        with SimulatedServer(simulated(), ssl_context=other.context) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True, ca_file=other.ca_file)
            with started(secured) as connection, pytest.raises(LoginRefused, match=r"127\.0\.0\.1"):
                until(connection, lambda _: False)

    def test_a_host_that_is_not_trusted_gives_way_to_one_that_is(self, certificates: Sequence[Certificate]) -> None:
        ours, other = certificates
        with (
            SimulatedServer(simulated(), ssl_context=other.context) as bad,
            SimulatedServer(simulated(), ssl_context=ours.context) as good,
        ):
            hosts = [Endpoint(host="127.0.0.1", port=one.port, tls=True, ca_file=ours.ca_file) for one in (bad, good)]
            with started(*hosts) as connection:
                first, second = seen(connection, LoggedIn).events
                assert isinstance(first, ConnectionLost)
                assert "certificate is not trusted" in first.reason
                assert isinstance(second, LoggedIn)

    def test_hosts_none_of_which_is_trusted_are_refused(self, certificates: Sequence[Certificate]) -> None:
        ours, other = certificates
        with (
            SimulatedServer(simulated(), ssl_context=other.context) as one,
            SimulatedServer(simulated(), ssl_context=other.context) as two,
        ):
            hosts = [
                Endpoint(host="127.0.0.1", port=each.port, tls=True, ca_file=ours.ca_file) for each in (one, two)
            ]
            with started(*hosts) as connection, pytest.raises(LoginRefused, match="not trusted"):
                until(connection, lambda _: False)

    def test_plain_server_is_an_outage(self) -> None:
        with SimulatedServer(simulated()) as server:
            secured = Endpoint(host="127.0.0.1", port=server.port, tls=True)
            with started(secured) as connection:
                assert lost(connection).reason

    def test_tls_server_without_tls_is_an_outage(self, certificates: Sequence[Certificate]) -> None:
        ours, _ = certificates
        with (
            SimulatedServer(simulated(), ssl_context=ours.context) as server,
            started(endpoint(server)) as connection,
        ):
            assert lost(connection).reason
