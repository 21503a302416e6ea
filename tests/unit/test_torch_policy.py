"""The worked example of docs/user-policy.md: the page shows `tests/unit/torch_policy.py`, and that runs as it stands."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from janus_memory.config import PolicySettings
from janus_memory.policy.factory import PolicySpec, load_factory
from janus_memory.policy.packing import pack_policy, unpack_policy
from janus_memory.policy.protocol import Batch
from janus_memory.replay.online.online_learner import OnlineLearner
from janus_memory.sleep.cycle import NightStopped
from tests.unit.online_rows import SPEC, walks
from tests.unit.sleep_rows import settings_for
from tests.unit.test_own_policy import essence, first_night, with_factory

if TYPE_CHECKING:
    from janus_memory.policy.protocol import Policy

PAGE = Path(__file__).parents[2] / "docs" / "user-policy.md"
FILE = Path(__file__).with_name("torch_policy.py")
NAME = "tests.unit.torch_policy:TorchQ"

with_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="PyTorch is deliberately not in the locked environment (gigabytes): run this file where PyTorch and "
    "pytest both are (docs/user-policy.md)",
)


def made(seed: int, speed: Any = "fast") -> Policy:
    return load_factory(NAME)(PolicySpec(SPEC, PolicySettings(), speed=speed), seed)


def rows(n: int, seed: int) -> Batch:
    """Rows with unknown next actions and ends among them."""
    rng = np.random.default_rng(seed)
    state, after = rng.standard_normal((2, n, 2)).astype(np.float32)
    action, following = rng.integers(0, 3, n).astype(np.int32), rng.integers(-1, 3, n).astype(np.int32)
    reward, done = rng.standard_normal(n).astype(np.float32), (rng.random(n) < 0.2).astype(np.uint8)
    return Batch(state, action, reward, after, following, done)


def test_the_page_shows_the_file() -> None:
    """Letter by letter, so the linters' and this file's verdict on it is one on the page."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert FILE.read_text() in blocks


@with_torch
def test_its_td_errors_are_those_of_the_equation() -> None:
    """E7 by hand from its own values, read off rows that end: delta = r - Q there."""
    policy, batch = made(3), rows(50, 0)
    n, ones = len(batch), np.ones(50, np.uint8)

    def value(states: Any, action: int) -> Any:
        actions = np.full(n, action, np.int32)
        zeros = np.zeros(n, np.float32)
        return -policy.td_errors(Batch(states, actions, zeros, states, actions, ones))

    q, q_next = (np.stack([value(s, a) for a in range(3)], axis=1) for s in (batch.state, batch.next_state))
    known = q_next[np.arange(n), np.maximum(batch.next_action, 0)]
    following = np.where(batch.next_action < 0, q_next.max(axis=1), known) * (batch.done == 0)
    expected = batch.reward + 0.99 * following - q[np.arange(n), batch.action]
    np.testing.assert_allclose(policy.td_errors(batch), expected, atol=1e-5)


@with_torch
@pytest.mark.parametrize("speed", ["fast", "slow"])
def test_it_goes_on_from_its_file_bit_for_bit(speed: str) -> None:
    """Loaded into one of another seed, with the optimiser's state; rows of weight 0 change nothing in the slow copy."""
    policy, other = made(1, speed), made(2, speed)
    weights = np.linspace(0, 1, 40).astype(np.float32)
    policy.update(rows(40, 1), weights)
    unpack_policy(other, pack_policy(policy))
    assert pack_policy(other).tobytes() == pack_policy(policy).tobytes()
    assert other.update(rows(40, 2), weights).tobytes() == policy.update(rows(40, 2), weights).tobytes()
    assert pack_policy(other).tobytes() == pack_policy(policy).tobytes()


@with_torch
def test_it_learns_online() -> None:
    """The TD errors of what it has seen fall, and its choices are probabilities."""
    policy, seen = made(1), walks(600)
    seen = dataclasses.replace(seen, reward=(seen.reward / 600).astype(np.float32))
    learner = OnlineLearner.from_preset("prioritized", SPEC, policy, seed=1)
    batch = Batch(seen.state, seen.action, seen.reward, seen.next_state, seen.next_action, seen.done)
    before = np.abs(policy.td_errors(batch)).mean()
    learner.observe(seen)
    learner.flush()
    learner.replay(200)
    assert learner.stats().trained == 600
    assert np.abs(policy.td_errors(batch)).mean() < before
    share = policy.action_distribution(seen.state)
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-6)


@with_torch
def test_it_learns_in_a_night_that_is_left_at_every_checkpoint(tmp_path: Path) -> None:
    """Named in the settings; TD errors fall, and the stopped night ends in the bits of one that was not."""
    settings = with_factory(settings_for(tmp_path), NAME)
    whole = first_night(settings, run="whole")
    assert whole.report.policy == NAME
    assert whole.report.metrics["td_error_after"] < whole.report.metrics["td_error_before"]
    for _ in range(8):
        with pytest.raises(NightStopped):
            first_night(settings, stop=lambda: True)
    assert essence(first_night(settings)) == essence(whole)


@with_torch
def test_the_pages_other_scripts_run(tmp_path: Path) -> None:
    """An online learner of it, and the rules' loss, whose slope makes the rule-breaking action less likely."""
    policy, online, rules = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "torch_q.py").write_text(policy)
    check = """
import numpy as np
from janus_memory.config import LogicSettings, RuleSettings
from janus_memory.logic import KnowledgeBase, satisfaction
from janus_memory.scale import Scale
from tests.unit.online_rows import SPEC, walks
assert learner_of(SPEC, walks(100)).stats().trained == 100
scale = Scale(np.array([5.0, 0.0]), np.array([2.0, 1.0]), 1.0)
rule = RuleSettings(name="calm", text="forall: a > 4 ~ 0.1 implies not (action == long)")
base = KnowledgeBase.parse((rule,), SPEC.features, ("short", "flat", "long"), n_actions=3)
spec = PolicySpec(SPEC, PolicySettings(), scale, base)
logits = torch.zeros((4, 3), requires_grad=True)
loss = rule_loss(spec, torch.softmax(logits, dim=1), np.zeros((4, 2), np.float32))
loss.backward()
assert abs(loss.item() - 1 / 3) < 1e-3
assert (logits.grad[:, 2] > 0).all() and (logits.grad[:, :2] < 0).all()
some = RuleSettings(name="some", text="exists: action == flat and a < 6 ~ 0.5", weight=3.0)
logic = LogicSettings(p_forall=3, p_exists=5, p_rules=1)
base = KnowledgeBase.parse((rule, some), SPEC.features, ("short", "flat", "long"), n_actions=3, logic=logic)
spec = PolicySpec(SPEC, PolicySettings(), scale, base)
states, share = np.random.default_rng(0).standard_normal((2, 9, 3)).astype("float32")
share = np.exp(share) / np.exp(share).sum(axis=1, keepdims=True)
table, _, _ = base.policy_truths((states[:, :2] * [2, 1] + [5, 0]).astype("float32"))
told = satisfaction(np.einsum("nra,na->nr", table, share.astype(float)), base.weights, base.quantifiers)
assert abs(rule_loss(spec, torch.from_numpy(share), states[:, :2]).item() - (1 - told)) < 1e-3
assert abs(satisfaction(np.einsum("nra,na->nr", table, share.astype(float)), base.weights) - told) > 0.01
"""
    done = subprocess.run(
        [sys.executable, "-c", online + rules + check],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{PAGE.parents[1]}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
