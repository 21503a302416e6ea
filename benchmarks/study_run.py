"""The command line that all studies share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from janus_memory.threads import fix_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.study_report import Panel, StudyReport

__all__ = ["run"]


def run(
    name: str,
    description: str | None,
    measure: Callable[[bool, int], StudyReport],
    panels: Callable[[StudyReport], list[list[Panel]]],
    arguments: Sequence[str] | None,
) -> None:
    """Run a study: write NAME.json and NAME.png, print the table.

    Args:
        name: of both files.
        description: for --help.
        measure: from whether the run is quick and the number of seeds to what was found.
        panels: the picture of it.
        arguments: of the command line; None are this process's own.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the planted market alone, few rows and updates")
    parser.add_argument("--seeds", type=int, default=10, help="how many times to train (10)")
    parser.add_argument("--out", type=Path, default=Path("docs/studies"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    # One thread, so that a run's bits do not depend on the machine's cores; fixed before the numerical libraries load.
    fix_threads(1)
    from benchmarks.study_report import draw, table  # noqa: PLC0415

    report = measure(options.quick, options.seeds)
    report.write(options.out / f"{name}.json")
    draw(panels(report), report.updates, options.out / f"{name}.png")
    print(table(report))
    print(
        f"{report.machine}; {report.n_seeds} seeds, {report.seconds:.0f} s of processor time", file=sys.stderr
    )
