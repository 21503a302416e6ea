"""A night of a market of vector actions: all phases, the rules at pi(s), resumed bit for bit, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from janus_memory.config import (
    LogicSettings,
    MarketSettings,
    MembershipSettings,
    PredicateSettings,
    RuleSettings,
)
from janus_memory.errors import ConfigError, RuleError
from janus_memory.events import PolicyUpdate, decode
from janus_memory.logic.fitting import fit_predicate
from janus_memory.policy.box import action_box
from janus_memory.policy.networks import action_size_of, is_vector, state_size_of
from janus_memory.policy.store import load_note, load_weights
from janus_memory.sleep.cycle import NightStopped
from janus_memory.sleep.memory import Memory
from janus_memory.store.arrays import array_digest
from tests.unit.sleep_rows import FEATURES, MARKET, night_of, rows_of, settings_for, sleep

if TYPE_CHECKING:
    from janus_memory.config import Settings
    from janus_memory.sleep.cycle import NightResult
    from janus_memory.sleep.night import NightInput

_SMALL = RuleSettings(name="small when calm", text="calm > 3 ~ 0.5 implies abs(action[0]) < 0.5 ~ 0.2")
_AFTER = RuleSettings(name="no loss", text="reward > -5 ~ 1", weight=0.5)
_IDLE = RuleSettings(name="idle", text="action[1] < 9 ~ 1", weight=0.0)


def _settings(
    folder: Path, rules: tuple[RuleSettings, ...] = (_SMALL, _AFTER, _IDLE), **policy: Any
) -> Settings:
    base = settings_for(folder)
    market = MarketSettings(
        features=FEATURES, action_dim=2, action_low=(-1, 0), action_high=(1, 4), rules=rules
    )
    chosen = msgspec.structs.replace(base.policy, **policy)
    return msgspec.structs.replace(base, markets={MARKET: market}, policy=chosen)


def _night(folder: Path, day: int) -> NightInput:
    """The rows of `sleep_rows`, acting by two numbers."""
    rows, rng = rows_of(settings_for(folder), day), np.random.default_rng(day)
    action = rng.uniform((-1, 0), (1, 4), (len(rows), 2)).astype(np.float32)
    return night_of(day, replace(rows, action=action, next_action=np.full_like(action, np.nan)))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, NightResult]:
    """The committed first night of day 1, and its settings."""
    folder = tmp_path_factory.mktemp("vector")
    settings = _settings(folder)
    return settings, sleep(settings, Memory.empty(MARKET), _night(folder, 1))


def test_a_night_of_vectors_learns_and_publishes(first: tuple[Settings, NightResult]) -> None:
    """Every row is consolidated, the TD error falls, and the published file holds critic, head and box."""
    settings, night = first
    metrics = night.report.metrics
    assert (night.state, metrics["rows_consolidated"]) == ("committed", 250)
    assert metrics["td_error_after"] < metrics["td_error_before"]
    assert 0 < metrics["policy_satisfaction"] < 1
    assert metrics["violation_mean"] > 0
    update = decode(PolicyUpdate, night.outbox[-2].value)
    path = Path(settings.data_dir) / update.location
    weights, note = load_weights(path, update.sha256), load_note(path, update.sha256)
    assert is_vector(weights)
    assert (state_size_of(weights), action_size_of(weights)) == (4, 2)
    assert np.array([note["action_low"], note["action_high"]]).tolist() == [[-1, 0], [1, 4]]
    known = night.memory.knowledge
    assert known is not None
    head = {name: value for name, value in known.slow.items() if name.startswith("pi/")}
    assert array_digest(head) == array_digest({n: v for n, v in weights.items() if n in head})
    assert any(not np.array_equal(value, known.fast[f"fast/{name}"]) for name, value in head.items())


def test_a_second_night_goes_on_from_the_first(first: tuple[Settings, NightResult]) -> None:
    settings, night = first
    after = sleep(settings, night.memory, _night(Path(settings.data_dir), 2))
    assert (after.state, after.report.metrics["rows_consolidated"]) == ("committed", 250)
    assert after.report.metrics["td_error_before"] < night.report.metrics["td_error_before"]


@pytest.mark.parametrize("replay", [{}, {"refresh": "lazy", "refresh_every": 4}])
def test_a_night_cut_in_phase_1_resumes_with_the_same_bits(
    tmp_path: Path, replay: dict[str, Any], first: tuple[Settings, NightResult]
) -> None:
    """Left after every checkpoint when asked each time: compiled, and step by step."""
    settings = _settings(tmp_path)
    settings = msgspec.structs.replace(settings, replay=msgspec.structs.replace(settings.replay, **replay))
    given, stops = _night(tmp_path, 1), 0
    whole = sleep(settings, Memory.empty(MARKET), given, run="whole") if replay else first[1]
    while True:
        try:
            result = sleep(settings, Memory.empty(MARKET), given, stop=lambda: True)
            break
        except NightStopped:
            stops += 1
            assert stops < 20
    assert stops == 8
    assert array_digest(result.memory.snapshot()) == array_digest(whole.memory.snapshot())
    assert result.outbox[:-2] == whole.outbox[:-2]


def test_another_optimiser_begins_afresh_on_the_weights_of_the_night_before(
    first: tuple[Settings, NightResult],
) -> None:
    """Plain gradient steps after a night of Adam: no memory of moments is left, and the night is as any other."""
    settings, night = first
    plain = msgspec.structs.replace(
        settings, policy=msgspec.structs.replace(settings.policy, optimiser="sgd")
    )
    after = sleep(plain, night.memory, _night(Path(settings.data_dir), 2), run="sgd")
    known = after.memory.knowledge
    assert known is not None
    assert not [name for name in known.fast if name.startswith("opt/")]
    assert after.report.metrics["td_error_after"] < after.report.metrics["td_error_before"]
    again = sleep(settings, after.memory, _night(Path(settings.data_dir), 3), run="adam")
    assert again.memory.knowledge is not None
    assert again.memory.knowledge.fast["opt/count"] == 40


def test_a_head_obeys_words_drawn_and_learned_and_rules_that_ask_for_some_row(tmp_path: Path) -> None:
    """Every kind of rule in one night, under p of its own: trained by L_logic the head keeps them better than without."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 4, (200, 2))
    rising = fit_predicate(("trend", "volume"), x, x[:, 0] > 0, hidden=(4,), steps=50, seed=0)
    rising.write(tmp_path / "rising.safetensors")
    rules = (
        RuleSettings(name="learned", text="state is rising implies action[1] is low"),
        RuleSettings(name="some", text="exists: action[0] > 0.5 ~ 0.2"),
    )
    kept = []
    for weight in (0.0, 5.0):
        settings = _settings(tmp_path, rules, lambda_logic=weight, learning_rate=0.005)
        market = msgspec.structs.replace(
            settings.market(MARKET),
            memberships={"low": MembershipSettings(shape="below", from_=0, to=3)},
            predicates={
                "rising": PredicateSettings(file=str(tmp_path / "rising.safetensors"), sha256=rising.sha256)
            },
        )
        logic = LogicSettings(p_forall=3, p_exists=4, p_rules=1)
        settings = msgspec.structs.replace(settings, logic=logic, markets={MARKET: market})
        night = sleep(settings, Memory.empty(MARKET), _night(tmp_path, 1), run=f"night-{weight:g}")
        assert night.state == "committed"
        kept.append(night.report.metrics["policy_satisfaction"])
    assert 0 < kept[0] < kept[1] - 0.1 < 0.9


def test_a_component_that_does_not_exist_is_refused_before_anything_is_learned(tmp_path: Path) -> None:
    rule = RuleSettings(name="third", text="action[2] < 1 ~ 0.1")
    with pytest.raises(RuleError, match=r"'third'.*action\[2\] does not exist; actions have 2 components"):
        sleep(_settings(tmp_path, (rule,)), Memory.empty(MARKET), _night(tmp_path, 1))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action_low": (0.0,), "action_high": (1.0, 1.0)}, "action_low has 1 numbers and action_high 2"),
        ({"action_low": (0.0, 0.0)}, "action_high 0 for action_dim = 2"),
        ({"action_low": (0.0, 1.0), "action_high": (1.0, 1.0)}, "component 1 .* no interval"),
        ({"action_low": (0.0, float("nan")), "action_high": (1.0, 1.0)}, "component 1 .* no interval"),
        ({"action_low": (0.0, 0.0), "action_high": (1.0, float("inf"))}, "component 1 .* no interval"),
        ({"action_dim": 0, "n_actions": 2, "action_low": (0.0,), "action_high": (1.0,)}, "action_dim = 0"),
    ],
)
def test_a_box_that_is_none_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MarketSettings(**{"features": ("a",), "action_dim": 2, **fields}).spec("m")


def test_without_bounds_the_box_is_minus_one_to_one() -> None:
    box = action_box(MarketSettings(features=("a",), action_dim=3).spec("m"))
    assert box.tolist() == [[-1] * 3, [1] * 3]
