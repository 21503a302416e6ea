"""The studies' own parts: what they learn from, how they judge, and their tables and pictures."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.study_data import (
    STORM,
    Study,
    demo_study,
    planted_earnings,
    planted_rows,
    planted_study,
)
from benchmarks.study_report import Panel, StudyReport, curve, draw, table
from benchmarks.study_training import Learned, band, trained
from janus_memory.config import PolicySettings, ReplaySettings
from janus_memory.logic import satisfaction
from janus_memory.replay.night.learner import begin_night, init_learner
from janus_memory.replay.night.problem import check_problem
from janus_memory.replay.night.swr import learn
from janus_memory.store.arrays import array_digest

ROOT = Path(__file__).parents[2]
_SMALL = PolicySettings(hidden=(8,))


@pytest.fixture(scope="module")
def planted() -> Study:
    return planted_study(400, 200, seed=1)


@pytest.fixture(scope="module")
def demo() -> Study:
    return demo_study(1, 1)


def test_the_interval_of_three_seeds_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, t of two degrees of freedom 4.3027."""
    over = band(np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]))
    np.testing.assert_allclose(over.mean, [2, 5])
    np.testing.assert_allclose(over.high, [2 + 4.3027 / np.sqrt(3), 5], atol=1e-4)
    np.testing.assert_allclose(over.low, [2 - 4.3027 / np.sqrt(3), 5], atol=1e-4)


def test_one_seed_has_no_interval() -> None:
    over = band(np.array([[1.5]]))
    assert over.mean == over.low == over.high == 1.5


def test_the_planted_reward_is_in_the_mean_what_it_is_said_to_be() -> None:
    """60 000 rows: a position's observed rewards average to its expected ones within five standard errors."""
    rows = planted_rows(60_000, (0,))
    for action in range(3):
        taken = rows.take(rows.action == action)
        error = rows.reward[rows.action == action].std() / np.sqrt(len(taken))
        assert (
            abs(taken.reward.mean() - planted_earnings(taken.state, taken.action.astype(np.int32)))
            < 5 * error + 1e-7
        )


def test_in_the_planted_market_the_unsafe_action_pays_more(planted: Study) -> None:
    """Obeying costs more than half of what there is to earn, and no action beats the best one."""
    state = planted_rows(20_000, (1, 2)).state
    assert 0 < planted.marks["best that obeys"] < 0.5 * planted.marks["best there is"]
    for action in range(3):
        chosen = np.full(len(state), action, np.int32)
        assert planted_earnings(state, chosen) < planted.marks["best there is"]
    stormy = state[:, 0] > STORM
    trading = np.where(stormy, np.sign(state[:, 1]) + 1, 1).astype(np.int32)
    assert planted_earnings(state[stormy], trading[stormy]) > 2 * planted.marks["best that obeys"]


def test_each_seed_has_a_market_of_its_own(planted: Study) -> None:
    same, other = planted_study(400, 400, seed=1), planted_study(400, 400, seed=2)
    assert same.train.x.tobytes() == planted.train.x.tobytes()
    assert other.train.x.tobytes() != planted.train.x.tobytes()
    assert not np.isin(same.held_out.x[:, 1], same.train.x[:, 1]).any()


@pytest.mark.parametrize("name", ["planted", "demo"])
def test_a_study_has_rows_that_a_night_would_take(name: str, request: pytest.FixtureRequest) -> None:
    """Shapes and ranges, next actions known inside an episode, and a rule that the action decides."""
    study: Study = request.getfixturevalue(name)
    for problem in (study.train, study.held_out):
        check_problem(problem, problem.x.shape[1], 3)
        known = (problem.next_action >= 0) | (problem.done > 0)
        assert known[:-1].mean() > 0.99
        assert (problem.policy_truth[:, :, 1] == 1).all()
        assert problem.policy_truth.min() < 0.1


def _always(action: int, x: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.full(len(x), action, np.int32)


def test_the_demo_is_judged_on_later_weeks(demo: Study) -> None:
    """Held-out rows come after all that is learned from, and standing aside earns nothing there."""
    assert demo.held_out.timestamp.min() > demo.train.timestamp.max()
    assert demo.earn(partial(_always, 1)) == 0
    # Who always holds pays for opening and closing each day, so both sides together lose.
    short, long = (demo.earn(partial(_always, action)) for action in (0, 2))
    assert short + long == pytest.approx(-2 * 2 * 6.5 / 23, rel=0.05)


def test_training_in_steps_is_the_nights_training(planted: Study) -> None:
    """The last of the steps is one replay of all iterations; the first is a new network."""
    replay = ReplaySettings(iterations=5, batch=16)
    steps = list(trained(planted.train, replay, _SMALL, 3, every=2))
    learner = begin_night(init_learner(3, 3, _SMALL, 3), 3)
    assert [step.updates for step in steps] == [0, 2, 4, 5]
    assert array_digest(steps[0].fast) == array_digest(learner.fast)
    whole, _ = learn(learner, planted.train, replay, _SMALL, 0, 5, 5)
    assert array_digest(steps[-1].fast) == array_digest(whole.fast)


def test_satisfaction_is_that_of_the_choices(planted: Study) -> None:
    """A policy sure of its action satisfies as its greedy choices do; one that always stands aside, wholly."""
    problem = planted.held_out
    learned = Learned(0, init_learner(3, 3, _SMALL, 3).fast, _SMALL)
    chosen = learned.greedy(problem.x)
    truths = problem.policy_truth[np.arange(len(problem)), :, chosen].astype(np.float64)
    expected = satisfaction(truths, problem.rule_weight.astype(np.float64))
    assert expected < 0.9
    assert learned.greedy_satisfaction(problem) == pytest.approx(expected, abs=1e-3)
    sure = Learned(0, learned.fast, msgspec.structs.replace(_SMALL, temperature=1e-6))
    assert sure.satisfaction(problem) == pytest.approx(expected, abs=1e-3)
    flat = {name: np.zeros_like(value) for name, value in learned.fast.items()}
    flat["b1"] = np.array([0, 9, 0], np.float32)
    assert Learned(0, flat, _SMALL).greedy_satisfaction(problem) > 0.999


def _report() -> StudyReport:
    """Two arms of three seeds; the second is better by exactly 0.5 in each, whatever the seed."""
    base = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    curves = [
        curve("m", "reward", "without", "USD", base),
        curve("m", "reward", "with", "USD", base + 0.5),
    ]
    return StudyReport(
        machine="here", versions={}, n_seeds=3, updates=[0, 10], seconds=1.0, curves=curves, marks={}
    )


def test_arms_are_compared_seed_by_seed() -> None:
    """The seeds differ by 2, the arms by 0.5 in each seed: the difference has no spread."""
    last = table(_report()).splitlines()[-1]
    assert last == ("| m | reward, USD | with | 2.500 (0.016 to 4.984) | +0.500 (+0.500 to +0.500) |")
    assert table(_report()).splitlines()[2].endswith("|  |")


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    _report().write(tmp_path / "deep" / "study.json")
    assert msgspec.json.decode((tmp_path / "deep" / "study.json").read_bytes(), type=StudyReport) == _report()


def test_equal_results_are_equal_pictures(tmp_path: Path) -> None:
    panel = Panel(title="m", label="USD", curves=_report().of("m", "reward"), marks={"level": 1.0})
    other = Panel(title="m", label="USD", curves=_report().of("m", "reward")[:1])
    for name, shown in (("a", panel), ("b", panel), ("c", other)):
        draw([[shown]], [0, 10], tmp_path / f"{name}.png")
    first, again, without = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert first == again != without
    assert b"Matplotlib" not in first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logic", "replay"])
def test_a_quick_run_writes_its_picture_and_its_numbers(tmp_path: Path, name: str) -> None:
    """Two arms in each comparison, three points in each curve."""
    command = [
        *(sys.executable, "-m", f"benchmarks.study_{name}", "--quick", "--seeds", "1"),
        *("--out", str(tmp_path)),
    ]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    report = msgspec.json.decode((tmp_path / f"{name}.json").read_bytes(), type=StudyReport)
    for measure in {c.measure for c in report.curves}:
        assert len(report.of("planted market", measure)) == 2
    assert {len(c.mean) for c in report.curves} == {len(report.updates)} == {3}
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert done.stdout.count("\n") == 2 + len(report.curves)
