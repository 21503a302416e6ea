"""Consolidation: one walk over the night's states in total order (E16, E20-E22; section 6).

Each state goes to its best schema and moves it, or starts a new one where even the best is less likely than
tau times the background; the archive is asked before. Blocks of states may be scored anywhere against a
snapshot; the walk alone decides, so labels and bank do not depend on how the rows were cut into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import SchemaUpdateError
from janus_memory.neocortex.assignment import BankView
from janus_memory.neocortex.kernels import constants, walk
from janus_memory.neocortex.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings
    from janus_memory.neocortex.assignment import BlockScores
    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.bank import SchemaBank

    Score = Callable[[BankView, list[NDArray[np.float64]]], list[BlockScores] | None]

__all__ = ["ConsolidationResult", "Rows", "checked_rows", "consolidate"]

# Squares of larger values could overflow in a covariance.
_LARGEST = 1e100
_BLOCK_ROWS = 512
_N_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class ConsolidationResult:
    """What a walk did.

    Attributes:
        labels: intp [n], each row's schema as a row of `ids`; -1 where no schema existed.
        ids: bytes S32 [K], the bank's rows right after the walk.
        n_created, n_revived: schemas. n_updated, n_gated: rows that moved a schema, rows only labelled.
    """

    labels: NDArray[np.intp]
    ids: NDArray[np.bytes_]
    n_created: int
    n_revived: int
    n_updated: int
    n_gated: int


def consolidate(  # noqa: PLR0917  (what a walk takes; the caller gives them in this order)
    bank: SchemaBank,
    background: Background,
    rows: Rows,
    settings: NeocortexSettings,
    score: Score | None,
    session_id: str,
    market: str,
    *,
    n_blocks: int = _N_BLOCKS,
    block_rows: int = _BLOCK_ROWS,
) -> ConsolidationResult:
    """Consolidate rows in total order; the bank changes in place, or not at all.

    Args:
        bank: the schemas.
        background: S0 and the threshold of creation.
        rows: the night, in total order.
        settings: the rule.
        score: bounds the scores of blocks against a snapshot; None, or an answer of None,
            leaves that to the walk, with the same result.
        session_id: goes into the ids of new schemas.
        market: goes into the ids of new schemas.
        n_blocks: how many blocks are scored against one snapshot.
        block_rows: rows of a block.

    Raises:
        SchemaUpdateError: the rows are not what they should be; the bank is unchanged.
    """
    rows = checked_rows(bank, rows)
    before = bank.snapshot()
    n_before, n_archived = bank.size, len(bank.archived_ids)
    try:
        labels = _walk(bank, background, rows, settings, score, (session_id, market), (n_blocks, block_rows))
    except BaseException:
        bank.load(before)
        raise
    n_created = bank.size - n_before
    return ConsolidationResult(
        labels=labels.astype(np.intp),
        ids=bank.row_ids(),
        n_created=n_created,
        n_revived=n_archived - len(bank.archived_ids),
        n_updated=int(rows.passed.sum()) - n_created,
        n_gated=int((~rows.passed).sum()),
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to be consolidated, in total order.

    Attributes:
        x: float64 [n, d], standardised states.
        reward: float64 [n], the user's own units.
        timestamp: int64 [n], UTC nanoseconds, never falling.
        passed: bool [n]; False rows are labelled by argmax without any update (E20).
    """

    x: NDArray[np.float64]
    reward: NDArray[np.float64]
    timestamp: NDArray[np.int64]
    passed: NDArray[np.bool_]

    def take(self, part: slice | NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        return Rows(self.x[part], self.reward[part], self.timestamp[part], self.passed[part])


def checked_rows(bank: SchemaBank, rows: Rows) -> Rows:
    """Copies as the kernels take them; SchemaUpdateError where they are not what `consolidate` asks for."""
    x, reward, timestamp, passed = rows.x, rows.reward, rows.timestamp, rows.passed
    if x.ndim != 2 or x.shape[1] != bank.d:
        raise _refused(f"states of shape {x.shape} for schemas of size {bank.d}", "check the feature set")
    if not len(x) == len(reward) == len(timestamp) == len(passed):
        lengths = f"{len(x)}, {len(reward)}, {len(timestamp)}, {len(passed)}"
        raise _refused(f"columns of unequal length ({lengths})", "give one value a row")
    bad = np.flatnonzero(~(np.abs(x) < _LARGEST).all(axis=1) | ~np.isfinite(reward))
    if len(bad):
        raise _refused(f"row {bad[0]} has a state or reward that is not finite", "drop the row")
    fell = np.flatnonzero(np.diff(timestamp) < 0)
    if len(fell):
        raise _refused(f"row {fell[0] + 1} is older than the row before it", "sort the rows into total order")
    # The kernels are compiled for writable arrays in C order.
    return Rows(
        np.array(x, np.float64, order="C"),
        np.array(reward, np.float64),
        np.array(timestamp, np.int64),
        np.array(passed, np.bool_),
    )


def _refused(what: str, do: str) -> SchemaUpdateError:
    return SchemaUpdateError(f"consolidation got {what}; the schema bank is unchanged; {do}")


def _walk(  # noqa: PLR0917  (what a walk takes; the caller gives them in this order)
    bank: SchemaBank,
    background: Background,
    rows: Rows,
    settings: NeocortexSettings,
    score: Score | None,
    origin: tuple[str, str],
    cut: tuple[int, int],
) -> NDArray[np.int64]:
    """Labels of all rows; one snapshot a round of blocks."""
    rule = Rule.resolve(settings, bank.d, float(np.trace(background.s0)) / bank.d)
    threshold = np.full(len(rows.x), rule.log_tau)
    if rule.robust:
        # Nobody founds a schema that would not keep its own founder; else copies of one state made schemas without end.
        _, _, own = constants(1.0, background.s0_factor, rule)
        threshold = np.minimum(threshold + background.log_density(rows.x), own)
    labels = np.full(len(rows.x), -1, np.int64)
    n_blocks, block_rows = cut
    step = n_blocks * block_rows if score else max(len(rows.x), 1)
    for start in range(0, len(rows.x), step):
        part = slice(start, start + step)
        nominated = _nominate(bank, rows.x[part], score, block_rows)
        _round(bank, background, rule, rows.take(part), threshold[part], nominated, labels[part], origin)
    return labels


def _nominate(
    bank: SchemaBank, x: NDArray[np.float64], score: Score | None, block_rows: int
) -> NDArray[np.float64]:
    """Bounds [n, K] of a round's scores against a snapshot; no columns where the walk scores for itself."""
    if score is None or not bank.size:
        return np.empty((len(x), 0))
    view = BankView.of(bank)
    narrow = np.ascontiguousarray(x[:, : view.shift.shape[1]])
    blocks = [narrow[at : at + block_rows] for at in range(0, len(x), block_rows)]
    answers = score(view, blocks)
    if answers is None:
        return np.empty((len(x), 0))
    bounds = np.concatenate([answer.score for answer in answers])
    if bounds.shape != (len(x), bank.size) or np.isnan(bounds).any():
        what = f"{bounds.shape} scores of {len(x)} rows under {bank.size} schemas from its workers, or NaN"
        raise _refused(what, "run the night again")
    return np.ascontiguousarray(bounds, np.float64)


def _round(  # noqa: PLR0917  (what a walk takes; the caller gives them in this order)
    bank: SchemaBank,
    background: Background,
    rule: Rule,
    rows: Rows,
    threshold: NDArray[np.float64],
    nominated: NDArray[np.float64],
    labels: NDArray[np.int64],
    origin: tuple[str, str],
) -> None:
    session_id, market = origin
    touched = np.zeros(0, np.uint8)
    done = 0
    while done < len(rows.x):
        bank.reserve(max(64, 2 * bank.size))
        grown = np.ones(len(bank.columns.n), np.uint8)
        grown[: nominated.shape[1]] = 0
        grown[: len(touched)] = touched
        touched = grown
        done, size = walk(
            bank.columns,
            bank.size,
            done,
            rows.x,
            rows.reward,
            rows.timestamp,
            rows.passed,
            threshold,
            nominated,
            touched,
            background.s0,
            background.s0_factor,
            rule,
            labels,
        )
        bank.name_new(size, market, session_id)
