"""Peek-a-Boo: prune a random network, then train the signs of what is left (Chen, Zhang, Wang, ICLR 2022)."""

from tfprune.lazy import lazy_exports

_EXPORTS = {
    "PeekabooConfig": "tfprune.methods.peekaboo.config",
    "PeekabooResult": "tfprune.methods.peekaboo.pipeline",
    "find_masks": "tfprune.methods.peekaboo.pruning_stage",
    "run": "tfprune.methods.peekaboo.pipeline",
}

__all__ = sorted(_EXPORTS)
__getattr__ = lazy_exports(__name__, _EXPORTS)
