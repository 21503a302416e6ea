"""What the studies learn from: the demo's trading weeks, and a planted market in which an unsafe action pays more.

Both come as rows to learn from, rows held out, and a judge that says what a policy earns on days it has not seen.

The planted market: `volatility` is calm or stormy (a Markov chain with its own spread), `signal` says how well a
position will do, `noise` says nothing. At a state (v, s) a position p in {-1, 0, 1} is paid

    p s v - COST |p| + p v z,    z normal,

so a storm pays a trader most, and its rule forbids to trade in one. Positions move nothing but the reward, so the mean
of p s v - COST |p| over states is a policy's true expected reward, and the best action at each state is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.cli.demo_settings import MARKET, demo_market
from janus_memory.config import RuleSettings
from janus_memory.logic.knowledge import KnowledgeBase, violations
from janus_memory.replay.night.problem import ReplayProblem
from janus_memory.scale import Scale
from janus_memory.simulate.bars import shipped_bars
from janus_memory.simulate.sessions import sessions_of
from janus_memory.simulate.trading import Costs, Market
from janus_memory.transition import MarketSpec, Transitions, fill_next_actions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from janus_memory.simulate.sessions import Session

    Choose = Callable[[NDArray[np.float32]], NDArray[np.int32]]

__all__ = ["STORM", "Study", "demo_study", "planted_earnings", "planted_rows", "planted_study", "problem_of"]

STORM = 1.0
COST = 0.1
EPISODE = 24
PLANTED = MarketSpec("planted", ("volatility", "signal", "noise"), "discrete", 3, ("short", "flat", "long"))
PLANTED_RULES = (
    RuleSettings(
        name="no trading in a storm", text=f"forall: volatility > {STORM} ~ 0.1 implies action == flat"
    ),
)
HELD_OUT_STATES = 20_000


@dataclass(frozen=True, slots=True)
class Study:
    """Rows to learn from, rows held out, and what a policy earns.

    Attributes:
        train, held_out: of one scale, the training rows'.
        earn: mean reward a step, in the market's own unit, of a policy (standardised states [m, d] -> actions [m])
            on days that neither part holds.
        unit: of the reward.
        marks: rewards to compare with, by name.
    """

    train: ReplayProblem
    held_out: ReplayProblem
    earn: Callable[[Choose], float]
    unit: str
    marks: dict[str, float]


def demo_study(n_weeks: int, n_held_out: int) -> Study:
    """The demo's first weeks, all its agents' rows; held out are the weeks that follow."""
    settings = demo_market()
    spec, bars = settings.spec(MARKET), shipped_bars()
    market = Market(spec, bars, Costs(), seed=0)
    ready = [week for week in sessions_of(bars, settings.calendar, settings.session) if market.is_ready(week)]
    learned, unseen = ready[:n_weeks], ready[n_weeks : n_weeks + n_held_out]
    rules = KnowledgeBase.parse(settings.rules, settings.features, settings.action_names)
    train, held_out = (_week_rows(market, weeks) for weeks in (learned, unseen))
    scale = Scale.fit(train, spec.features)

    def earn(choose: Choose) -> float:
        def at(state: NDArray[np.float32]) -> int:
            return int(choose(scale.standardise(state[None]).astype(np.float32))[0])

        days = [day for week in unseen for day in market.play(week, "learned", at)]
        return float(Transitions.concatenate(days).reward.mean(dtype=np.float64))

    return Study(
        problem_of(rules, train, scale),
        problem_of(rules, held_out, scale),
        earn,
        "USD",
        {"never trading": 0.0},
    )


def planted_study(n_rows: int, n_held_out: int, seed: int) -> Study:
    """A planted market of its own for each seed; positions taken by chance."""
    rules = KnowledgeBase.parse(PLANTED_RULES, PLANTED.features, PLANTED.action_names)
    train, held_out = planted_rows(n_rows, (seed, 0)), planted_rows(n_held_out, (seed, 1))
    unseen = planted_rows(HELD_OUT_STATES, (seed, 2)).state
    scale = Scale.fit(train, PLANTED.features)

    def earn(choose: Choose) -> float:
        return planted_earnings(unseen, choose(scale.standardise(unseen).astype(np.float32)))

    best = np.sign(unseen[:, 1]) * (np.abs(unseen[:, 1]) * unseen[:, 0] > COST)
    marks = {
        "best there is": best,
        "best that obeys": np.where(unseen[:, 0] > STORM, 0, best),
    }
    return Study(
        problem_of(rules, train, scale),
        problem_of(rules, held_out, scale),
        earn,
        "reward",
        {name: planted_earnings(unseen, position.astype(np.int32) + 1) for name, position in marks.items()},
    )


def planted_earnings(state: NDArray[np.float32], action: NDArray[np.int32]) -> float:
    """Expected reward a step of actions [n] at states [n, 3] of the planted market, without its noise."""
    position = action.astype(np.float64) - 1
    return float(np.mean(position * state[:, 1] * state[:, 0] - COST * np.abs(position)))


def planted_rows(n: int, seed: tuple[int, ...]) -> Transitions:
    """Transitions of the planted market in episodes of a day, a position drawn by chance at each; n rows."""
    rng = np.random.default_rng(seed)
    state, action = _planted_states(n + 1, rng), rng.integers(0, 3, n).astype(np.int32)
    position = action - 1.0
    edge = state[:-1, 1] + rng.normal(size=n)
    step = np.arange(n)
    return fill_next_actions(
        Transitions.of(
            PLANTED,
            timestamp=step * 3_600_000_000_000,
            transition_id=step.astype("S8"),
            instrument="planted",
            agent_id="chance",
            episode_id=(step // EPISODE).astype("S8"),
            state=state[:-1],
            next_state=state[1:],
            action=action,
            reward=position * edge * state[:-1, 0] - COST * np.abs(position),
            done=step % EPISODE == EPISODE - 1,
        )
    )


def problem_of(rules: KnowledgeBase, rows: Transitions, scale: Scale) -> ReplayProblem:
    """Rows as a night's learner takes them (`janus_memory.sleep.phases.replay`), without the night."""
    table, used, _ = rules.policy_truths(rows.state)
    weight = np.array([rules.weights[rules.names.index(name)] for name in used], np.float32)
    return ReplayProblem(
        x=scale.standardise(rows.state).astype(np.float32),
        action=rows.action.astype(np.int32),
        reward=scale.reward(rows.reward).astype(np.float32),
        next_x=scale.standardise(rows.next_state).astype(np.float32),
        next_action=rows.next_action.astype(np.int32),
        done=rows.done,
        violation=violations(rules.truths(rows), rules.weights).astype(np.float32),
        policy_truth=table,
        rule_weight=weight,
        quantifiers=rules.quantifiers_of(used),
        timestamp=rows.timestamp,
        domain=np.zeros(len(rows), np.int32),
    )


def _planted_states(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A calm or stormy volatility, a signal that fades within hours, and noise; float32 [n, 3]."""
    change, shock = rng.random(n), rng.normal(size=n)
    stormy, signal = np.zeros(n, bool), shock.copy()
    for t in range(1, n):
        stormy[t] = change[t] < 0.8 if stormy[t - 1] else change[t] < 0.1
        signal[t] = 0.8 * signal[t - 1] + 0.6 * shock[t]
    volatility = np.where(stormy, 1.5, 0.5) * np.exp(0.15 * rng.normal(size=n))
    return np.stack([volatility, signal, rng.normal(size=n)], axis=1).astype(np.float32)


def _week_rows(market: Market, weeks: list[Session]) -> Transitions:
    rows = [episode for week in weeks for day in market.episodes(week) for episode in day]
    return fill_next_actions(Transitions.concatenate(rows).sorted())
