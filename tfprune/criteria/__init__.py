"""Criteria: how much each prunable unit, or each single weight, of a model is worth."""

from tfprune.criteria.base import Criterion, CriterionData, DataUse
from tfprune.criteria.channels.base import Normalize, Reduce
from tfprune.criteria.channels.dpp import DPPNode
from tfprune.criteria.channels.gradient import EKG, Taylor
from tfprune.criteria.channels.magnitude import FPGM, L1, L2, BNScale, Random
from tfprune.criteria.registry import get, names, register
from tfprune.criteria.weights import (
    SNIP,
    DPPEdge,
    Fisher,
    GradNorm,
    GraSP,
    Hybrid,
    LayerCollapseWarning,
    Lottery,
    Magnitude,
    RandomWeights,
    SmartRatio,
    SmartRatios,
    SmartRatioWarning,
    SynFlow,
    WeightCriterion,
    register_weight_criterion,
    smart_ratios,
    weight_criterion,
    weight_names,
)

__all__ = [
    "EKG",
    "FPGM",
    "L1",
    "L2",
    "SNIP",
    "BNScale",
    "Criterion",
    "CriterionData",
    "DPPEdge",
    "DPPNode",
    "DataUse",
    "Fisher",
    "GraSP",
    "GradNorm",
    "Hybrid",
    "LayerCollapseWarning",
    "Lottery",
    "Magnitude",
    "Normalize",
    "Random",
    "RandomWeights",
    "Reduce",
    "SmartRatio",
    "SmartRatioWarning",
    "SmartRatios",
    "SynFlow",
    "Taylor",
    "WeightCriterion",
    "get",
    "names",
    "register",
    "register_weight_criterion",
    "smart_ratios",
    "weight_criterion",
    "weight_names",
]
