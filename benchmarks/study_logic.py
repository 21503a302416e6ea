"""What the logic loss does to a policy and what it costs: training with it (lambda 0.5) beside training without it.

Run as `python -m benchmarks.study_logic [--quick] [--seeds N] [--out FOLDER]`. On the demo's trading weeks and on a
planted market in which the unsafe action pays more (`benchmarks.study_data`), the night's own exact replay trains new
weights, as many times as there are seeds. After every few updates it is measured how far the policy obeys the rules on
held-out rows, and what its greedy choice earns on days that training has not seen. Writes `logic.json` and `logic.png`.
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

ARMS = {"without L_logic": 0.0, "with L_logic (λ = 0.5)": 0.5}
SATISFIED, GREEDY, EARNED = "satisfaction", "satisfaction of the greedy policy", "reward a step"
DEMO, PLANTED = "the demo's weeks", "planted market"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, write the JSON and the picture, print the table."""
    run("logic", __doc__, measure, panels, arguments)


def measure(quick: bool, n_seeds: int) -> StudyReport:
    """Each market, both arms, every seed."""
    from benchmarks.report import machine, versions  # noqa: PLC0415
    from benchmarks.study_data import demo_study, planted_study  # noqa: PLC0415
    from benchmarks.study_report import StudyReport  # noqa: PLC0415

    updates = range(0, 21, 10) if quick else range(0, 501, 25)
    n_rows = 500 if quick else 4_000
    planted = [planted_study(n_rows, n_rows // 2, seed) for seed in range(n_seeds)]
    studies = {PLANTED: planted} if quick else {DEMO: [demo_study(5, 10)] * n_seeds, PLANTED: planted}
    started = time.process_time()
    curves = [c for market, each in studies.items() for c in _curves(market, each, updates)]
    return StudyReport(
        machine=machine(),
        versions=versions("jax", "optax", "numpy"),
        n_seeds=n_seeds,
        updates=list(updates),
        seconds=round(time.process_time() - started, 1),
        curves=curves,
        marks={market: each[0].marks for market, each in studies.items()},
    )


def panels(report: StudyReport) -> list[list[Panel]]:
    """Satisfaction above, reward below; a market a column."""
    from benchmarks.study_report import Panel  # noqa: PLC0415

    top, below = [], []
    for market, marks in report.marks.items():
        satisfied, earned = report.of(market, SATISFIED), report.of(market, EARNED)
        top.append(Panel(title=market, label="rules satisfied (held out)", curves=satisfied))
        label = f"{earned[0].unit} a step, greedy, unseen days"
        below.append(Panel(title="", label=label, curves=earned, marks=marks))
    return [top, below]


def _curves(market: str, studies: Sequence[Study], updates: range) -> list[Curve]:
    """The arms' curves, seed i learning from the i-th study."""
    import numpy as np  # noqa: PLC0415

    from benchmarks.study_report import curve  # noqa: PLC0415

    runs: dict[str, list[NDArray[np.float64]]] = {arm: [] for arm in ARMS}
    for seed, study in enumerate(studies):
        for arm, weight in ARMS.items():
            print(f"{market}, seed {seed}, {arm}", file=sys.stderr)
            runs[arm].append(_run(study, weight, updates, seed))
    measures = ((SATISFIED, ""), (GREEDY, ""), (EARNED, studies[0].unit))
    return [
        curve(market, measure, arm, unit, np.stack(samples)[:, :, column])
        for column, (measure, unit) in enumerate(measures)
        for arm, samples in runs.items()
    ]


def _run(study: Study, lambda_logic: float, updates: range, seed: int) -> NDArray[np.float64]:
    """[n_points, 3]: satisfaction, that of the greedy policy, and reward, after each number of updates."""
    import numpy as np  # noqa: PLC0415

    from benchmarks.study_training import trained  # noqa: PLC0415
    from janus_memory.config import PolicySettings, ReplaySettings  # noqa: PLC0415

    replay = ReplaySettings(iterations=updates[-1])
    policy = PolicySettings(lambda_logic=lambda_logic)
    return np.array(
        [
            (
                learned.satisfaction(study.held_out),
                learned.greedy_satisfaction(study.held_out),
                study.earn(learned.greedy),
            )
            for learned in trained(study.train, replay, policy, seed, updates.step)
        ]
    )


if __name__ == "__main__":
    main()
