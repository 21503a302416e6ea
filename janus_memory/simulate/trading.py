"""Trading a session: positions, costs, rewards and the transitions that come of them.

An episode is one agent's trading day in one instrument. At the close of bar t the agent sees the state
and chooses a position (its action); it holds it until the close of bar t + 1 and is paid

    r_t = notional * (position * (close_{t+1} - close_t) - |change of position| * spread / 2)
          - |change of position| * commission

in the quote currency. The day starts flat; its last row also pays for closing the position, and is `done`.
Where bars are a day or longer apart an episode is the whole session instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ConfigError
from janus_memory.seeds import derive_seed
from janus_memory.simulate.behaviour import N_AGENTS, agents, decide
from janus_memory.simulate.features import ACCOUNT_FEATURES, market_features
from janus_memory.transition import ID_BYTES, Transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from janus_memory.simulate.bars import Bars
    from janus_memory.simulate.behaviour import Agent
    from janus_memory.simulate.sessions import Session
    from janus_memory.transition import MarketSpec

__all__ = ["Costs", "Market"]


@dataclass(frozen=True, slots=True)
class Costs:
    """What a position of one unit costs.

    Attributes:
        notional: size of a position of 1 in the base currency (100 000 EUR).
        spread: distance of bid and ask in price (0.8 pips); half of it is paid at each change of one.
        commission: per change of one, in the quote currency (2.50 USD).
    """

    notional: float = 100_000.0
    spread: float = 0.00008
    commission: float = 2.5

    @property
    def per_change(self) -> float:
        """Cost of changing the position by one, in the quote currency."""
        return self.notional * self.spread / 2 + self.commission


@dataclass(frozen=True, slots=True)
class _TradingDay:
    """The bars [first, last) of an episode and the moments of its decisions, UTC nanoseconds [last - first - 1]."""

    date: str
    first: int
    last: int
    times: NDArray[np.int64]


class Market:
    """Turns bars into the transitions of a market's simulated agents. Read-only after it is made."""

    def __init__(
        self, spec: MarketSpec, bars: Bars, costs: Costs, *, seed: int, n_agents: int = N_AGENTS
    ) -> None:
        """Compute the market's features.

        Args:
            spec: the market; its actions must be the three of `behaviour.ACTION_NAMES`.
            bars: all bars, the history before the first session included.
            costs: what trading costs.
            seed: root seed of all agents.
            n_agents: how many agents trade.

        Raises:
            ConfigError: a feature cannot be made, or the actions are not short, flat and long.
        """
        if spec.action_kind != "discrete" or spec.action_size != 3:
            raise ConfigError(
                f"market {spec.name}: the simulator trades short, flat and long; nothing was sent; "
                'set `action_names = ["short", "flat", "long"]`'
            )
        self._spec, self._bars, self._costs, self._seed = spec, bars, costs, seed
        names = [name for name in spec.features if name not in ACCOUNT_FEATURES]
        self._features = market_features(bars, names)
        self._known = np.isfinite(self._features.sum(axis=1))
        self.agents: list[Agent] = agents(n_agents, seed, spec.name)

    def is_ready(self, session: Session) -> bool:
        """Whether the history before the session is long enough for every feature at its first bar."""
        return bool(self._known[session.days[0].first])

    def episodes(self, session: Session) -> Iterator[list[Transitions]]:
        """Day by day, one episode (rows in time order) for each agent; days of one bar hold none."""
        for day in self._trading_days(session):
            yield [self._episode(agent, day) for agent in self.agents]

    def play(
        self, session: Session, agent_id: str, choose: Callable[[NDArray[np.float32]], int]
    ) -> Iterator[Transitions]:
        """Day by day, the episode of a trader of one's own, paid and told as the simulated agents are.

        Args:
            session: its days are traded one after the other, each from a flat start.
            agent_id: the trader's name.
            choose: the action (0 short, 1 flat, 2 long) at a state, float32 [d] in the market's own units.
        """
        for day in self._trading_days(session):
            action = np.ones(day.last - day.first - 1, np.int32)
            for bar in range(len(action)):
                # A state depends on the positions taken before it alone: those still open are not looked at.
                states, _ = self._account(action.astype(np.float64) - 1, day.first, day.last)
                action[bar] = choose(states[bar])
            yield self._rows(agent_id, day, action)

    def _trading_days(self, session: Session) -> Iterator[_TradingDay]:
        ends, offset = session.bar_ends(self._bars), session.days[0].first
        spans = [(day.date, day.first, day.last) for day in session.days]
        if self._bars.is_daily:
            spans = [(spans[-1][0], spans[0][1], spans[-1][2])]
        for date, first, last in spans:
            if last - first > 1:
                yield _TradingDay(date, first, last, ends[first - offset : last - 1 - offset])

    def _episode(self, agent: Agent, day: _TradingDay) -> Transitions:
        """One agent's rows over a day."""
        seed = derive_seed(self._seed, self._spec.name, day.date, agent.name)
        return self._rows(agent.name, day, decide(agent, self._bars.close, day.first, day.last - 1, seed))

    def _rows(self, agent_id: str, day: _TradingDay, action: NDArray[np.int32]) -> Transitions:
        """What comes of a day's actions."""
        n = len(action)
        states, reward = self._account(action.astype(np.float64) - 1, day.first, day.last)
        rows = Transitions.empty(self._spec, n)
        episode = f"{self._bars.instrument}/{agent_id}/{day.date}"
        rows.transition_id[:] = [self._id(f"{episode}/{self._seed}/{k}") for k in range(n)]
        rows.instrument[:] = self._bars.instrument.encode()
        rows.domain[:] = rows.instrument
        rows.agent_id[:] = agent_id.encode()
        rows.episode_id[:] = episode.encode()
        rows.timestamp[:] = day.times
        rows.state[:], rows.next_state[:] = states[:-1], states[1:]
        rows.action[:], rows.reward[:] = action, reward
        rows.done[-1] = 1
        return rows

    def _account(
        self, position: NDArray[np.float64], first: int, last: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """States float32 [n + 1, d] and rewards [n] of holding `position` [n] between the bars."""
        close = self._bars.close[first:last]
        before = np.concatenate([[0.0], position])
        changes = np.abs(np.diff(before))
        changes[-1] += abs(position[-1])
        reward = self._costs.notional * position * np.diff(close) - changes * self._costs.per_change
        # The day's equity as a fraction of the notional, costs included; its drawdown is 0 or below.
        equity = np.concatenate([[0.0], np.cumsum(reward)]) / self._costs.notional
        account = {
            "position": before,
            "position_pnl": _open_gain(before, close),
            "drawdown": equity - np.maximum.accumulate(equity),
        }
        states = np.empty((len(close), len(self._spec.features)), np.float32)
        market = iter(self._features[first:last].T)
        for column, name in enumerate(self._spec.features):
            states[:, column] = account[name] if name in account else next(market)
        return states, reward

    def _id(self, text: str) -> bytes:
        name = text.encode()
        if len(name) > ID_BYTES:
            raise ConfigError(
                f"transition id {text!r} has {len(name)} bytes, at most {ID_BYTES} fit; nothing was sent; "
                "use a shorter instrument name"
            )
        return name


def _open_gain(position: NDArray[np.float64], close: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain of the position held into each bar since it was taken, as a fraction of its entry price.

    position[t] was taken at the close of the bar before the first of its unbroken run of equal values.
    """
    changed = np.concatenate([[True], np.diff(position) != 0])
    run_start = np.maximum.accumulate(np.where(changed, np.arange(len(position)), 0))
    entry = close[np.maximum(run_start - 1, 0)]
    gain: NDArray[np.float64] = position * (close / entry - 1.0)
    return gain
