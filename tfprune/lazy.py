"""Packages whose public names are imported on first use."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, exports: Mapping[str, str]) -> Callable[[str], Any]:
    """Makes a package's `__getattr__` (PEP 562), so that importing the package costs next to nothing.

    Args:
        package: Name of the package, for the error message.
        exports: Module that holds each public name, or is it.

    Returns:
        The function to bind to `__getattr__` in the package.
    """

    def attribute(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(exports[name])
        return module if exports[name].endswith(f".{name}") else getattr(module, name)

    return attribute
