"""The commands of `tfprune`: a config class for each, and a module of its name with a function `run(config)`."""

from tfprune.commands.model_configs import BenchmarkConfig, ExportConfig, InspectConfig
from tfprune.commands.prune_config import PruneConfig
from tfprune.recipes.sanity_config import SanityConfig

COMMANDS = {
    "inspect": InspectConfig,
    "prune": PruneConfig,
    "benchmark": BenchmarkConfig,
    "export": ExportConfig,
    "sanity": SanityConfig,
}
"""Config classes by the command's name; they need no TensorFlow."""

__all__ = ["COMMANDS", "BenchmarkConfig", "ExportConfig", "InspectConfig", "PruneConfig", "SanityConfig"]
