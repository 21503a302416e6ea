"""Consolidation: the kernels against the equations written out, and all ways of cutting one night."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t
from sklearn.metrics import adjusted_rand_score

from janus_memory.config import NeocortexSettings
from janus_memory.errors import SchemaUpdateError
from janus_memory.neocortex.assignment import BlockScores
from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import Rows, consolidate
from janus_memory.neocortex.merging import merge_night
from janus_memory.store.arrays import array_digest
from tests.unit.schema_rows import DAY, ROBUST, SECOND, SPEC, fitted, night, planted, score_here, times

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from janus_memory.neocortex.assignment import BankView


@dataclasses.dataclass
class _Plain:
    """A schema of the plain loops."""

    n: float
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def _plain_spec(x: NDArray[np.float64], eta: float, eps: float, tau: float) -> tuple[list[int], list[_Plain]]:
    """(E16, E21, E22), read aloud."""
    schemas: list[_Plain] = []
    labels = []
    for s in x:
        scores = [multivariate_normal(k.mean, k.covariance).logpdf(s) for k in schemas]
        if not scores or max(scores) < math.log(tau):
            schemas.append(_Plain(1, s.copy(), eps * np.eye(len(s))))
            labels.append(len(schemas) - 1)
            continue
        k = schemas[int(np.argmax(scores))]
        e = s - k.mean
        k.mean = (1 - eta) * k.mean + eta * s
        k.covariance = (1 - eta) * k.covariance + eta * np.outer(e, e)
        k.n += 1
        labels.append(int(np.argmax(scores)))
    return labels, schemas


def _plain_robust(x: NDArray[np.float64], b: Background) -> tuple[list[int], list[_Plain]]:
    """The robust rule of section 6, read aloud, with its defaults."""
    d = x.shape[1]
    eta, eta_s, nu0 = 0.001, min(0.0005, 1 / (8 * d)), 2 * d
    log_tau, power = math.log(3 if d < 32 else 1), 0.5 if d < 16 else 0.35
    log_p0 = np.atleast_1d(multivariate_t(b.m0, b.c0, df=d + 3).logpdf(x))
    own = multivariate_t(b.m0, 2 * b.s0, df=nu0 + 1).logpdf(b.m0)
    schemas: list[_Plain] = []
    labels = []
    for s, floor in zip(x, log_p0, strict=True):
        scores = []
        for k in schemas:
            n_eff = min(k.n, (2 - eta_s) / eta_s)
            law = multivariate_t(k.mean, (1 + 1 / n_eff) * k.covariance, df=nu0 + n_eff)
            scores.append(law.logpdf(s) + power * math.log(k.n))
        if not scores or max(scores) < min(log_tau + floor, own - 1e-9):
            schemas.append(_Plain(1, s.copy(), b.s0.copy()))
            labels.append(len(schemas) - 1)
            continue
        k = schemas[int(np.argmax(scores))]
        alpha, beta = max(eta, 1 / (k.n + 1)), max(eta_s, 1 / (nu0 + k.n + 1))
        e = s - k.mean
        k.mean = k.mean + alpha * e
        k.covariance = (1 - beta) * k.covariance + beta * (1 - alpha) * np.outer(e, e)
        k.n += 1
        labels.append(int(np.argmax(scores)))
    return labels, schemas


def _agree(bank: SchemaBank, schemas: list[_Plain], tolerance: float) -> None:
    np.testing.assert_array_equal(bank.num_points, [k.n for k in schemas])
    np.testing.assert_allclose(bank.means, [k.mean for k in schemas], rtol=0, atol=tolerance)
    np.testing.assert_allclose(bank.covariances, [k.covariance for k in schemas], rtol=0, atol=tolerance)


def _healthy(bank: SchemaBank) -> None:
    """Every covariance is symmetric, positive definite, and what its factor says."""
    c = bank.columns
    for k in range(bank.size):
        np.testing.assert_array_equal(c.covariance[k], c.covariance[k].T)
        assert np.linalg.eigvalsh(c.covariance[k]).min() > 0
        scale = np.abs(c.covariance[k]).max()
        np.testing.assert_allclose(c.factor[k].T @ c.factor[k], c.covariance[k], rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_spec_mode_is_the_literal_loop(d: int) -> None:
    """Labels equal, means and covariances within 1e-12, over runs long enough for refreshed factors."""
    rng = np.random.default_rng(d)
    x = rng.normal(size=(600, d)) * 0.1 + rng.integers(-1, 2, size=(600, 1))
    bank, background = fitted(x, SPEC)
    labels, schemas = _plain_spec(x, 0.01, 0.01, 0.01)
    result = night(bank, background, x, settings=SPEC)
    np.testing.assert_array_equal(result.labels, labels)
    assert bank.num_points.max() > 100
    _agree(bank, schemas, 1e-12)
    _healthy(bank)


@pytest.mark.parametrize(("n", "d"), [(400, 1), (400, 3), (400, 16), (300, 33)])
def test_the_robust_mode_is_the_slow_loop(n: int, d: int) -> None:
    """Labels equal, means and covariances within 1e-10, with both thresholds (below and from d = 32)."""
    x, _ = planted(n, d, 4)
    bank, background = fitted(x)
    labels, schemas = _plain_robust(x, background)
    result = night(bank, background, x)
    np.testing.assert_array_equal(result.labels, labels)
    assert len(schemas) > 1
    _agree(bank, schemas, 1e-10)
    _healthy(bank)


@pytest.mark.parametrize("d", [8, 32])
def test_a_planted_mixture_is_found(d: int) -> None:
    """After one night and its merging the schemas are the planted regimes (adjusted Rand index)."""
    x, which = planted(3000, d, 6)
    bank, background = fitted(x)
    result = night(bank, background, x)
    merge_night(bank, background, ROBUST)
    names = np.array([bank.resolve(i.decode()) for i in result.ids])
    assert adjusted_rand_score(which, names[result.labels]) >= 0.95


@pytest.mark.parametrize("settings", [ROBUST, SPEC], ids=["robust", "spec"])
@pytest.mark.parametrize("n_blocks", [1, 2, 4, 8])
@pytest.mark.parametrize("block_rows", [1, 37, 128])
def test_blocks_change_nothing(settings: NeocortexSettings, n_blocks: int, block_rows: int) -> None:
    """Scored against old snapshots in blocks, labels and bank are the bytes of the sequential walk."""
    x, _ = planted(700, 6, 5, run=3)
    passed = np.arange(700) % 7 != 0
    alone, background = fitted(x, settings)
    wanted = night(alone, background, x, settings=settings, passed=passed)
    bank = SchemaBank.empty(6)
    found = night(
        bank,
        background,
        x,
        settings=settings,
        passed=passed,
        scored=True,
        n_blocks=n_blocks,
        block_rows=block_rows,
    )
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert array_digest(bank.snapshot()) == array_digest(alone.snapshot())


def test_scores_that_are_off_in_their_last_digits_change_nothing() -> None:
    """Two schemas tie exactly and a worker's last digits prefer the later one: the earlier one still wins."""
    x, _ = planted(300, 6, 5)
    bank, background = fitted(x)
    night(bank, background, x)
    for name, column in bank.columns._asdict().items():
        if name != "archived":
            column[1] = column[0]

    def far_away(view: BankView, blocks: list[NDArray[np.float64]]) -> list[BlockScores]:
        answers = score_here(view, blocks)
        for answer in answers:
            answer.score[:, 1] += 1e-9
        return answers

    closed = np.zeros(300, np.bool_)
    rows = Rows(x, np.ones(300), times(300), closed)
    found = consolidate(bank, background, rows, ROBUST, far_away, "2024-01-02", "test")
    wanted = night(bank, background, x, passed=closed)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert (found.labels == 0).any()


@pytest.mark.parametrize("cut", [1, 100, 333, 699])
def test_two_nights_are_one(cut: int) -> None:
    """Rows split over two walks, with a snapshot restored between, give the bank of one walk."""
    x, _ = planted(700, 5, 4)
    whole, background = fitted(x)
    wanted = night(whole, background, x)
    bank = SchemaBank.empty(5)
    first = night(bank, background, x[:cut], time=times(700)[:cut])
    bank = SchemaBank.restore(bank.snapshot())
    again = Background.restore(background.snapshot())
    second = night(bank, again, x[cut:], time=times(700)[cut:])
    np.testing.assert_array_equal(np.concatenate([first.labels, second.labels]), wanted.labels)
    assert array_digest(bank.snapshot()) == array_digest(whole.snapshot())


def test_another_process_writes_the_same_bytes() -> None:
    """Digest of a fresh interpreter on one thread equals ours."""
    code = (
        "from test_consolidation import digest_of_a_night; import sys; sys.stdout.write(digest_of_a_night())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": f"{Path(__file__).parent}:."},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == digest_of_a_night()


def digest_of_a_night() -> str:
    """Background, walk and merge of fixed rows."""
    x, _ = planted(900, 24, 5, seed=3)
    bank, background = fitted(x)
    night(bank, background, x, scored=True)
    merge_night(bank, background, ROBUST)
    return array_digest({**bank.snapshot(), **background.snapshot()})


def test_gated_rows_are_labelled_and_move_nothing() -> None:
    """A row that a gate rejects gets the argmax, however unlikely, and leaves the bank as it is."""
    x, _ = planted(300, 4, 3)
    bank, background = fitted(x)
    night(bank, background, x)
    before = array_digest(bank.snapshot())
    far = np.full((3, 4), 1e6)
    result = night(bank, background, far, passed=np.zeros(3, np.bool_))
    assert array_digest(bank.snapshot()) == before
    assert (result.labels >= 0).all()
    assert (result.n_gated, result.n_updated, result.n_created) == (3, 0, 0)


def test_gated_rows_without_any_schema_have_no_label() -> None:
    """All rows gated out on the first night: no schema, label -1."""
    x, _ = planted(50, 4, 3)
    bank, background = fitted(x)
    result = night(bank, background, x, passed=np.zeros(50, np.bool_))
    assert bank.size == 0
    np.testing.assert_array_equal(result.labels, -1)


def test_no_rows_change_nothing() -> None:
    """Zero rows are a night, too."""
    x, _ = planted(50, 4, 3)
    bank, background = fitted(x)
    night(bank, background, x)
    before = array_digest(bank.snapshot())
    assert len(night(bank, background, x[:0]).labels) == 0
    assert array_digest(bank.snapshot()) == before


def test_one_state_makes_one_schema_by_hand() -> None:
    """Mu = s, Sigma = S0, n = 1, made = seen = its time; its id is that of the first schema."""
    x, _ = planted(50, 4, 3)
    bank, background = fitted(x)
    result = night(bank, background, x[7:8], time=np.array([42], np.int64), reward=np.array([2.5]))
    assert (result.n_created, result.n_updated) == (1, 0)
    np.testing.assert_array_equal(bank.means[0], x[7])
    np.testing.assert_array_equal(bank.covariances[0], background.s0)
    assert (bank.num_points[0], bank.created_at[0], bank.last_updated[0], bank.avg_rewards[0]) == (
        1,
        42,
        42,
        2.5,
    )


def test_rewards_are_averaged_and_times_kept() -> None:
    """Three rows of one place: rewards 1, 2, 6 average 3; made is the first time, seen the last."""
    x, _ = planted(50, 4, 3)
    bank, background = fitted(x)
    same = np.repeat(x[:1], 3, axis=0)
    night(bank, background, same, time=np.array([5, 5, 9], np.int64), reward=np.array([1.0, 2.0, 6.0]))
    assert (bank.size, bank.created_at[0], bank.last_updated[0], bank.avg_rewards[0]) == (1, 5, 9, 3.0)


@pytest.mark.parametrize("settings", [ROBUST, SPEC], ids=["robust", "spec"])
def test_duplicates_without_end_stay_positive_definite(settings: NeocortexSettings) -> None:
    """One state 5 000 times: the covariance shrinks to its floor and not below."""
    x, _ = planted(50, 4, 3)
    bank, background = fitted(x, settings)
    night(bank, background, np.repeat(x[:1], 5000, axis=0), settings=settings)
    assert bank.size == 1
    assert bank.num_points[0] == 5000
    _healthy(bank)
    # Between two refreshes it shrinks by 0.99^63, about a half.
    floor = 1e-9 * np.trace(background.s0) / 4
    assert np.linalg.eigvalsh(bank.covariances[0]).min() > 0.4 * floor


def test_a_matching_state_revives_the_archived_schema() -> None:
    """The archive is asked before a schema is created; the old id lives again with its points."""
    x, _ = planted(400, 5, 1)
    bank, background = fitted(x)
    night(bank, background, x[:200])
    ids, n = bank.ids.copy(), bank.num_points
    bank.columns.archived[: bank.size] = 1
    assert len(bank.ids) == 0
    again = np.repeat(bank.columns.mean[:1], 2, axis=0)
    result = night(bank, background, again, time=times(2) + 100 * DAY, scored=True)
    assert (result.n_revived, result.n_created, result.n_updated) == (1, 0, 2)
    assert bank.ids.tolist() == ids[:1].tolist()
    assert bank.num_points[0] == n[0] + 2
    assert bank.last_updated[0] == 100 * DAY + SECOND


def test_a_state_unlike_the_archive_is_created_anew() -> None:
    """What the archive does not explain does not wake it."""
    x, _ = planted(400, 5, 1)
    bank, background = fitted(x)
    night(bank, background, x[:200])
    bank.columns.archived[: bank.size] = 1
    n_archived = len(bank.archived_ids)
    result = night(bank, background, np.full((1, 5), 50.0))
    assert (result.n_revived, result.n_created) == (0, 1)
    assert len(bank.archived_ids) == n_archived


def test_streaming_is_the_weighted_sum_in_batch() -> None:
    """Mean and covariance of 2 000 states of one schema are the same weighted sums taken at once, in float64."""
    n, d = 2000, 5
    x = np.random.default_rng(0).normal(size=(n, d)) @ np.random.default_rng(1).normal(size=(d, d))
    settings = NeocortexSettings(tau_rel=1e-300, eta=0.01, eta_s=0.01, nu0=2.0 * d)
    bank, background = fitted(x, settings)
    night(bank, background, x, settings=settings)
    taken = np.arange(1, n)
    a, b = np.maximum(0.01, 1 / (taken + 1)), np.maximum(0.01, 1 / (2 * d + taken + 1))

    def weights(rate: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is left after each state of what each state before has put in; [n, n], lower."""
        kept = np.concatenate([[0.0], np.cumsum(np.log1p(-rate))])
        return np.tril(np.concatenate([[1.0], rate]) * np.exp(kept[:, None] - kept[None, :]))

    means = weights(a) @ x
    e = x[1:] - means[:-1]
    left = weights(b)[-1]
    c = left[1:] * (1 - a)
    covariance = left[0] * background.s0 + (c[:, None] * e).T @ e
    assert bank.size == 1
    np.testing.assert_allclose(bank.means[0], means[-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(bank.covariances[0], covariance, rtol=1e-6)


@pytest.mark.parametrize("n", [2, 5])
def test_fewer_states_than_dimensions_are_a_night(n: int) -> None:
    """The background is lifted off its own span, and every state has a schema."""
    x, _ = planted(n, 8, 2)
    bank, background = fitted(x)
    assert (night(bank, background, x).labels >= 0).all()
    _healthy(bank)


def test_a_constant_feature_leaves_a_narrow_schema_not_a_singular_one() -> None:
    """A feature that stops moving after the warm-up shrinks to the floor of the eigenvalues; no label is lost."""
    x, _ = planted(3000, 4, 2)
    bank, background = fitted(x[:500])
    x[500:, 2] = 0.25
    result = night(bank, background, x)
    assert (result.labels >= 0).all()
    _healthy(bank)
    floor = 1e-9 * np.trace(background.s0) / 4
    assert all(np.linalg.eigvalsh(s).min() > 0.4 * floor for s in bank.covariances)


@pytest.mark.parametrize("answer", [np.full((300, 3), np.nan), np.zeros((300, 2))], ids=["nan", "a shape"])
def test_nonsense_from_a_worker_is_refused(answer: NDArray[np.float64]) -> None:
    """Scores that cannot be compared would silently change labels; the bank is as it was."""
    x, _ = planted(300, 3, 3)
    bank, background = fitted(x)
    night(bank, background, x[:100])
    bank.remove(list(range(3, bank.size)))
    assert bank.size == 3
    before = array_digest(bank.snapshot())
    workers = lambda view, blocks: [BlockScores(answer)]  # noqa: E731, ARG005  (a worker of one line)
    rows = Rows(x, np.ones(300), times(300), np.ones(300, np.bool_))
    with pytest.raises(SchemaUpdateError, match="workers"):
        consolidate(bank, background, rows, ROBUST, workers, "s", "m")
    assert array_digest(bank.snapshot()) == before


_REFUSED: dict[str, Callable[..., Any]] = {
    "a nan": lambda x, t, r: (np.where(np.arange(len(x))[:, None] == 3, np.nan, x), t, r, "row 3 has"),
    "an inf": lambda x, t, r: (np.where(np.arange(len(x))[:, None] == 4, -np.inf, x), t, r, "row 4 has"),
    "a huge value": lambda x, t, r: (x * 1e101, t, r, "not finite"),
    "a reward of nan": lambda x, t, r: (x, t, np.where(np.arange(len(r)) == 2, np.nan, r), "row 2 has"),
    "a wrong dimension": lambda x, t, r: (x[:, :2], t, r, "size 3"),
    "a clock that runs backwards": lambda x, t, r: (x, t[::-1].copy(), r, "row 1 is older"),
    "a missing time": lambda x, t, r: (x, t[1:], r, "unequal length"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_bad_rows_are_refused_and_the_bank_is_unchanged(case: str) -> None:
    """The message says what and where."""
    x, _ = planted(100, 3, 3)
    bank, background = fitted(x)
    night(bank, background, x)
    before = array_digest(bank.snapshot())
    bad, time, reward, message = _REFUSED[case](x[:20], times(20), np.ones(20))
    with pytest.raises(SchemaUpdateError, match=message):
        night(bank, background, bad, time=time, reward=reward)
    assert array_digest(bank.snapshot()) == before


def test_a_worker_that_dies_leaves_the_bank_unchanged() -> None:
    """The second round's worker fails; the first round's updates are undone."""
    x, _ = planted(300, 3, 3)
    bank, background = fitted(x)
    night(bank, background, x[:100])
    before = array_digest(bank.snapshot())
    calls: list[int] = []

    def dying(view: BankView, blocks: list[NDArray[np.float64]]) -> list[BlockScores]:
        calls.append(len(blocks))
        if len(calls) == 2:
            raise ConnectionError("killed")
        return score_here(view, blocks)

    rows = Rows(x, np.ones(300), times(300), np.ones(300, np.bool_))
    with pytest.raises(ConnectionError):
        consolidate(bank, background, rows, ROBUST, dying, "s", "m", n_blocks=2, block_rows=40)
    assert len(calls) == 2
    assert array_digest(bank.snapshot()) == before
