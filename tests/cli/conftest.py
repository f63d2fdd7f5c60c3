"""A site of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
