"""The paper on DPP pruning: teachers, students, their pruning and its theory, and image classifiers.

Each command of `tfprune dpp` has a config class in `config` and a function `run(config)` in the module of its noun.
"""

from tfprune.recipes.dpp.config import DPP_COMMANDS

DPP_MODULES = {
    "teacher": "tfprune.recipes.dpp.teacher",
    "student": "tfprune.recipes.dpp.student",
    "prune": "tfprune.recipes.dpp.pruning",
    "evaluate": "tfprune.recipes.dpp.evaluation",
    "compare": "tfprune.recipes.dpp.comparison",
    "image": "tfprune.recipes.dpp.images",
}
"""Modules with the function `run(config)`, by the command's name; they import TensorFlow, so they are only named."""

__all__ = ["DPP_COMMANDS", "DPP_MODULES"]
