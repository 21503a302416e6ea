"""Settings: every default of the system, in one place, as typed records.

How they are filled (flag, environment, TOML file, default) is `janus_memory.settings`.
Defaults are SPEC's unless the field says otherwise. Times are seconds here, nanoseconds on the wire.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from janus_memory.errors import ConfigError
from janus_memory.transition import MarketSpec

__all__ = [
    "AtlasSettings",
    "Eviction",
    "HippocampusSettings",
    "IngestSettings",
    "KafkaSettings",
    "LogicSettings",
    "MarketSettings",
    "MembershipSettings",
    "NeocortexSettings",
    "OnlineSettings",
    "Optimiser",
    "PolicySettings",
    "PredicateSettings",
    "QdrantSettings",
    "RaySettings",
    "ReplaySettings",
    "RuleSettings",
    "Settings",
    "SleepSettings",
    "Strategy",
    "verdict_version",
]

Strategy = Literal["uniform", "prioritized_loss", "prioritized_recency", "mixed", "domain_balanced"]
Optimiser = Literal[
    "adabelief", "adagrad", "adam", "adamw", "amsgrad", "lion", "nadam", "radam", "rmsprop", "sgd"
]
Eviction = Literal["fifo", "lowest_priority", "oldest", "largest_domain", "random"]


# Bounds of an action beyond it overflow float32 where one is taken from the other.
_WIDEST = 1e37


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings; unknown keys are refused."""


class KafkaSettings(_Record, frozen=True, kw_only=True):
    """Where the broker is and how to log in. `embedded` starts librdkafka's in-process cluster."""

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    sasl_username: str = ""
    sasl_password: str = ""
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    connect_timeout_s: float = 30.0
    replication_factor: int = 1
    retention_days: float = 30.0


class IngestSettings(_Record, frozen=True, kw_only=True):
    """The live path. `dedupe_window` 0 means the capacity."""

    group: str = "janus-ingest"
    capacity: int = 10_000
    dedupe_window: int = 0
    max_clock_skew_s: float = 60.0
    max_record_bytes: int = 1_000_000
    session_timeout_s: float = 30.0
    watchdog_timeout_s: float = 45.0
    stream_buffer: int = 256
    host: str = "127.0.0.1"
    port: int = 8801
    risk_hold_s: float = 900.0
    persist_n: int = 3
    persist_window: int = 10

    @property
    def dedupe_rows(self) -> int:
        """How many previous rows of a partition's log are searched for a row's id."""
        return self.dedupe_window or self.capacity


class HippocampusSettings(_Record, frozen=True, kw_only=True):
    """Pattern separation and the sparse code (E2-E6)."""

    expansion: int = 4
    rho: float = 0.1
    lambda_ortho: float = 1e-3
    separation_weight: float = 0.1
    separation_steps: int = 200
    separation_batch: int = 256
    separation_rate: float = 1e-3


class ReplaySettings(_Record, frozen=True, kw_only=True):
    """Sharp-wave-ripple replay (E7-E12). `normalise` names over what an importance weight is divided (E10)."""

    iterations: int = 1000
    batch: int = 256
    strategy: Strategy = "prioritized_loss"
    refresh: Literal["exact", "lazy"] = "exact"
    refresh_every: int = 100
    alpha: float = 0.6
    beta_start: float = 0.4
    beta_end: float = 1.0
    normalise: Literal["batch", "buffer", "none"] = "batch"
    half_life_s: float = 86_400.0
    lambda_logic: float = 2.0
    lambda_reward: float = 0.5
    priority_floor: float = 1e-3
    compression: float = 15.0
    checkpoint_every: int = 100
    parallel_min_rows: int = 25_000
    block_rows: int = 2_500


class PolicySettings(_Record, frozen=True, kw_only=True):
    """The Q-network and how it learns (SPEC sections 5 and 11).

    `factory` names what makes a policy of the user's own for the night (`package.module:function`); empty is built-in.
    """

    factory: str = ""
    gamma: float = 0.99
    hidden: tuple[int, ...] = (128, 128)
    optimiser: Optimiser = "adam"
    learning_rate: float = 1e-3
    temperature: float = 1.0
    polyak: float = 0.005
    huber: float = 1.0
    lambda_logic: float = 0.5
    eta_sleep: float = 0.01


class OnlineSettings(_Record, frozen=True, kw_only=True):
    """The online learner (SPEC 2.5): its store, and how it mixes what is new with what it replays.

    `eviction` None follows the strategy. A step trains on `new_rows` new rows and `replay_ratio` times as many
    replayed ones, and `replays` times on replayed ones alone. Beta is annealed over `beta_steps` updates.
    """

    capacity: int = 10_000
    eviction: Eviction | None = None
    new_rows: int = 32
    replay_ratio: float = 1.0
    replays: int = 0
    beta_steps: int = 100_000
    replay: ReplaySettings = ReplaySettings()
    policy: PolicySettings = PolicySettings()


class LogicSettings(_Record, frozen=True, kw_only=True):
    """p of `forall` and `exists` over rows and of SatAgg over rules (SPEC section 4); finite and >= 1."""

    p_forall: float = 2.0
    p_exists: float = 2.0
    p_rules: float = 2.0


class NeocortexSettings(_Record, frozen=True, kw_only=True):
    """Schemas and gates (SPEC section 6). `None` means the default that depends on mode, d or the nights."""

    mode: Literal["robust", "spec"] = "robust"
    eta: float | None = None
    eta_s: float | None = None
    nu0: float | None = None
    tau_rel: float | None = None
    count_power: float | None = None
    tau_schema: float = 0.01
    spec_eps: float = 0.01
    tau_recall: float = 0.3
    tau_logic: float = 0.7
    recall_min_rows: int = 200
    recall_l2: float = 1e-3
    neighbour_gap: int = 5
    neighbours: int = 10
    frozen_rows: int = 2_000
    min_points: int = 10
    prune_grace: int | None = None
    archive_days: float = 90.0
    consolidate: Literal["cut", "buffer"] = "cut"
    assignment: Literal["exact", "relaxed"] = "exact"
    relaxed_shards: int = 4


class AtlasSettings(_Record, frozen=True, kw_only=True):
    """The map and the anomaly flag (SPEC section 7)."""

    tau_cluster: float = 0.5
    anomaly_rate: float = 0.01
    calibration_rows: int = 20_000
    min_points: int = 10
    max_points: int = 4_000
    epochs: int = 500
    neighbours: int = 15


class QdrantSettings(_Record, frozen=True, kw_only=True):
    """The vector store: a server by URL, or embedded under the state folder where the URL is empty."""

    url: str = ""
    api_key: str = ""
    path: str = ""
    timeout_s: float = 10.0


class RaySettings(_Record, frozen=True, kw_only=True):
    """Where the night runs. `in_process` needs no Ray and gives the same result, bit for bit.

    Schema shards are asked from `shard_min_schemas` schemas on; below, a task takes longer than it saves.
    """

    executor: Literal["ray", "in_process"] = "ray"
    address: str = ""
    auth_token_file: str = ""
    dashboard: bool = True
    dashboard_port: int = 8265
    n_replay: int = 1
    n_shards: int = 2
    shard_min_schemas: int = 2_000


class SleepSettings(_Record, frozen=True, kw_only=True):
    """The sleep cycle and its sessions."""

    min_rows: int = 64
    warmup_rows: int = 0
    cut_deadline_s: float = 300.0
    retry_s: float = 5.0
    compute_threads: int = 0

    def warmup(self, d: int) -> int:
        """Accepted rows before a market's first real night: max(500, 10 d) unless set."""
        return self.warmup_rows or max(500, 10 * d)


class RuleSettings(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """One logic rule (docs/rules.md): a name, its weight, and a text or else a preset with its thresholds.

    `names` says what the market calls the features and actions that a preset needs. `None` means the preset's own.
    """

    name: str = ""
    text: str = ""
    weight: float = 1.0
    preset: str = ""
    limit: float | None = None
    softness: float | None = None
    warning: float | None = None
    stop: float | None = None
    names: dict[str, str] = {}


class MembershipSettings(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """A membership function for the market's rules (docs/rules.md): a shape and the numbers that it takes."""

    shape: str
    from_: float | None = msgspec.field(name="from", default=None)
    full_from: float | None = None
    centre: float | None = None
    full_to: float | None = None
    to: float | None = None
    width: float | None = None

    def numbers(self) -> dict[str, float]:
        """Those that are set, by their names in the settings file."""
        values = msgspec.structs.asdict(self)
        return {
            name.rstrip("_"): value for name, value in values.items() if name != "shape" and value is not None
        }


class PredicateSettings(_Record, frozen=True, kw_only=True):
    """A learned predicate for the market's rules (docs/rules.md): its file, and the file's SHA-256 in hex."""

    file: str
    sha256: str


class MarketSettings(_Record, frozen=True, kw_only=True):
    """What a market's transitions look like, when it closes and which rules hold."""

    features: tuple[str, ...]
    action_names: tuple[str, ...] = ()
    n_actions: int = 0
    action_dim: int = 0
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    partitions: int = 4
    calendar: str = ""
    session: Literal["day", "week"] = "day"
    simulated: bool = False
    memberships: dict[str, MembershipSettings] = {}
    predicates: dict[str, PredicateSettings] = {}
    rules: tuple[RuleSettings, ...] = ()

    def spec(self, name: str) -> MarketSpec:
        """The shape of this market's rows.

        Raises:
            ConfigError: no features, not exactly one kind of action, or a box of actions that is none.
        """
        n_actions = self.n_actions or len(self.action_names)
        if not self.features or len(set(self.features)) != len(self.features):
            raise ConfigError(f"market {name}: `features` must name at least one feature, each once")
        if (n_actions > 0) == (self.action_dim > 0):
            raise ConfigError(
                f"market {name}: set either `action_names`/`n_actions` or `action_dim`, not both"
            )
        if self.action_names and len(self.action_names) != n_actions:
            raise ConfigError(f"market {name}: {len(self.action_names)} action names for {n_actions} actions")
        self._check_box(name)
        return MarketSpec(
            name=name,
            features=self.features,
            action_kind="discrete" if n_actions else "vector",
            action_size=n_actions or self.action_dim,
            action_names=self.action_names,
            action_low=self.action_low,
            action_high=self.action_high,
        )

    def _check_box(self, name: str) -> None:
        low, high = self.action_low, self.action_high
        if not low and not high:
            return
        if len(low) != self.action_dim or len(high) != self.action_dim:
            raise ConfigError(
                f"market {name}: action_low has {len(low)} numbers and action_high {len(high)} for action_dim = "
                f"{self.action_dim}; give each component of a vector action both, or leave both out"
            )
        for component, (least, most) in enumerate(zip(low, high, strict=True)):
            if not -_WIDEST < least < most < _WIDEST:
                raise ConfigError(
                    f"market {name}: component {component} of the actions lies between action_low = {least} and "
                    f"action_high = {most}, which is no interval; give finite numbers, the lower one first"
                )


def verdict_version(spec: MarketSpec, ingest: IngestSettings) -> str:
    """Hash of what decides whether a record of this market is accepted; 16 hex digits."""
    verdict = (
        spec.features,
        spec.action_kind,
        spec.action_size,
        ingest.dedupe_rows,
        ingest.max_clock_skew_s,
        ingest.max_record_bytes,
    )
    return hashlib.sha256(msgspec.json.encode(verdict)).hexdigest()[:16]


class Settings(_Record, frozen=True, kw_only=True):
    """All settings of one installation."""

    seed: int = 0
    data_dir: str = "janus-data"
    kafka: KafkaSettings = KafkaSettings()
    ingest: IngestSettings = IngestSettings()
    hippocampus: HippocampusSettings = HippocampusSettings()
    replay: ReplaySettings = ReplaySettings()
    policy: PolicySettings = PolicySettings()
    logic: LogicSettings = LogicSettings()
    neocortex: NeocortexSettings = NeocortexSettings()
    atlas: AtlasSettings = AtlasSettings()
    qdrant: QdrantSettings = QdrantSettings()
    ray: RaySettings = RaySettings()
    sleep: SleepSettings = SleepSettings()
    markets: dict[str, MarketSettings] = {}

    def market(self, name: str) -> MarketSettings:
        """The settings of one market.

        Raises:
            ConfigError: the market is not in the settings.
        """
        try:
            return self.markets[name]
        except KeyError:
            known = ", ".join(sorted(self.markets)) or "none"
            raise ConfigError(
                f"unknown market {name!r}; known: {known}; add [markets.{name}] to the settings"
            ) from None

    def verdict_version(self, market: str) -> str:
        """Hash of the settings that decide whether a record of this market is accepted, carried by its cuts."""
        return verdict_version(self.market(market).spec(market), self.ingest)

    def memory_version(self, market: str) -> str:
        """Hash of the settings that decide what a night computes, carried by its checkpoints."""
        own = self.market(market)
        parts = (
            self.seed,
            self.verdict_version(market),
            own.rules,
            own.memberships,
            {name: one.sha256 for name, one in own.predicates.items()},
            own.action_names,
            own.action_low,
            own.action_high,
            self.ingest.capacity,
            self.hippocampus,
            self.replay,
            self.policy,
            self.logic,
            self.neocortex,
            self.atlas,
            self.sleep.min_rows,
            self.sleep.warmup_rows,
            self.sleep.compute_threads,
        )
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
