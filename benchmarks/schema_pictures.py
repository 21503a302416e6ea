"""The pictures of `benchmarks.schemas`: labels of planted streams against their targets, and a market's regimes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from benchmarks.schema_cases import Found
    from benchmarks.schema_markets import History

__all__ = ["draw_history", "draw_planted"]

_BLUE, _RED, _GREY = "#1b6ca8", "#d1495b", "0.75"
_SHOWN = 8


def draw_planted(found: Sequence[Found], path: Path) -> None:
    """One line a plan: the index of each seed, and the target."""
    from benchmarks.schema_cases import ari_target  # noqa: PLC0415

    plans = list(dict.fromkeys(f.plan for f in found))
    figure = _figure(8.0, 0.32 * len(plans) + 1.0)
    ax = figure.subplots()
    for line, plan in enumerate(plans):
        values = [f.ari for f in found if f.plan == plan]
        ax.plot(values, [line] * len(values), "o", color=_BLUE, markersize=5, alpha=0.8)
        ax.plot([ari_target(plan)] * 2, [line - 0.35, line + 0.35], color=_RED, linewidth=1.5)
    ax.set_yticks(range(len(plans)), [str(plan) for plan in plans], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("adjusted Rand index of the online labels; a dot a seed, a bar the target")
    ax.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_history(history: History, path: Path) -> None:
    """Log-volatility over time, coloured by the largest schemas; the crisis' schema in red."""
    labels, market = history.labels, history.market
    ids, counts = np.unique(labels, return_counts=True)
    largest = [int(k) for k in ids[np.argsort(-counts)][:_SHOWN] if k != history.crisis]
    figure = _figure(10.0, 3.6)
    ax = figure.subplots()
    when = market.time.astype("datetime64[ns]")
    ax.plot(when, market.log_volatility, ".", color=_GREY, markersize=2)
    for place, k in enumerate(largest):
        member = labels == k
        ax.plot(when[member], market.log_volatility[member], ".", color=f"C{place % 10}", markersize=3)
    if history.crisis is not None:
        member = labels == history.crisis
        ax.plot(
            when[member],
            market.log_volatility[member],
            "o",
            color=_RED,
            markersize=3,
            label="the schema of 2008",
        )
        ax.legend(frameon=False)
    ax.set_title(f"{market.name}: {len(ids)} schemas, the largest coloured", fontsize=11)
    ax.set_ylabel("log of 21-bar volatility")
    ax.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    # Only who draws pays for the drawing library.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version that made it, equal results are equal bytes.
    figure.savefig(path, dpi=130, metadata={"Software": None})
