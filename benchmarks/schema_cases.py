"""The planted streams of `benchmarks.schemas` and their targets: what is measured on each, as rows of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.metrics import adjusted_rand_score

from benchmarks.report import Row, measured
from benchmarks.schema_nights import WARM_UP_ROWS, Slept, sleep_through
from benchmarks.schema_peers import PEERS, try_peer
from benchmarks.schema_streams import N_ROWS, OUTLIER, Plan, plant, shuffled
from janus_memory.config import NeocortexSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from benchmarks.schema_streams import Planted

__all__ = [
    "N_ROWS",
    "ORDER_PLANS",
    "PEER_PLANS",
    "PLANS",
    "QUICK_PLANS",
    "Found",
    "ari_target",
    "find",
    "order_row",
    "peer_rows",
    "planted_rows",
]

PLANS = (
    Plan(8, 5),
    Plan(8, 5, zipf=1, dwell=20, outliers=0.02),
    Plan(8, 20),
    Plan(8, 20, zipf=1, dwell=20, outliers=0.02),
    Plan(8, 20, drift=2),
    Plan(8, 50, zipf=1),
    Plan(32, 5),
    Plan(32, 20, zipf=1, dwell=20, outliers=0.02),
    Plan(32, 20, drift=3),
    Plan(32, 50, zipf=1),
    Plan(64, 20, zipf=1, dwell=20, outliers=0.02),
    Plan(64, 20, drift=3),
    Plan(64, 50, zipf=1),
)
QUICK_PLANS = (Plan(8, 5), Plan(8, 10, zipf=1, dwell=20, outliers=0.02), Plan(32, 10))
PEER_PLANS = (Plan(8, 20, zipf=1, dwell=20, outliers=0.02), Plan(32, 20, zipf=1, dwell=20, outliers=0.02))
ORDER_PLANS = (Plan(8, 20), Plan(32, 20), Plan(64, 20))
ALONE = "none: the truth is known"
NIGHT_ROWS = 2_000


class Found(NamedTuple):
    """What the memory made of one planted stream.

    Attributes:
        plan: of the stream. ari: of the online labels, outliers left out.
        miscount: |schemas of 10 points or more / components of 10 states or more - 1|.
        lost: nats per dimension by which the true mixture describes held-out states better.
    """

    plan: Plan
    ari: float
    miscount: float
    lost: float


def ari_target(plan: Plan) -> float:
    """The index that is aimed at: labels of few dimensions are harder."""
    if plan.d >= 32:
        return 0.98
    return 0.97 if plan.k <= 5 else 0.95


def find(plan: Plan, seed: int, n: int) -> Found:
    """Let the memory live through a planted stream."""
    stream = plant(plan, seed, n)
    slept, x, held_out, log_scale = _live(stream)
    known = stream.which != OUTLIER
    large = int((slept.bank.num_points >= 10).sum())
    density = slept.density.log_density(slept.bank, slept.background, held_out).mean() - log_scale
    return Found(
        plan,
        float(adjusted_rand_score(stream.which[known], slept.labels[known])),
        abs(large / stream.n_components - 1),
        (stream.log_density - float(density)) / x.shape[1],
    )


def planted_rows(plan: Plan, found: Sequence[Found]) -> Iterator[Row]:
    """One stream's labels, number of schemas and density, over its seeds."""
    yield measured(
        f"{plan}: online labels against the truth",
        "adjusted Rand index",
        [f.ari for f in found],
        None,
        ALONE,
        better="higher",
        target=ari_target(plan),
        target_of="ours",
    )
    if plan.drift:
        return
    yield measured(
        f"{plan}: schemas of 10 points or more, away from the truth",
        "share",
        [f.miscount for f in found],
        None,
        ALONE,
        better="lower",
        target=0.1,
        target_of="ours",
    )
    yield measured(
        f"{plan}: held-out density below the true mixture's",
        "nats a dimension",
        [f.lost for f in found],
        None,
        ALONE,
        better="lower",
        target=0.06 if (plan.d, plan.k) == (64, 50) else 0.03,
        target_of="ours",
    )


def peer_rows(plan: Plan, seed: int, n: int) -> Iterator[Row]:
    """Online labels beside those of the baselines on the same stream."""
    stream = plant(plan, seed, n)
    slept, x, _, _ = _live(stream)
    known = stream.which != OUTLIER
    ours = float(adjusted_rand_score(stream.which[known], slept.labels[known]))
    for peer in PEERS:
        fitted, name = try_peer(peer, x, plan.k, seed)
        theirs = (
            None
            if fitted is None
            else [float(adjusted_rand_score(stream.which[known], fitted.labels[known]))]
        )
        yield measured(
            f"{plan}: labels against the truth", "adjusted Rand index", [ours], theirs, name, better="higher"
        )


def order_row(plan: Plan, seeds: Sequence[int], n: int) -> Row:
    """Labels of the same states in two orders of arrival, against each other."""
    agreement = []
    for seed in seeds:
        stream = plant(plan, seed, n)
        moved, order = shuffled(stream, seed)
        first, second = _live(stream)[0].labels, np.empty(n, np.intp)
        second[order] = _live(moved)[0].labels
        agreement.append(float(adjusted_rand_score(first, second)))
    return measured(
        f"{plan}: labels between two orders of arrival",
        "adjusted Rand index",
        agreement,
        None,
        "the other order",
        better="higher",
        target=0.98,
        target_of="ours",
    )


def _live(stream: Planted) -> tuple[Slept, NDArray[np.float64], NDArray[np.float64], float]:
    """The memory after the stream; states and held-out states as it saw them; log of the scale's volume."""
    m, sd = stream.x[:WARM_UP_ROWS].mean(axis=0), stream.x[:WARM_UP_ROWS].std(axis=0)
    x = (stream.x - m) / sd
    time = np.arange(len(x), dtype=np.int64) * 10**9
    slept = sleep_through(x, time, range(NIGHT_ROWS, len(x), NIGHT_ROWS), NeocortexSettings())
    return slept, x, (stream.held_out - m) / sd, float(np.log(sd).sum())
