"""Step by step against the definition: both modes, every strategy, and what a night needs of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np
import pytest

from janus_memory.config import PolicySettings, ReplaySettings, Settings, Strategy
from janus_memory.errors import InsufficientData, ReplayError
from janus_memory.replay.night import stepwise, swr
from janus_memory.replay.night.blocks import block_of, blocks_of, td_errors
from janus_memory.replay.night.learner import LearnerState, begin_night, init_learner
from janus_memory.sleep.workers import InProcessWorkers
from janus_memory.store.arrays import array_digest
from tests.unit.replay_definition import f8, plain_night
from tests.unit.replay_rows import random_problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.replay.night.chunk import ReplayChunk
    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays

_POLICY = PolicySettings(hidden=(4,), polyak=0.1)
_EXACT = ReplaySettings(batch=8, parallel_min_rows=10, block_rows=16)
_LAZY = msgspec.structs.replace(_EXACT, refresh="lazy", refresh_every=3)


def _learner() -> LearnerState:
    return begin_night(init_learner(3, 3, _POLICY, 4), 5)


class _Rows:
    """Answers for all rows of a problem, in blocks; counts how often it is asked."""

    def __init__(self, problem: ReplayProblem, block_rows: int = 16) -> None:
        self.asked = 0
        self._blocks = [block_of(problem, rows) for rows in blocks_of(len(problem), block_rows)]

    def __call__(self, fast: Arrays) -> NDArray[np.float32]:
        self.asked += 1
        return np.concatenate([td_errors(fast, block, _POLICY.gamma) for block in self._blocks])


def _learn(
    state: LearnerState, problem: ReplayProblem, replay: ReplaySettings, chunk: tuple[int, int, int]
) -> tuple[LearnerState, ReplayChunk]:
    """Iterations start..stop of total."""
    return stepwise.learn(state, problem, replay, _POLICY, *chunk, _Rows(problem))


@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize(("base", "normalise"), [(_EXACT, "batch"), (_LAZY, "buffer"), (_LAZY, "none")])
def test_five_iterations_equal_the_definition(base: ReplaySettings, normalise: Any, strategy: Any) -> None:
    """The same draws, losses and weights as plain float64 numpy; the lazy mode renews all at 0 and 3."""
    replay = msgspec.structs.replace(base, strategy=strategy, normalise=normalise)
    problem = random_problem(40, seed=8)
    after, chunk = _learn(_learner(), problem, replay, (0, 5, 5))
    plain = plain_night(_learner(), problem, replay, _POLICY, 5)
    assert chunk.replay_count.tolist() == plain.count.tolist()
    found = (chunk.loss, chunk.mean_abs_td, chunk.satisfaction, chunk.effective_sample_size)
    np.testing.assert_allclose(found, plain.record, rtol=1e-4)
    fast, target = f8(after.fast), f8(after.target)
    for name in plain.fast:
        np.testing.assert_allclose(fast[name], plain.fast[name], rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(target[name], plain.target[name], rtol=1e-4, atol=1e-5)


def test_an_exact_night_learns_as_the_compiled_loop_does() -> None:
    """The same rows are drawn by either path, and the weights agree up to rounding."""
    problem = random_problem(60, seed=3)
    steps, stepped = _learn(_learner(), problem, _EXACT, (0, 20, 20))
    loop, compiled = swr.learn(_learner(), problem, _EXACT, _POLICY, 0, 20, 20)
    assert stepped.replay_count.tolist() == compiled.replay_count.tolist()
    np.testing.assert_allclose(stepped.loss, compiled.loss, rtol=1e-3)
    for name, value in f8(loop.fast).items():
        np.testing.assert_allclose(f8(steps.fast)[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("replay", "asked"), [(_EXACT, 10), (_LAZY, 4)])
def test_all_rows_are_asked_for_as_often_as_the_mode_says(replay: ReplaySettings, asked: int) -> None:
    """Exact: before each of 10 batches. Lazy, every 3 steps: at 0, 3, 6 and 9."""
    problem = random_problem(40)
    rows = _Rows(problem)
    stepwise.learn(_learner(), problem, replay, _POLICY, 0, 10, 10, rows)
    assert rows.asked == asked


@pytest.mark.parametrize("replay", [_EXACT, _LAZY])
def test_a_chunk_depends_on_nothing_but_the_learner_before_it(replay: ReplaySettings) -> None:
    """A learner restored from its snapshot between two chunks ends in the bytes of one that went on."""
    problem = random_problem(40)
    half, first = _learn(_learner(), problem, replay, (0, 4, 9))
    again = LearnerState.restore({name: value.copy() for name, value in half.snapshot().items()})
    ends = [_learn(state, problem, replay, (4, 9, 9)) for state in (half, again)]
    assert array_digest(ends[0][0].snapshot()) == array_digest(ends[1][0].snapshot())
    assert first.replay_count.sum() + ends[0][1].replay_count.sum() == 9 * replay.batch


def test_exact_chunks_of_any_length_equal_the_whole() -> None:
    """All priorities are new before each batch, so that a cut between two batches changes nothing."""
    problem = random_problem(40)
    whole, _ = _learn(_learner(), problem, _EXACT, (0, 9, 9))
    state = _learner()
    for start, stop in ((0, 2), (2, 2), (2, 9)):
        state, _ = _learn(state, problem, _EXACT, (start, stop, 9))
    assert array_digest(state.snapshot()) == array_digest(whole.snapshot())


@pytest.mark.parametrize(
    ("replay", "n", "expected"), [(_EXACT, 10, False), (_EXACT, 11, True), (_LAZY, 1, True)]
)
def test_size_and_settings_choose_the_path(replay: ReplaySettings, n: int, expected: bool) -> None:
    """Step by step above `parallel_min_rows`, and in lazy mode always; a worker then gives those bits."""
    assert stepwise.is_stepwise(replay, n) is expected
    problem = random_problem(n)
    workers = InProcessWorkers(Settings(policy=_POLICY, replay=msgspec.structs.replace(replay, iterations=3)))
    got, _ = workers.learn(_learner(), problem, 0, 3)
    by_steps, _ = _learn(_learner(), problem, replay, (0, 3, 3))
    by_loop, _ = swr.learn(_learner(), problem, replay, _POLICY, 0, 3, 3)
    assert array_digest(got.snapshot()) == array_digest((by_steps if expected else by_loop).snapshot())


@pytest.mark.parametrize("replay", [_EXACT, _LAZY])
@pytest.mark.parametrize("n", [1, 2])
def test_the_smallest_nights(n: int, replay: ReplaySettings) -> None:
    """One row is drawn every time; two rows share the draws."""
    _, chunk = _learn(_learner(), random_problem(n), replay, (0, 4, 4))
    assert chunk.replay_count.sum() == 32
    assert chunk.replay_count.shape == (n,)
    assert np.isfinite(chunk.loss).all()


def test_learning_leaves_its_arguments_alone() -> None:
    """The learner that was passed in keeps its bytes (the caller may retry from it)."""
    state = _learner()
    before = array_digest(state.snapshot())
    after, _ = _learn(state, random_problem(20), _LAZY, (0, 3, 3))
    assert array_digest(state.snapshot()) == before != array_digest(after.snapshot())


def test_no_rows_foreign_chunks_and_diverging_training_are_refused() -> None:
    """The message says where; the learner that was given still stands."""
    problem = random_problem(20)
    with pytest.raises(InsufficientData, match="no rows"):
        _learn(_learner(), random_problem(0), _LAZY, (0, 1, 1))
    with pytest.raises(ReplayError, match=r"iterations 1\.\.2 of 3"):
        _learn(_learner(), problem, _LAZY, (1, 2, 3))
    huge = replace(problem, reward=np.full(20, 3e38, np.float32))
    for replay, width in itertools.product((_EXACT, _LAZY), (1e38, 3e38)):
        policy = PolicySettings(hidden=(4,), huber=width, learning_rate=1e30)
        with pytest.raises(ReplayError, match="left the finite numbers at replay iteration"):
            stepwise.learn(_learner(), huge, replay, policy, 0, 9, 9, _Rows(huge))


class _Asked:
    """A learner whose TD errors never change; notes what it is asked for."""

    def __init__(self, n: int) -> None:
        self.td = np.arange(1, n + 1, dtype=np.float32)
        self.drawn: list[bool] = []

    def td_errors(self) -> NDArray[np.float32]:
        return self.td

    def update(self, rows: NDArray[np.int32], weight: NDArray[np.float32], *, ask_td: bool) -> stepwise.Step:
        del weight
        self.drawn.append(ask_td)
        return stepwise.Step(0.0, 1.0, self.td[rows] if ask_td else None)


@pytest.mark.parametrize(
    ("replay", "drawn"),
    [(_EXACT, [False, False, False, False, True]), (_LAZY, [True, True, False, True, True])],
)
def test_a_drawn_batch_is_judged_again_only_where_that_is_read(
    replay: ReplaySettings, drawn: list[bool]
) -> None:
    """Not before a step that renews all rows; always at the last step, where what has diverged is refused."""
    learner, problem = _Asked(20), random_problem(20)
    stepwise.replay_steps(learner, problem, replay, _learner().key, 0, 5, 5)
    assert learner.drawn == drawn
    learner.td[:] = np.nan
    with pytest.raises(ReplayError):
        stepwise.replay_steps(learner, problem, replay, _learner().key, 0, 1, 1)
