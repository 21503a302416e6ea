"""The form of a study's result: curves over updates with intervals over seeds, as JSON, as a table and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from benchmarks.study_training import band

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["Curve", "Panel", "StudyReport", "curve", "draw", "table"]

# Told apart without colour too: by brightness and by the dash.
_LOOKS = (("#1b6ca8", "-"), ("#d1495b", "--"), ("#6a994e", "-."), ("#8d6a9f", ":"))


class Curve(msgspec.Struct, kw_only=True):
    """One arm of a comparison: what was measured after each number of updates.

    Attributes:
        market, measure, arm: what it is.
        samples: [n_seeds][n_points], in `unit`.
        mean, low, high: [n_points], over the seeds, with the 95 % t interval of the mean.
    """

    market: str
    measure: str
    arm: str
    unit: str
    samples: list[list[float]]
    mean: list[float]
    low: list[float]
    high: list[float]


class StudyReport(msgspec.Struct, kw_only=True):
    """What one run of a study writes; `seconds` is its processor time, which other work on the machine leaves alone."""

    machine: str
    versions: dict[str, str]
    n_seeds: int
    updates: list[int]
    seconds: float
    curves: list[Curve]
    marks: dict[str, dict[str, float]]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    def of(self, market: str, measure: str) -> list[Curve]:
        """The arms of one comparison, in the order in which they were added."""
        return [c for c in self.curves if (c.market, c.measure) == (market, measure)]


class Panel(msgspec.Struct, kw_only=True):
    """One set of axes: the arms of one comparison, and levels to compare with."""

    title: str
    label: str
    curves: list[Curve]
    marks: dict[str, float] = {}


def curve(market: str, measure: str, arm: str, unit: str, samples: NDArray[np.float64]) -> Curve:
    """An arm from its samples [n_seeds, n_points], rounded to six digits, which is beyond what they mean."""
    over = band(samples)
    return Curve(
        market=market,
        measure=measure,
        arm=arm,
        unit=unit,
        samples=[_rounded(row) for row in samples],
        mean=_rounded(over.mean),
        low=_rounded(over.low),
        high=_rounded(over.high),
    )


def table(report: StudyReport) -> str:
    """Markdown: each arm after the last update, and by how much it differs from the first arm, seed by seed."""
    lines = ["| market | measure | arm | mean (95 %) | difference (95 %) |", "|---|---|---|---|---|"]
    for first, arm in _against_first(report):
        last = _interval(arm.mean[-1], arm.low[-1], arm.high[-1])
        cells = [arm.market, f"{arm.measure}, {arm.unit}" if arm.unit else arm.measure, arm.arm, last]
        if arm is not first:
            over = band(np.array([row[-1] for row in arm.samples]) - [row[-1] for row in first.samples])
            cells.append(_interval(float(over.mean), float(over.low), float(over.high), sign="+"))
        else:
            cells.append("")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(panels: list[list[Panel]], updates: list[int], path: Path) -> None:
    """The panels as rows of a picture, intervals shaded, one legend below."""
    # Only who draws pays for the drawing library.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(5.2 * len(panels[0]), 3.3 * len(panels) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), len(panels[0]), squeeze=False, sharex=True)
    for row, line in zip(axes, panels, strict=True):
        for ax, panel in zip(row, line, strict=True):
            _draw_panel(ax, panel, updates)
    for ax in axes[-1]:
        ax.set_xlabel("updates")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version that made it, equal results are equal bytes.
    figure.savefig(path, dpi=130, metadata={"Software": None})


def _draw_panel(ax: Axes, panel: Panel, updates: list[int]) -> None:
    for arm, (colour, dash) in zip(panel.curves, _LOOKS, strict=False):
        ax.fill_between(updates, arm.low, arm.high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(updates, arm.mean, color=colour, linestyle=dash, label=arm.arm)
    for name, level in panel.marks.items():
        ax.axhline(level, color="0.5", linewidth=0.8)
        # Beside the axes, where no curve can be.
        ax.annotate(
            name.replace(" ", "\n", 1),
            (1, level),
            xycoords=ax.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color="0.35",
            fontsize=9,
        )
    ax.set_title(panel.title, fontsize=11)
    ax.set_ylabel(panel.label)
    ax.margins(x=0.01, y=0.12)
    ax.spines[["top", "right"]].set_visible(False)


def _against_first(report: StudyReport) -> list[tuple[Curve, Curve]]:
    """Each curve with the first arm of its comparison."""
    return [(report.of(arm.market, arm.measure)[0], arm) for arm in report.curves]


def _interval(mean: float, low: float, high: float, sign: str = "") -> str:
    return f"{mean:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
