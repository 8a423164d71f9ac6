"""tfprune: prunes Keras models and returns smaller Keras models.

The library is `tfprune.graph`, `criteria`, `pruning`, `search`, `masks`, `layers`, `optimizers`, `ops`, `dpp`,
`exporting` and `report`; what reproduces papers is in `tfprune.recipes`. Recipes and the packages that serve them can
be named without `recipes`: `tfprune.ekg` is `tfprune.recipes.ekg`.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

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
        if package == __name__ and rest and rest[0] in _SHORT_NAMES:
            return ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"{__name__}.recipes.{spec.name.partition('.')[2]}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Gives the module, which has been run under its own name, its own specification back."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


if not any(type(finder).__name__ == _ShortNames.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _ShortNames())  # before the finder of files, which would load a module a second time
