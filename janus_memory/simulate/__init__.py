"""A trading system made from real market bars: features, behaviour policies, costs, sessions, frames."""
