"""The gates of long-term memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.config import HippocampusSettings, LogicSettings, NeocortexSettings
from janus_memory.errors import LinalgError
from janus_memory.hippocampus.separation import Separation
from janus_memory.logic import Quantifiers, satisfaction
from janus_memory.neocortex.gates import (
    RecallGate,
    episode_index,
    logic_gate,
    pass_rates,
    passes,
    shuffle_features,
)
from janus_memory.store.arrays import array_digest
from janus_memory.transition import MarketSpec, Transitions

SETTINGS = NeocortexSettings()


def pair_states(n: int, seed: int) -> NDArray[np.float64]:
    """Features that agree in sign: each alone is symmetric, only their joint pattern is a pattern."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], (n, 3))
    return np.repeat(sign, 2, axis=1) * rng.uniform(0.5, 1.5, (n, 6))


def encode(x: NDArray[np.float64]) -> NDArray[np.float32]:
    return Separation.init(6, HippocampusSettings(), 3).code(x)


def products(x: NDArray[np.float64]) -> NDArray[np.float32]:
    """A code in which the planted pattern is linear."""
    return np.maximum(x[:, ::2] * x[:, 1::2], 0).astype(np.float32)


def test_the_gate_learns_a_planted_pattern() -> None:
    """Fresh rows of the pattern pass, shuffled ones do not, though each feature is distributed alike."""
    gate, fit = RecallGate.fit(pair_states(2000, 0), products, SETTINGS, 1)
    fresh = pair_states(1000, 2)
    experienced = gate.gate(products(fresh))
    shuffled = gate.gate(products(shuffle_features(fresh, 3)))
    assert (experienced > SETTINGS.tau_recall).mean() > 0.95
    assert (shuffled > SETTINGS.tau_recall).mean() < 0.5
    assert fit.accuracy > 0.75
    assert fit.loss < 0.7 * np.log(2)
    assert fit.gradient < 1e-6


def test_features_that_are_independent_teach_nothing() -> None:
    """Without a joint pattern everything still passes the default threshold."""
    x = np.random.default_rng(0).standard_normal((1000, 6))
    gate, fit = RecallGate.fit(x, encode, SETTINGS, 1)
    assert fit.loss > 0.65
    assert (gate.gate(encode(x)) > SETTINGS.tau_recall).mean() > 0.95


def test_the_fit_is_the_optimum_of_the_stated_loss() -> None:
    """The gradient of the balanced logistic loss with L2, written out row by row, vanishes."""
    x = pair_states(250, 5)
    gate, _ = RecallGate.fit(x, encode, SETTINGS, 1)
    total = np.zeros(gate.weights.size + 1)
    for label, codes in ((1.0, encode(x)), (0.0, encode(shuffle_features(x, 1)))):
        for row in codes.astype(np.float64):
            p = 1 / (1 + np.exp(-(row @ gate.weights + gate.bias)))
            total += (p - label) * np.append(row, 1.0) / (2 * len(x))
    total[:-1] += SETTINGS.recall_l2 * gate.weights
    assert np.abs(total).max() < 1e-6


def test_two_fits_have_equal_bits() -> None:
    """The seed decides the shuffle and nothing else decides anything."""
    x = pair_states(400, 0)
    digests = [array_digest(RecallGate.fit(x, encode, SETTINGS, s)[0].snapshot()) for s in (1, 1, 2)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_the_gate_of_a_batch_is_the_gates_of_its_rows() -> None:
    """Bits do not depend on the batch."""
    codes = encode(pair_states(300, 0))
    gate, _ = RecallGate.fit(pair_states(300, 0), encode, SETTINGS, 1)
    singles = [gate.gate(codes[i : i + 1]).tobytes() for i in range(len(codes))]
    assert b"".join(singles) == gate.gate(codes).tobytes()
    assert gate.gate(codes[:0]).shape == (0,)


@pytest.mark.parametrize(("n", "is_open"), [(0, True), (1, True), (199, True), (200, False)])
def test_below_200_rows_the_gate_is_open(n: int, is_open: bool) -> None:
    """Too few rows to learn from let everything pass with 1."""
    gate, fit = RecallGate.fit(pair_states(n, 0), encode, SETTINGS, 1)
    value = gate.gate(encode(pair_states(50, 1)))
    assert (value == 1).all() == is_open
    assert fit.n_rows == (0 if is_open else n)


def test_codes_that_are_not_finite_are_refused() -> None:
    """A fit on NaN says so instead of returning some gate."""
    with pytest.raises(LinalgError, match="recall gate"):
        RecallGate.fit(pair_states(300, 0), lambda x: np.full((len(x), 2), np.nan, np.float32), SETTINGS, 1)


@pytest.mark.parametrize("gate", [RecallGate.open(), RecallGate(np.array([1.0, -2.0]), 0.5)])
def test_snapshot_then_restore_is_identity(gate: RecallGate) -> None:
    """Open and fitted gates come back."""
    back = RecallGate.restore(gate.snapshot())
    codes = np.array([[1, 0], [0, 3]], np.float32)
    assert back.gate(codes).tobytes() == gate.gate(codes).tobytes()
    assert array_digest(back.snapshot()) == array_digest(gate.snapshot())


def test_shuffling_keeps_each_feature_and_breaks_the_rows() -> None:
    """Columns are permuted, each on its own; the argument stays as it is."""
    x = pair_states(100, 0)
    before = x.tobytes()
    mixed = shuffle_features(x, 1)
    assert x.tobytes() == before
    assert (np.sort(mixed, axis=0) == np.sort(x, axis=0)).all()
    assert not (mixed == x).all(axis=1).all()
    moved = [np.argsort(np.argsort(mixed[:, j])).tolist() for j in (0, 1)]
    assert moved[0] != moved[1]


@given(st.lists(st.tuples(*[st.sampled_from([b"", b"a", b"b"])] * 3), max_size=12))
def test_episodes_are_told_apart_by_all_three_names(keys: list[tuple[bytes, bytes, bytes]]) -> None:
    """Two rows share a number exactly if instrument, agent and episode are equal."""
    rows = Transitions.empty(MarketSpec("m", ("a",), "discrete", 2), len(keys))
    for i, (instrument, agent, episode) in enumerate(keys):
        rows.instrument[i], rows.agent_id[i], rows.episode_id[i] = instrument, agent, episode
    index = episode_index(rows)
    assert len(index) == len(keys)
    for i, first in enumerate(keys):
        for j, second in enumerate(keys):
            assert (index[i] == index[j]) == (first == second)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.floats(0, 1)), max_size=20),
    st.tuples(st.booleans(), st.booleans()),
)
def test_the_logic_gate_is_satagg_of_the_own_episode(
    rows: list[tuple[int, float, float]], exists: tuple[bool, bool]
) -> None:
    """Each row gets the satisfaction of the rows of its episode, and of no other."""
    episodes = np.array([row[0] for row in rows], np.intp)
    truths = np.array([row[1:] for row in rows], np.float64).reshape(len(rows), 2)
    weights = np.array([1.0, 3.0])
    kinds = Quantifiers.of(exists, LogicSettings(p_forall=3))
    gate = logic_gate(episodes, truths, weights, kinds)
    assert gate.shape == (len(rows),)
    for i, episode in enumerate(episodes):
        assert gate[i] == satisfaction(truths[episodes == episode], weights, kinds)


def test_without_rules_the_logic_gate_is_one() -> None:
    """No rules, nothing violated."""
    assert logic_gate(np.array([0, 0, 1]), np.zeros((3, 0)), np.zeros(0), Quantifiers()).tolist() == [1, 1, 1]


def test_the_indicator_needs_both_gates_strictly() -> None:
    """E20 by hand: > 0.3 and > 0.7."""
    recall = np.array([0.3, 0.31, 0.9, 0.9])
    logic = np.array([0.9, 0.9, 0.7, 0.71])
    assert passes(recall, logic, SETTINGS).tolist() == [False, True, False, True]
    assert pass_rates(recall, logic, SETTINGS) == {"recall": 0.75, "logic": 0.75, "both": 0.5}
    assert pass_rates(recall[:0], logic[:0], SETTINGS) == {"recall": 1.0, "logic": 1.0, "both": 1.0}
