"""What a night is given and what its phases are handed; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from janus_memory.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from janus_memory.config import Settings
    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.policy.factory import Factory
    from janus_memory.ports import Progress, Workers
    from janus_memory.sleep.checkpoints import Checkpoints
    from janus_memory.sleep.memory import Memory, ModelFile
    from janus_memory.transition import MarketSpec, Transitions

__all__ = ["Night", "NightInput", "NightStopped"]


class NightStopped(Exception):  # noqa: N818  (not an error: the night was asked to leave and kept its place)
    """`stop()` was true: the night left after a checkpoint and continues there when called again."""


@dataclass(frozen=True, slots=True)
class NightInput:
    """What the set of cuts of one session holds, decoded.

    Attributes:
        market, session_id: whose night it is.
        closed_at: market time of the close, UTC nanoseconds.
        rows: accepted rows of all cuts, partition after partition in offset order; of an id that
            stands in two partitions the first is kept.
        counts: what ingest and the cut reader counted (duplicates, late, rejected, ...); goes into the report.
        missing: partitions whose cut did not arrive before the deadline.
    """

    market: str
    session_id: str
    closed_at: int
    rows: Transitions
    counts: dict[str, int]
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Night:
    """The surroundings of the phases; none of it changes while the night lasts. No factory: the built-in policy."""

    settings: Settings
    spec: MarketSpec
    rules: KnowledgeBase
    memory: Memory
    session_id: str
    closed_at: int
    workers: Workers
    factory: Factory | None
    progress: Progress
    checkpoints: Checkpoints
    models: Path
    stop: Callable[[], bool]

    @property
    def cycle_id(self) -> str:
        """Name of this night, unique over all markets."""
        return f"{self.spec.name}.{self.session_id}"

    def seed(self, phase: str) -> int:
        """The seed of one phase of this night."""
        return derive_seed(self.settings.seed, self.spec.name, self.session_id, phase)

    def leave_if_asked(self) -> None:
        """Raise NightStopped if the process is to end; called only after a checkpoint."""
        if self.stop():
            raise NightStopped(f"{self.cycle_id} was asked to stop; it continues at its last checkpoint")

    def located(self, path: Path) -> str:
        """A file's place relative to the data folder, or absolute where it lies outside."""
        absolute, data = path.resolve(), Path(self.settings.data_dir).resolve()
        return str(absolute.relative_to(data) if absolute.is_relative_to(data) else absolute)

    def path_of(self, file: ModelFile) -> Path:
        """The inverse of `located`."""
        return Path(self.settings.data_dir) / file.location
