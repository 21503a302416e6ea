"""Three rules that ship and are on in the demo: hourly currency bars, actions short, flat and long.

Thresholds are log units of hourly EUR/USD, where volatility_24h is about 0.0008 to 0.002.
"""

from janus_memory.config import RuleSettings

__all__ = ["EXAMPLE_RULES"]

EXAMPLE_RULES: tuple[RuleSettings, ...] = (
    RuleSettings(
        name="drawdown limit",
        text="forall: drawdown < -0.01 ~ 0.002 implies action == flat",
    ),
    RuleSettings(
        name="volatility-scaled position limit",
        text="forall: abs(position) * volatility_24h > 0.0016 ~ 0.0002 implies action == flat",
    ),
    RuleSettings(
        name="no adding to a loser",
        text=(
            "forall: (position > 0.5 ~ 0.1 and position_pnl < -0.004 ~ 0.001 implies not action == long) "
            "and (position < -0.5 ~ 0.1 and position_pnl < -0.004 ~ 0.001 implies not action == short)"
        ),
    ),
)
