"""From priorities to draws: each strategy's law P(i), the sum tree that draws from it, the exact refresh (E8-E10)."""
