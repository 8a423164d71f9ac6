"""Structured pruning: plans of what to keep, and the smaller models that they lead to; tickets in rounds."""

from tfprune.pruning.budget import Budget, Totals, WidthConstraints
from tfprune.pruning.depth import BlockPlan, DepthPlan
from tfprune.pruning.group_plan import GroupPlan, Hold
from tfprune.pruning.history import PruningHistory
from tfprune.pruning.iterative import SCHEDULES, iterative_tickets, prune_channels
from tfprune.pruning.plan import PruningPlan
from tfprune.pruning.planner import plan_channels
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.pruning.reweighting import ReweightingWarning, reweight

__all__ = [
    "SCHEDULES",
    "BlockPlan",
    "Budget",
    "DepthPlan",
    "GroupPlan",
    "Hold",
    "PruningHistory",
    "PruningPlan",
    "ReweightingWarning",
    "Totals",
    "WidthConstraints",
    "iterative_tickets",
    "plan_channels",
    "prune_channels",
    "recalibrate_batch_norm",
    "reweight",
]
