"""tfprune: pruning of Keras models, and smaller Keras models as its result."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "channel_groups": "tfprune.graph",
    "convert": "tfprune.graph",
    "complexity": "tfprune.graph",
    "export_saved_model": "tfprune.export",
    "save_model": "tfprune.export",
    "ekg": "tfprune.methods",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    """Imports public names on first use, so that `import tfprune` costs next to nothing."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tfprune' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
