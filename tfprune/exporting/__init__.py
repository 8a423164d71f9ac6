"""Models as files that run without tfprune: `.keras`, SavedModel, TFLite (LiteRT), ONNX; and packed sub-networks.

`export` chooses the format by the name of the file; `formats.FORMATS` lists the formats, one module each.
"""

import lazy_loader

# The public names are listed in __init__.pyi; each is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
