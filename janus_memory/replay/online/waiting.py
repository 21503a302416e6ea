"""Rows that wait for their successor, because it tells them their next action (SPEC 1 and 2.5).

A row is settled when what follows it is known: by the next row of its episode, by its own `done`, or because
nobody waits any longer. One row waits for each open (instrument, agent, episode): the last in the total order.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import MarketSpec

__all__ = ["WaitingRoom"]

_Key = tuple[bytes, bytes, bytes]
# A settled row without a successor.
_NOBODY = -1


class WaitingRoom:
    """Holds back the last row of each open episode. Single writer.

    What leaves depends on the order in which rows arrive, not on how they are cut into frames.
    """

    def __init__(self, spec: MarketSpec, capacity: int) -> None:
        """An empty room in which at most `capacity` rows wait; above, the one that has waited longest is settled."""
        self._spec = spec
        self._capacity = capacity
        # Oldest first. Within `admit` a row of the frame stands by its number, outside every row by its copy.
        self._open: dict[_Key, Transitions | int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, rows: Transitions) -> Transitions:
        """Take rows in the order of arrival; those that are settled leave, in the order in which they are.

        A row is settled by the next one of its episode. If that one's state equals its next state bit for bit, it
        has its next action; else a row is missing between them and the next action stays unknown. A row that
        arrives while a later one of its episode waits is settled at once, by that one.
        """
        frame = _Frame(rows)
        keys = _keys(rows)
        for number, key in enumerate(keys):
            self._place(frame, key, number)
        source = frame.source()
        for key in set(keys):
            held = self._open.get(key)
            if isinstance(held, int):
                self._open[key] = _row(source, held)
        return _filled(source, np.array(frame.pairs, np.intp).reshape(-1, 2))

    def release(self) -> Transitions:
        """All rows that wait, oldest first; their next actions stay as they came."""
        released = self._rows()
        self._open = {}
        return released

    def snapshot(self) -> Arrays:
        """The rows that wait, oldest first."""
        return self._rows().arrays()

    @classmethod
    def restore(
        cls, spec: MarketSpec, capacity: int, arrays: Mapping[str, NDArray[np.generic]]
    ) -> WaitingRoom:
        """The inverse of `snapshot`."""
        room = cls(spec, capacity)
        rows = Transitions.from_arrays(arrays)
        room._open = {key: _row(rows, number) for number, key in enumerate(_keys(rows))}
        return room

    def _place(self, frame: _Frame, key: _Key, number: int) -> None:
        held = self._open.get(key)
        if held is not None:
            waiting = frame.number(held)
            if frame.order[number] <= frame.order[waiting]:
                frame.pairs.append((number, waiting))
                return
            del self._open[key]
            frame.pairs.append((waiting, number))
        if frame.done[number]:
            frame.pairs.append((number, _NOBODY))
            return
        self._open[key] = number
        if len(self._open) > self._capacity:
            oldest = self._open.pop(next(iter(self._open)))
            frame.pairs.append((frame.number(oldest), _NOBODY))

    def _rows(self) -> Transitions:
        held = (row for row in self._open.values() if not isinstance(row, int))
        return Transitions.concatenate([Transitions.empty(self._spec), *held])


class _Frame:
    """A frame on its way through the room: its rows have the first numbers, those it meets there the next ones.

    Attributes:
        order: place in the total order, by number.
        done: of the frame's own rows.
        pairs: the settled row and its successor or -1, by number, in the order of settling.
    """

    def __init__(self, rows: Transitions) -> None:
        self.order = _order(rows)
        self.done: list[int] = rows.done.tolist()
        self.pairs: list[tuple[int, int]] = []
        self._parts = [rows]

    def number(self, row: Transitions | int) -> int:
        """The number of a row that waits."""
        if isinstance(row, int):
            return row
        self._parts.append(row)
        self.order += _order(row)
        return len(self.order) - 1

    def source(self) -> Transitions:
        """All numbered rows."""
        return Transitions.concatenate(self._parts)


def _filled(source: Transitions, pairs: NDArray[np.intp]) -> Transitions:
    """The first row of each pair [n, 2] with its next action from the second, where that one follows it; copies."""
    rows, following = source.take(pairs[:, 0]), pairs[:, 1]
    discrete = rows.action.ndim == 1
    unknown = rows.next_action < 0 if discrete else np.isnan(rows.next_action).any(axis=1)
    # -1 reads the last row here and is masked.
    same = (rows.next_state.view(np.uint32) == source.state[following].view(np.uint32)).all(axis=1)
    fill = same & unknown & (following != _NOBODY) & (rows.done == 0)
    next_action = rows.next_action.copy()
    next_action[fill] = source.action[following[fill]]
    return dataclasses.replace(rows, next_action=next_action)


def _keys(rows: Transitions) -> list[_Key]:
    columns = (rows.instrument.tolist(), rows.agent_id.tolist(), rows.episode_id.tolist())
    return list(zip(*columns, strict=True))


def _order(rows: Transitions) -> list[tuple[int, bytes]]:
    return list(zip(rows.timestamp.tolist(), rows.transition_id.tolist(), strict=True))


def _row(rows: Transitions, number: int) -> Transitions:
    """One row as a copy, which keeps its frame from being held in memory."""
    return rows.take(np.array([number]))
