"""The numbers of the consolidation rule for one dimension d, resolved from the settings (section 6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from janus_memory.config import NeocortexSettings

__all__ = ["Rule"]

ETA_ROBUST, ETA_SPEC = 0.001, 0.01
# Below so many dimensions regimes overlap most, and a schema between two large ones lives off both.
SMALL_DIMENSION, COUNT_POWER_SMALL, COUNT_POWER = 16, 0.5, 0.35
# From here on regimes hardly overlap, and a lower threshold tells them apart.
LARGE_DIMENSION = 32


class Rule(NamedTuple):
    """What the kernels need; plain numbers.

    Attributes:
        robust: the default rule; False is the literal one.
        eta: smallest rate of the mean (E21); in the literal rule the rate of everything.
        eta_s: smallest rate of the covariance (E22).
        nu0: weight of the prior covariance S0, in points.
        n_cap: (2 - eta_s)/eta_s, the largest effective count.
        log_tau: log tau_rel (added to the background's log-density) or log tau_schema.
        floor: smallest eigenvalue of a covariance whose factor is computed afresh, in standardised variance.
        count_power: the score of a schema is n^count_power times its density; 0 in the literal rule.
    """

    robust: bool
    eta: float
    eta_s: float
    nu0: float
    n_cap: float
    log_tau: float
    floor: float
    count_power: float

    @classmethod
    def resolve(cls, settings: NeocortexSettings, d: int, prior_variance: float) -> Rule:
        """The rule for dimension d; `prior_variance` is tr(S0)/d, of which the floor is 1e-9."""
        robust = settings.mode == "robust"
        eta = (ETA_ROBUST if robust else ETA_SPEC) if settings.eta is None else settings.eta
        default = 1.0 if d >= LARGE_DIMENSION else 3.0
        tau_rel = default if settings.tau_rel is None else settings.tau_rel
        usual = COUNT_POWER_SMALL if d < SMALL_DIMENSION else COUNT_POWER
        power = usual if settings.count_power is None else settings.count_power
        eta_s = min(0.5 * eta if robust else eta, 1.0 / (8 * d)) if settings.eta_s is None else settings.eta_s
        return cls(
            robust=robust,
            eta=eta,
            eta_s=eta_s,
            nu0=2.0 * d if settings.nu0 is None else settings.nu0,
            n_cap=(2.0 - eta_s) / eta_s,
            log_tau=math.log(tau_rel if robust else settings.tau_schema),
            floor=1e-9 * prior_variance,
            count_power=power if robust else 0.0,
        )
