"""Rows for the replay tests: small, random, in the shape that a night gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.replay.night.problem import ReplayProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray


def random_problem(
    n: int, *, d: int = 3, n_actions: int = 3, n_rules: int = 2, seed: int = 0
) -> ReplayProblem:
    """One walk of n steps: most next states are the next row's state; some next actions are not known."""
    rng = np.random.default_rng(seed)
    path = rng.normal(size=(n + 1, d)).astype(np.float32)
    done = (rng.random(n) < 0.2).astype(np.uint8)
    next_x = path[1:].copy()
    next_x[done > 0] = rng.normal(size=(int(done.sum()), d))
    return ReplayProblem(
        x=path[:-1].copy(),
        action=rng.integers(0, n_actions, n).astype(np.int32),
        reward=rng.normal(size=n).astype(np.float32),
        next_x=next_x,
        next_action=rng.integers(-1, n_actions, n).astype(np.int32),
        done=done,
        violation=rng.random(n).astype(np.float32),
        policy_truth=rng.random((n, n_rules, n_actions)).astype(np.float32),
        rule_weight=rng.uniform(0.5, 2.0, n_rules).astype(np.float32),
        timestamp=np.sort(rng.integers(0, 3 * 86_400, n)) * 1_000_000_000,
        domain=(np.arange(n) % 4 % 3).astype(np.int32),
    )


def plain_forward(weights: dict[str, NDArray[np.float64]], x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Q in numpy, float64: [n, d] -> [n, A]."""
    last = len(weights) // 2 - 1
    out = x.astype(np.float64)
    for layer in range(last + 1):
        out = out @ weights[f"w{layer}"] + weights[f"b{layer}"]
        if layer < last:
            out = np.maximum(out, 0)
    return out


def plain_following(
    next_q: NDArray[np.float64], next_action: NDArray[np.int32], done: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """What follows each row, by a loop over the definition: 0, Q(s', a') or max Q."""
    values = []
    for q, a, ended in zip(next_q, next_action, done, strict=True):
        values.append(0.0 if ended else (q[a] if a >= 0 else q.max()))
    return np.array(values)


def plain_td(
    weights: dict[str, NDArray[np.float64]],
    bootstrap_weights: dict[str, NDArray[np.float64]],
    problem: ReplayProblem,
    gamma: float,
) -> NDArray[np.float64]:
    """Delta = r + gamma Q(s', a') - Q(s, a), row by row; float64 [n]."""
    q = plain_forward(weights, problem.x)
    following = plain_following(
        plain_forward(bootstrap_weights, problem.next_x), problem.next_action.astype(np.int32), problem.done
    )
    taken = np.array([row[a] for row, a in zip(q, problem.action, strict=True)])
    delta: NDArray[np.float64] = problem.reward.astype(np.float64) + gamma * following - taken
    return delta
