"""Long-term memory: schemas, gates, consolidation (SPEC section 6)."""
