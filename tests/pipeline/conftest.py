"""Sites in virtual time, on the built-in field dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog
from virtual_site import NewSite, Site

from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import Feed


@pytest.fixture(scope="session")
def dictionary() -> Dictionary:
    return load_dictionary(Fields())


@pytest.fixture
def new_site(tmp_path: Path, dictionary: Dictionary) -> NewSite:
    """Makes a site; takes feeds and what Site takes."""

    def make(*feeds: Feed, **keys: Any) -> Site:
        return Site(tmp_path, dictionary, *feeds, **keys)

    return make


@pytest.fixture
def site(new_site: NewSite) -> Site:
    """One feed, ``fx``, and an ADS without faults."""
    return new_site()


@pytest.fixture(autouse=True, scope="session")
def _no_log_lines() -> None:
    """Thousands of processes would log; what they log is not tested here."""
    untold = [lambda _logger, _method, told: told["event"]]  # to put a line together costs more than many a step
    structlog.configure(processors=untold, logger_factory=structlog.ReturnLoggerFactory())
