"""The simulated ADS, and a client that is logged in to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ads_peer import ENUMS, FIELDS, LOGIN, Peer

from contrib_watch.core.fields import Dictionary
from contrib_watch.simulator.core import SimulatedAds


@pytest.fixture(scope="session")
def dictionary() -> Dictionary:
    return Dictionary.parse(FIELDS, ENUMS)


@pytest.fixture
def ads(dictionary: Dictionary) -> SimulatedAds:
    return SimulatedAds(dictionary)


@pytest.fixture
def login() -> Callable[[SimulatedAds], Peer]:
    """Connects to an ADS and logs in."""

    def connect(ads: SimulatedAds) -> Peer:
        peer = Peer(ads.connect())
        (answer,) = peer.say(LOGIN)
        assert answer["State"] == {"Stream": "Open", "Data": "Ok", "Text": answer["State"]["Text"]}
        return peer

    return connect


@pytest.fixture
def peer(ads: SimulatedAds, login: Callable[[SimulatedAds], Peer]) -> Peer:
    return login(ads)
