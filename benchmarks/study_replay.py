"""Prioritized beside uniform replay on the same rows: TD error after the same number of updates.

Run as `python -m benchmarks.study_replay [--quick] [--seeds N] [--out FOLDER]`. On the demo's trading weeks and on a
planted market (`benchmarks.study_data`), new weights learn from the same rows under each strategy, as many times as
there are seeds; the weights that a seed starts from are the same for all strategies. The TD loss trains alone (lambda
0), so that only the order of replay differs. Writes `replay.json` and `replay.png`.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from benchmarks.study_run import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.study_data import Study
    from benchmarks.study_report import Curve, Panel, StudyReport
    from janus_memory.config import Strategy

# `domain_balanced` is `prioritized_loss` where all rows are of one domain, as here.
STRATEGIES: tuple[Strategy, ...] = ("uniform", "prioritized_loss", "mixed", "prioritized_recency")
MEAN_LEARNED, RMS_LEARNED = "mean absolute TD error, rows learned from", "RMS TD error, rows learned from"
MEAN_HELD, RMS_HELD = "mean absolute TD error, held-out rows", "RMS TD error, held-out rows"
MEASURES = (MEAN_LEARNED, RMS_LEARNED, MEAN_HELD, RMS_HELD)
DEMO, PLANTED = "the demo's weeks", "planted market"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, write the JSON and the picture, print the table."""
    run("replay", __doc__, measure, panels, arguments)


def measure(quick: bool, n_seeds: int) -> StudyReport:
    """Each market, every strategy, every seed."""
    from benchmarks.report import machine, versions  # noqa: PLC0415
    from benchmarks.study_data import demo_study, planted_study  # noqa: PLC0415
    from benchmarks.study_report import StudyReport  # noqa: PLC0415

    updates = range(0, 21, 10) if quick else range(0, 501, 50)
    n_rows = 500 if quick else 4_000
    planted = [planted_study(n_rows, n_rows, seed) for seed in range(n_seeds)]
    studies = {PLANTED: planted} if quick else {DEMO: [demo_study(5, 5)] * n_seeds, PLANTED: planted}
    strategies = STRATEGIES[:2] if quick else STRATEGIES
    started = time.process_time()
    curves = [c for market, each in studies.items() for c in _curves(market, each, strategies, updates)]
    return StudyReport(
        machine=machine(),
        versions=versions("jax", "optax", "numpy"),
        n_seeds=n_seeds,
        updates=list(updates),
        seconds=round(time.process_time() - started, 1),
        curves=curves,
        marks={market: {} for market in studies},
    )


def panels(report: StudyReport) -> list[list[Panel]]:
    """Mean absolute TD error of the rows learned from above, of the held-out rows below; a market a column."""
    from benchmarks.study_report import Panel  # noqa: PLC0415

    return [
        [
            Panel(
                title=market if measure == MEAN_LEARNED else "",
                label=label,
                curves=report.of(market, measure),
            )
            for market in report.marks
        ]
        for measure, label in (
            (MEAN_LEARNED, "mean |δ|, rows learned from"),
            (MEAN_HELD, "mean |δ|, held-out rows"),
        )
    ]


def _curves(
    market: str, studies: Sequence[Study], strategies: tuple[Strategy, ...], updates: range
) -> list[Curve]:
    """The strategies' curves, seed i learning from the i-th study."""
    import numpy as np  # noqa: PLC0415

    from benchmarks.study_report import curve  # noqa: PLC0415

    runs: dict[Strategy, list[NDArray[np.float64]]] = {strategy: [] for strategy in strategies}
    for seed, study in enumerate(studies):
        for strategy in strategies:
            print(f"{market}, seed {seed}, {strategy}", file=sys.stderr)
            runs[strategy].append(_run(study, strategy, updates, seed))
    return [
        curve(market, measure, strategy, "", np.stack(samples)[:, :, column])
        for column, measure in enumerate(MEASURES)
        for strategy, samples in runs.items()
    ]


def _run(study: Study, strategy: Strategy, updates: range, seed: int) -> NDArray[np.float64]:
    """[n_points, 4]: mean and root mean square TD error of the learned, then of the held-out rows."""
    import numpy as np  # noqa: PLC0415

    from benchmarks.study_training import trained  # noqa: PLC0415
    from janus_memory.config import PolicySettings, ReplaySettings  # noqa: PLC0415

    replay = ReplaySettings(iterations=updates[-1], strategy=strategy)
    lines = []
    for learned in trained(study.train, replay, PolicySettings(lambda_logic=0.0), seed, updates.step):
        errors = [learned.td(rows).astype(np.float64) for rows in (study.train, study.held_out)]
        lines.append([value for td in errors for value in (np.abs(td).mean(), np.sqrt(np.mean(td * td)))])
    return np.array(lines)


if __name__ == "__main__":
    main()
