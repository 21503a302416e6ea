"""Rules of a risk desk as fuzzy logic over transitions (SPEC section 4)."""

from janus_memory.logic.knowledge import KnowledgeBase, rule_truths, sat_agg, satisfaction, violations

__all__ = ["KnowledgeBase", "rule_truths", "sat_agg", "satisfaction", "violations"]
