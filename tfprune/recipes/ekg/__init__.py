"""EKG: Ensemble Knowledge Guided sub-network search and fine-tuning for filter pruning (Lee & Song, ECCV 2022).

The search works on any model and is part of the library, `tfprune.search`; its names can be used from here, too.
"""

from typing import Any

import lazy_loader

from tfprune import search as _library

# The recipe's own public names are listed in __init__.pyi; each is imported on first use.
_own_name, _, _own_names = lazy_loader.attach_stub(__name__, __file__)

__all__ = sorted([*_own_names, *_library.__all__])


def __getattr__(name: str) -> Any:
    return getattr(_library, name) if name in _library.__all__ else _own_name(name)


def __dir__() -> list[str]:
    return __all__
