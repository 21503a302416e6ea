"""Short-term memory: the episodic buffer, pattern separation and the sparse code (SPEC section 2)."""
