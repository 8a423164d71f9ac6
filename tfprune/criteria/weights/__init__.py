"""Criteria for single weights, among them those that prune before training."""

from tfprune.criteria.weights.dpp_edge import DPPEdge
from tfprune.criteria.weights.fisher import Fisher
from tfprune.criteria.weights.grad_norm import GradNorm
from tfprune.criteria.weights.grasp import GraSP
from tfprune.criteria.weights.hybrid import Hybrid
from tfprune.criteria.weights.layer_collapse import LayerCollapseWarning
from tfprune.criteria.weights.lottery import Lottery
from tfprune.criteria.weights.magnitude import Magnitude
from tfprune.criteria.weights.random_weights import RandomWeights
from tfprune.criteria.weights.registry import register_weight_criterion, weight_criterion, weight_names
from tfprune.criteria.weights.smart_ratio import SmartRatio
from tfprune.criteria.weights.smart_ratio_warning import SmartRatioWarning
from tfprune.criteria.weights.smart_ratios import SmartRatios, smart_ratios
from tfprune.criteria.weights.snip import SNIP
from tfprune.criteria.weights.synflow import SynFlow
from tfprune.criteria.weights.weight_criterion import WeightCriterion

__all__ = [
    "SNIP",
    "DPPEdge",
    "Fisher",
    "GraSP",
    "GradNorm",
    "Hybrid",
    "LayerCollapseWarning",
    "Lottery",
    "Magnitude",
    "RandomWeights",
    "SmartRatio",
    "SmartRatioWarning",
    "SmartRatios",
    "SynFlow",
    "WeightCriterion",
    "register_weight_criterion",
    "smart_ratios",
    "weight_criterion",
    "weight_names",
]
