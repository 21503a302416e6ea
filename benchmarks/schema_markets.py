"""The real markets of `benchmarks.schemas`: volatility by schema, the crisis of 2008, the frozen density."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from benchmarks.report import Row, measured
from benchmarks.schema_index import currency, index
from benchmarks.schema_nights import WARM_UP_ROWS, Slept, sleep_through
from benchmarks.schema_peers import k_means_with_ledoit_wolf
from janus_memory.config import NeocortexSettings
from janus_memory.neocortex.density import schema_scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from benchmarks.schema_index import Market

__all__ = ["History", "market_rows"]

NEIGHBOUR_GAP = 63
CRISIS = (datetime(2008, 9, 15, tzinfo=UTC), datetime(2009, 3, 31, tzinfo=UTC))
_SEEDS_OF_PEER = range(7)
_LEARNED = 0.7


class History(NamedTuple):
    """A market and the schema of each bar, for the picture."""

    key: str
    market: Market
    labels: NDArray[np.intp]
    crisis: int | None


def market_rows(histories: list[History]) -> Iterator[Row]:
    """Both real streams; `histories` receives what the pictures show."""
    try:
        market = index()
    except ImportError as error:
        yield measured(
            "S&P 500: not measured",
            "",
            [float("nan")],
            None,
            f"{type(error).__name__}: {error}",
            better="higher",
        )
    else:
        slept = _weekly(market, len(market.x))
        crisis = _crisis(market, slept)
        histories.append(History("index", market, slept.labels, crisis))
        yield _explained(market, slept, 0.72)
        yield from _crisis_rows(market, slept, crisis)
        yield _density_row(market)
    market = currency()
    slept = _weekly(market, len(market.x))
    histories.append(History("currency", market, slept.labels, None))
    yield _explained(market, slept, None)
    yield _density_row(market)


def _weekly(market: Market, n: int) -> Slept:
    """The memory after the first n bars: a warm-up, then a night a week."""
    week = market.time[:n] // (7 * 86_400 * 10**9)
    nights = np.flatnonzero(np.diff(week)) + 1
    settings = msgspec.structs.replace(NeocortexSettings(), neighbour_gap=NEIGHBOUR_GAP)
    return sleep_through(
        market.x[:n], market.time[:n], [WARM_UP_ROWS, *nights[nights > WARM_UP_ROWS].tolist()], settings
    )


def _explained(market: Market, slept: Slept, target: float | None) -> Row:
    """1 - within / total variance of the log of realised volatility over the online labels."""
    v = market.log_volatility
    within = sum(
        float(((v[slept.labels == k] - v[slept.labels == k].mean()) ** 2).sum())
        for k in np.unique(slept.labels)
    )
    return measured(
        f"{market.name}: variance of log-volatility explained by the schema",
        "share",
        [1 - within / float(((v - v.mean()) ** 2).sum())],
        None,
        f"none; {len(np.unique(slept.labels))} schemas",
        better="higher",
        target=target,
        target_of="ours",
    )


def _crisis(market: Market, slept: Slept) -> int:
    """The label whose members are nearest to the crisis, by F1."""
    inside = _in_crisis(market)
    scores = [_f1(inside, slept.labels == k) for k in range(len(slept.resolved))]
    return int(np.argmax(scores))


def _crisis_rows(market: Market, slept: Slept, crisis: int) -> Iterator[Row]:
    inside = _in_crisis(market)
    yield measured(
        f"{market.name}: the schema of the 2008 crisis",
        "F1",
        [_f1(inside, slept.labels == crisis)],
        None,
        "15 Sep 2008 to 31 Mar 2009",
        better="higher",
        target=0.65,
        target_of="ours",
    )
    # Ten years later, archived or not, the schema is still what describes its own days best.
    best = _best_of_all(slept, market.x[inside & (slept.labels == crisis)])
    yield measured(
        f"{market.name}: its days recalled by it at the end of 2018",
        "share",
        [float((best == slept.resolved[crisis]).mean())],
        None,
        "all schemas, archived ones among them",
        better="higher",
        target=0.5,
        target_of="ours",
    )


def _best_of_all(slept: Slept, x: NDArray[np.float64]) -> NDArray[np.str_]:
    """The id of the schema, archived or not, with the largest density; str [n]."""
    names = np.array([name.decode() for name in slept.bank.row_ids().tolist()], np.str_)
    return np.asarray(names[schema_scores(slept.bank, x).argmax(axis=1)])


def _density_row(market: Market) -> Row:
    """The first 70 % learned, the last 30 % scored frozen, beside clusters in hindsight."""
    n = int(_LEARNED * len(market.x))
    slept, new = _weekly(market, n), market.x[n:]
    d = market.x.shape[1]
    ours = -float(slept.density.log_density(slept.bank, slept.background, new).mean()) / d
    by_k = {k: [_peer_loss(market.x[:n], new, k, seed) for seed in _SEEDS_OF_PEER] for k in (6, 12, 24)}
    others = ", ".join(f"{median(by_k[k]):.3f} with {k}" for k in (6, 24))
    return measured(
        f"{market.name}: last 30 % by the frozen memory, minus log-density",
        "nats a dimension",
        [ours],
        by_k[12],
        f"MiniBatchKMeans(12) + LedoitWolf, {len(_SEEDS_OF_PEER)} seeds ({others})",
        better="lower",
        target=1.0,
    )


def _peer_loss(x: NDArray[np.float64], new: NDArray[np.float64], k: int, seed: int) -> float:
    fitted = k_means_with_ledoit_wolf(x, k, seed)
    assert fitted.log_density is not None
    return float(-fitted.log_density(new).mean() / x.shape[1])


def _in_crisis(market: Market) -> NDArray[np.bool_]:
    first, last = (int(moment.timestamp()) * 10**9 for moment in CRISIS)
    return np.asarray((market.time >= first) & (market.time <= last))


def _f1(truth: NDArray[np.bool_], members: NDArray[np.bool_]) -> float:
    return 2 * float((truth & members).sum()) / float(truth.sum() + members.sum())
