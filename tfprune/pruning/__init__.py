"""Structured pruning: plans which channels go, and smaller models made by them; weights pruned in rounds."""

from tfprune.pruning.budget import Budget
from tfprune.pruning.group_plan import GroupPlan, Hold
from tfprune.pruning.iterative import prune_channels
from tfprune.pruning.iterative_tickets import iterative_tickets
from tfprune.pruning.plan import PruningPlan
from tfprune.pruning.planning import plan_channels
from tfprune.pruning.reweighting import reweight
from tfprune.pruning.reweighting_warning import ReweightingWarning
from tfprune.pruning.schedule import SCHEDULES
from tfprune.pruning.totals import Totals
from tfprune.pruning.width_constraints import WidthConstraints

__all__ = [
    "SCHEDULES",
    "Budget",
    "GroupPlan",
    "Hold",
    "PruningPlan",
    "ReweightingWarning",
    "Totals",
    "WidthConstraints",
    "iterative_tickets",
    "plan_channels",
    "prune_channels",
    "reweight",
]
