"""Structured pruning: plans which channels of a model go, and smaller models made by them."""

from tfprune.pruning.budget import Budget
from tfprune.pruning.group_plan import GroupPlan, Hold
from tfprune.pruning.iterative import prune_channels
from tfprune.pruning.plan import PruningPlan
from tfprune.pruning.planning import plan_channels
from tfprune.pruning.schedule import SCHEDULES
from tfprune.pruning.totals import Totals
from tfprune.pruning.width_constraints import WidthConstraints

__all__ = [
    "SCHEDULES",
    "Budget",
    "GroupPlan",
    "Hold",
    "PruningPlan",
    "Totals",
    "WidthConstraints",
    "plan_channels",
    "prune_channels",
]
