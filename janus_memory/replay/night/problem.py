"""The rows of a night as the learner takes them: standardised, scaled, checked (SPEC section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import InsufficientData, ReplayError
from janus_memory.logic.quantifiers import UNIVERSAL, Quantifiers
from janus_memory.policy.box import in_box_units
from janus_memory.policy.networks import action_size_of, is_vector, state_size_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.logic.knowledge import KnowledgeBase

__all__ = ["ReplayProblem", "VectorColumns", "check_fit", "check_problem", "distinct_states"]


@dataclass(frozen=True, slots=True)
class VectorColumns:
    """What a market of vector actions adds to its rows.

    Attributes:
        box: where the head chooses from, float32 [2, m] (`policy.box`).
        state: float32 [N, d], the user's own units, of which rules speak.
        rules: the R rules, grounded on what the head chooses.
    """

    box: NDArray[np.float32]
    state: NDArray[np.float32]
    rules: KnowledgeBase


@dataclass(frozen=True, slots=True)
class ReplayProblem:
    """N rows in the total order.

    Attributes:
        x, next_x: standardised states, float32 [N, d].
        action: int32 [N], or float32 [N, m] in the user's own units.
        next_action: as the action; -1 or a row of NaN where not known.
        reward: float32 [N], scaled.
        done: uint8 [N].
        violation: v, float32 [N] in [0, 1].
        policy_truth: truth of each rule under each discrete action, float32 [N, R, A]; R may be 0, A is 0 for vectors.
        rule_weight: float32 [R], non-negative.
        timestamp: market time, int64 [N], UTC nanoseconds; for `prioritized_recency`.
        domain: code of each row's domain, int32 [N] from 0 on; for `domain_balanced`.
        quantifiers: of the R rules.
        vector: what a market of vector actions adds; None where they are discrete.
    """

    x: NDArray[np.float32]
    action: NDArray[np.int32] | NDArray[np.float32]
    reward: NDArray[np.float32]
    next_x: NDArray[np.float32]
    next_action: NDArray[np.int32] | NDArray[np.float32]
    done: NDArray[np.uint8]
    violation: NDArray[np.float32]
    policy_truth: NDArray[np.float32]
    rule_weight: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    domain: NDArray[np.int32]
    quantifiers: Quantifiers = UNIVERSAL
    vector: VectorColumns | None = None

    def __len__(self) -> int:
        return len(self.x)

    def network_action(self) -> NDArray[np.int32] | NDArray[np.float32]:
        """The actions as networks take them: vectors in units of the box."""
        return self.action if self.vector is None else _in_box(self.action, self.vector)

    def network_next_action(self) -> NDArray[np.int32] | NDArray[np.float32]:
        """The next actions in the same way."""
        return self.next_action if self.vector is None else _in_box(self.next_action, self.vector)


def check_fit(problem: ReplayProblem, weights: Mapping[str, NDArray[np.generic]]) -> None:
    """Refuse rows that a learner with these weights cannot use.

    Raises:
        InsufficientData, ReplayError: as `check_problem`, or weights of another kind of action.
    """
    if is_vector(weights) != (problem.vector is not None):
        kinds = ("discrete actions", "vector actions")
        raise ReplayError(
            f"the learner knows {kinds[is_vector(weights)]} and the rows have {kinds[problem.vector is not None]}; "
            "the learner is unchanged; a market keeps its kind of action, give another kind a market of its own"
        )
    check_problem(problem, state_size_of(weights), action_size_of(weights))


def check_problem(problem: ReplayProblem, state_size: int, action_size: int) -> None:
    """Refuse rows that no learner can use, before anything is computed.

    Raises:
        InsufficientData: no rows.
        ReplayError: a column of the wrong shape, a value that is not finite or out of range.
    """
    n, rules = len(problem), len(problem.rule_weight)
    if n == 0:
        raise InsufficientData(
            "replay was given no rows; the learner is unchanged; wait for more transitions"
        )
    shapes = {
        "x": (n, state_size),
        "next_x": (n, state_size),
        "reward": (n,),
        "done": (n,),
        "violation": (n,),
        "policy_truth": (n, rules, action_size if problem.vector is None else 0),
        "rule_weight": (rules,),
        "timestamp": (n,),
        "domain": (n,),
    }
    for name, shape in shapes.items():
        _check_column(name, getattr(problem, name), shape)
    if problem.vector is None:
        _check_indices(problem, action_size)
    else:
        _check_vectors(problem, problem.vector, state_size, action_size)
    _check_range("domain", problem.domain, 0, n - 1)
    _check_range("violation", problem.violation, 0, 1)
    _check_range("policy_truth", problem.policy_truth, 0, 1)
    if rules and not (problem.rule_weight.min() >= 0 and problem.rule_weight.max() > 0):
        raise ReplayError(
            f"rule weights {problem.rule_weight.tolist()} must be non-negative and not all zero; "
            "the learner is unchanged; correct the rules' weights"
        )


def _check_indices(problem: ReplayProblem, n_actions: int) -> None:
    for name, column, least in (("action", problem.action, 0), ("next_action", problem.next_action, -1)):
        _check_column(name, column, (len(problem),))
        _check_range(name, column, least, n_actions - 1)


def _check_vectors(problem: ReplayProblem, vector: VectorColumns, state_size: int, action_size: int) -> None:
    n = len(problem)
    unknown = np.isnan(problem.next_action).all(axis=-1, keepdims=True)
    _check_column("action", problem.action, (n, action_size))
    _check_column("next_action", np.where(unknown, np.float32(0), problem.next_action), (n, action_size))
    _check_column("vector.state", vector.state, (n, state_size))
    _check_column("vector.box", vector.box, (2, action_size))


def _in_box(action: NDArray[np.int32] | NDArray[np.float32], vector: VectorColumns) -> NDArray[np.float32]:
    return in_box_units(action.astype(np.float32, copy=False), vector.box)


def distinct_states(
    x: NDArray[np.float32], next_x: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """The distinct states among x and next_x, and where each row's two states lie in them.

    Most rows' next state is another row's state, so the network sees about half as many rows.

    Returns:
        states float32 [U, d]; index of x int32 [N]; index of next_x int32 [N].
    """
    n = len(x)
    both = np.concatenate((x, next_x))
    _, first, inverse = np.unique(_row_hash(both), return_index=True, return_inverse=True)
    states = both[first]
    if not np.array_equal(states[inverse].view(np.uint32), both.view(np.uint32)):
        states, inverse = both, np.arange(2 * n)  # two states share a 64-bit hash: keep all
    return states, inverse[:n].astype(np.int32), inverse[n:].astype(np.int32)


def _row_hash(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A multiply-add hash of each row's bits; uint64 [n], wrapping."""
    factors = np.random.default_rng(0).integers(0, 2**64, rows.shape[1], np.uint64) | np.uint64(1)
    mixed: NDArray[np.uint64] = (rows.view(np.uint32).astype(np.uint64) * factors).sum(
        axis=1, dtype=np.uint64
    )
    return mixed


def _check_column(name: str, values: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ReplayError(
            f"replay column `{name}` has shape {values.shape}, expected {shape}; the learner is unchanged; "
            "check the market's features, actions and rules against the stored memory"
        )
    bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(0, bool)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ReplayError(
            f"replay column `{name}` has {int(bad.sum())} values that are not finite, the first in row {row}; "
            "the learner is unchanged; remove the row, or look at the scale it was standardised with"
        )


def _check_range(name: str, values: NDArray[np.generic], low: float, high: float) -> None:
    bad = (values < low) | (values > high)  # type: ignore[operator]  # numeric columns, by _check_column
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ReplayError(
            f"replay column `{name}` leaves [{low}, {high}], first in row {row}; the learner is unchanged; "
            "the row does not fit the market's settings"
        )
