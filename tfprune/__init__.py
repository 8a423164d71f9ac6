"""tfprune: pruning of Keras models, and smaller Keras models as its result."""

from tfprune.lazy import lazy_exports

__version__ = "0.1.0"

_EXPORTS = {
    "channel_groups": "tfprune.graph",
    "complexity": "tfprune.graph",
    "convert": "tfprune.graph",
    "ekg": "tfprune.methods.ekg",
    "export": "tfprune.exporting",
    "export_saved_model": "tfprune.exporting",
    "load_checkpoint": "tfprune.models",
    "measure_latency": "tfprune.report",
    "save_model": "tfprune.exporting",
    "slim": "tfprune.graph",
}

__all__ = sorted(_EXPORTS)
__getattr__ = lazy_exports(__name__, _EXPORTS)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
