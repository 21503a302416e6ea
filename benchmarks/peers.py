"""The replay memories that ours is measured against, each behind the same few verbs.

Every library is used as its own documentation recommends for batches: columns added in blocks, compiled functions
where it compiles, its fastest storage. The states of a transition and of its successor, action, reward, end flag and
importance weight of every drawn row are read. What a library leaves out is said in `lacks`.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "ALPHA",
    "BATCH",
    "BETA",
    "Cpprb",
    "Experience",
    "FilePeer",
    "Flashbax",
    "Peer",
    "StableBaselines3",
    "Tianshou",
    "Torchrl",
    "experience",
    "opened",
]

STATE_SIZE = 64
BATCH = 256
ALPHA = 0.6
BETA = 0.5


@dataclass(frozen=True, slots=True)
class Experience:
    """What every memory is filled with: one unbroken trajectory, so that a shared successor may be stored once.

    Attributes:
        state, next_state: float32 [n, STATE_SIZE]; row i + 1's state is row i's next state.
        action: int32 [n].
        reward: float32 [n].
        done: bool [n], all false.
        priority: float32 [n], over four orders of magnitude.
    """

    state: NDArray[np.float32]
    next_state: NDArray[np.float32]
    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    done: NDArray[np.bool_]
    priority: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.reward)


def experience(n: int, seed: int) -> Experience:
    """`n` transitions of a random walk."""
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((n + 1, STATE_SIZE), np.float32)
    return Experience(
        state=states[:-1],
        next_state=states[1:],
        action=rng.integers(0, 3, n, np.int32),
        reward=rng.standard_normal(n, np.float32),
        done=np.zeros(n, np.bool_),
        priority=np.exp(rng.normal(0, 1.5, n)).astype(np.float32),
    )


class Peer(Protocol):
    """A filled replay memory of another library.

    Attributes:
        name: the distribution, as its package index names it.
        lacks: what of our work it does not do.
    """

    name: ClassVar[str]
    lacks: ClassVar[str]

    def __init__(self, rows: Experience) -> None:
        """Filled with `rows` to its capacity."""
        ...

    def iterate(self, priority: NDArray[np.float32]) -> object:
        """Draw a batch of BATCH rows, read it, and give its rows new priorities; the batch."""
        ...


class FilePeer(Peer, Protocol):
    """A replay memory that can also be saved."""

    def save(self, path: Path) -> None:
        """Write what the library writes into the folder `path`."""
        ...

    def load(self, path: Path) -> None:
        """Read it into a new memory."""
        ...


_Filled = TypeVar("_Filled", bound=Peer)


def opened(peer: type[_Filled], rows: Experience) -> tuple[_Filled | None, str]:
    """The peer filled with `rows` and what its results are headed, or None and why it cannot be measured."""
    try:
        return peer(rows), f"{peer.name} {importlib.metadata.version(peer.name)} ({peer.lacks})"
    except Exception as error:  # noqa: BLE001  (whatever ails a peer, its row says so)
        return None, f"{peer.name}: {type(error).__name__}: {error}".splitlines()[0]


class Cpprb:
    """cpprb: segment trees in C++."""

    name: ClassVar[str] = "cpprb"
    lacks: ClassVar[str] = "float32 tree; no generations; save loses the priorities"

    def __init__(self, rows: Experience) -> None:
        from cpprb import PrioritizedReplayBuffer  # noqa: PLC0415  (may be missing)

        shapes: dict[str, dict[str, Any]] = {
            "obs": {"shape": STATE_SIZE},
            "act": {"dtype": np.int32},
            "rew": {},
            "next_obs": {"shape": STATE_SIZE},
            "done": {"dtype": np.bool_},
        }
        self._new: Callable[[], Any] = lambda: PrioritizedReplayBuffer(len(rows), shapes, alpha=ALPHA)
        self._buffer = self._new()
        self.insert(rows)
        self._buffer.update_priorities(np.arange(len(rows)), rows.priority)

    def iterate(self, priority: NDArray[np.float32]) -> object:
        """As `Peer`."""
        batch = self._buffer.sample(BATCH, BETA)
        self._buffer.update_priorities(batch["indexes"], priority)
        return batch

    def insert(self, rows: Experience) -> None:
        """Add a block of rows with the largest priority."""
        self._buffer.add(
            obs=rows.state, act=rows.action, rew=rows.reward, next_obs=rows.next_state, done=rows.done
        )

    def save(self, path: Path) -> None:
        """Write the transitions; the library does not write the priorities."""
        self._buffer.save_transitions(str(path / "cpprb.npz"))

    def load(self, path: Path) -> None:
        """Read them into a new buffer."""
        self._buffer = self._new()
        self._buffer.load_transitions(str(path / "cpprb.npz"))


class Tianshou:
    """tianshou: a numba segment tree over NumPy columns."""

    name: ClassVar[str] = "tianshou"
    lacks: ClassVar[str] = "no generations; its smallest priority never rises again"

    def __init__(self, rows: Experience) -> None:
        from tianshou.data import PrioritizedReplayBuffer, ReplayBuffer  # noqa: PLC0415  (may be missing)

        # A block is added by joining a buffer made of it: row by row takes minutes at a million.
        block = ReplayBuffer.from_data(
            rows.state, rows.action, rows.reward, rows.done, rows.done, rows.done, rows.next_state
        )
        self._buffer = PrioritizedReplayBuffer(len(rows), ALPHA, BETA)
        self._buffer.update(block)
        self._buffer.update_weight(np.arange(len(rows)), rows.priority)

    def iterate(self, priority: NDArray[np.float32]) -> object:
        """As `Peer`."""
        batch, slots = self._buffer.sample(BATCH)
        self._buffer.update_weight(slots, priority)
        return batch


class Flashbax:
    """flashbax: pure JAX, compiled, the state donated."""

    name: ClassVar[str] = "flashbax"
    lacks: ClassVar[str] = "float32 tree; successors from the next row; no importance weights; no generations"

    def __init__(self, rows: Experience) -> None:
        import flashbax  # noqa: PLC0415  (may be missing)
        import jax  # noqa: PLC0415  (the other peers do not need it)

        n = len(rows)
        buffer = flashbax.make_prioritised_flat_buffer(
            max_length=n, min_length=2, sample_batch_size=BATCH, add_sequences=True, priority_exponent=ALPHA
        )
        columns = {"state": rows.state, "action": rows.action, "reward": rows.reward, "done": rows.done}
        state = buffer.init({name: column[0] for name, column in columns.items()})
        state = jax.jit(buffer.add, donate_argnums=0)(state, columns)
        self._sample = jax.jit(buffer.sample)
        self._update = jax.jit(buffer.set_priorities, donate_argnums=0)
        self._wait: Any = jax.block_until_ready
        # One key a draw; making them would cost more than the draw.
        self._keys = itertools.cycle(jax.random.split(jax.random.key(0), 1024))
        filled = self._update(state, np.arange(n - 1), rows.priority[:-1])
        self._state = self._wait(filled)  # type: ignore[no-untyped-call]  # JAX leaves it untyped

    def iterate(self, priority: NDArray[np.float32]) -> object:
        """As `Peer`."""
        batch = self._sample(self._state, next(self._keys))
        self._state = self._wait(self._update(self._state, batch.indices, priority))
        return batch


class Torchrl:
    """torchrl: C++ segment trees over torch columns."""

    name: ClassVar[str] = "torchrl"
    lacks: ClassVar[str] = "float32 tree; no generations"

    def __init__(self, rows: Experience) -> None:
        import torch  # noqa: PLC0415  (may be missing)
        from tensordict import TensorDict  # noqa: PLC0415  (may be missing)
        from torchrl.data import LazyTensorStorage, ReplayBuffer  # noqa: PLC0415  (may be missing)
        from torchrl.data.replay_buffers import PrioritizedSampler  # noqa: PLC0415  (may be missing)

        # It prints a line for every buffer it makes.
        logging.getLogger("torchrl").setLevel(logging.WARNING)
        n = len(rows)
        names = ("state", "action", "reward", "next_state", "done")
        self._new: Callable[[], Any] = lambda: ReplayBuffer(
            storage=LazyTensorStorage(n), sampler=PrioritizedSampler(n, ALPHA, BETA), batch_size=BATCH
        )
        self._tensor = torch.from_numpy
        self._buffer = self._new()
        self._buffer.extend(
            TensorDict({name: torch.from_numpy(getattr(rows, name)) for name in names}, batch_size=n)
        )
        self._buffer.update_priority(torch.arange(n), torch.from_numpy(rows.priority))

    def iterate(self, priority: NDArray[np.float32]) -> object:
        """As `Peer`."""
        batch, info = self._buffer.sample(return_info=True)
        self._buffer.update_priority(info["index"], self._tensor(priority))
        return batch

    def save(self, path: Path) -> None:
        """Write transitions, trees and cursor."""
        self._buffer.dumps(path / "torchrl")

    def load(self, path: Path) -> None:
        """Read them into a new buffer."""
        self._buffer = self._new()
        self._buffer.loads(path / "torchrl")


class StableBaselines3:
    """stable-baselines3: uniform draws from NumPy columns, handed over as tensors."""

    name: ClassVar[str] = "stable-baselines3"
    lacks: ClassVar[str] = "uniform draws only: no priorities, no importance weights; no generations"

    def __init__(self, rows: Experience) -> None:
        import gymnasium as gym  # noqa: PLC0415  (imported with its only user)
        from stable_baselines3.common.buffers import ReplayBuffer  # noqa: PLC0415  (may be missing)

        n = len(rows)
        space = gym.spaces.Box(-np.inf, np.inf, (STATE_SIZE,), np.float32)
        self._buffer = ReplayBuffer(
            n, space, gym.spaces.Discrete(3), device="cpu", handle_timeout_termination=False
        )
        # It adds only step by step; its columns are public and are filled at once.
        self._buffer.observations[:, 0] = rows.state
        self._buffer.next_observations[:, 0] = rows.next_state
        self._buffer.actions[:, 0, 0] = rows.action
        self._buffer.rewards[:, 0] = rows.reward
        self._buffer.full = True

    def iterate(self, priority: NDArray[np.float32]) -> object:  # noqa: ARG002  (it has no priorities)
        """As `Peer`."""
        return self._buffer.sample(BATCH)
