"""tfprune: prunes Keras models and returns smaller Keras models.

The library is `tfprune.graph`, `criteria`, `pruning`, `search`, `masks`, `layers`, `optimizers`, `ops`, `dpp`,
`exporting` and `report`; what reproduces papers is in `tfprune.recipes`. Recipes and the packages that serve them can
be named without `recipes`: `tfprune.ekg` is `tfprune.recipes.ekg`.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType

import lazy_loader

__version__ = "0.1.0"

# The public names are listed in __init__.pyi; each is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_SHORT_NAMES = ("data", "ekg", "models", "multiprize", "peekaboo", "tickets", "training")


class _ShortNames(MetaPathFinder, Loader):
    """Finds `tfprune.ekg` and the like, modules below included, in `tfprune.recipes`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, *rest = fullname.split(".")
        if package != __name__ or not rest or rest[0] not in _SHORT_NAMES or (real := _real_spec(fullname)) is None:
            return None
        spec = ModuleSpec(fullname, self, origin=real.origin, is_package=real.submodule_search_locations is not None)
        spec.submodule_search_locations = real.submodule_search_locations
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(_long_name(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Gives the module, which has been run under its own name, its own specification back."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname: str) -> CodeType | None:
        """Returns the code of a module, for `python -m`."""
        real = _real_spec(fullname)
        return real.loader.get_code(real.name) if real and isinstance(real.loader, InspectLoader) else None


def _long_name(fullname: str) -> str:
    return f"{__name__}.recipes.{fullname.partition('.')[2]}"


def _real_spec(fullname: str) -> ModuleSpec | None:
    try:
        return find_spec(_long_name(fullname))
    except ModuleNotFoundError:  # the package above is no package, or does not exist
        return None


if not any(type(finder).__name__ == _ShortNames.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _ShortNames())  # before the finder of files, which would load a module a second time
