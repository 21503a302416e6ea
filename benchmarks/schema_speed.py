"""How fast schemas score and learn, on one core, beside scikit-learn's mere scoring of as many Gaussians.

scikit-learn's pass (`_estimate_log_gaussian_prob`) computes all log-densities and learns nothing; ours finds each state's
schema by the rule, moves it and keeps its factor. Both run in turn in this process, on the same states.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from sklearn.mixture._gaussian_mixture import _estimate_log_gaussian_prob
from threadpoolctl import threadpool_limits

from benchmarks.report import measured
from benchmarks.schema_streams import Plan, plant
from benchmarks.turns import in_turn, per_second
from janus_memory.config import NeocortexSettings
from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import Rows, consolidate
from janus_memory.neocortex.merging import merge_night
from janus_memory.neocortex.pruning import prune_night
from janus_memory.neocortex.reassignment import reassign_night

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from benchmarks.report import Row

__all__ = ["RATIOS", "million", "night", "scoring"]

D = 64
# From so many components, of which 1 100 become some 1 000 schemas, we learn so many times as fast as scikit-learn scores.
RATIOS = {50: 1.25, 200: 1.3, 1_100: 2.0}
NIGHT_ROWS, NIGHT_SECONDS = 10_000, 2.0
MILLION_SECONDS = 120.0
_BLOCK = 10_000
_WARMUP = 2_000
_SECOND = 10**9
_SETTINGS = NeocortexSettings()


def scoring(k: int, *, repetitions: int, rows_each: int = 50) -> Iterator[Row]:
    """The row of k schemas: states a second, scored and learned, against scored alone.

    Args:
        k: components of the mixture, equally likely, without dwelling; `rows_each` states of each form the schemas.
        repetitions: nights of 10 000 fresh states that are timed.
        rows_each: more of them make the schemas better known.
    """
    with threadpool_limits(1):
        n = max(_WARMUP, rows_each * k)
        stream = _standardised(plant(Plan(D, k), seed=1, n=n + (repetitions + 1) * _BLOCK).x)
        bank, background = _learned(stream[:n])
        learn, score = _learning(bank, background, stream[n:], n), _scoring(bank, stream[n:])
        ours, theirs = in_turn(learn, score, repetitions=repetitions, calls=1)
        yield measured(
            f"score and learn, d = {D}, {len(bank.ids):_} schemas".replace("_", " "),
            "states/s",
            [_BLOCK * rate for rate in per_second(ours)],
            [_BLOCK * rate for rate in per_second(theirs)],
            "scikit-learn scores, learns nothing",
            better="higher",
            target=RATIOS.get(k),
        )


def night(k: int = 50, *, repetitions: int) -> Iterator[Row]:
    """The row of a whole first night of 10 000 states: background, walk, merge and prune."""
    stream = _standardised(plant(Plan(D, k, zipf=1.0, dwell=20.0), seed=2, n=NIGHT_ROWS).x)
    with threadpool_limits(1):
        seconds, _ = in_turn(lambda: _learned(stream), None, repetitions=repetitions, calls=1)
    yield measured(
        f"a night of {NIGHT_ROWS} states, d = {D}, {k} components, with merge and prune",
        "s",
        seconds,
        None,
        "",
        better="lower",
        target=NIGHT_SECONDS,
        target_of="ours",
    )


def million(k: int = 200, n: int = 1_000_000) -> Iterator[Row]:
    """The row of n states through about k schemas, once."""
    with threadpool_limits(1):
        stream = _standardised(plant(Plan(D, k), seed=3, n=100_000).x)
        bank, background = _learned(stream[: 50 * k])
        start = time.perf_counter()
        for done in range(0, n, len(stream)):
            _walk(bank, background, stream[: n - done], done + len(stream))
        seconds = time.perf_counter() - start
    yield measured(
        f"{n} states, d = {D}, {len(bank.ids)} schemas",
        "s",
        [seconds],
        None,
        "",
        better="lower",
        target=MILLION_SECONDS,
        target_of="ours",
    )


def _standardised(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray((x - x[:_WARMUP].mean(axis=0)) / x[:_WARMUP].std(axis=0))


def _learned(x: NDArray[np.float64]) -> tuple[SchemaBank, Background]:
    """The bank after one night of these rows, of which the first 2 000 are the warm-up."""
    background = Background.fit(x[:_WARMUP], np.arange(min(_WARMUP, len(x))) * _SECOND, _SETTINGS)
    bank = SchemaBank.empty(x.shape[1])
    rows, labels = _walk(bank, background, x, 0)
    reassign_night(bank, background, rows, labels, _SETTINGS)
    merge_night(bank, background, _SETTINGS)
    prune_night(bank, len(x) * _SECOND, small_night=False, settings=NeocortexSettings(prune_grace=0))
    return bank, background


def _walk(
    bank: SchemaBank, background: Background, x: NDArray[np.float64], start: int
) -> tuple[Rows, NDArray[np.intp]]:
    n = len(x)
    rows = Rows(x, np.zeros(n), (start + np.arange(n)) * _SECOND, np.ones(n, np.bool_))
    result = consolidate(bank, background, rows, _SETTINGS, None, f"from {start}", "benchmark")
    return rows, result.labels


def _learning(
    bank: SchemaBank, background: Background, x: NDArray[np.float64], start: int
) -> Callable[[], None]:
    """Consolidate the next night; the nights come round again."""
    at = iter(range(0, 1 << 62, _BLOCK))

    def learn() -> None:
        done = next(at)
        first = done % (len(x) - _BLOCK + 1)
        _walk(bank, background, x[first : first + _BLOCK], start + done)

    return learn


def _scoring(bank: SchemaBank, x: NDArray[np.float64]) -> Callable[[], object]:
    """Score a night under the bank's Gaussians as they are now."""
    means = bank.means
    precisions = np.linalg.cholesky(np.linalg.inv(bank.covariances))
    return lambda: _estimate_log_gaussian_prob(x[:_BLOCK], means, precisions, "full")
