"""The two servers that are compared: a provider on LSEG's SDK for Java, and the simulated ADS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from price_site import Site
from sdk_provider import SERVICE, Provider, Unavailable, build, dictionary_texts

from contrib_watch.core.fields import Dictionary
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.server import SimulatedServer


@pytest.fixture(scope="session")
def classpath() -> str:
    """The compiled provider's; skips where there can be none."""
    try:
        return build()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def provider(classpath: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """One process for all tests of this worker: they use RICs of their own."""
    running = Provider(classpath, tmp_path_factory.mktemp("provider"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def simulated() -> Iterator[SimulatedServer]:
    """The simulated ADS with the same dictionary and the same only service."""
    with SimulatedServer(
        SimulatedAds(Dictionary.parse(*dictionary_texts()), services=[SERVICE], users=["raw"])
    ) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
