"""Criteria for single weights, among them those that prune before training."""

from tfprune.criteria.weights.base import LayerCollapseWarning, WeightCriterion
from tfprune.criteria.weights.dpp import DPPEdge
from tfprune.criteria.weights.gradient import SNIP, Fisher, GradNorm
from tfprune.criteria.weights.grasp import GraSP
from tfprune.criteria.weights.magnitude import Lottery, Magnitude, RandomWeights
from tfprune.criteria.weights.registry import register_weight_criterion, weight_criterion, weight_names
from tfprune.criteria.weights.smart_ratio import Hybrid, SmartRatio, SmartRatios, SmartRatioWarning, smart_ratios
from tfprune.criteria.weights.synflow import SynFlow

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
