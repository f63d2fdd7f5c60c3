"""The simulated platform for ``simulate --cloud`` and ``demo --cloud``: tokens, discovery, endpoints over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contrib_watch.ads.tokens import Grant
from contrib_watch.config.secrets import CLOUD_SECRETS
from contrib_watch.config.settings import DISCOVER
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.platform import Certificates, PlatformScript, PlatformServer, SimulatedPlatform
from contrib_watch.simulator.platform.server import REGION

TARGET = "trial"
"""The target of a simulated ADS that is reached as a real one is."""


@contextmanager
def simulated_platform(
    ads: SimulatedAds, folder: Path, *, script: PlatformScript | None = None, port: int = 0
) -> Iterator[tuple[PlatformServer, Path]]:
    """The platform before an ADS, and the file in ``folder`` with the authority that it is to be trusted by."""
    certificates = Certificates()
    ca_file = certificates.write(folder / "simulated-platform-ca.pem")
    with PlatformServer(SimulatedPlatform(script), ads, certificates, port=port) as server:
        yield server, ca_file


def configuration_for(server: PlatformServer, ca_file: Path) -> tuple[dict[str, str], str]:
    """What leads to the platform: keys of [ads] with their values in TOML, and the table [cloud].

    Its target is a name of its own: what it acknowledges never counts for LSEG's platform, whose default is "cloud".
    """
    clients = server.platform.clients
    ads = {"hosts": f'["{DISCOVER}"]', "target": f'"{TARGET}"', "ca_file": f'"{ca_file.as_posix()}"'}
    cloud = (
        f'[cloud]\ngrant = "{Grant.PASSWORD}"\nclient_id = "{clients.client_id}"\nusername = "{clients.username}"\n'
        f'region = "{REGION}"\ntoken_url = "{server.token_url_v1}"\ndiscovery_url = "{server.discovery_url}"\n'
    )
    return ads, cloud


def leading_to(server: PlatformServer, ca_file: Path, text: str) -> str:
    """The text of the shipped config.toml, but with the platform in the place of the simulated ADS."""
    ads, cloud = configuration_for(server, ca_file)
    text = text.replace('hosts = ["simulated"]', f"hosts = {ads['hosts']}", 1)
    text = text.replace('ca_file = ""', f"ca_file = {ads['ca_file']}", 1)
    return text.replace("\n[state]\n", f"\n{cloud}\n[state]\n", 1)


def secrets_for(server: PlatformServer) -> dict[str, str]:
    """The environment variables that the platform's clients need, which are no secrets here."""
    clients = server.platform.clients
    return {
        CLOUD_SECRETS[Grant.PASSWORD]: clients.password,
        CLOUD_SECRETS[Grant.CLIENT_CREDENTIALS]: clients.client_secret,
    }
