"""The numbers of the consolidation rule for one dimension d, resolved from the settings (section 6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from janus_memory.config import NeocortexSettings

__all__ = ["Rule"]

# Below this the threshold of creation is the background itself: in few dimensions densities hardly differ.
SMALL_DIMENSION = 16


class Rule(NamedTuple):
    """What the kernels need; plain numbers.

    Attributes:
        robust: the default rule; False is the literal one.
        eta: smallest rate of the mean (E21); in the literal rule the rate of everything.
        eta_s: smallest rate of the covariance (E22).
        nu0: weight of the prior covariance S0, in points.
        n_cap: (2 - eta_s)/eta_s, the largest effective count.
        log_tau: log tau_rel (added to the background's log-density) or log tau_schema.
        floor: smallest pivot of a Cholesky factor, in standardised variance.
    """

    robust: bool
    eta: float
    eta_s: float
    nu0: float
    n_cap: float
    log_tau: float
    floor: float

    @classmethod
    def resolve(cls, settings: NeocortexSettings, d: int, prior_variance: float) -> Rule:
        """The rule for dimension d; `prior_variance` is tr(S0)/d, of which the floor is 1e-9."""
        robust = settings.mode == "robust"
        eta_s = min(settings.eta, 1.0 / (8 * d)) if settings.eta_s is None else settings.eta_s
        tau_rel = (1.0 if d < SMALL_DIMENSION else 0.1) if settings.tau_rel is None else settings.tau_rel
        return cls(
            robust=robust,
            eta=settings.eta,
            eta_s=eta_s,
            nu0=2.0 * d if settings.nu0 is None else settings.nu0,
            n_cap=(2.0 - eta_s) / eta_s,
            log_tau=math.log(tau_rel if robust else settings.tau_schema),
            floor=1e-9 * prior_variance,
        )
