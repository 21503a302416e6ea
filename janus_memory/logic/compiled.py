"""A market's rules compiled by JAX, for whoever judges many rows at once and can do with float32.

The night judges in numpy, where bits are equal in every process; this is the same evaluator, traced, for research on
recorded days and for a policy of one's own. What it spends beside arithmetic is kept small: only the columns that some
rule reads are handed over, in memory that XLA takes as it is (aligned to 64 bytes) and not through a copy, and each
rule writes its truths into one table, one after the other, so that no thread waits for another.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.errors import RuleError
from janus_memory.logic.quantifiers import across_rules, rule_truths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike, NDArray

    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.transition import Transitions

__all__ = ["Judgement", "compiled"]

# From here on XLA reads a host's array where it lies.
_ALIGNMENT = 64


class Judgement(NamedTuple):
    """What R rules say of n rows; float32 where they are compiled.

    Attributes:
        truths: [n, R], each rule on each row, its outer quantifier dropped.
        closed: [R], each rule by its quantifier; 1 (forall) or 0 (exists) without rows.
        satisfaction: SatAgg; 1 without rules.
    """

    truths: NDArray[np.floating]
    closed: NDArray[np.floating]
    satisfaction: float


def compiled(rules: KnowledgeBase) -> Callable[[Transitions], Judgement]:
    """The rules as one compiled function of rows, in the user's own units; it compiles once for each number of rows.

    The function raises `RuleError` where a rule meets NaN or infinity, and where an action component does not exist.
    """
    of_state, of_next = rules.columns_read()
    each = rules.truth_of_each()

    @functools.partial(jax.jit, static_argnames=("d",))
    def judge(columns: jax.Array, action: jax.Array, d: int) -> tuple[jax.Array, jax.Array]:
        state = _features(columns[: len(of_state)], of_state, d)
        next_state = _features(columns[len(of_state) : -1], of_next, d)
        # Not stacked: writing into one table orders the rules, and XLA runs them without handing them to threads.
        table = jnp.zeros((len(rules.names), columns.shape[1]), columns.dtype)
        for number, truth in enumerate(each(state, action, next_state, columns[-1])):
            table = table.at[number].set(truth)
        closed = rule_truths(table.T, rules.quantifiers)
        return table, jnp.append(closed, across_rules(closed, rules.weights, rules.quantifiers))

    def call(rows: Transitions) -> Judgement:
        columns = _aligned((len(of_state) + len(of_next) + 1, len(rows)), np.float32)
        for place, index in enumerate(of_state):
            columns[place] = rows.state[:, index]
        for place, index in enumerate(of_next, len(of_state)):
            columns[place] = rows.next_state[:, index]
        columns[-1] = rows.reward
        action = _aligned(rows.action.shape, rows.action.dtype)
        action[...] = rows.action
        table, verdicts = judge(columns, action, rows.state.shape[1])
        joined = np.asarray(verdicts)
        if not np.isfinite(joined).all():
            _refuse(rules.names, joined[:-1])
        return Judgement(np.asarray(table).T, joined[:-1], float(joined[-1]))

    return call


def _features(columns: jax.Array, indices: Sequence[int], d: int) -> jax.Array:
    """[n, d] with these columns in their places and zeros in those that nobody reads, which cost nothing."""
    places = [jnp.zeros(columns.shape[1:], columns.dtype)] * d
    for column, index in enumerate(indices):
        places[index] = columns[column]
    return jnp.stack(places, axis=1)


def _aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
    """An empty array that begins at a multiple of `_ALIGNMENT` bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def _refuse(names: Sequence[str], closed: NDArray[np.floating]) -> None:
    broken = names[int(np.flatnonzero(~np.isfinite(closed))[0])]
    raise RuleError(f"rule {broken!r} meets NaN or infinity; nothing was judged; repair the rows")
