"""A second look at the states that young schemas took in tonight (the exchange step of Hartigan and Wong, 1979).

A schema of a few states is wide, and takes in states of regimes that nobody knows yet; the walk never asks again. After
the walk each of tonight's states that a schema met among its first nu0 is scored once more: by its own schema as it
would be without the state, by all others as they are (E16). Where another is better the state goes over to it, with
its share in mean, covariance, count and reward. What moved may let others move: up to three rounds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.neocortex.assignment import BankView, score_block
from janus_memory.neocortex.kernels import constants, refresh, squared_distances, update_rates
from janus_memory.neocortex.rule import LARGE_DIMENSION, Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings
    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.bank import SchemaBank
    from janus_memory.neocortex.consolidation import Rows

    F8 = NDArray[np.float64]
    Labels = NDArray[np.intp]

__all__ = ["reassign_night"]

_ROUNDS = 3


def reassign_night(
    bank: SchemaBank, background: Background, rows: Rows, labels: Labels, settings: NeocortexSettings
) -> Labels:
    """Move tonight's early states of young schemas to where they belong, in place; the labels after that.

    Below `LARGE_DIMENSION` regimes overlap, and their states would only change sides: nothing is done there, nor in mode
    spec. All scores of a round are taken before its first state moves.

    Args:
        bank: the schemas right after the walk.
        background: S0.
        rows: the night, in total order; those that did not pass the gates stay where they are.
        labels: intp [n], the schema of each row, as a row of the bank; -1 for none.
        settings: the rule.
    """
    rule = Rule.resolve(settings, bank.d, float(np.trace(background.s0)) / bank.d)
    if not rule.robust or bank.d < LARGE_DIMENSION:
        return labels
    after = labels
    for _ in range(_ROUNDS):
        before = after
        after = _round(bank, rule, rows, before)
        if (after == before).all():
            break
    return after


def _round(bank: SchemaBank, rule: Rule, rows: Rows, labels: Labels) -> Labels:
    """The labels after each early state has been asked once; no schema is emptied."""
    early = _early(bank, rule, np.where(rows.passed, labels, -1))
    x, own = rows.x[early], labels[early]
    best = _best(bank, x, own, _without_themselves(bank, rule, x, own))
    after = labels.copy()
    moved = np.flatnonzero(best != own)
    for i in moved.tolist():
        if bank.columns.n[own[i]] > 1:
            _move(bank, rule, rows, int(early[i]), (int(own[i]), int(best[i])))
            after[early[i]] = best[i]
    for k in np.unique([own[moved], best[moved]]).tolist():
        _settle(bank, rule, k)
    return after


def _early(bank: SchemaBank, rule: Rule, labels: Labels) -> Labels:
    """Tonight's rows that their schema met among its first nu0 states, in order; intp [m].

    Only of schemas whose states all still count alike: of those the one state can be taken off again.
    """
    n = bank.columns.n
    alike = min(1.0 / rule.eta, 1.0 / rule.eta_s - rule.nu0) - 1.0
    order = np.argsort(labels, kind="stable")
    schemas, start, count = np.unique(labels[order], return_index=True, return_counts=True)
    found = [
        order[first : first + min(m, max(math.ceil(rule.nu0 - (n[k] - m)), 0))]
        for k, first, m in zip(schemas.tolist(), start.tolist(), count.tolist(), strict=True)
        if k >= 0 and 1 < n[k] <= alike
    ]
    return np.sort(np.concatenate(found)) if found else np.zeros(0, np.intp)


def _without_themselves(bank: SchemaBank, rule: Rule, x: F8, own: Labels) -> F8:
    """The score of each state under its own schema less the state itself; float64 [m].

    With u = x - mu, N = nu0 + n and D = u^T Sigma^-1 u the schema would have n - 1 points, x - mu = n/(n-1) u and
    Sigma = (N Sigma - n/(n-1) u u^T) / (N - 1): no matrix is factored for it.
    """
    c, d = bank.columns, bank.d
    score = np.empty(len(x))
    for k in np.unique(own).tolist():
        its, n = own == k, float(c.n[k])
        whole, ratio = rule.nu0 + n, n / (n - 1.0)
        distance = squared_distances(c.factor[k], c.mean[k], x[its]) / whole
        nu, spread, offset = constants(n - 1.0, c.factor[k], rule)
        less = np.log1p(-np.minimum(ratio * distance, 1.0 - 1e-9))
        q = (whole - 1.0) * ratio**2 * distance / np.exp(less)
        offset -= 0.5 * d * math.log(whole / (whole - 1.0))
        score[its] = offset - 0.5 * less - 0.5 * (nu + d) * np.log1p(q / spread)
    return score


def _best(bank: SchemaBank, x: F8, own: Labels, to_beat: F8) -> Labels:
    """The schema with the best score above `to_beat`, of ties the earlier row; a state's own where there is none."""
    c, size = bank.columns, bank.size
    bound = score_block(BankView.of(bank), x).score
    bound[:, c.archived[:size] != 0] = -np.inf
    bound[np.arange(len(x)), own] = -np.inf
    best, score = own.copy(), to_beat.copy()
    for k in np.flatnonzero((bound > to_beat[:, None]).any(axis=0)).tolist():
        near = np.flatnonzero(bound[:, k] > score)
        q = squared_distances(c.factor[k], c.mean[k], x[near])
        found = c.offset[k] - 0.5 * (c.nu[k] + bank.d) * np.log1p(q / c.spread[k])
        better = found > score[near]
        best[near[better]], score[near[better]] = k, found[better]
    return best


def _move(bank: SchemaBank, rule: Rule, rows: Rows, row: int, schemas: tuple[int, int]) -> None:
    """Take a state off the first schema, as if it had never come, and teach it to the second (E21, E22)."""
    c, x, (old, new) = bank.columns, rows.x[row], schemas
    n, u = c.n[old], x - c.mean[old]
    whole = rule.nu0 + n
    c.covariance[old] = (whole * c.covariance[old] - n / (n - 1.0) * np.outer(u, u)) / (whole - 1.0)
    c.mean[old] -= u / (n - 1.0)
    e = x - c.mean[new]
    a, b, weight = update_rates(c.n[new], rule)
    c.mean[new] += a * e
    c.covariance[new] = (1.0 - b) * c.covariance[new] + weight * np.outer(e, e)
    for k, sign in ((old, -1.0), (new, 1.0)):
        c.n[k] += sign
        c.reward_sum[k] += sign * rows.reward[row]
    c.seen[new] = max(c.seen[new], rows.timestamp[row])


def _settle(bank: SchemaBank, rule: Rule, k: int) -> None:
    """Bring what follows from moments and count up to them."""
    c = bank.columns
    refresh(c.covariance[k], c.factor[k], rule.floor)
    c.stale[k] = 0
    c.nu[k], c.spread[k], c.offset[k] = constants(c.n[k], c.factor[k], rule)
