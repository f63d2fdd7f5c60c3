"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# The machines that run them are shared and noisy: no example fails for having been slow.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
