"""The twenty rules of `benchmarks.logic_rules` as a user of LTNtorch writes them: predicates, connectives, quantifiers.

State, action, reward and next state are variables joined by `diag`, as its documentation does it for data sets;
predicates are made once, formulas are built anew on every batch, without gradients. LTNtorch computes in float32.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import ltn
import torch

from benchmarks.logic_rules import FEATURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.transition import Transitions

__all__ = ["NAME", "Judged", "LtnRules"]

NAME = f"LTNtorch {importlib.metadata.version('ltntorch')}, torch {importlib.metadata.version('torch')}"
_SHORT, _FLAT, _LONG = 0, 1, 2


class Judged(NamedTuple):
    """What the rules say.

    Attributes:
        truths: float32 [n, 20], each rule on each row.
        closed: float32 [20], each rule by its quantifier.
        satisfaction: SatAgg of the twenty.
    """

    truths: NDArray[np.float32]
    closed: NDArray[np.float32]
    satisfaction: float


class LtnRules:
    """The rules with their connectives and quantifiers."""

    def __init__(
        self, p_forall: float = 2, p_exists: float = 2, p_rules: float = 2, *, stable: bool = False
    ) -> None:
        """With these p in the means over rows and over rules."""
        fuzzy = ltn.fuzzy_ops
        self._not = ltn.Connective(fuzzy.NotStandard())
        self._and = ltn.Connective(fuzzy.AndProd(stable=stable))
        self._or = ltn.Connective(fuzzy.OrProbSum(stable=stable))
        self._implies = ltn.Connective(fuzzy.ImpliesReichenbach(stable=stable))
        self._forall = ltn.Quantifier(fuzzy.AggregPMeanError(p=p_forall, stable=stable), quantifier="f")
        self._exists = ltn.Quantifier(fuzzy.AggregPMean(p=p_exists, stable=stable), quantifier="e")
        self._sat_agg = fuzzy.SatAgg(fuzzy.AggregPMeanError(p=p_rules, stable=stable))
        self._predicates = _predicates()

    def __call__(self, rows: Transitions) -> Judged:
        """Ground the rules on a batch."""
        with torch.no_grad():
            variables = (
                ltn.Variable("state", torch.from_numpy(rows.state)),
                ltn.Variable("action", torch.from_numpy(rows.action)),
                ltn.Variable("next_state", torch.from_numpy(rows.next_state)),
                ltn.Variable("reward", torch.from_numpy(rows.reward)),
            )
            # A quantifier ends the joining, so that it is made once for the formulas and once for each quantifier.
            ltn.diag(*variables)
            formulas = self._formulas(*variables)
            closed = []
            for number, formula in enumerate(formulas):
                ltn.diag(*variables)
                quantifier = self._exists if number in {9, 14, 18} else self._forall
                closed.append(quantifier(list(variables), formula))
            truths = torch.stack([formula.value for formula in formulas], dim=1)
            return Judged(
                truths.numpy(),
                torch.stack([formula.value for formula in closed]).numpy(),
                float(self._sat_agg(*closed)),
            )

    def _formulas(self, s: Any, a: Any, t: Any, r: Any) -> list[Any]:
        """The formulas without their quantifiers; s, a, t and r are state, action, next state and reward."""
        p, not_, and_, or_, implies = self._predicates, self._not, self._and, self._or, self._implies
        return [
            implies(p["deep"](s), p["flat"](a)),
            implies(p["risky"](s), p["flat"](a)),
            implies(and_(p["is long"](s), p["losing"](s)), not_(p["long"](a))),
            implies(and_(p["is short"](s), p["losing"](s)), not_(p["short"](a))),
            and_(
                implies(and_(p["is long"](s), p["losing much"](s)), p["short"](a)),
                implies(and_(p["is short"](s), p["losing much"](s)), p["long"](a)),
            ),
            implies(p["wide"](s), p["flat"](a)),
            p["leverage below 5"](s),
            implies(and_(p["illiquid"](s), p["large"](s)), not_(p["long"](a))),
            implies(p["about 22"](s), p["flat"](a)),
            p["gain"](r),
            p["no great loss"](r),
            p["falls little"](t, s),
            implies(p["volatility above 0.003"](t), p["no loss"](r)),
            implies(or_(p["volatility above 0.002"](s), p["very wide"](s)), not_(p["long"](a))),
            and_(p["flat"](a), p["very large"](s)),
            not_(and_(p["leverage above 4"](s), p["volatility above 0.0015"](s))),
            implies(p["winning"](s), or_(p["flat"](a), p["gain"](r))),
            p["exposure below 18"](s),
            and_(p["no drawdown"](s), p["gain"](r)),
            implies(or_(p["before 2"](s), p["after 21"](s)), or_(p["flat"](a), p["leverage below 1"](s))),
        ]


def _predicates() -> dict[str, Any]:
    """Every predicate once."""
    volatility, position, pnl, drawdown, spread, leverage, hour, liquidity = range(len(FEATURES))

    def above(column: int, limit: float, softness: float) -> Any:
        return ltn.Predicate(func=lambda x: torch.sigmoid((x[:, column] - limit) / softness))

    def below(column: int, limit: float, softness: float) -> Any:
        return ltn.Predicate(func=lambda x: torch.sigmoid((limit - x[:, column]) / softness))

    def size_above(limit: float, softness: float) -> Any:
        return ltn.Predicate(func=lambda x: torch.sigmoid((x[:, position].abs() - limit) / softness))

    def near(column: int, centre: float, width: float) -> Any:
        return ltn.Predicate(func=lambda x: torch.exp(-0.5 * ((x[:, column] - centre) / width) ** 2))

    def chosen(action: int) -> Any:
        return ltn.Predicate(func=lambda a: (a[:, 0] == action).float())

    return {
        "short": chosen(_SHORT),
        "flat": chosen(_FLAT),
        "long": chosen(_LONG),
        "deep": below(drawdown, -0.01, 0.002),
        "risky": ltn.Predicate(
            func=lambda x: torch.sigmoid((x[:, position].abs() * x[:, volatility] - 0.0016) / 0.0002)
        ),
        "is long": above(position, 0.5, 0.1),
        "is short": below(position, -0.5, 0.1),
        "losing": below(pnl, -0.004, 0.001),
        "losing much": below(pnl, -0.008, 0.001),
        "winning": above(pnl, 0.01, 0.002),
        "wide": above(spread, 0.0003, 0.00005),
        "very wide": above(spread, 0.0004, 0.00005),
        "leverage below 5": below(leverage, 5, 0.5),
        "leverage below 1": below(leverage, 1, 0.25),
        "leverage above 4": above(leverage, 4, 0.5),
        "illiquid": below(liquidity, 0.2, 0.05),
        "large": size_above(0.8, 0.1),
        "very large": size_above(0.9, 0.05),
        "about 22": near(hour, 22, 1),
        "before 2": ltn.Predicate(func=lambda x: (x[:, hour] < 2).float()),
        "after 21": ltn.Predicate(func=lambda x: (x[:, hour] > 21).float()),
        "gain": above(0, 0, 5),
        "no loss": above(0, -10, 3),
        "no great loss": above(0, -20, 4),
        "no drawdown": near(drawdown, 0, 0.001),
        "falls little": ltn.Predicate(
            func=lambda t, s: torch.sigmoid((t[:, drawdown] - (s[:, drawdown] - 0.005)) / 0.001)
        ),
        "volatility above 0.003": above(volatility, 0.003, 0.0005),
        "volatility above 0.002": above(volatility, 0.002, 0.0003),
        "volatility above 0.0015": above(volatility, 0.0015, 0.0002),
        "exposure below 18": ltn.Predicate(
            func=lambda x: torch.sigmoid((18 - (2 * x[:, leverage] + 10 * x[:, position].abs())) / 2)
        ),
    }
