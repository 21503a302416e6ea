"""The second look at young schemas' states, against a literal loop that fits every schema anew without the state."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multivariate_t

from janus_memory.config import NeocortexSettings
from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import Rows, consolidate
from janus_memory.neocortex.reassignment import reassign_night
from tests.unit.schema_rows import ROBUST, SPEC, fitted, times

COUNT_POWER = 0.35


def _near(n: int, d: int, k: int = 10, seed: int = 0) -> Rows:
    """States of regimes that lie near enough to each other for young schemas to take in strangers."""
    rng = np.random.default_rng(seed)
    centres = 0.9 * rng.normal(size=(k, d))
    x = centres[rng.integers(0, k, n)] + rng.normal(size=(n, d))
    return Rows((x - x.mean(axis=0)) / x.std(axis=0), rng.normal(size=n), times(n), np.ones(n, np.bool_))


def _walked(
    rows: Rows, settings: NeocortexSettings = ROBUST, bank: SchemaBank | None = None
) -> tuple[SchemaBank, Background, np.ndarray]:
    empty, background = fitted(rows.x, settings)
    bank = bank or empty
    result = consolidate(bank, background, rows, settings, None, "2024-01-02", "test")
    return bank, background, result.labels


class _Batch:
    """A schema of the robust rule from its states at once: all count alike, S0 as nu0 states and as the founder's scatter."""

    def __init__(self, x: np.ndarray, s0: np.ndarray) -> None:
        d = x.shape[1]
        self.n, self.mean, self.nu0 = len(x), x.mean(axis=0), 2 * d
        e = x - self.mean
        self.covariance = ((self.nu0 + 1) * s0 + e.T @ e) / (self.nu0 + self.n)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Log n^count_power t_nu(x; mu, f Sigma) of states [m, d]."""
        shape = (1 + 1 / self.n) * self.covariance
        law = multivariate_t(self.mean, shape, df=self.nu0 + self.n)
        return np.atleast_1d(law.logpdf(x)) + COUNT_POWER * math.log(self.n)


def _literally(rows: Rows, labels: np.ndarray, s0: np.ndarray) -> np.ndarray:
    """Each of a schema's first nu0 states where it belongs, by schemas fitted to what they hold now; none is emptied."""
    members = {k: np.flatnonzero(labels == k) for k in np.unique(labels).tolist()}
    scores = {k: _Batch(rows.x[its], s0).score(rows.x) for k, its in members.items()}
    best = labels.copy()
    for k, its in members.items():
        for row in its[: 2 * rows.x.shape[1]].tolist() if len(its) > 1 else []:
            own = _Batch(rows.x[its[its != row]], s0).score(rows.x[row])[0]
            other = max(scores.keys() - {k}, key=lambda j: scores[j][row])
            best[row] = other if scores[other][row] > own else k
    after = labels.copy()
    for row in np.flatnonzero(best != labels).tolist():
        if (after == labels[row]).sum() > 1:
            after[row] = best[row]
    return after


def test_every_early_state_goes_where_the_schemas_without_it_would_put_it() -> None:
    """Labels as of three rounds of the literal loop; moments, counts and rewards as of those labels at once."""
    rows = _near(400, 32)
    bank, background, labels = _walked(rows)
    wanted = _literally(rows, labels, background.s0)
    assert 10 < (wanted != labels).sum() < 200
    for _ in range(2):
        wanted = _literally(rows, wanted, background.s0)
    after = reassign_night(bank, background, rows, labels, ROBUST)
    np.testing.assert_array_equal(after, wanted)
    c = bank.columns
    for k in np.unique(after).tolist():
        batch = _Batch(rows.x[after == k], background.s0)
        assert c.n[k] == batch.n
        np.testing.assert_allclose(c.mean[k], batch.mean, atol=1e-12)
        np.testing.assert_allclose(c.covariance[k], batch.covariance, atol=1e-12)
        np.testing.assert_allclose(c.factor[k].T @ c.factor[k], batch.covariance, atol=1e-12)
        assert c.reward_sum[k] == pytest.approx(rows.reward[after == k].sum())
        assert c.seen[k] >= rows.timestamp[after == k].max()


@pytest.mark.parametrize(
    ("d", "settings"), [(31, ROBUST), (32, SPEC)], ids=["where regimes overlap", "by the literal rule"]
)
def test_nothing_is_moved(d: int, settings: NeocortexSettings) -> None:
    rows = _near(200, d)
    bank, background, labels = _walked(rows, settings)
    before = bank.snapshot()
    assert reassign_night(bank, background, rows, labels, settings) is labels
    for name, value in bank.snapshot().items():
        np.testing.assert_array_equal(value, before[name])


def test_states_that_the_gates_rejected_stay_where_they_are() -> None:
    """They have not moved a schema, so there is nothing to take back."""
    rows = _near(400, 32)
    passed = np.random.default_rng(1).random(400) < 0.5
    gated = Rows(rows.x, rows.reward, rows.timestamp, passed)
    bank, background, labels = _walked(gated)
    after = reassign_night(bank, background, gated, labels, ROBUST)
    assert (after != labels).any()
    np.testing.assert_array_equal(after[~passed], labels[~passed])
    counts = np.bincount(after[passed], minlength=bank.size)
    np.testing.assert_array_equal(bank.columns.n[: bank.size], counts)


def test_no_state_leaves_a_schema_that_had_nu0_states_before_the_night() -> None:
    rows = _near(2_000, 32)
    first, second = rows.take(slice(0, 1_500)), rows.take(slice(1_500, 2_000))
    bank, _, _ = _walked(first)
    old = np.flatnonzero(bank.columns.n[: bank.size] >= 64)
    assert len(old)
    bank, background, labels = _walked(second, bank=bank)
    after = reassign_night(bank, background, second, labels, ROBUST)
    moved = after != labels
    assert moved.any()
    assert np.isin(labels, old).any()
    assert not np.isin(labels[moved], old).any()


def test_a_night_without_passed_states_changes_nothing() -> None:
    rows = _near(60, 32)
    bank, background, _ = _walked(rows)
    none = Rows(rows.x, rows.reward, rows.timestamp, np.zeros(60, np.bool_))
    _, _, labels = _walked(none, bank=bank)
    before = bank.snapshot()
    np.testing.assert_array_equal(reassign_night(bank, background, none, labels, ROBUST), labels)
    for name, value in bank.snapshot().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_first_night_of_which_nothing_passed_leaves_the_bank_empty() -> None:
    rows = _near(60, 32)
    none = Rows(rows.x, rows.reward, rows.timestamp, np.zeros(60, np.bool_))
    bank, background, labels = _walked(none)
    assert bank.size == 0
    np.testing.assert_array_equal(reassign_night(bank, background, none, labels, ROBUST), np.full(60, -1))
