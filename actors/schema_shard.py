"""The actors that bound the scores of states against the bank, or form schemas alone (phase 2). They load no JAX."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from janus_memory.neocortex.assignment import score_block
from janus_memory.neocortex.relaxed import form_schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings
    from janus_memory.neocortex.assignment import BankView, BlockScores
    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.consolidation import Rows
    from janus_memory.neocortex.relaxed import Formed

__all__ = ["SchemaShard", "ask_shards"]


class SchemaShard:
    """Works on blocks of states; holds nothing."""

    def pid(self) -> int:
        """The process; also tells that the actor is up."""
        return os.getpid()

    def score_block(self, view: BankView, block: NDArray[np.float64]) -> BlockScores:
        """Bounds of one block."""
        return score_block(view, block)

    def form_schemas(self, background: Background, rows: Rows, settings: NeocortexSettings) -> Formed:
        """Schemas of some rows alone (`relaxed`)."""
        return form_schemas(background, rows, settings)


def ask_shards(
    shards: Sequence[Any],
    view: Any,
    blocks: Sequence[NDArray[np.float64]],
    wait: Callable[[Any], BlockScores],
) -> list[BlockScores]:
    """Deal the blocks to the shards in turn, and wait for their answers in the order of the blocks.

    Args:
        shards: handles of `SchemaShard` actors.
        view: the snapshot, where the actors find it (an object reference).
        blocks: standardised states, float64 [n, d] each.
        wait: what makes an answer of an actor's promise.
    """
    asked = [shards[i % len(shards)].score_block.remote(view, block) for i, block in enumerate(blocks)]
    return [wait(answer) for answer in asked]
