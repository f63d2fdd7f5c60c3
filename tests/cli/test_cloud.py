"""The cloud path as a stranger walks it: configuration, secrets in the environment, processes, the platform."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_site import DEADLINE_S, PROGRAM, Site, dictionary, eventually, sheet
from click.testing import CliRunner

from contrib_watch.cli import main
from contrib_watch.cli.cloud import configuration_for, secrets_for
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import FaultScript
from contrib_watch.simulator.platform import (
    Certificates,
    HttpFault,
    PlatformScript,
    PlatformServer,
    SimulatedPlatform,
)

PASSWORD = "CONTRIB_WATCH_CLOUD_PASSWORD"


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


class CloudSite(Site):
    """A site whose configuration leads to a simulated platform."""

    server: PlatformServer
    ca_file: Path

    def lead(self, *, ca_file: bool = True, host: str = "discover", **cloud: str) -> None:
        """Write the configuration; ``cloud`` are keys of [cloud] that are other than they should be."""
        _, table = configuration_for(self.server, self.ca_file)
        for key, value in cloud.items():
            table = re.sub(rf"(?m)^{key} = .*$", f'{key} = "{value}"', table)
        trusted = {"ca_file": str(self.ca_file)} if ca_file else {}
        self.configure(host, more=table, connect_timeout_s=5, **trusted)

    @property
    def secrets(self) -> dict[str, str]:
        return secrets_for(self.server)


@contextmanager
def platform(
    site: CloudSite,
    certificates: Certificates,
    *faults: HttpFault,
    lifetime_s: float = 300,
    names: tuple[str, ...] = ("127.0.0.1",),
) -> Iterator[PlatformServer]:
    simulated = SimulatedPlatform(PlatformScript(lifetime_s=lifetime_s, faults=faults))
    ads = SimulatedAds(dictionary(), FaultScript())
    with PlatformServer(simulated, ads, certificates, names=names) as server:
        site.server, site.ca_file = server, certificates.write(site.home / "ca.pem")
        site.lead()
        yield server


@pytest.fixture
def cloud_site(tmp_path: Path) -> CloudSite:
    return CloudSite(tmp_path)


def test_check_says_how_far_the_login_came(cloud_site: CloudSite, certificates: Certificates) -> None:
    with platform(cloud_site, certificates) as server:
        done = cloud_site.invoke("check", "--json", **cloud_site.secrets)
        assert done.exit_code == 0, done.stdout + done.stderr
        checks = {one["subject"]: one["text"] for one in json.loads(done.stdout)["checks"]}
        user = server.platform.clients.username
        assert checks["token"] == f"given to {user} by {server.token_url_v1}, for 300 s"
        ports = ", ".join(f"127.0.0.1:{one.port}" for one in server.endpoints)
        assert checks["discovery"] == f"3 endpoints in simulated-1: {ports}"
        assert checks["login"].startswith(f"accepted for {user}, PingTimeout")
        assert server.platform.asked == ["password"]  # one sign-on is enough


def test_check_of_a_named_host(cloud_site: CloudSite, certificates: Certificates) -> None:
    with platform(cloud_site, certificates) as server:
        cloud_site.lead(host=server.endpoints[2].address)
        done = cloud_site.invoke("check", "--json", **cloud_site.secrets)
        assert done.exit_code == 0
        assert [one["subject"] for one in json.loads(done.stdout)["checks"]][-2:] == ["token", "login"]


@pytest.mark.parametrize("command", [("check", "--json"), ("run", "--once", "--json")])
@pytest.mark.parametrize(
    ("fault", "keys", "secret", "words"),
    [
        ((), {}, "wr0ng", "the token service refused the login: access_denied: Invalid username or password"),
        ((403,), {}, None, "the token service refused the login: HTTP 403"),
        ((), {"region": "nowhere"}, None, 'service discovery names no WebSocket endpoint in region "nowhere"'),
    ],
    ids=["password", "forbidden", "region"],
)
def test_what_is_final_is_told_once_with_exit_code_5(
    cloud_site: CloudSite,
    certificates: Certificates,
    command: tuple[str, ...],
    fault: tuple[int, ...],
    keys: dict[str, str],
    secret: str | None,
    words: str,
) -> None:
    faults = [HttpFault(path="token", status=status) for status in fault]
    with platform(cloud_site, certificates, *faults):
        cloud_site.lead(**keys)
        cloud_site.drop("prices.csv", sheet("R1,1"))
        done = cloud_site.invoke(*command, **cloud_site.secrets | ({PASSWORD: secret} if secret else {}))
        told = (done.stdout + done.stderr).replace('\\"', '"')  # as it stands in JSON
        assert done.exit_code == 5, told
        assert told.count(words) == 1
        assert "Traceback" not in told
        assert "wr0ng" not in told


def test_an_expired_client(cloud_site: CloudSite, certificates: Certificates) -> None:
    with platform(cloud_site, certificates) as server:
        _, table = configuration_for(server, cloud_site.ca_file)
        table = re.sub(r"(?m)^username = .*\n", "", table).replace("v1/token", "v2/token")
        table = table.replace('grant = "password"', 'grant = "client_credentials"')
        cloud_site.configure("discover", more=table, ca_file=str(cloud_site.ca_file))
        secrets = {"CONTRIB_WATCH_CLOUD_CLIENT_SECRET": "expired-s3cret"}
        done = cloud_site.invoke("check", **secrets)
        assert done.exit_code == 5
        assert "invalid_client" in done.stdout
        assert "whether they have expired" in done.stdout
        assert "expired-s3cret" not in done.stdout + done.stderr
        assert cloud_site.invoke("check", **cloud_site.secrets).exit_code == 0


def test_a_certificate_that_is_not_trusted(cloud_site: CloudSite, certificates: Certificates) -> None:
    with platform(cloud_site, certificates):
        cloud_site.lead(ca_file=False)
        done = cloud_site.invoke("check", **cloud_site.secrets)
        assert done.exit_code == 5
        assert "its certificate is not trusted" in done.stdout


def test_a_certificate_for_another_name(cloud_site: CloudSite, certificates: Certificates) -> None:
    with platform(cloud_site, certificates, names=("platform.example",)):
        done = cloud_site.invoke("check", **cloud_site.secrets)
        assert done.exit_code == 5
        assert "certificate is not valid for '127.0.0.1'" in done.stdout


def test_a_secret_that_is_nowhere(
    cloud_site: CloudSite, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")  # nobody is asked
    with platform(cloud_site, certificates):
        done = cloud_site.invoke("run", "--once")
        assert done.exit_code == 2
        assert f"Set {PASSWORD} or {PASSWORD}_FILE" in done.stderr
        assert cloud_site.invoke("status").exit_code == 0  # what does not log in needs no secret


def test_a_token_service_that_is_down(cloud_site: CloudSite, certificates: Certificates) -> None:
    """For a while: the run goes on when it is back. For good: exit 5, and what was not sent waits."""
    busy = HttpFault(path="token", status=429, headers={"Retry-After": "1"})
    down = HttpFault(path="token", status=503, after=1)
    with platform(cloud_site, certificates, busy, down):
        cloud_site.drop("prices.csv", sheet("R1,1"))
        done = cloud_site.invoke("run", "--once", **cloud_site.secrets)
        assert done.exit_code == 0, done.stderr
        assert "HTTP 429" in done.stderr
        assert [row["status"] for row in cloud_site.rows("prices.csv")] == ["acked"]
    cloud_site.lead(token_url="https://127.0.0.1:1/token")
    impatient = cloud_site.config.read_text().replace("connect_timeout_s = 5", "connect_timeout_s = 1")
    cloud_site.config.write_text(impatient)
    cloud_site.drop("more.csv", sheet("R2,2"))
    done = cloud_site.invoke("run", "--once", **cloud_site.secrets)
    assert done.exit_code == 5
    assert "no connection for 1 s: the token service cannot be reached: Connection refused" in done.stderr
    assert cloud_site.query("SELECT status FROM drops ORDER BY id") == [("done",), ("sending",)]


def test_thousands_of_rows_while_tokens_end_and_an_endpoint_goes(
    cloud_site: CloudSite, certificates: Certificates
) -> None:
    """Every row is acknowledged, each renewal is one login, and no secret is in anything that was written."""
    rics = 2000
    with platform(cloud_site, certificates, lifetime_s=1.2) as server:
        cloud_site.lead()
        text = cloud_site.config.read_text().replace("rate_limit = 0", "rate_limit = 400")
        cloud_site.config.write_text(text)
        server.announce(server.endpoints[0])
        cloud_site.drop("prices.csv", sheet(*(f"R{n},{n}" for n in range(rics))))
        trace = cloud_site.home / "trace.txt"
        seen = server.platform
        command = ("--once", "--json", "--trace", str(trace))
        environ = {**os.environ, **cloud_site.secrets}
        with (cloud_site.home / "err.txt").open("w") as err:
            line = [str(PROGRAM), "run", "--config", str(cloud_site.config), *command]
            process = subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=err, text=True)
        eventually(lambda: len(seen.logins) >= 2, "the token was renewed")
        server.announce(server.endpoints[1])
        server.endpoints[0].refuse(True)
        server.endpoints[0].drop_all()
        out, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, (cloud_site.home / "err.txt").read_text()
        rows = cloud_site.rows("prices.csv")
        assert len(rows) == rics
        assert {row["status"] for row in rows} == {"acked"}
        assert len({row["ric"] for row in rows}) == rics
        assert len(seen.asked) >= 4
        assert len(seen.logins) <= len(seen.asked) + 1  # one for each token, and one at the other endpoint
        assert set(seen.asked[1:]) == {"refresh_token"}
        written = out + "".join(
            path.read_text(errors="replace") for path in cloud_site.home.rglob("*") if path.is_file()
        )
        assert "AuthnToken" in written
        for secret in (*seen.logins, seen.clients.password):
            assert secret not in written


def test_simulate_cloud_prints_what_leads_to_it(cloud_site: CloudSite, tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text('platform = { faults = [{ path = "token", status = 429, headers = { Retry-After = "1" } }] }\n')
    line = [str(PROGRAM), "simulate", "--cloud", "--port", "0", "--faults", str(script)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert select.select([process.stderr], [], [], DEADLINE_S)[0]
            assert "simulated platform at https://127.0.0.1:" in process.stderr.readline()
            assert process.stdout is not None
            printed = []
            while not printed or not printed[-1].startswith("discovery_url"):
                printed.append(process.stdout.readline())
            text = "".join(printed)
            secret = re.findall(rf"(?m)^# {PASSWORD}=(.*)$", text)
            feed = '\n[[feeds]]\nname = "prices"\nfolder = "in"\nservice = "TEST"\nsettle_seconds = 0\n'
            cloud_site.config.write_text(text + feed)
            cloud_site.drop("prices.csv", sheet("R1,1"))
            done = cloud_site.invoke("run", "--once", **{PASSWORD: secret[0]})
            assert done.exit_code == 0, done.stderr
            assert "HTTP 429" in done.stderr
            cloud_site.config.write_text(text.replace('target = "trial"\n', "") + feed)
            elsewhere = cloud_site.invoke("run", "--once", **{PASSWORD: secret[0]})
            assert elsewhere.exit_code == 2  # its Acks never count for a real platform
            assert "trial" in elsewhere.stderr
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


def test_a_fault_script_of_the_platform_that_is_wrong(tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text("platform = { lifetime = 3 }\n")
    done = CliRunner().invoke(main, ["simulate", "--cloud", "--port", "0", "--faults", str(script)])
    assert done.exit_code == 2
    assert "unknown field `lifetime`" in done.stderr


def test_the_demo_by_token(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    done = CliRunner().invoke(main, ["demo", "--cloud", "--folder", str(home)])
    assert done.exit_code == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "6 drops: 95 rows acknowledged, 1 nakked, 3 rejected" in done.stdout
    assert done.stdout.rstrip().endswith("2 tokens were given, 2 logins accepted with them")
    assert len(list(home.rglob("*.simulated.ack.html"))) == 6
