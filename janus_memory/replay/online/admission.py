"""Which rows the online learner takes: those shaped for the market, whose numbers can be learned from.

On the wire the same is judged by the ingest worker; here rows come straight from the user, and one bad row
refuses the frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ReplayError
from janus_memory.transition import UNKNOWN_ACTION, Transitions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.transition import MarketSpec

__all__ = ["check_rows"]


def check_rows(rows: Transitions, spec: MarketSpec) -> None:
    """Refuse rows that do not fit the market or hold a value that is not a number.

    A next action that is not known is no fault.

    Raises:
        ReplayError: a column of the wrong shape or dtype, a value that is not finite, or an action or `done` out
            of range; the message names the column and the row.
    """
    _check_shapes(rows, spec)
    for name in ("state", "next_state", "reward"):
        _refuse(~np.isfinite(getattr(rows, name)), name, "is not finite")
    _refuse(rows.done > 1, "done", "is neither 0 nor 1")
    if spec.action_kind == "discrete":
        last = spec.action_size - 1
        _refuse((rows.action < 0) | (rows.action > last), "action", f"is outside [0, {last}]")
        outside = (rows.next_action < UNKNOWN_ACTION) | (rows.next_action > last)
        _refuse(outside, "next_action", f"is outside [{UNKNOWN_ACTION}, {last}]")
    else:
        _refuse(~np.isfinite(rows.action), "action", "is not finite")
        _refuse(np.isinf(rows.next_action), "next_action", "is infinite")


def _check_shapes(rows: Transitions, spec: MarketSpec) -> None:
    n = len(rows)
    for name, column in Transitions.empty(spec).arrays().items():
        found = getattr(rows, name)
        shape = (n, *column.shape[1:])
        if found.shape != shape or found.dtype != column.dtype:
            raise ReplayError(
                f"market {spec.name}: column `{name}` is {found.dtype} of shape {found.shape}, expected "
                f"{column.dtype} of {shape}; the learner is unchanged; build the rows with Transitions.of"
            )


def _refuse(bad: NDArray[np.bool_], name: str, fault: str) -> None:
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ReplayError(
            f"column `{name}` {fault} in {int(bad.sum())} places, the first in row {row}; the learner is unchanged; "
            "remove the row, or mend its source"
        )
