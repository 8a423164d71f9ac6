"""What the commands of `tfprune` do: for each the settings, and in the module of its name the work, `run(settings)`."""

from tfprune.commands.benchmark_config import BenchmarkConfig
from tfprune.commands.export_config import ExportConfig
from tfprune.commands.inspect_config import InspectConfig
from tfprune.commands.prune_config import PruneConfig
from tfprune.commands.sanity_config import SanityConfig

COMMANDS = {
    "inspect": InspectConfig,
    "prune": PruneConfig,
    "benchmark": BenchmarkConfig,
    "export": ExportConfig,
    "sanity": SanityConfig,
}
"""Settings of the commands, by name; they need no TensorFlow."""

__all__ = ["COMMANDS", "BenchmarkConfig", "ExportConfig", "InspectConfig", "PruneConfig", "SanityConfig"]
