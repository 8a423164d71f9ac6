from .config import PeekabooConfig as PeekabooConfig
from .method import PeekabooResult as PeekabooResult
from .method import run as run
from .pruning import find_masks as find_masks
