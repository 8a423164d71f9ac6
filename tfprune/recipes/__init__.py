"""The published methods, one package each, and the registration of new ones."""

import lazy_loader

# The public names are declared in __init__.pyi; each is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
