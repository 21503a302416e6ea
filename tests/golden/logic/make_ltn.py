"""Writes ltn.json: what LTNtorch says of our connectives, quantifiers and twenty rules.

    python -m tests.golden.logic.make_ltn [FILE]

Runs in the environment of `make bench`, because LTNtorch brings PyTorch; the unit tests read the file. The inputs stay
off the edges where that library gives NaN (means over no rows). Its numbers are float32.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import ltn
import torch

from benchmarks.logic_rules import transitions
from benchmarks.ltn_peer import LtnRules

P = (1, 2, 3, 6)
# p of forall, exists and SatAgg.
P_OF_RULES = (*((p, p, p) for p in P), (2, 6, 3), (5, 1, 2))
N_ROWS = 60
_PAIRS = [(a / 8, b / 8) for a in range(9) for b in range(9)]
_TRUTHS = ((0.3,), (0.0, 1.0), (0.9, 0.95, 1.0), (0.0, 0.0, 0.01), (0.125, 0.5, 0.5, 0.875, 1.0))


def connectives(*, stable: bool) -> dict[str, list[float]]:
    """Of every pair of eighths."""
    a, b = torch.tensor(_PAIRS).T
    fuzzy = ltn.fuzzy_ops
    return {
        "negation": fuzzy.NotStandard()(a).tolist(),
        "conjunction": fuzzy.AndProd(stable=stable)(a, b).tolist(),
        "disjunction": fuzzy.OrProbSum(stable=stable)(a, b).tolist(),
        "implication": fuzzy.ImpliesReichenbach(stable=stable)(a, b).tolist(),
    }


def quantifiers(p: int, *, stable: bool) -> dict[str, Any]:
    """Of some lists of truths."""
    fuzzy = ltn.fuzzy_ops
    every, some = fuzzy.AggregPMeanError(p=p, stable=stable), fuzzy.AggregPMean(p=p, stable=stable)
    lists = [torch.tensor(truths) for truths in _TRUTHS]
    return {
        "p": p,
        "stable": stable,
        "forall": [float(every(truths, dim=0)) for truths in lists],
        "exists": [float(some(truths, dim=0)) for truths in lists],
    }


def truths(*, stable: bool) -> Any:
    """Of the twenty rules on some rows, a list for each row."""
    return LtnRules(stable=stable)(transitions(N_ROWS, seed=2)).truths.tolist()


def closed(p: tuple[int, int, int], *, stable: bool) -> dict[str, Any]:
    """The twenty by their quantifiers over those rows, and SatAgg."""
    judged = LtnRules(*p, stable=stable)(transitions(N_ROWS, seed=2))
    return {"p": p, "stable": stable, "closed": judged.closed.tolist(), "satisfaction": judged.satisfaction}


def main() -> None:
    """Write the file."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("ltn.json")
    rows = transitions(N_ROWS, seed=2)
    golden = {
        "versions": {name: importlib.metadata.version(name) for name in ("LTNtorch", "torch", "numpy")},
        "eps": ltn.fuzzy_ops.eps,
        "pairs": _PAIRS,
        "lists": _TRUTHS,
        "rows": {name: getattr(rows, name).tolist() for name in ("state", "action", "next_state", "reward")},
        "connectives": [{"stable": stable} | connectives(stable=stable) for stable in (False, True)],
        "quantifiers": [quantifiers(p, stable=stable) for stable in (False, True) for p in P],
        "truths": {"plain": truths(stable=False), "stable": truths(stable=True)},
        "rules": [closed(p, stable=stable) for stable in (False, True) for p in P_OF_RULES],
    }
    file.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
