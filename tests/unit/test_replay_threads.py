"""Equal bits in different processes: what `fix_threads` is for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from janus_memory.errors import ConfigError
from janus_memory.threads import VARIABLES, fix_threads

_ROOT = Path(__file__).parents[2]
_CHILD = """
import os, sys
from pathlib import Path
cores = sys.argv[2]
if cores: os.sched_setaffinity(0, {int(cores)})
from janus_memory.threads import fix_threads
assert fix_threads(int(sys.argv[1])) == int(sys.argv[1])
from janus_memory.config import PolicySettings, ReplaySettings
from janus_memory.replay.night.learner import begin_night, init_learner
from janus_memory.replay.night.swr import learn
from janus_memory.store.arrays import array_digest
from tests.unit.replay_rows import random_problem
policy = PolicySettings()
state = begin_night(init_learner(64, 3, policy, 1), 2)
state, chunk = learn(state, random_problem(3000, d=64), ReplaySettings(), policy, 0, 60, 60)
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(names.count("tf_XLAEigen"), array_digest(state.snapshot() | {"loss": chunk.loss, "count": chunk.replay_count}))
"""


def _child(threads: int, core: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CHILD, str(threads), core]
    return subprocess.Popen(
        command,
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(_ROOT / "tests" / "unit")},
    )


def test_processes_with_equal_threads_learn_the_same_bytes() -> None:
    """Three processes print one digest, although one of them is held to a single core.

    XLA must really hold four threads in each: with another number the last bits may differ.
    """
    core = str(min(os.sched_getaffinity(0)))
    answers = [child.communicate()[0] for child in (_child(4), _child(4), _child(4, core))]
    threads, digest = answers[0].split()
    assert threads == "4"
    assert len(digest) == 64
    assert answers[0] == answers[1] == answers[2]


def test_threads_are_fixed_for_every_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """All variables get the count that is returned; 0 means the cores that this process may use."""
    monkeypatch.setattr("janus_memory.threads._started", lambda: False)
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    assert fix_threads(3) == 3
    assert {os.environ[name] for name in VARIABLES} == {"3"}
    assert fix_threads(0) == len(os.sched_getaffinity(0))


def test_a_negative_count_and_one_that_comes_too_late_are_refused() -> None:
    """Once JAX has its threads, another count would be a lie; the refusal says so and changes nothing."""
    with pytest.raises(ConfigError, match="negative"):
        fix_threads(-1)
    import jax  # noqa: PLC0415  (the test starts JAX on purpose)

    jax.devices()
    before = {name: os.environ.get(name) for name in VARIABLES}
    with pytest.raises(ConfigError, match="too late"):
        fix_threads(61)
    assert {name: os.environ.get(name) for name in VARIABLES} == before
