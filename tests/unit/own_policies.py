"""Policies of a user's own for the tests of the night, found by name: `tests.unit.own_policies:linear`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from janus_memory.policy.factory import PolicySpec
from janus_memory.policy.protocol import Batch
from tests.unit.online_rows import LinearQ

NOT_CALLABLE = 5
SICK: dict[str, Any] = {}
_T = TypeVar("_T")


class Momentum(LinearQ):
    """A `LinearQ` with a momentum that it saves, softmax actions, and half the step where it is the slow copy."""

    def __init__(self, spec: PolicySpec, seed: int) -> None:
        rate = 0.02 if spec.speed == "fast" else 0.01
        super().__init__(spec.market, rate=rate, gamma=spec.settings.gamma)
        self.w = np.random.default_rng(seed).normal(0, 0.5, self.w.shape)
        self.speed = np.zeros_like(self.w)

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """A step with momentum."""
        before = self.w.copy()
        loss = super().update(batch, weights)
        self.speed = 0.5 * self.speed + (self.w - before)
        self.w = before + self.speed
        return loss

    def action_distribution(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Softmax of Q."""
        q = states @ self.w
        share = np.exp(q - q.max(axis=1, keepdims=True))
        return np.asarray(share / share.sum(axis=1, keepdims=True), np.float32)

    def save(self, path: Path) -> None:
        """Weights and momentum."""
        np.savez(path, w=self.w, speed=self.speed)

    def load(self, path: Path) -> None:
        """The inverse of `save`."""
        with np.load(path) as file:
            self.w, self.speed = file["w"], file["speed"]


def linear(spec: PolicySpec, seed: int) -> Momentum:
    """What the settings name."""
    return Momentum(spec, seed)


def other(spec: PolicySpec, seed: int) -> Momentum:
    """The same policy by another name."""
    return Momentum(spec, seed)


def refusing(spec: PolicySpec, seed: int) -> Momentum:
    """A factory that fails."""
    raise RuntimeError(f"no licence for {spec.market.name}, {seed > 0}")


def half(spec: PolicySpec, seed: int) -> Any:
    """Something that is no policy."""
    del spec, seed
    return Path("nowhere")


class Spoiling(Momentum):
    """A `Momentum` that spoils the rows and weights it has been given, after it has used them."""

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """Answer, and spoil."""
        answer = Momentum.td_errors(self, batch)
        return answer if self.learning else self.spoil(batch, answer)

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Learn, and spoil."""
        self.learning = True
        answer = super().update(batch, weights)
        self.learning, weights[:] = False, 0
        return self.spoil(batch, answer)

    def spoil(self, batch: Batch, answer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sevens everywhere."""
        batch.state[:], batch.next_state[:], batch.reward[:], batch.action[:] = 7, 7, 7, 0
        return answer

    learning = False


class Forgetful(Momentum):
    """A `Momentum` that does not save its momentum."""

    def save(self, path: Path) -> None:
        """Weights alone."""
        np.savez(path, w=self.w, speed=np.zeros_like(self.w))


class Sick(Momentum):
    """A `Momentum` of which one method raises the error, or answers through the function, that `SICK` has for it."""

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """Perhaps."""
        return answered("td_errors", super().td_errors(batch))

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Perhaps."""
        return answered("update", super().update(batch, weights))

    def action_distribution(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Perhaps."""
        return answered("action_distribution", super().action_distribution(states))

    def save(self, path: Path) -> None:
        """Perhaps; nothing where the answer is False."""
        if answered("save", answer=True):
            super().save(path)

    def load(self, path: Path) -> None:
        """Perhaps."""
        answered("load", answer=True)
        super().load(path)


class Steady:
    """A policy for vectors of two numbers: always (0, 3), worth what it has learned that it brings."""

    def __init__(self, spec: PolicySpec, seed: int) -> None:
        assert spec.market.action_kind == "vector"
        assert seed > 0
        self.value = np.zeros(1)

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """The reward that was not expected."""
        assert batch.action.shape == batch.next_action.shape == (len(batch), 2)
        return np.asarray(batch.reward - self.value, np.float32)

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """A step to the mean reward."""
        delta = self.td_errors(batch)
        self.value = self.value + 0.1 * float(np.mean(weights * delta))
        return np.asarray(delta**2 / 2, np.float32)

    def action_distribution(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it always does."""
        return np.tile(np.array([0, 3], np.float32), (len(states), 1))

    def save(self, path: Path) -> None:
        """The value."""
        path.write_bytes(self.value.tobytes())

    def load(self, path: Path) -> None:
        """The inverse of `save`."""
        self.value = np.frombuffer(path.read_bytes())


def answered(method: str, answer: _T) -> _T:
    """The answer of a method, or what `SICK` says."""
    wrong = SICK.get(method)
    if isinstance(wrong, Exception):
        raise wrong
    said: _T = wrong(answer) if wrong is not None else answer
    return said


def spoiling(spec: PolicySpec, seed: int) -> Momentum:
    """A `Spoiling`."""
    return Spoiling(spec, seed)


def forgetful(spec: PolicySpec, seed: int) -> Momentum:
    """A `Forgetful`."""
    return Forgetful(spec, seed)


def sick(spec: PolicySpec, seed: int) -> Momentum:
    """A `Sick`."""
    return Sick(spec, seed)
