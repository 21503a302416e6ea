"""The actor that scores states against the bank (phase 2). It loads no JAX, so that it starts fast."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from janus_memory.neocortex.assignment import score_block

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.neocortex.assignment import BankView, BlockScores

__all__ = ["SchemaShard"]


class SchemaShard:
    """Scores blocks of states against a snapshot of the bank; holds nothing."""

    def pid(self) -> int:
        """The process; also tells that the actor is up."""
        return os.getpid()

    def score_block(self, view: BankView, block: NDArray[np.float64]) -> BlockScores:
        """Scores of one block."""
        return score_block(view, block)
