"""What holds for all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hypothesis import settings

# The machines that run them are shared and noisy: no example fails for having been slow. `--hypothesis-profile
# thorough` looks for much longer.
settings.register_profile("shared machine", deadline=None, max_examples=60)
settings.register_profile("thorough", deadline=None, max_examples=5_000)
settings.load_profile("shared machine")

# Every commit of a state is synced, which a memory disk has at no cost. It is a small one in many a container.
MEMORY_DISK, ROOM_BYTES = Path("/dev/shm"), 4 << 30
if MEMORY_DISK.is_dir() and os.access(MEMORY_DISK, os.W_OK) and shutil.disk_usage(MEMORY_DISK).free > ROOM_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a good part of the tests' time is waiting, for a server or a time limit."""
    return 1 + (os.cpu_count() or 1)
