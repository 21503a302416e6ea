"""Rows of a market of vector actions for the replay tests, and what SPEC says of them in plain float64 numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from janus_memory.config import PolicySettings, RuleSettings
from janus_memory.logic import KnowledgeBase
from janus_memory.replay.night.problem import ReplayProblem, VectorColumns
from tests.unit.replay_rows import plain_forward, random_problem

F8 = NDArray[np.float64]
Weights = dict[str, F8]

FEATURES = ("x", "y", "z")
RULES = (
    RuleSettings(name="small where x is large", text="x > 0.5 ~ 0.2 implies abs(action[0]) < 1 ~ 0.3"),
    RuleSettings(name="with y", text="action[1] * y >= 0 ~ 0.5", weight=2.0),
)
# Not centred and not of one width, so that a unit that is forgotten shows.
BOX = np.array([[-1, 2], [3, 3]], np.float32)


def random_vector_problem(n: int, *, rules: tuple[RuleSettings, ...] = RULES, seed: int = 0) -> ReplayProblem:
    """The walk of `random_problem` under actions of two components; a third of the next ones is not known."""
    base, rng = random_problem(n, n_rules=len(rules), seed=seed), np.random.default_rng([seed, 1])
    action, next_action = ((BOX.mean(axis=0) + rng.normal(size=(n, 2))).astype(np.float32) for _ in range(2))
    next_action[rng.random(n) < 1 / 3] = np.nan
    known = KnowledgeBase.parse(rules, FEATURES, action_dim=2)
    return dataclasses.replace(
        base,
        action=action,
        next_action=next_action,
        policy_truth=np.zeros((n, len(rules), 0), np.float32),
        rule_weight=known.weights.astype(np.float32),
        quantifiers=known.quantifiers,
        vector=VectorColumns(BOX, rng.normal(size=(n, 3)).astype(np.float32), known),
    )


def part(weights: Weights, prefix: str) -> Weights:
    """One of the two networks."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def plain_choice(weights: Weights, x: NDArray[np.floating]) -> F8:
    """pi(s) in the market's own units: tanh over the box."""
    low, high = BOX.astype(np.float64)
    choice: F8 = (low + high) / 2 + (high - low) / 2 * np.tanh(plain_forward(part(weights, "pi/"), x))
    return choice


def plain_value(weights: Weights, x: NDArray[np.floating], action: F8) -> F8:
    """Q(s, a) of an action in the market's own units."""
    low, high = BOX.astype(np.float64)
    unit = (action - (low + high) / 2) / ((high - low) / 2)
    return plain_forward(part(weights, "q/"), np.c_[x, unit])[:, 0]


def plain_vector_td(weights: Weights, follow_by: Weights, problem: ReplayProblem, gamma: float) -> F8:
    """Delta = r + gamma Q'(s', a' or pi'(s')) - Q(s, a), row by row."""
    deltas = []
    for i in range(len(problem)):
        x, next_x = problem.x[i : i + 1], problem.next_x[i : i + 1]
        follows = plain_choice(follow_by, next_x)
        if np.isfinite(problem.next_action[i]).all():
            follows = problem.next_action[i : i + 1].astype(np.float64)
        ahead = 0.0 if problem.done[i] else plain_value(follow_by, next_x, follows)[0]
        own = plain_value(weights, x, problem.action[i : i + 1].astype(np.float64))[0]
        deltas.append(float(problem.reward[i]) + gamma * ahead - own)
    return np.array(deltas)


def plain_vector_loss(  # noqa: PLR0917  (as `plain_loss`, and which critic is held)
    weights: Weights, held: Weights, target: Weights, batch: ReplayProblem, w: F8, policy: PolicySettings
) -> tuple[float, float, float]:
    """What is descended (the head's gain under the `held` critic taken off), L_total, and SatAgg."""
    assert batch.vector is not None
    ahead = plain_vector_td(target, target, batch, policy.gamma) - plain_vector_td(target, target, batch, 0.0)
    delta = np.abs(plain_vector_td(weights, weights, batch, 0.0) + ahead)
    huber = np.where(delta <= policy.huber, delta**2 / 2, policy.huber * (delta - policy.huber / 2))
    choice = plain_choice(weights, batch.x)
    truth, _, _ = batch.vector.rules.policy_truth_function()
    miss = 1 - (1 - 1e-4) * np.asarray(truth(batch.vector.state, choice))
    share = batch.rule_weight / batch.rule_weight.sum()
    sat = float(1 - np.sqrt((share * (miss**2).mean(axis=0)).sum()))
    total = float((w * huber).mean()) + policy.lambda_logic * (1 - sat)
    return total - float((w * plain_value(held, batch.x, choice)).mean()), total, sat
