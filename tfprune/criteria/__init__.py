"""Criteria: how important each prunable channel, or each single weight, of a model is.

`register_criterion` makes a class a criterion, `criterion` creates one by name, `criterion_names` lists the names.
"""

import lazy_loader

# The public names are listed in __init__.pyi; each is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
