"""How well the schema memory finds regimes: planted ones, the S&P 500, EUR/USD; what each state costs.

Run as `python -m benchmarks.schemas [--quick] [--quality | --speed] [--json FILE] [--pictures FOLDER]`. Labels are those given online, resolved
through merges at the end; gates are open. Streams are drawn from seeds that nothing was tuned on. The baselines are
told the number of components and, but for river's, see the whole stream first; the memory is told nothing. `make
bench` installs them in an environment of its own; where one cannot be imported its rows say why.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from janus_memory.threads import fix_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.report import Row
    from benchmarks.schema_cases import Found
    from benchmarks.schema_markets import History

SEEDS = tuple(range(6001, 6008))
# Older seeds, on which nothing was chosen but the count's power below 16 dimensions.
LARGE_ONLY = (*range(4001, 4004), *range(5001, 5008))


def main() -> None:
    """Measure, print the table, write the JSON and draw."""
    # The thread count must be fixed before the numerical libraries are loaded.
    fix_threads(1)
    from benchmarks.report import Report, machine, versions  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed of three short streams")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--quality", action="store_true", help="leave out what is timed")
    part.add_argument("--speed", action="store_true", help="only what is timed")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--pictures", metavar="FOLDER", help="draw there")
    arguments = parser.parse_args()
    found: list[Found] = []
    histories: list[History] = []
    rows = [] if arguments.speed else list(_rows(arguments.quick, found, histories))
    if not arguments.quality:
        rows.extend(_speed_rows(arguments.quick))
    report = Report(machine=machine(), versions=versions("numba", "numpy", "scikit-learn"), rows=rows)
    report.show()
    report.write(arguments.json)
    if arguments.pictures and not arguments.speed:
        from benchmarks.schema_pictures import draw_history, draw_planted  # noqa: PLC0415

        draw_planted(found, Path(arguments.pictures) / "schemas_planted.png")
        for history in histories:
            draw_history(history, Path(arguments.pictures) / f"schemas_{history.key}.png")


def _rows(quick: bool, found: list[Found], histories: list[History]) -> Iterator[Row]:
    """Planted streams, the baselines on two of them, orders of arrival, real markets."""
    from benchmarks import schema_cases as cases  # noqa: PLC0415
    from benchmarks.schema_markets import market_rows  # noqa: PLC0415
    from janus_memory.neocortex.rule import LARGE_DIMENSION  # noqa: PLC0415

    plans = cases.QUICK_PLANS if quick else cases.PLANS
    seeds, n = (SEEDS[:1], 4_000) if quick else (SEEDS, cases.N_ROWS)
    for plan in plans:
        more = () if quick or plan.d < LARGE_DIMENSION else LARGE_ONLY
        measured = [cases.find(plan, seed, n) for seed in (*more, *seeds)]
        found.extend(measured)
        yield from cases.planted_rows(plan, measured)
    for plan in plans[:1] if quick else cases.PEER_PLANS:
        yield from cases.peer_rows(plan, SEEDS[0], n)
    for plan in plans[:1] if quick else cases.ORDER_PLANS:
        yield cases.order_row(plan, seeds, n)
    yield from market_rows(histories)


def _speed_rows(quick: bool) -> Iterator[Row]:
    """Scoring and learning beside scoring alone, a whole night, a million states."""
    from benchmarks import schema_speed as speed  # noqa: PLC0415

    repetitions = 3 if quick else 9
    for k in tuple(speed.RATIOS)[: 1 if quick else None]:
        yield from speed.scoring(k, repetitions=repetitions)
    yield from speed.night(repetitions=1 if quick else 3)
    if not quick:
        yield from speed.million()


if __name__ == "__main__":
    main()
