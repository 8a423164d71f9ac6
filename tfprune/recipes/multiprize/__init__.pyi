from .config import MultiPrizeConfig as MultiPrizeConfig
from .method import MultiPrizeResult as MultiPrizeResult
from .method import run as run
from .original_checkpoint import load_original as load_original
