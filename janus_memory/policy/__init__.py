"""The Q-network, its losses, its slow copy and its files (SPEC section 5)."""
