"""Seeds of the night: derived from (root seed, market, session, phase), never from the clock (SPEC, Order)."""

from __future__ import annotations

import hashlib

__all__ = ["derive_seed"]


def derive_seed(root: int, market: str, session: str, phase: str) -> int:
    """A 63-bit seed that is equal for equal arguments on every machine."""
    digest = hashlib.sha256("\x1f".join((str(root), market, session, phase)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
