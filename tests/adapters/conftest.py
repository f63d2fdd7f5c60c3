"""A folder to watch, and a clock that the test turns."""

from __future__ import annotations

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
