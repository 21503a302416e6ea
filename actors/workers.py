"""The night's workers as Ray actors, with names that a person recognises in the dashboard.

Actors hold no state: each method is a pure function of its arguments, so an actor that
was killed is restarted by Ray, asked again, and answers the same. Actors compute with the code of
`InProcessWorkers` in processes that have the driver's compute environment, so the result is the
in-process one, bit for bit.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from actors.map_actor import MapActor
from actors.replay_actor import ReplayActor
from actors.schema_shard import SchemaShard
from janus_memory.errors import JanusError
from janus_memory.sleep.workers import blocks_of
from janus_memory.threads import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from janus_memory.atlas.layout import MapRequest, MapResult
    from janus_memory.config import Settings
    from janus_memory.neocortex.assignment import BankView, BlockScores
    from janus_memory.replay.swr import LearnerState, ReplayChunk, ReplayProblem

__all__ = ["RayWorkers", "connect"]

RESTARTS = 5


class RayWorkers:
    """`janus_memory.ports.Workers` on the cluster that this process is connected to (`connect`).

    Raises:
        RayError: an actor could not be started, or died more than `RESTARTS` times (from any method).
    """

    def __init__(self, settings: Settings) -> None:
        self._block_rows = settings.replay.block_rows
        self._shared: tuple[Any, Any] | None = None
        self._replay = [_start(ReplayActor, f"replay-{i}", settings) for i in range(settings.ray.n_replay)]
        self._shards = [_start(SchemaShard, f"schema-shard-{i}") for i in range(settings.ray.n_shards)]
        self._map = _start(MapActor, "map-0")

    def learn(
        self, state: LearnerState, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[LearnerState, ReplayChunk]:
        """Replay iterations start..stop, on the first replay actor."""
        actor = self._replay[0]
        answer: tuple[LearnerState, ReplayChunk] = _result(
            actor.replay_iterations.remote(state, self._stored(problem), start, stop)
        )
        return answer

    def td_errors(self, state: LearnerState, problem: ReplayProblem) -> NDArray[np.float32]:
        """TD errors of all rows in fixed blocks, dealt to the replay actors in turn; float32 [n]."""
        learner, rows = ray.put(state), self._stored(problem)
        blocks = blocks_of(len(problem), self._block_rows)
        asked = [
            actor.td_errors_of_rows.remote(learner, rows, block.start, block.stop)
            for block, actor in zip(blocks, _in_turn(self._replay), strict=False)
        ]
        return np.concatenate([_result(answer) for answer in asked])

    def score(self, view: BankView, blocks: Sequence[NDArray[np.float64]]) -> list[BlockScores]:
        """Scores of blocks of states, dealt to the schema shards in turn."""
        bank = ray.put(view)
        asked = [
            shard.score_block.remote(bank, block)
            for block, shard in zip(blocks, _in_turn(self._shards), strict=False)
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


def _in_turn(actors: Sequence[Any]) -> Iterable[Any]:
    while True:
        yield from actors


def _result(answer: Any) -> Any:
    """Wait for an answer; an error of ours comes back as itself."""
    try:
        return ray.get(answer)
    except RayTaskError as error:
        if isinstance(error.cause, JanusError):
            raise error.cause from None
        raise
