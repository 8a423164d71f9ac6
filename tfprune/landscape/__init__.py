"""The landscape of a loss around a model's weights: sections along random directions, and the curvature at the center.

Li et al., Visualizing the Loss Landscape of Neural Nets (NeurIPS 2018); Lee & Song, EKG (ECCV 2022), who compare
sub-networks by it.
"""

import lazy_loader

# The public names are listed in __init__.pyi; each is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
