"""The four presets: one name for a whole set of settings."""

from __future__ import annotations

from typing import get_args

import pytest

from janus_memory.errors import ConfigError
from janus_memory.replay.online.online_learner import OnlineLearner
from janus_memory.replay.online.presets import PRESETS, Preset, preset
from janus_memory.replay.store.replay_store import eviction_of
from janus_memory.transition import MarketSpec

SPEC = MarketSpec("fx", ("a",), "discrete", 2)


def test_each_name_has_its_strategy_and_eviction() -> None:
    """As SPEC 2.4 lists them, the eviction being the strategy's own."""
    found = {
        name: (settings.replay.strategy, eviction_of(settings.replay.strategy, settings.eviction))
        for name, settings in PRESETS.items()
    }
    assert found == {
        "fast": ("uniform", "fifo"),
        "stable": ("prioritized_loss", "lowest_priority"),
        "prioritized": ("prioritized_loss", "lowest_priority"),
        "balanced": ("domain_balanced", "largest_domain"),
    }
    assert set(found) == set(get_args(Preset))


def test_stable_takes_smaller_steps_and_replays_more() -> None:
    """Than the preset that shares its strategy."""
    stable, other = preset("stable"), preset("prioritized")
    assert stable.policy.learning_rate < other.policy.learning_rate
    assert stable.replays > other.replays


@pytest.mark.parametrize("name", get_args(Preset))
def test_one_name_builds_a_learner(name: str) -> None:
    """With the built-in policy where none is given."""
    learner = OnlineLearner.from_preset(name, SPEC)
    assert learner.stats().seen == learner.replay_stats().size == 0


def test_an_unknown_name_is_refused() -> None:
    """And the message lists those there are."""
    with pytest.raises(ConfigError, match=r"'steady'.*fast, stable, prioritized, balanced"):
        OnlineLearner.from_preset("steady", SPEC)
