"""Twenty rules on ten thousand transitions beside LTNtorch, and how far their truths differ.

Run as `python -m benchmarks.logic [--quick] [--json FILE]`. Each call takes numpy arrays and gives every rule's truth
on every row, every rule's truth by its quantifier, and SatAgg; making the library's variables of the arrays is part
of its call. All sides run in turn in this process, each on one thread, which suits so few rows best: on two the
library takes several times as long and we take a little longer. What compiles is compiled before the clock starts.
`make bench` installs the peer in an environment of its own; where it cannot be imported its rows say why.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from janus_memory.threads import fix_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.ltn_peer import Judged, LtnRules
    from benchmarks.report import Row
    from janus_memory.logic.compiled import Judgement
    from janus_memory.transition import Transitions

N_ROWS = 10_000
SPEED_TARGET = 20.0
AGREEMENT_TARGET = 1e-6


def main() -> None:
    """Measure, print the table and write the JSON."""
    # The thread count must be fixed before the numerical libraries are loaded.
    fix_threads(1)
    from benchmarks.report import Report, machine, versions  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three short repetitions")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    arguments = parser.parse_args()
    repetitions, calls = (3, 2) if arguments.quick else (15, 20)
    rows = list(_rows(repetitions, calls))
    report = Report(machine=machine(), versions=versions("jax", "numpy"), rows=rows)
    report.show()
    report.write(arguments.json)


def _rows(repetitions: int, calls: int) -> Iterator[Row]:
    """Speed under JAX and in numpy against the peer, and agreement."""
    from benchmarks.logic_rules import transitions  # noqa: PLC0415
    from benchmarks.report import measured  # noqa: PLC0415
    from benchmarks.turns import in_turn, per_second  # noqa: PLC0415

    batch = transitions(N_ROWS, seed=1)
    peer, name = _peer()
    sides = {"under JAX": _under_jax(), "in numpy, refusing NaN": _in_numpy()}
    for how, ours in sides.items():
        fast, slow = in_turn(
            partial(ours, batch),
            None if peer is None else partial(peer, batch),
            repetitions=repetitions,
            calls=calls,
        )
        yield measured(
            f"20 rules on {N_ROWS:,} rows, {how}",
            "calls/s",
            per_second(fast),
            per_second(slow),
            name,
            better="higher",
            target=SPEED_TARGET if how == "under JAX" else None,
        )
    judgements: list[Judgement | Judged] = [ours(batch) for ours in sides.values()]
    if peer is not None:
        judgements.append(peer(batch))
    yield measured(
        "largest difference between the truths of any two of us",
        "truth",
        [_difference(judgements)],
        None,
        f"under JAX, in numpy, {name}",
        better="lower",
        target=AGREEMENT_TARGET,
        target_of="ours",
    )


def _under_jax() -> Callable[[Transitions], Judgement]:
    """The compiled evaluator, in float32."""
    import jax  # noqa: PLC0415

    from benchmarks.logic_rules import knowledge  # noqa: PLC0415
    from janus_memory.logic.compiled import compiled  # noqa: PLC0415

    # Every result is waited for at once, so that handing the work to another thread would only cost.
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # type: ignore[no-untyped-call]  # noqa: FBT003  (JAX has it so, and leaves it untyped)
    return compiled(knowledge())


def _in_numpy() -> Callable[[Transitions], Judgement]:
    """The evaluator of the night, in float64."""
    from benchmarks.logic_rules import knowledge  # noqa: PLC0415
    from janus_memory.logic import across_rules, rule_truths  # noqa: PLC0415
    from janus_memory.logic.compiled import Judgement  # noqa: PLC0415

    rules = knowledge()

    def call(rows: Transitions) -> Judgement:
        truths = rules.truths(rows)
        closed = rule_truths(truths, rules.quantifiers)
        return Judgement(truths, closed, float(across_rules(closed, rules.weights, rules.quantifiers)))

    return call


def _peer() -> tuple[LtnRules | None, str]:
    try:
        import torch  # noqa: PLC0415  (may be missing)

        from benchmarks.ltn_peer import NAME, LtnRules  # noqa: PLC0415  (may be missing)
    except ImportError as error:
        return None, f"LTNtorch: {type(error).__name__}: {error}".splitlines()[0]
    torch.set_num_threads(1)
    return LtnRules(), NAME


def _difference(judgements: list[Judgement | Judged]) -> float:
    """The largest over rows, rules, quantified rules and SatAgg."""
    import numpy as np  # noqa: PLC0415

    numbers = [np.concatenate([j.truths.ravel(), j.closed, [j.satisfaction]]) for j in judgements]
    return float(max(np.abs(a - b).max() for a in numbers for b in numbers))


if __name__ == "__main__":
    main()
