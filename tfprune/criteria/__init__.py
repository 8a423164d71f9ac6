"""Criteria: how much each prunable unit, or each single weight, of a model is worth."""

from tfprune.criteria.aggregation import Normalize, Reduce
from tfprune.criteria.bn_scale import BNScale
from tfprune.criteria.criterion import Criterion
from tfprune.criteria.criterion_data import CriterionData, DataUse
from tfprune.criteria.dpp_node import DPPNode
from tfprune.criteria.ekg import EKG
from tfprune.criteria.fpgm import FPGM
from tfprune.criteria.l1 import L1
from tfprune.criteria.l2 import L2
from tfprune.criteria.random_scores import Random
from tfprune.criteria.registry import get, names, register
from tfprune.criteria.taylor import Taylor
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
