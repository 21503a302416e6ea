"""The atlas: the map of what is known, and what lies outside it (SPEC section 7)."""
