"""The online learner: an agent's memory in one object, without Kafka (SPEC 2.5).

A row goes three places. It *waits* outside the store until what follows it is known (`replay.online.waiting`), is then
*ready*, and is trained in steps of `new_rows` ready rows, each mixed with `replay_ratio` times as many that the
store replays; only then is it *stored*. So every row that is replayed has been trained before, with its next action.

A step: draw replayed rows, update the policy once on new (weight 1) and replayed rows (weight of E9, E10), write each
replayed row's new |TD error| back under its (slot, generation), store the new rows; then `replays` steps on replayed
rows alone. Steps happen at fixed counts of ready rows: how the rows are cut into frames changes nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from janus_memory.errors import CheckpointError, ConfigError, ReplayError
from janus_memory.logic.knowledge import violations
from janus_memory.policy.packing import pack_policy, unpack_policy
from janus_memory.policy.protocol import Batch
from janus_memory.policy.q_policy import QPolicy
from janus_memory.replay.online.admission import check_rows
from janus_memory.replay.online.presets import preset
from janus_memory.replay.online.tally import OnlineStats, Tally
from janus_memory.replay.online.waiting import WaitingRoom
from janus_memory.replay.priorities import beta_at
from janus_memory.replay.store.replay_store import ReplayStore
from janus_memory.scale import Scale
from janus_memory.seeds import derive_seed
from janus_memory.store.arrays import Arrays, subtree
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import OnlineSettings
    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.policy.protocol import Policy
    from janus_memory.replay.store.batch import ReplayBatch
    from janus_memory.replay.store.stats import ReplayStats
    from janus_memory.transition import MarketSpec

__all__ = ["OnlineLearner"]


class OnlineLearner:
    """Takes transitions in, trains a policy on new and replayed ones. Single writer.

    Time comes from the rows: a row is replayed at the newest timestamp trained so far. Of `settings.replay` the
    sampling counts (strategy, alpha, beta, normalise, half-life, priorities, batch); refreshes and iterations are
    the night's.
    """

    def __init__(
        self,
        spec: MarketSpec,
        policy: Policy,
        settings: OnlineSettings,
        seed: int,
        *,
        scale: Scale | None = None,
        rules: KnowledgeBase | None = None,
    ) -> None:
        """A learner that has seen nothing.

        Args:
            spec: the shape of the rows.
            policy: what is trained; the learner calls it, its owner may use it in between.
            settings: of the store, the mix and the built-in policy.
            seed: decides the draws.
            scale: policy, priorities and store have states and rewards in it; without, in the units of the rows.
            rules: their violations raise a row's priority (E7).

        Raises:
            ConfigError: settings that cannot be used.
        """
        _check_settings(settings)
        self.spec = spec
        self.policy = policy
        self._settings = settings
        self._scale = scale
        self._rules = rules
        self._store = ReplayStore(
            spec,
            settings.capacity,
            settings.replay,
            settings.eviction,
            derive_seed(seed, spec.name, "", "online replay"),
        )
        self._waiting = WaitingRoom(spec, settings.capacity)
        self._ready = Transitions.empty(spec)
        self._tally = Tally()
        self._updates = 0
        self._now_ns = 0

    @classmethod
    def from_preset(
        cls,
        name: str,
        spec: MarketSpec,
        policy: Policy | None = None,
        seed: int = 0,
        *,
        scale: Scale | None = None,
        rules: KnowledgeBase | None = None,
    ) -> OnlineLearner:
        """A learner by the name of its preset (`replay.online.presets`), with the built-in Q-network unless one is given.

        Raises:
            ConfigError: no preset of this name, or vector actions without a policy for them.
        """
        settings = preset(name)
        if policy is None:
            policy = QPolicy(spec, settings.policy, derive_seed(seed, spec.name, "", "policy"))
        return cls(spec, policy, settings, seed, scale=scale, rules=rules)

    def observe(self, rows: Transitions) -> None:
        """Take rows in, one or a frame, in the order of arrival; train on those that are ready.

        Raises:
            ReplayError: rows that do not fit the market, or hold values that are not numbers: nothing was changed.
                Or the policy failed: its step's rows stay ready and are trained by the next call.
            RuleError: a rule cannot be evaluated on them; nothing was changed.
        """
        check_rows(rows, self.spec)
        # What a step will compute of them fails here, before anything is changed.
        check_rows(self._scaled(rows), self.spec)
        self._violation(rows)
        self._tally.saw(rows.domain)
        self._ready = Transitions.concatenate([self._ready, self._waiting.admit(rows)])
        self._train(at_least=self._settings.new_rows)

    def flush(self) -> None:
        """Train on all rows that wait or are ready; a successor that arrives later finds them gone.

        Raises:
            ReplayError: the policy failed; its step's rows stay ready and are trained by the next call.
        """
        self._ready = Transitions.concatenate([self._ready, self._waiting.release()])
        self._train(at_least=1)

    def replay(self, n: int) -> None:
        """Take n steps on `settings.replay.batch` replayed rows each.

        Raises:
            InsufficientData: nothing has been trained yet.
            ReplayError: the policy failed; the steps before have been taken.
        """
        for _ in range(n):
            drawn = self._draw(self._settings.replay.batch)
            self._update(_batch(drawn), drawn.weight)
            self._write_back(drawn)

    def stats(self) -> OnlineStats:
        """What has been seen and trained, and how well it was predicted."""
        return self._tally.stats(self._updates)

    def replay_stats(self) -> ReplayStats:
        """The store's numbers."""
        return self._store.stats()

    def snapshot(self) -> Arrays:
        """Everything that decides what happens next, the policy's own file included.

        Raises:
            CheckpointError: the policy's `save` wrote no file.
        """
        parts = {
            "store/": self._store.snapshot(),
            "waiting/": self._waiting.snapshot(),
            "ready/": self._ready.arrays(),
            "tally/": self._tally.snapshot(),
            "scale/": self._scale.snapshot() if self._scale else {},
        }
        arrays: Arrays = {
            prefix + name: value for prefix, part in parts.items() for name, value in part.items()
        }
        return arrays | {
            "policy": pack_policy(self.policy),
            "settings": _note(self._settings),
            "updates": np.array(self._updates, np.int64),
            "now_ns": np.array(self._now_ns, np.int64),
        }

    @classmethod
    def restore(
        cls,
        spec: MarketSpec,
        policy: Policy,
        settings: OnlineSettings,
        arrays: Mapping[str, NDArray[np.generic]],
        *,
        rules: KnowledgeBase | None = None,
    ) -> OnlineLearner:
        """The learner a snapshot was taken of; it goes on bit for bit.

        Args:
            spec: the shape of the rows.
            policy: one of the same kind; it is made to load its part of the snapshot.
            settings: those of the snapshot.
            arrays: the snapshot.
            rules: those of the snapshot.

        Raises:
            CheckpointError: the snapshot was taken under other settings, or the policy cannot read its part.
        """
        scale = subtree(arrays, "scale/")
        learner = cls(spec, policy, settings, 0, scale=Scale.restore(scale) if scale else None, rules=rules)
        try:
            _check_belongs(arrays["settings"], settings)
            learner._take_over(arrays)
            of_policy = arrays["policy"]
        except KeyError as error:
            raise CheckpointError(
                f"the learner's snapshot lacks {error}; nothing was restored; use an older snapshot"
            ) from error
        unpack_policy(policy, of_policy)
        return learner

    def _take_over(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Become the learner of a snapshot, but for the policy, which is the caller's."""
        settings = self._settings
        self._store = ReplayStore.restore(
            self.spec, settings.capacity, settings.replay, settings.eviction, subtree(arrays, "store/")
        )
        self._waiting = WaitingRoom.restore(self.spec, settings.capacity, subtree(arrays, "waiting/"))
        self._ready = Transitions.from_arrays(arrays, "ready/")
        self._tally = Tally.restore(subtree(arrays, "tally/"))
        self._updates = int(arrays["updates"])
        self._now_ns = int(arrays["now_ns"])

    def _train(self, *, at_least: int) -> None:
        """Steps of `new_rows` ready rows while there are at least so many; a failed step's rows stay ready."""
        n, trained = len(self._ready), 0
        try:
            while n - trained >= at_least:
                fresh = self._ready.take(slice(trained, trained + self._settings.new_rows))
                self._step(fresh)
                trained += len(fresh)
                self.replay(self._settings.replays)
        finally:
            self._ready = self._ready.take(np.arange(trained, n))

    def _step(self, fresh: Transitions) -> None:
        """One update on new rows and what the strategy replays."""
        self._now_ns = max(self._now_ns, int(fresh.timestamp.max()))
        n = round(self._settings.replay_ratio * len(fresh))
        drawn = self._draw(n) if n and len(self._store) else None
        rows = self._scaled(fresh)
        batch, weight = _batch(rows), np.ones(len(rows), np.float32)
        if drawn is not None:
            batch = Batch.concatenate([batch, _batch(drawn)])
            weight = np.concatenate([weight, drawn.weight])
        loss = self._update(batch, weight)
        if drawn is not None:
            self._write_back(drawn)
        self._store.insert(rows, self._violation(fresh))
        self._tally.trained(fresh.domain, loss[: len(fresh)])

    def _draw(self, n: int) -> ReplayBatch:
        steps = self._settings.beta_steps
        beta = beta_at(min(self._updates, steps - 1), steps, self._settings.replay)
        return self._store.sample(n, beta, self._now_ns)

    def _update(self, batch: Batch, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        loss = self._answer("update", self.policy.update(batch, weight), len(batch))
        self._updates += 1
        return loss

    def _write_back(self, drawn: ReplayBatch) -> None:
        """Each replayed row's |TD error| under the updated policy becomes its priority (E7)."""
        delta = self._answer("td_errors", self.policy.td_errors(_batch(drawn)), len(drawn.slot))
        self._store.update(drawn, np.abs(delta))

    def _answer(self, method: str, values: NDArray[np.float32], n: int) -> NDArray[np.float32]:
        """What the policy returned, if it is one finite number for each row."""
        answer = np.asarray(values, np.float32)
        if answer.shape != (n,) or not np.isfinite(answer).all():
            raise ReplayError(
                f"{type(self.policy).__name__}.{method} returned shape {answer.shape} for {n} rows, or values that "
                "are not finite; priorities and stored rows are unchanged; return one finite number for each row, "
                "and lower the learning rate if training diverged"
            )
        return answer

    def _scaled(self, rows: Transitions) -> Transitions:
        """Rows in the units of the policy and the store."""
        if self._scale is None:
            return rows
        return dataclasses.replace(
            rows,
            state=self._scale.standardise(rows.state).astype(np.float32),
            next_state=self._scale.standardise(rows.next_state).astype(np.float32),
            reward=self._scale.reward(rows.reward).astype(np.float32),
        )

    def _violation(self, rows: Transitions) -> NDArray[np.float32] | None:
        if self._rules is None:
            return None
        return violations(self._rules.truths(rows), self._rules.weights).astype(np.float32)


def _batch(rows: Transitions | ReplayBatch) -> Batch:
    return Batch(rows.state, rows.action, rows.reward, rows.next_state, rows.next_action, rows.done)


def _check_settings(settings: OnlineSettings) -> None:
    fits = (
        settings.new_rows >= 1
        and 0 <= settings.replay_ratio < np.inf
        and settings.replays >= 0
        and settings.beta_steps >= 1
        and settings.replay.batch >= 1
    )
    if not fits:
        raise ConfigError(
            f"online settings new_rows = {settings.new_rows}, replay_ratio = {settings.replay_ratio}, replays = "
            f"{settings.replays}, beta_steps = {settings.beta_steps}, batch = {settings.replay.batch} cannot be used; "
            "nothing was built; a ratio and `replays` are at least 0, the others at least 1"
        )


def _check_belongs(note: NDArray[np.generic], settings: OnlineSettings) -> None:
    """Refuse a snapshot of other settings, naming those that differ."""
    found, asked = (_flat(msgspec.json.decode(part.tobytes())) for part in (note, _note(settings)))
    differ = [
        f"{name} was {found.get(name)!r} and is {value!r}"
        for name, value in asked.items()
        if found.get(name) != value
    ]
    if differ:
        raise CheckpointError(
            f"the learner's snapshot was taken under other settings: {', '.join(differ)}; nothing was restored; pass "
            "the settings it was taken under, or begin a new learner"
        )


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested settings by their dotted names."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _note(settings: OnlineSettings) -> NDArray[np.uint8]:
    return np.frombuffer(msgspec.json.encode(settings), np.uint8)
