"""The episodes that a buffer holds: which there are, and which rows are whose."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.transition import Transitions

__all__ = ["Episode", "episodes_of", "find_episode"]

_N_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Episode:
    """What is left in a buffer of one episode of one agent on one instrument.

    Attributes:
        instrument, agent_id, episode_id: whose it is; the three together name it.
        members: intp [n], its rows in the buffer, in the buffer's order.
    """

    instrument: str
    agent_id: str
    episode_id: str
    members: NDArray[np.intp]

    @property
    def name(self) -> str:
        """`instrument/agent_id/episode_id`, which is also the key of its records."""
        return f"{self.instrument}/{self.agent_id}/{self.episode_id}"


def episodes_of(rows: Transitions) -> list[Episode]:
    """All episodes of a buffer, by their first row.

    Args:
        rows: n transitions in the total order.
    """
    if not len(rows):
        return []
    columns = (rows.instrument, rows.agent_id, rows.episode_id)
    # lexsort is stable: inside an episode the rows stay in the order given.
    order = np.lexsort(columns[::-1])
    changes = np.any([column[order][1:] != column[order][:-1] for column in columns], axis=0)
    parts = np.split(order, np.flatnonzero(changes) + 1)
    return [_episode(rows, members) for members in sorted(parts, key=lambda part: int(part[0]))]


def find_episode(episodes: Sequence[Episode], wanted: str) -> Episode:
    """The episode of that name, or of that id where only one has it.

    Args:
        episodes: those to choose from.
        wanted: an episode id, or `instrument/agent_id/episode_id`.

    Raises:
        ConfigError: none is called so (the nearest names are told), or several are.
    """
    found = [e for e in episodes if e.name == wanted] or [e for e in episodes if e.episode_id == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"{len(found)} episodes have the id {wanted!r}; nothing was replayed; name one of them: "
            f"{', '.join(e.name for e in found)}"
        )
    raise ConfigError(
        f"the replay buffer holds no episode {wanted!r}; nothing was replayed; {_nearest(episodes, wanted)}"
    )


def _episode(rows: Transitions, members: NDArray[np.intp]) -> Episode:
    first = members[0]
    return Episode(
        instrument=_text(rows.instrument[first]),
        agent_id=_text(rows.agent_id[first]),
        episode_id=_text(rows.episode_id[first]),
        members=members,
    )


def _text(identifier: np.bytes_) -> str:
    return bytes(identifier).decode(errors="replace")


def _nearest(episodes: Sequence[Episode], wanted: str) -> str:
    """A clause that helps: the most similar names, else how to see all."""
    known = {name for e in episodes for name in (e.name, e.episode_id)}
    near = difflib.get_close_matches(wanted, sorted(known), n=_N_NEAREST, cutoff=0.5)
    if not near:
        return f"it holds {len(episodes)}, see them with --list"
    return f"the nearest are {', '.join(near)}; see all with --list"
