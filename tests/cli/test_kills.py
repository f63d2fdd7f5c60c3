"""A few real kills of real processes; tests/bench/kills.py has as many as one has time for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLS = Path(__file__).parents[1] / "bench" / "kills.py"


def test_killed_at_random_moments_nothing_is_lost() -> None:
    done = subprocess.run([sys.executable, str(KILLS), "--count", "5"], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kills" in done.stdout
