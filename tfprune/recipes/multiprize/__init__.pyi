from .config import MultiPrizeConfig as MultiPrizeConfig
from .original_checkpoint import load_original as load_original
from .pipeline import MultiPrizeResult as MultiPrizeResult
from .pipeline import run as run
