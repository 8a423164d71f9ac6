from .config import PeekabooConfig as PeekabooConfig
from .pipeline import PeekabooResult as PeekabooResult
from .pipeline import run as run
from .pruning_stage import find_masks as find_masks
