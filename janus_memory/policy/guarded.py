"""A user's own policy, asked with care: what it raises and what it answers is judged here, and named.

Whatever leaves a method of it becomes a `PolicyError` that says which factory, method and market, where in the
user's code, and what was kept safe. It is given copies of rows, so it cannot change a night's.
"""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import PolicyError
from janus_memory.policy.factory import METHODS
from janus_memory.policy.packing import pack_policy, unpack_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from janus_memory.policy.factory import Factory, PolicySpec
    from janus_memory.policy.protocol import Batch, Policy

    F4 = NDArray[np.float32]

__all__ = ["GuardedPolicy"]

_SUM_TOLERANCE = 1e-3


class GuardedPolicy:
    """One policy made by a factory. Single writer.

    Raises:
        PolicyError: from every method, where the policy raised or answered something else than was asked for.
    """

    def __init__(self, name: str, factory: Factory, spec: PolicySpec, seed: int, session: str) -> None:
        """Make the policy.

        Args:
            name: the factory's, for messages.
            factory: makes it.
            spec: what it is told.
            seed: of its first weights.
            session: whose night it is, for messages.

        Raises:
            PolicyError: the factory raised, or returned something that lacks a method.
        """
        self._name, self._session, self._market = name, session, spec.market
        with self._blaming("the factory"):
            policy = factory(spec, seed)
        missing = [method for method in METHODS if not callable(getattr(policy, method, None))]
        if missing:
            raise self._failed(
                "the factory", f"returned a {type(policy).__name__} without {', '.join(missing)}"
            )
        self._policy: Policy = policy

    def td_errors(self, batch: Batch) -> F4:
        """TD errors of the rows (E7); float32 [n]."""
        with self._blaming("td_errors"):
            answer = self._policy.td_errors(batch)
        return self._numbers("td_errors", answer, (len(batch),))

    def update(self, batch: Batch, weights: F4) -> F4:
        """Learn from the rows once; the loss of each before, float32 [n]."""
        with self._blaming("update"):
            answer = self._policy.update(batch, weights)
        return self._numbers("update", answer, (len(batch),))

    def action_distribution(self, states: F4) -> F4:
        """Probabilities of the discrete actions, or the action vector, at each state; float32 [n, A]."""
        with self._blaming("action_distribution"):
            answer = self._policy.action_distribution(states)
        chosen = self._numbers("action_distribution", answer, (len(states), self._market.action_size))
        if self._market.action_kind == "discrete":
            wrong = (chosen < 0).any(axis=1) | (np.abs(chosen.sum(axis=1) - 1) > _SUM_TOLERANCE)
            if wrong.any():
                row = int(wrong.argmax())
                raise self._failed(
                    "action_distribution",
                    f"returned {chosen[row].tolist()} for state {row}, which are no probabilities",
                )
        return chosen

    def pack(self) -> NDArray[np.uint8]:
        """What its `save` writes, as bytes."""
        with self._blaming("save"):
            return pack_policy(self._policy)

    def unpack(self, data: NDArray[np.generic]) -> None:
        """Let it `load` what `pack` returned."""
        with self._blaming("load"):
            unpack_policy(self._policy, data)

    @contextmanager
    def _blaming(self, method: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            what = f"raised {type(error).__name__}: {error}{_place(error)}"
            raise self._failed(method, what) from error

    def _numbers(self, method: str, answer: object, shape: tuple[int, ...]) -> F4:
        """The answer as float32, if it is an array of finite floating-point numbers of this shape."""
        if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f":
            kind = f"an array of {answer.dtype}" if isinstance(answer, np.ndarray) else type(answer).__name__
            raise self._failed(method, f"returned {kind} where a numpy array of float32 was asked for")
        if answer.shape != shape:
            raise self._failed(method, f"returned shape {answer.shape} where {shape} was asked for")
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
            values = answer.astype(np.float32)
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            raise self._failed(
                method,
                f"returned {int(bad.sum())} of {values.size} values that are not finite float32, the first in row "
                f"{row}; lower its learning rate if training diverged",
            )
        return values

    def _failed(self, method: str, what: str) -> PolicyError:
        return PolicyError(
            f"policy {self._name}, market {self._market.name}: {method} {what}; nothing of session {self._session} "
            "is consolidated or published, the memory of the night before and the session's last checkpoint stand; "
            f"correct the policy, then `janus sleep --retry {self._session}`"
        )


def _place(error: Exception) -> str:
    """Where in the user's code an error came up: the first frame outside this package's folder."""
    ours = Path(__file__).parent
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).parent != ours:
            return f" ({frame.filename}, line {frame.lineno})"
    return ""
