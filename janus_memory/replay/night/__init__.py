"""Phase 1 of a night: replay in one compiled loop, or step by step over the workers (E7-E11)."""
