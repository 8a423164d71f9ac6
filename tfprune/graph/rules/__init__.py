"""What each kind of layer does to the channels of its input: one short rule per kind."""

from tfprune.graph.rules import attention, elementwise, moving, normalizing, producing, recurrent
from tfprune.graph.rules import recurrent as wrapping
from tfprune.graph.rules.registry import Rule, register_rule, rule_for

__all__ = [
    "Rule",
    "attention",
    "elementwise",
    "moving",
    "normalizing",
    "producing",
    "recurrent",
    "register_rule",
    "rule_for",
    "wrapping",
]
