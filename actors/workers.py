"""The night's workers as Ray actors, with names that a person recognises in the dashboard.

Actors hold no state that matters: each method is a pure function of its arguments, so an actor that
was killed is restarted by Ray, asked again, and answers the same. Actors compute with the code of
`InProcessWorkers` in processes that have the driver's compute environment, so the result is the
in-process one, bit for bit.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from actors.map_actor import MapActor
from actors.replay_actor import ReplayActor
from actors.schema_shard import SchemaShard, ask_shards
from janus_memory.errors import JanusError
from janus_memory.replay.night import stepwise
from janus_memory.replay.night.blocks import blocks_of
from janus_memory.replay.night.problem import check_fit
from janus_memory.sleep.workers import InProcessWorkers
from janus_memory.threads import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from janus_memory.atlas.layout import MapRequest, MapResult
    from janus_memory.config import Settings
    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.neocortex.assignment import BankView, BlockScores
    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.consolidation import Rows
    from janus_memory.neocortex.relaxed import Formed
    from janus_memory.replay.night.chunk import ReplayChunk
    from janus_memory.replay.night.learner import LearnerState
    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import Transitions

__all__ = ["RayWorkers", "connect"]

RESTARTS = 5
_NAMES = ("transition_id", "instrument", "agent_id", "episode_id", "domain")


class RayWorkers:
    """`janus_memory.ports.Workers` on the cluster that this process is connected to (`connect`).

    Raises:
        RayError: an actor could not be started, or died more than `RESTARTS` times (from any method).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._here = InProcessWorkers(settings)
        self._shared: tuple[Any, Any] | None = None
        self._replay = [_start(ReplayActor, f"replay-{i}", settings) for i in range(settings.ray.n_replay)]
        self._shards = [_start(SchemaShard, f"schema-shard-{i}") for i in range(settings.ray.n_shards)]
        self._map = _start(MapActor, "map-0")

    def learn(
        self, state: LearnerState, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[LearnerState, ReplayChunk]:
        """Replay iterations start..stop: all of it on the first replay actor, or here with TD errors from all of them.

        A night that goes step by step (`stepwise.is_stepwise`) samples and updates in this process.
        """
        replay, policy = self._settings.replay, self._settings.policy
        if stepwise.is_stepwise(replay, len(problem)):
            return stepwise.learn(
                state,
                problem,
                replay,
                policy,
                start,
                stop,
                replay.iterations,
                lambda fast: self._block_td_errors(fast, problem),
            )
        actor = self._replay[0]
        answer: tuple[LearnerState, ReplayChunk] = _result(
            actor.replay_iterations.remote(state, self._stored(problem), start, stop)
        )
        return answer

    def td_errors(self, fast: Arrays, problem: ReplayProblem) -> NDArray[np.float32]:
        """TD errors of all rows in fixed blocks, a run of blocks for each replay actor; float32 [n]."""
        check_fit(problem, fast)
        return self._block_td_errors(fast, problem)

    def truths(self, rules: KnowledgeBase, rows: Transitions) -> NDArray[np.float64]:
        """Truths in fixed blocks of rows: here, or over the replay actors where rows are many; float64 [n, R]."""
        if len(rows) <= self._settings.replay.parallel_min_rows:
            return self._here.truths(rules, rows)
        # No rule asks for a name, and they are a large part of a row.
        nameless = {name: np.zeros(len(rows), "S1") for name in _NAMES}
        light = replace(rows, **nameless)
        return self._over_replay_actors(
            len(rows), lambda actor, run: actor.truths_of_blocks.remote(rules, light.take(run))
        )

    def policy_truths(self, rules: KnowledgeBase, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """Truths for every action in fixed blocks of states, in the same way; float32 [n, Rp, A]."""
        if len(state) <= self._settings.replay.parallel_min_rows:
            return self._here.policy_truths(rules, state)
        return self._over_replay_actors(
            len(state), lambda actor, run: actor.policy_truths_of_blocks.remote(rules, state[run])
        )

    def score(self, view: BankView, blocks: Sequence[NDArray[np.float64]]) -> list[BlockScores] | None:
        """Bounds of blocks of states, dealt to the schema shards in turn; None where schemas are too few for that."""
        if len(view.offset) < self._settings.ray.shard_min_schemas:
            return None
        return ask_shards(self._shards, ray.put(view), blocks, _result)

    def form_schemas(self, background: Background, parts: Sequence[Rows]) -> list[Formed]:
        """Form schemas of each shard's rows, dealt to the schema shards in turn."""
        settings, shards = self._settings.neocortex, self._shards
        asked = [
            shards[i % len(shards)].form_schemas.remote(background, part, settings)
            for i, part in enumerate(parts)
        ]
        return [_result(answer) for answer in asked]

    def lay_out(self, request: MapRequest) -> MapResult:
        """Draw the map on the map actor."""
        answer: MapResult = _result(self._map.draw_map.remote(request))
        return answer

    def close(self) -> None:
        """End the actors."""
        for actor in (*self._replay, *self._shards, self._map):
            ray.kill(actor)

    def _block_td_errors(self, fast: Arrays, problem: ReplayProblem) -> NDArray[np.float32]:
        weights, rows = ray.put(fast), self._stored(problem)
        return self._over_replay_actors(
            len(problem),
            lambda actor, run: actor.td_errors_of_blocks.remote(
                weights, rows.hex(), rows, run.start, run.stop
            ),
        )

    def _over_replay_actors(self, n: int, ask: Callable[[Any, slice], Any]) -> NDArray[Any]:
        """The answers for n rows, in their order; each actor is asked once, for a run of whole blocks."""
        blocks, n_actors = blocks_of(n, self._settings.replay.block_rows), len(self._replay)
        runs = [
            blocks[i * len(blocks) // n_actors : (i + 1) * len(blocks) // n_actors] for i in range(n_actors)
        ]
        asked = [
            ask(actor, slice(run[0].start, run[-1].stop))
            for actor, run in zip(self._replay, runs, strict=True)
            if run
        ]
        return np.concatenate([_result(answer) for answer in asked])

    def _stored(self, problem: ReplayProblem) -> Any:
        """The night's rows in the object store, put there once."""
        if self._shared is None or self._shared[0] is not problem:
            self._shared = (problem, ray.put(problem))
        return self._shared[1]


def connect(address: str, market: str, session_id: str) -> None:
    """Become a driver of the cluster: one entry on the Jobs page, with market and session in its metadata.

    Call `janus_memory.threads.fix_threads` before: actors are given the thread counts of this process. Actors live
    in a namespace of this process, so that those of a killed driver are not in the way.

    Raises:
        ConnectionError, RayError: the cluster does not answer or refuses the token.
    """
    # The Jobs page shows `job_name` in its own column.
    metadata = {"job_name": f"{market} {session_id}", "market": market, "session_id": session_id}
    job = ray.job_config.JobConfig(metadata=metadata)
    namespace = f"{market}.{session_id}.{os.getpid()}.{time.time_ns()}"
    ray.init(
        address=address,
        namespace=namespace,
        job_config=job,
        log_to_driver=False,
        logging_level="warning",
        runtime_env={"env_vars": _compute_environment()},
    )


def _compute_environment() -> dict[str, str]:
    """What actors share with the driver: the thread counts, on which the bits depend, and what JAX has compiled."""
    return {n: v for n, v in os.environ.items() if n in VARIABLES or n.startswith("JAX_")}


def _start(kind: type[Any], name: str, *arguments: object) -> Any:
    """An actor that starts while we go on; the first call waits for it."""
    remote = ray.remote(num_cpus=0, max_restarts=RESTARTS, max_task_retries=RESTARTS)(kind)
    return remote.options(name=name).remote(*arguments)


def _result(answer: Any) -> Any:
    """Wait for an answer; an error of ours comes back as itself."""
    try:
        return ray.get(answer)
    except RayTaskError as error:
        if isinstance(error.cause, JanusError):
            raise error.cause from None
        raise
