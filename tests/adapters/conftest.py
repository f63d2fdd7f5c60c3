"""A folder to watch, a clock that the test turns, and what a test of sockets must leave behind: nothing."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from folder_site import Clock, open_folder

from contrib_watch.adapters.folder import Folder


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(inbox: Path, clock: Clock) -> Folder:
    return open_folder(inbox, clock)


@pytest.fixture(scope="module")
def quick_collections() -> Iterator[None]:
    """What the libraries made is no concern of these tests' garbage collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """No thread outlives its test, and a socket that nobody closed is an error."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    assert {thread.name for thread in threading.enumerate() if thread not in before} == set()
