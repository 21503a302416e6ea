"""Rows, a user's own policy and its notes for the tests of the online learner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from janus_memory.policy.protocol import Batch
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("a", "b"), "discrete", 3)


class LinearQ:
    """A user's policy in plain numpy: Q(s, a) = s . w[:, a], learned by gradient descent."""

    def __init__(self, spec: MarketSpec = SPEC, *, rate: float = 0.05, gamma: float = 0.9) -> None:
        self.w = np.zeros((spec.state_size, spec.action_size))
        self.rate, self.gamma = rate, gamma

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """R + gamma Q(s', a') - Q(s, a)."""
        following = batch.next_state @ self.w
        known = following[np.arange(len(batch)), np.maximum(batch.next_action, 0)]
        value = np.where(batch.next_action >= 0, known, following.max(axis=1)) * (batch.done == 0)
        q = (batch.state @ self.w)[np.arange(len(batch)), batch.action]
        return np.asarray(batch.reward + self.gamma * value - q, np.float32)

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """One step against the gradient of the squared error."""
        delta = self.td_errors(batch)
        step = (weights * delta)[:, None] * batch.state / len(batch)
        for action in range(self.w.shape[1]):
            self.w[:, action] += self.rate * step[batch.action == action].sum(axis=0)
        return np.asarray(delta**2 / 2, np.float32)

    def action_distribution(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """All on the best action."""
        q = states @ self.w
        return np.asarray(q == q.max(axis=1, keepdims=True), np.float32)

    def save(self, path: Path) -> None:
        """The weights."""
        np.savez(path, w=self.w)

    def load(self, path: Path) -> None:
        """The inverse of `save`."""
        with np.load(path) as file:
            self.w = file["w"]


class Noting(LinearQ):
    """A `LinearQ` that notes what it was given to learn from."""

    def __init__(self, spec: MarketSpec = SPEC) -> None:
        super().__init__(spec)
        self.updates: list[tuple[Batch, NDArray[np.float32]]] = []

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Note, and learn."""
        self.updates.append((batch, weights))
        return super().update(batch, weights)


class Broken(LinearQ):
    """A `LinearQ` that answers nonsense to batches of `sick_at` rows."""

    def __init__(self, answer: NDArray[np.float32], sick_at: int) -> None:
        super().__init__()
        self.answer, self.sick_at = answer, sick_at

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Learn, or answer nonsense."""
        return self.answer if len(batch) == self.sick_at else super().update(batch, weights)


def walks(n: int, *, seed: int = 0, episodes: int = 3, shuffled: bool = False) -> Transitions:
    """Rows of a few interleaved episodes in domains of their own, each with gaps and ends; reward i in row i."""
    rng = np.random.default_rng(seed)
    walk = rng.integers(0, episodes, n)
    state = rng.standard_normal((n, 2)).astype(np.float32)
    next_state = rng.standard_normal((n, 2)).astype(np.float32)
    last: dict[int, int] = {}
    for row, name in enumerate(walk.tolist()):
        if name in last and rng.random() < 0.8:
            next_state[last[name]] = state[row]
        last[name] = row
    rows = Transitions.of(
        SPEC,
        timestamp=1_000_000_000 * np.arange(1, n + 1),
        transition_id=[f"{seed}-{i}" for i in range(n)],
        episode_id=[f"e{i}" for i in walk],
        instrument=[f"d{i % 2}" for i in walk],
        state=state,
        action=rng.integers(0, 3, n),
        reward=np.arange(n, dtype=np.float32),
        next_state=next_state,
        next_action=np.full(n, -1),
        done=rng.random(n) < 0.1,
    )
    if shuffled:  # near neighbours change places, as on a network
        rows = rows.take(np.argsort(np.arange(n) + rng.uniform(0, 4, n)))
    return rows


def frames(rows: Transitions, sizes: list[int]) -> list[Transitions]:
    """The rows cut into frames of these sizes over and over."""
    cut: list[Transitions] = []
    start = 0
    while start < len(rows):
        size = sizes[len(cut) % len(sizes)]
        cut.append(rows.take(slice(start, start + size)))
        start += size
    return cut
