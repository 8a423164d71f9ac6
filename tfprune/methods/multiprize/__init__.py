"""Multi-prize tickets: binary sub-networks of random networks."""

from tfprune.lazy import lazy_exports

_EXPORTS = {
    "MultiPrizeConfig": "tfprune.methods.multiprize.config",
    "MultiPrizeResult": "tfprune.methods.multiprize.pipeline",
    "load_original": "tfprune.methods.multiprize.original_checkpoint",
    "run": "tfprune.methods.multiprize.pipeline",
}

__all__ = sorted(_EXPORTS)
__getattr__ = lazy_exports(__name__, _EXPORTS)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
