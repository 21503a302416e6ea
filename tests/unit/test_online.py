"""The online learner: what is trained when, what is replayed, what is written back, and that it learns."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.config import OnlineSettings, PolicySettings, ReplaySettings, RuleSettings, Strategy
from janus_memory.errors import CheckpointError, ConfigError, InsufficientData, ReplayError, RuleError
from janus_memory.logic.knowledge import KnowledgeBase
from janus_memory.policy.protocol import Batch, Policy
from janus_memory.policy.q_policy import QPolicy
from janus_memory.replay.online.online_learner import OnlineLearner
from janus_memory.scale import Scale
from janus_memory.store.arrays import array_digest
from janus_memory.transition import MarketSpec, Transitions
from tests.unit.online_rows import SPEC, Broken, LinearQ, Noting, frames, walks

STRATEGIES = get_args(Strategy)


def make_settings(strategy: Strategy = "prioritized_loss", **changes: object) -> OnlineSettings:
    """Small ones: steps of 4 new and 4 replayed rows in a store of 32."""
    replay = ReplaySettings(strategy=strategy, batch=8)
    base = {"capacity": 32, "new_rows": 4, "beta_steps": 10, "replay": replay}
    return OnlineSettings(**{**base, **changes})  # type: ignore[arg-type]  # settings by name


def make_learner(policy: Policy | None = None, **changes: object) -> OnlineLearner:
    return OnlineLearner(SPEC, policy or LinearQ(), make_settings(**changes), seed=3)  # type: ignore[arg-type]  # settings by name


def digest(learner: OnlineLearner) -> str:
    return array_digest(learner.snapshot())


def feed(learner: OnlineLearner, rows: Transitions, sizes: list[int]) -> None:
    for frame in frames(rows, sizes):
        learner.observe(frame)


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=5)
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=3), seed=st.integers(0, 9))
def test_the_cut_into_frames_does_not_matter(strategy: Strategy, sizes: list[int], seed: int) -> None:
    """Single rows, frames of 7, of 100 and of any sizes leave the same learner, bit for bit."""
    rows = walks(120, seed=seed, shuffled=True)
    states = set()
    for cut in ([1], [7], [100], sizes):
        learner = make_learner(strategy=strategy, replays=1)
        feed(learner, rows, cut)
        states.add(digest(learner))
        learner.flush()
        assert learner.stats().trained == len(rows)
    assert len(states) == 1


def test_a_step_waits_for_enough_ready_rows() -> None:
    """Ready are rows whose successor or end has come; flush takes the rest in a shorter step."""
    policy = Noting()
    learner = make_learner(policy)
    rows = walks(6, episodes=1)
    rows.done[:] = 0
    feed(learner, rows.take(slice(4)), [1])
    assert (learner.stats().seen, learner.stats().trained) == (4, 0)
    learner.observe(rows.take(slice(4, 6)))
    assert (learner.stats().seen, learner.stats().trained) == (6, 4)
    learner.flush()
    assert (learner.stats().trained, learner.replay_stats().size) == (6, 6)
    # The second step has 2 new rows and as many replayed ones.
    assert [len(weights) for _, weights in policy.updates] == [4, 4]
    learner.flush()
    assert learner.stats().updates == 2


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 3.0])
def test_new_and_replayed_rows_are_mixed_in_the_ratio(ratio: float) -> None:
    """New rows lead the batch with weight 1; the first step has nothing to replay."""
    policy = Noting()
    learner = make_learner(policy, replay_ratio=ratio)
    learner.observe(walks(40))
    learner.flush()
    new = 0
    for step, (batch, weights) in enumerate(policy.updates[:9]):
        assert len(batch) == 4 + (round(4 * ratio) if step else 0)
        assert (weights[:4] == 1).all()
        assert (weights[4:] > 0).all()
        assert (weights[4:] <= 1).all()
        # Only what has been trained before is replayed, and with its next action.
        earlier = {row for past, _ in policy.updates[:step] for row in facts(past)[:4]}
        assert set(facts(batch)[4:]) <= earlier
        new += 4
    assert new <= learner.stats().trained == 40


def facts(batch: Batch) -> list[tuple[float, int]]:
    """What tells the rows of `walks` apart, and what their successor told them."""
    return list(zip(batch.reward.tolist(), batch.next_action.tolist(), strict=True))


def test_replays_are_steps_on_replayed_rows_alone() -> None:
    """As many after each step as the settings say, and as many as are asked for; of `batch` rows."""
    policy = Noting()
    learner = make_learner(policy, replays=2)
    learner.observe(walks(20))
    sizes = [len(weights) for _, weights in policy.updates]
    assert sizes[:6] == [4, 8, 8, 8, 8, 8]
    learner.replay(3)
    assert [len(weights) for _, weights in policy.updates[len(sizes) :]] == [8, 8, 8]
    assert learner.stats().updates == len(policy.updates)
    drawn = sum(len(w) for _, w in policy.updates) - learner.stats().trained
    assert learner.replay_stats().total_replays == drawn


def test_replay_needs_something_trained() -> None:
    """Rows that only wait are not replayed."""
    learner = make_learner()
    learner.observe(walks(1))
    with pytest.raises(InsufficientData):
        learner.replay(1)


@pytest.mark.parametrize("kind", ["mixed", "replayed alone"])
def test_what_was_replayed_has_its_new_priority(kind: str) -> None:
    """|delta| under the updated policy plus lambda_reward |r| (E7); the others keep theirs."""
    policy = LinearQ()
    learner = make_learner(policy, new_rows=8)
    rows = walks(24)
    rows.done[:] = 1
    learner.observe(rows.take(slice(16)))
    before = learner.snapshot()
    if kind == "mixed":
        learner.observe(rows.take(slice(16, 24)))
    else:
        learner.replay(1)
    after = learner.snapshot()
    batch = Batch(**{f.name: after[f"store/slots/{f.name}"][:16] for f in dataclasses.fields(Batch)})  # type: ignore[arg-type]  # columns by name
    expected = np.abs(policy.td_errors(batch)).astype(np.float64) + 0.5 * np.abs(batch.reward)
    name = "store/slots/"
    counts = [arrays[name + "replay_count"].astype(int)[:16] for arrays in (before, after)]
    drawn = counts[1] > counts[0]
    assert 0 < drawn.sum() < 16
    now, then = (arrays[name + "priority"].astype(float)[:16] for arrays in (after, before))
    np.testing.assert_allclose(now[drawn], np.maximum(expected, 1e-3)[drawn], rtol=1e-6)
    assert (now[~drawn] == then[~drawn]).all()


def test_new_rows_enter_at_the_largest_priority() -> None:
    """So that each is replayed soon: the largest after the step's own write-back."""
    learner = make_learner(new_rows=4, capacity=64)
    learner.observe(walks(40))
    arrays = learner.snapshot()
    priority = arrays["store/slots/priority"].astype(float)
    newest = slice(-4, None)  # the store is not full, and its slots fill in order
    assert (priority[newest] == priority.max()).all()


def test_beta_anneals_over_the_updates() -> None:
    """Three rows of one domain and one of another have P = 1/6 and 1/2, so weights of (4 P)^-beta."""
    replay = ReplaySettings(
        strategy="domain_balanced", alpha=0.0, beta_start=0.0, beta_end=1.0, normalise="none", batch=64
    )
    policy = Noting()
    learner = make_learner(policy, replay=replay, beta_steps=3)
    rows = Transitions.of(SPEC, timestamp=[1, 2, 3, 4], instrument=list("xxxy"), done=1, reward=[0, 0, 0, 1])
    learner.observe(rows)
    for beta in (0.5, 1.0, 1.0):  # update 0 was the step on the new rows
        learner.replay(1)
        batch, weights = policy.updates[-1]
        probability = np.where(batch.reward == 1, 1 / 2, 1 / 6)
        np.testing.assert_allclose(weights, (4 * probability) ** -beta, rtol=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_capacity_holds(strategy: Strategy) -> None:
    """Under every strategy's own eviction."""
    learner = make_learner(strategy=strategy)
    learner.observe(walks(200))
    assert learner.replay_stats().size == 32


@pytest.mark.parametrize("at", [0, 1, 37])
@pytest.mark.parametrize("kind", ["linear", "network"])
def test_a_restored_learner_goes_on_bit_for_bit(at: int, kind: str) -> None:
    """Stopped anywhere, with rows that wait and rows that are ready, it equals one that never stopped."""

    def policy(seed: int) -> Policy:
        return LinearQ() if kind == "linear" else QPolicy(SPEC, PolicySettings(hidden=(4,)), seed)

    rows = walks(90)
    scale = Scale.fit(rows, SPEC.features)
    whole = OnlineLearner(SPEC, policy(0), make_settings("mixed"), 3, scale=scale)
    feed(whole, rows, [5])
    first = OnlineLearner(SPEC, policy(0), make_settings("mixed"), 3, scale=scale)
    feed(first, rows.take(slice(at)), [5])
    second = OnlineLearner.restore(SPEC, policy(1), make_settings("mixed"), first.snapshot())
    assert digest(second) == digest(first)
    feed(second, rows.take(slice(at, None)), [5])
    assert digest(second) == digest(whole)
    assert second.stats() == whole.stats()


def test_another_learners_snapshot_is_refused() -> None:
    """Other settings, another market or a part that is missing: the policy keeps its weights."""
    learner = make_learner()
    learner.observe(walks(20))
    arrays, policy = learner.snapshot(), LinearQ()
    with pytest.raises(CheckpointError, match="other settings: new_rows was 4 and is 5;"):
        OnlineLearner.restore(SPEC, policy, make_settings(new_rows=5), arrays)
    other = MarketSpec("fx", ("a",), "discrete", 3)
    with pytest.raises(CheckpointError):
        OnlineLearner.restore(other, policy, make_settings(), arrays)
    with pytest.raises(CheckpointError, match="updates"):
        OnlineLearner.restore(
            SPEC, policy, make_settings(), {k: v for k, v in arrays.items() if k != "updates"}
        )
    assert not policy.w.any()


BAD: dict[str, dict[str, NDArray[np.generic]]] = {
    "width": {"state": np.zeros((5, 3), np.float32)},
    "length": {"reward": np.zeros(4, np.float32)},
    "dtype": {"state": np.zeros((5, 2))},
    "nan state": {"state": np.full((5, 2), np.nan, np.float32)},
    "infinite next state": {"next_state": np.full((5, 2), np.inf, np.float32)},
    "nan reward": {"reward": np.array([0, 0, np.nan, 0, 0], np.float32)},
    "action": {"action": np.array([0, 1, 2, 3, 0], np.int32)},
    "next action": {"next_action": np.array([0, 1, 2, -2, 0], np.int32)},
    "done": {"done": np.array([0, 1, 2, 0, 0], np.uint8)},
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_rows_are_refused_whole(fault: str) -> None:
    """A frame with one bad row changes nothing."""
    learner = make_learner()
    learner.observe(walks(30))
    before = digest(learner)
    with pytest.raises(ReplayError, match=next(iter(BAD[fault]))):
        learner.observe(dataclasses.replace(walks(5, seed=1), **BAD[fault]))  # type: ignore[arg-type]  # columns by name
    assert digest(learner) == before


def test_a_vector_market_needs_numbers_too() -> None:
    """A next action may be NaN, an action may not."""
    spec = MarketSpec("fx", ("a",), "vector", 2)
    rows = Transitions.empty(spec, 3)
    learner = OnlineLearner(spec, LinearQ(spec), make_settings(), 0)
    learner.observe(rows)
    assert learner.stats().seen == 3
    rows.action[1, 1] = np.nan
    with pytest.raises(ReplayError, match="`action` is not finite in 1 places, the first in row 1"):
        learner.observe(rows)


def test_rows_beyond_the_scale_are_refused() -> None:
    """A feature whose deviation is tiny blows a value up beyond float32."""
    scale = Scale(np.zeros(2), np.array([1.0, 1e-38]), 1.0)
    learner = OnlineLearner(SPEC, LinearQ(), make_settings(), 0, scale=scale)
    before = digest(learner)
    rows = walks(5)
    rows.state[2, 1] = 1e3
    with np.errstate(over="ignore"), pytest.raises(ReplayError, match="state"):
        learner.observe(rows)
    assert digest(learner) == before


@pytest.mark.parametrize(
    "answer", [np.zeros(3, np.float32), np.zeros((4, 1), np.float32), np.full(4, np.nan, np.float32)]
)
def test_a_policy_that_answers_nonsense_is_named(answer: NDArray[np.float32]) -> None:
    """The rows of its step stay ready, and are trained when it has recovered."""
    policy = Broken(answer, sick_at=4)
    learner = make_learner(policy)
    with pytest.raises(ReplayError, match=r"Broken\.update"):
        learner.observe(walks(20))
    assert (learner.stats().seen, learner.stats().trained, learner.replay_stats().size) == (20, 0, 0)
    policy.sick_at = 0
    learner.flush()
    assert (learner.stats().trained, learner.replay_stats().size) == (20, 20)


def test_rows_are_trained_once_though_their_replays_fail() -> None:
    """A step that was taken stays taken, whatever the steps on replayed rows after it come to."""
    policy = Broken(np.zeros(0, np.float32), sick_at=8)
    learner = make_learner(policy, replays=1, replay_ratio=0.0)
    with pytest.raises(ReplayError, match=r"Broken\.update"):
        learner.observe(walks(20))
    assert (learner.stats().trained, learner.replay_stats().size) == (4, 4)
    policy.sick_at = 0
    learner.flush()
    assert (learner.stats().trained, learner.replay_stats().size) == (20, 20)


def test_the_policy_learns_in_the_scale() -> None:
    """Standardised states, scaled rewards; and the scaled reward makes the priority."""
    policy = Noting()
    rows = walks(12)
    rows.done[:] = 1
    scale = Scale(np.array([1.0, 2.0]), np.array([2.0, 4.0]), 10.0)
    learner = OnlineLearner(SPEC, policy, make_settings(new_rows=12), 3, scale=scale)
    learner.observe(rows)
    batch, _ = policy.updates[0]
    np.testing.assert_allclose(batch.state, (rows.state - [1, 2]) / [2, 4], rtol=1e-6)
    np.testing.assert_allclose(batch.next_state, (rows.next_state - [1, 2]) / [2, 4], rtol=1e-6)
    np.testing.assert_allclose(batch.reward, rows.reward / 10, rtol=1e-6)
    policy.rate = 0.0
    for _ in range(20):
        learner.replay(1)
    delta = policy.td_errors(batch)
    largest = learner.replay_stats().priority_quantiles["1"]
    assert largest == pytest.approx((np.abs(delta) + 0.5 * rows.reward / 10).max(), rel=1e-6)


def test_broken_rules_raise_a_rows_priority() -> None:
    """The violation is stored with the row and enters its priority at the first replay (E7)."""
    rules = KnowledgeBase.parse(
        [RuleSettings(name="no shorts", text="action != 0")], SPEC.features, n_actions=3
    )
    policy = LinearQ(rate=0.0)
    rows = walks(12)
    rows.done[:], rows.reward[:] = 1, 0.25
    learner = OnlineLearner(SPEC, policy, make_settings(new_rows=12), 3, rules=rules)
    learner.observe(rows)
    for _ in range(20):
        learner.replay(1)
    arrays = learner.snapshot()
    priority = arrays["store/slots/priority"].astype(float)
    short = arrays["store/slots/action"].astype(int) == 0
    np.testing.assert_allclose(priority, 0.25 + 0.5 * 0.25 + np.where(short, 2.0, 0.0), rtol=1e-6)


def test_a_rule_that_cannot_be_evaluated_refuses_the_frame() -> None:
    """Before anything is changed."""
    text = "a * a * a * a * a * a * a * a * a > b * b * b * b * b * b * b * b * b"
    rules = KnowledgeBase.parse([RuleSettings(name="huge", text=text)], SPEC.features, n_actions=3)
    learner = OnlineLearner(SPEC, LinearQ(), make_settings(), 3, rules=rules)
    before = digest(learner)
    rows = walks(5)
    rows.state[:] = 3e38
    with pytest.raises(RuleError, match="huge"):
        learner.observe(rows)
    assert digest(learner) == before


@pytest.mark.parametrize(
    "change",
    [
        {"new_rows": 0},
        {"replay_ratio": -1.0},
        {"replay_ratio": float("nan")},
        {"replays": -1},
        {"beta_steps": 0},
        {"capacity": 0},
        {"replay": ReplaySettings(batch=0)},
    ],
)
def test_settings_that_cannot_be_used_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make_learner(**change)  # type: ignore[arg-type]  # settings by name


def test_the_numbers_by_domain() -> None:
    """Counts and mean losses against a hand-worked table: a policy that never learns, rewards as losses."""
    policy = LinearQ(rate=0.0)
    learner = make_learner(policy, new_rows=2, replay_ratio=0.0)
    reward = np.array([2, 0, 4, 6, 1], np.float32)
    rows = Transitions.of(SPEC, timestamp=np.arange(5), instrument=list("xyxxy"), done=1, reward=reward)
    assert np.isnan(learner.stats().mean_loss)
    learner.observe(rows)
    stats = learner.stats()
    # Losses r^2/2 are 2, 0 | 8, 18 | and 0.5 is not trained yet; the first update counts 0.99 of the second.
    assert (stats.seen, stats.trained, stats.updates) == (5, 4, 2)
    assert stats.mean_loss == pytest.approx((0.99 * 2 + 26) / (0.99 * 2 + 2))
    assert stats.by_domain["x"].mean_loss == pytest.approx((0.99 * 2 + 26) / (0.99 * 1 + 2))
    assert stats.by_domain["y"].mean_loss == 0.0
    assert [(d.seen, d.trained) for d in stats.by_domain.values()] == [(3, 3), (2, 1)]
    assert learner.replay_stats().by_domain == {"x": 3, "y": 1}


def planted(n: int, seed: int) -> Transitions:
    """One-step episodes whose reward is linear in the state: 1, -1 and 0.5 times its features' difference."""
    rng = np.random.default_rng(seed)
    state = rng.standard_normal((n, 2)).astype(np.float32)
    action = rng.integers(0, 3, n)
    reward = np.array([1, -1, 0.5])[action] * (state[:, 0] - state[:, 1])
    return Transitions.of(SPEC, timestamp=np.arange(n), state=state, action=action, reward=reward, done=1)


@pytest.mark.parametrize("kind", ["linear", "network"])
@pytest.mark.parametrize("name", ["fast", "stable", "prioritized", "balanced"])
def test_it_learns_a_planted_problem(kind: str, name: str) -> None:
    """Under each preset the TD error on held-out rows falls below a third, and the right action is the likely one."""
    policy: Policy = LinearQ(rate=0.2)
    if kind == "network":
        policy = QPolicy(SPEC, PolicySettings(hidden=(16,), learning_rate=1e-2, temperature=0.1), seed=0)
    learner = OnlineLearner.from_preset(name, SPEC, policy, seed=1)
    test = planted(200, seed=1)
    held = Batch(test.state, test.action, test.reward, test.next_state, test.next_action, test.done)
    before = np.abs(policy.td_errors(held)).mean()
    feed(learner, planted(3000, seed=2), [64])
    learner.flush()
    assert np.abs(policy.td_errors(held)).mean() < before / 3
    best = policy.action_distribution(test.state).argmax(axis=1)
    right = np.where(test.state[:, 0] > test.state[:, 1], 0, 1)
    assert (best == right).mean() > 0.8
    assert learner.stats().mean_loss < before**2 / 4
