"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A shared machine stalls for seconds at a time: a slow example is no failure here.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
