"""Phase 1: sharp-wave-ripple replay of the buffer trains the fast weights (E7-E12)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from janus_memory.hippocampus.metadata import Metadata
from janus_memory.logic import satisfaction, violations
from janus_memory.policy.box import action_box
from janus_memory.replay.night.problem import ReplayProblem, VectorColumns
from janus_memory.replay.priorities import priorities, priority_quantiles
from janus_memory.sleep.memory import note, prefixed
from janus_memory.store.arrays import subtree

if TYPE_CHECKING:
    from janus_memory.scale import Scale
    from janus_memory.sleep.learning import Learning
    from janus_memory.sleep.night import Night
    from janus_memory.sleep.phases.freeze import Pool
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import Transitions

__all__ = ["Replayed", "problem_of", "replay"]

NAME = "1-replay"
PARTIAL = "1-replay-partial"


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome of phase 1, or of its first iterations.

    Attributes:
        fast: what the fast learner knows (`sleep.learning`).
        slow: what the slow one knows, as phase 2 finds it.
        metadata: of each row of the buffer (E1); judged by what the learner knows at the night's end.
        done: iterations finished.
        metrics: numbers for the report.
    """

    fast: Arrays
    slow: Arrays
    metadata: Metadata
    done: int
    metrics: dict[str, float]

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {
            **prefixed("learner/", self.fast),
            **prefixed("slow/", self.slow),
            **self.metadata.arrays("metadata/"),
            "done": np.array(self.done),
            "metrics": note(self.metrics),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Replayed:
        """The inverse of `snapshot`."""
        return cls(
            subtree(arrays, "learner/"),
            subtree(arrays, "slow/"),
            Metadata.from_arrays(arrays, "metadata/"),
            int(arrays["done"]),
            msgspec.json.decode(arrays["metrics"].tobytes(), type=dict[str, float]),
        )


def replay(night: Night, pool: Pool, scale: Scale, learning: Learning) -> Replayed:
    """Run all iterations in chunks, with a checkpoint after each; continue after the last one there is."""
    settings = night.settings.replay
    problem = problem_of(night, pool.rows.take(pool.buffer), scale)
    kept = night.checkpoints.load(PARTIAL)
    now = Replayed.restore(kept[0]) if kept else _begin(night, pool, problem, learning)
    while now.done < settings.iterations:
        end = min(now.done + settings.checkpoint_every, settings.iterations)
        now = _chunk(night, problem, now, end, learning)
        night.progress.advance("replay", end, settings.iterations)
        if end < settings.iterations:
            night.checkpoints.save(PARTIAL, now.snapshot(), {})
            night.leave_if_asked()
    return _finish(night, pool, problem, now, learning)


def problem_of(night: Night, rows: Transitions, scale: Scale) -> ReplayProblem:
    """Rows in standardised units, with their rule violations and what the rules say of a policy's choices."""
    truths, rules = night.workers.truths(night.rules, rows), night.rules.policy_rules()
    if night.spec.action_kind == "discrete":
        policy_truth, vector = night.workers.policy_truths(rules, rows.state), None
    else:
        policy_truth = np.zeros((len(rows), len(rules.names), 0), np.float32)
        vector = VectorColumns(action_box(night.spec), rows.state, rules)
    return ReplayProblem(
        x=scale.standardise(rows.state).astype(np.float32),
        action=rows.action,
        reward=scale.reward(rows.reward).astype(np.float32),
        next_x=scale.standardise(rows.next_state).astype(np.float32),
        next_action=rows.next_action,
        done=rows.done,
        violation=violations(truths, night.rules.weights).astype(np.float32),
        policy_truth=policy_truth,
        rule_weight=rules.weights.astype(np.float32),
        quantifiers=rules.quantifiers,
        vector=vector,
        timestamp=rows.timestamp,
        domain=np.unique(rows.domain, return_inverse=True)[1].astype(np.int32),
    )


def _begin(night: Night, pool: Pool, problem: ReplayProblem, learning: Learning) -> Replayed:
    """What the night before has learned (or new policies); TD errors before replay."""
    fast, slow = learning.begin(night.memory.knowledge)
    td = learning.td_errors(fast, problem)
    metadata = replace(pool.metadata.take(pool.buffer), violation=problem.violation)
    return Replayed(fast, slow, metadata, 0, {"td_error_before": float(np.abs(td).mean())})


def _chunk(night: Night, problem: ReplayProblem, now: Replayed, end: int, learning: Learning) -> Replayed:
    fast, chunk = learning.learn(now.fast, problem, now.done, end)
    known = now.metadata
    return replace(
        now,
        fast=fast,
        metadata=replace(
            known,
            replay_count=known.replay_count + chunk.replay_count,
            last_replayed=np.where(chunk.replay_count > 0, night.closed_at, known.last_replayed),
        ),
        done=end,
        metrics={
            **now.metrics,
            "replay_loss": float(chunk.loss.mean()),
            "replay_effective_sample_size": float(chunk.effective_sample_size.mean()),
            "policy_satisfaction": float(chunk.satisfaction.mean()),
        },
    )


def _finish(night: Night, pool: Pool, problem: ReplayProblem, now: Replayed, learning: Learning) -> Replayed:
    """Judge every row by what the learner knows now; the report's numbers over the buffer."""
    td = learning.td_errors(now.fast, problem)
    after = float(np.abs(td).mean())
    before = now.metrics["td_error_before"]
    priority = priorities(td, problem.violation, problem.reward, night.settings.replay)
    quantiles = priority_quantiles(priority)
    drawn = now.metadata.replay_count - pool.metadata.replay_count[pool.buffer]
    truths = night.workers.truths(night.rules, pool.rows.take(pool.buffer))
    return replace(
        now,
        metadata=replace(now.metadata, priority=priority, td_error=np.abs(td)),
        metrics={
            **now.metrics,
            "td_error_after": after,
            "td_error_improvement": (before - after) / before if before > 0 else 0.0,
            "satisfaction": satisfaction(truths, night.rules.weights, night.rules.quantifiers),
            "violation_mean": float(problem.violation.mean()),
            "replay_total": float(drawn.sum()),
            "replay_reached": float((drawn > 0).mean()),
            **{f"priority_p{round(100 * float(level))}": value for level, value in quantiles.items()},
        },
    )
