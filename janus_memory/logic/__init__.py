"""Rules of a risk desk as fuzzy logic over transitions (SPEC section 4)."""

from janus_memory.logic.knowledge import KnowledgeBase, violations
from janus_memory.logic.quantifiers import Quantifiers, across_rules, rule_truths, sat_agg, satisfaction

__all__ = [
    "KnowledgeBase",
    "Quantifiers",
    "across_rules",
    "rule_truths",
    "sat_agg",
    "satisfaction",
    "violations",
]
