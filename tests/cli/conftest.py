"""A site of its own for each test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_site import Site


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> Iterator[None]:
    """A shell that runs the tests in the background has Ctrl-C ignored, and so would the programs that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """So wide that no sentence is folded, wherever the tests run; what 80 columns look like is asked for by name."""
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
