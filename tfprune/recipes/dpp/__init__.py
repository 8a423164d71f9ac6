"""DPP pruning of two-layer students, and of image classifiers with dense layers."""

from tfprune.recipes.dpp.config import DPP_COMMANDS

__all__ = ["DPP_COMMANDS"]
