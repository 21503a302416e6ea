"""The behaviour policies of the simulated traders: where each wants to stand at each bar.

Twenty traders differ in kind, horizon, threshold and noise, so that they take different paths through
the same prices. A trader sees the closes up to the bar at which it decides, never a later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from janus_memory.seeds import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACTION_NAMES", "N_AGENTS", "Agent", "agents", "decide"]

ACTION_NAMES = ("short", "flat", "long")
N_AGENTS = 20
_KINDS: tuple[Literal["momentum", "reversion", "noise"], ...] = ("momentum", "reversion", "noise")


@dataclass(frozen=True, slots=True)
class Agent:
    """One trader.

    Attributes:
        name: its agent_id.
        kind: follows the last move, bets against it, or takes positions by chance.
        horizon: bars over which it measures the move, or for which it holds by chance.
        threshold: deviations of the move below which it stays flat.
        explore: chance of a random position instead, at each bar.
    """

    name: str
    kind: Literal["momentum", "reversion", "noise"]
    horizon: int
    threshold: float
    explore: float


def agents(n: int, seed: int, market: str) -> list[Agent]:
    """The traders of a market: equal for equal arguments."""
    made = []
    for i in range(n):
        kind = _KINDS[i % len(_KINDS)]
        name = f"{kind}-{i:02d}"
        rng = np.random.default_rng(derive_seed(seed, market, name, "agent"))
        horizon = int(np.exp(rng.uniform(np.log(2), np.log(48))))
        made.append(Agent(name, kind, horizon, float(rng.uniform(0.2, 1.2)), float(rng.uniform(0.02, 0.15))))
    return made


def decide(agent: Agent, close: NDArray[np.float64], first: int, last: int, seed: int) -> NDArray[np.int32]:
    """The action at each bar of [first, last): 0 short, 1 flat, 2 long.

    Args:
        agent: who decides.
        close: closes of all bars; those after a bar play no part in its action.
        first: first bar of the episode.
        last: one past the last bar at which the agent decides.
        seed: of this agent and episode.

    Returns:
        int32 [last - first].
    """
    rng = np.random.default_rng(seed)
    n = last - first
    explore, anywhere = rng.random(n) < agent.explore, rng.integers(0, 3, n)
    if agent.kind == "noise":
        moves = rng.random(n) < 1.0 / agent.horizon
        moves[0] = True
        wanted = rng.integers(0, 3, n)[np.maximum.accumulate(np.where(moves, np.arange(n), 0))]
    else:
        sign = 1 if agent.kind == "momentum" else -1
        move = _move(close, agent.horizon, first, last)
        wanted = 1 + sign * np.sign(move).astype(np.int64) * (np.abs(move) > agent.threshold)
    return np.where(explore, anywhere, wanted).astype(np.int32)


def _move(close: NDArray[np.float64], horizon: int, first: int, last: int) -> NDArray[np.float64]:
    """Log return over the horizon in deviations of a random walk with the last 120 bars' volatility."""
    out = np.zeros(last - first)
    for t in range(first, last):
        logs = np.log(close[max(0, t - 120) : t + 1])
        if len(logs) > horizon:
            spread = np.diff(logs).std() * np.sqrt(horizon)
            out[t - first] = (logs[-1] - logs[-1 - horizon]) / spread if spread > 0 else 0.0
    return out
