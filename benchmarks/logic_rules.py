"""Twenty rules of a currency desk and transitions to judge by them: what `benchmarks.logic` and the oracle work on."""

from __future__ import annotations

import numpy as np

from janus_memory.config import RuleSettings
from janus_memory.logic.knowledge import KnowledgeBase
from janus_memory.transition import MarketSpec, Transitions

__all__ = ["ACTIONS", "FEATURES", "TEXTS", "knowledge", "transitions"]

FEATURES = (
    "volatility_24h",
    "position",
    "position_pnl",
    "drawdown",
    "spread",
    "leverage",
    "hour",
    "liquidity",
)
ACTIONS = ("short", "flat", "long")
# Every connective, both quantifiers, soft and crisp comparisons, arithmetic, reward and next state. The peer has the
# same twenty, in the same order, written by hand (`benchmarks.ltn_peer`).
TEXTS = (
    "drawdown < -0.01 ~ 0.002 implies action == flat",
    "abs(position) * volatility_24h > 0.0016 ~ 0.0002 implies action == flat",
    "position > 0.5 ~ 0.1 and position_pnl < -0.004 ~ 0.001 implies not action == long",
    "position < -0.5 ~ 0.1 and position_pnl < -0.004 ~ 0.001 implies not action == short",
    (
        "(position > 0.5 ~ 0.1 and position_pnl < -0.008 ~ 0.001 implies action == short) "
        "and (position < -0.5 ~ 0.1 and position_pnl < -0.008 ~ 0.001 implies action == long)"
    ),
    "spread > 0.0003 ~ 0.00005 implies action == flat",
    "leverage < 5 ~ 0.5",
    "liquidity < 0.2 ~ 0.05 and abs(position) > 0.8 ~ 0.1 implies not action == long",
    "hour == 22 ~ 1 implies action == flat",
    "exists: reward > 0 ~ 5",
    "reward > -20 ~ 4",
    "next.drawdown >= drawdown - 0.005 ~ 0.001",
    "next.volatility_24h > 0.003 ~ 0.0005 implies reward > -10 ~ 3",
    "volatility_24h > 0.002 ~ 0.0003 or spread > 0.0004 ~ 0.00005 implies action != long",
    "exists: action == flat and abs(position) > 0.9 ~ 0.05",
    "not (leverage > 4 ~ 0.5 and volatility_24h > 0.0015 ~ 0.0002)",
    "position_pnl > 0.01 ~ 0.002 implies action == flat or reward > 0 ~ 5",
    "2 * leverage + 10 * abs(position) < 18 ~ 2",
    "exists: drawdown == 0 ~ 0.001 and reward > 0 ~ 5",
    "hour < 2 or hour > 21 implies action == flat or leverage < 1 ~ 0.25",
)


def knowledge(eps: float = 0.0) -> KnowledgeBase:
    """The twenty, each of weight 1."""
    rules = [RuleSettings(name=f"rule {number}", text=text) for number, text in enumerate(TEXTS)]
    return KnowledgeBase.parse(rules, FEATURES, ACTIONS, eps=eps)


def transitions(n: int, seed: int) -> Transitions:
    """`n` rows on both sides of every limit."""
    rng = np.random.default_rng(seed)
    rows = Transitions.empty(MarketSpec("bench", FEATURES, "discrete", 3, ACTIONS), n)
    rows.state[:] = _states(rng, n)
    rows.next_state[:] = _states(rng, n)
    rows.action[:] = rng.integers(0, 3, n)
    rows.reward[:] = rng.normal(0, 10, n)
    return rows


def _states(rng: np.random.Generator, n: int) -> np.ndarray:
    columns = [
        rng.gamma(4, 0.0004, n),
        rng.uniform(-1.2, 1.2, n),
        rng.normal(0, 0.006, n),
        -rng.exponential(0.008, n),
        rng.gamma(4, 0.0001, n),
        rng.uniform(0, 7, n),
        rng.integers(0, 24, n),
        rng.uniform(0, 1, n),
    ]
    return np.column_stack(columns)
