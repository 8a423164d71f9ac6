"""tfprune: pruning of Keras models, and smaller Keras models as its result."""

from tfprune.lazy import lazy_exports

__version__ = "0.1.0"

_EXPORTS = {
    "Criterion": "tfprune.criteria",
    "Masks": "tfprune.masks",
    "PruningPlan": "tfprune.pruning",
    "channel_groups": "tfprune.graph",
    "complexity": "tfprune.graph",
    "convert": "tfprune.graph",
    "criteria": "tfprune.criteria",
    "data": "tfprune.data",
    "ekg": "tfprune.methods.ekg",
    "export": "tfprune.exporting",
    "exporting": "tfprune.exporting",
    "export_saved_model": "tfprune.exporting",
    "layers": "tfprune.layers",
    "load_checkpoint": "tfprune.models",
    "masks_of": "tfprune.graph",
    "measure_latency": "tfprune.report",
    "models": "tfprune.models",
    "optimizers": "tfprune.optimizers",
    "peekaboo": "tfprune.methods.peekaboo",
    "plan_channels": "tfprune.pruning",
    "prunable_weights": "tfprune.graph",
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
