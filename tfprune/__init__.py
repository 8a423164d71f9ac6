"""tfprune: pruning of Keras models, and smaller Keras models as its result."""

from tfprune.lazy import lazy_exports

__version__ = "0.1.0"

_EXPORTS = {
    "Criterion": "tfprune.criteria",
    "PruningPlan": "tfprune.pruning",
    "channel_groups": "tfprune.graph",
    "complexity": "tfprune.graph",
    "convert": "tfprune.graph",
    "criteria": "tfprune.criteria",
    "ekg": "tfprune.methods.ekg",
    "export": "tfprune.exporting",
    "export_saved_model": "tfprune.exporting",
    "load_checkpoint": "tfprune.models",
    "measure_latency": "tfprune.report",
    "plan_channels": "tfprune.pruning",
    "prune_channels": "tfprune.pruning",
    "register_rule": "tfprune.graph",
    "save_model": "tfprune.exporting",
    "slim": "tfprune.graph",
    "summary": "tfprune.report",
}

__all__ = sorted(_EXPORTS)
__getattr__ = lazy_exports(__name__, _EXPORTS)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
