"""tfprune: pruning of Keras models, and smaller Keras models as its result."""

import lazy_loader

__version__ = "0.1.0"

# The public names stand in __init__.pyi; each is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
