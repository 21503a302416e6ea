"""The replay memory beside its peers, and the night's replay beside what its arithmetic takes.

Run as `python -m benchmarks.replay [--quick] [--json FILE] [--only CASES...]`. Both sides of a row run in turn in this
process; what compiles is compiled before the clock starts. `make bench` installs the peers in an environment of their
own; one that cannot be imported is named with the reason in a row without its figures.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from janus_memory.threads import fix_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.report import Row


def main() -> None:
    """Measure, print the table and write the JSON."""
    # The thread count must be fixed before the numerical libraries are loaded.
    threads = fix_threads(0)
    from benchmarks.report import Report, machine, versions  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="three short repetitions, no case of a million rows"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--only", nargs="*", metavar="CASES", help="iterations, overheads, inserts, ...")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name, case in _cases(arguments.quick, threads).items():
        if not arguments.only or name in arguments.only:
            print(name, file=sys.stderr)
            rows += case()
    report = Report(machine=machine(), versions=versions("jax", "numba", "numpy"), rows=rows)
    report.show()
    report.write(arguments.json)


def _cases(quick: bool, threads: int) -> dict[str, Callable[[], Iterator[Row]]]:
    """Every group of rows by its name."""
    from benchmarks import store_cases  # noqa: PLC0415
    from benchmarks.exact_cases import phase, refreshes  # noqa: PLC0415
    from benchmarks.store_cases import Effort  # noqa: PLC0415

    n = 3 if quick else 15
    small, large = store_cases.SMALL, store_cases.LARGE
    cases = {
        "iterations": lambda: store_cases.iterations(small, Effort(n, 100 if quick else 400)),
        "iterations of a million": lambda: store_cases.iterations(large, Effort(n, 200)),
        "overheads": lambda: store_cases.overheads(Effort(n, 100 if quick else 400)),
        "inserts": lambda: store_cases.inserts(Effort(n, 20)),
        "files": lambda: store_cases.persistence(Effort(n, 3)),
        "refreshes": lambda: refreshes(small, Effort(n, 50), threads),
        "refreshes of a million": lambda: refreshes(large, Effort(n, 2), threads),
        "phase 1": lambda: phase(100 if quick else 1000, 1 if quick else 3),
    }
    return {name: case for name, case in cases.items() if not (quick and "million" in name)}


if __name__ == "__main__":
    main()
