"""What each kind of layer does to the channels of its inputs: one short rule per kind.

A rule reads the labels of a call's inputs, sets those of its outputs, and notes which weight axes run over them, which
settings depend on them, and what the layer costs (`graph.labels.Labels`).
"""

from tfprune.graph.rules import (
    attention,
    augmenting,
    elementwise,
    indexing,
    joining,
    moving,
    normalizing,
    producing,
    products,
    recurrent,
    reducing,
    spatial,
    unfollowed,
    wrapping,
)
from tfprune.graph.rules.lookup import Rule, apply_rule, register_rule, rule_for

__all__ = [
    "Rule",
    "apply_rule",
    "attention",
    "augmenting",
    "elementwise",
    "indexing",
    "joining",
    "moving",
    "normalizing",
    "producing",
    "products",
    "recurrent",
    "reducing",
    "register_rule",
    "rule_for",
    "spatial",
    "unfollowed",
    "wrapping",
]
