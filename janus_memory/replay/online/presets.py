"""The four presets of the online learner: one name for a whole set of settings (SPEC 2.4, 2.5).

| preset | replays by | eviction | for |
|---|---|---|---|
| `fast` | uniform | first in, first out | the least work a row |
| `stable` | prioritised by the TD error | lowest priority | small steps, many replays: the smoothest learning |
| `prioritized` | prioritised by the TD error | lowest priority | rare, surprising transitions |
| `balanced` | equal share for each domain | from the largest domain | many instruments of unequal traffic |
"""

from __future__ import annotations

from typing import Literal, get_args

from janus_memory.config import OnlineSettings, PolicySettings, ReplaySettings
from janus_memory.errors import ConfigError

__all__ = ["PRESETS", "Preset", "preset"]

Preset = Literal["fast", "stable", "prioritized", "balanced"]

PRESETS: dict[Preset, OnlineSettings] = {
    "fast": OnlineSettings(replay=ReplaySettings(strategy="uniform")),
    "stable": OnlineSettings(
        replays=4,
        replay=ReplaySettings(strategy="prioritized_loss", batch=64),
        policy=PolicySettings(learning_rate=2.5e-4),
    ),
    "prioritized": OnlineSettings(replay=ReplaySettings(strategy="prioritized_loss")),
    "balanced": OnlineSettings(replay=ReplaySettings(strategy="domain_balanced")),
}


def preset(name: str) -> OnlineSettings:
    """The settings of a preset.

    Raises:
        ConfigError: no preset has this name.
    """
    for known in get_args(Preset):
        if name == known:
            return PRESETS[known]
    raise ConfigError(f"unknown preset {name!r}; nothing was built; use one of {', '.join(get_args(Preset))}")
