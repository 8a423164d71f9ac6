"""Training: the loop, what it is given, what it writes, and evaluation."""

from tfprune.training.consistency import Consistency
from tfprune.training.cross_entropy import CrossEntropy
from tfprune.training.density_ramp import DensityRamp
from tfprune.training.epoch_rates import EpochRates
from tfprune.training.evaluation import Evaluation, evaluate, predict_logits
from tfprune.training.gradient_probe import GradientProbe
from tfprune.training.interrupt import GracefulInterrupt
from tfprune.training.loop import Loop
from tfprune.training.loss_scaled import loss_scaled
from tfprune.training.objective import Objective
from tfprune.training.periodic_decay import PeriodicDecay
from tfprune.training.recalibration import recalibrate_batch_norm
from tfprune.training.recipe import Recipe
from tfprune.training.run_folder import RunFolder
from tfprune.training.sparse_training import SparseTraining, fast_network, train_sparse
from tfprune.training.stage_times import StageTimes
from tfprune.training.step_decay import StepDecay
from tfprune.training.strategy import make_strategy
from tfprune.training.subnet_callback import SubnetCallback
from tfprune.training.train_network import train_network
from tfprune.training.worker_rows import check_parts
from tfprune.training.workers import Workers

__all__ = [
    "Consistency",
    "CrossEntropy",
    "DensityRamp",
    "EpochRates",
    "Evaluation",
    "GracefulInterrupt",
    "GradientProbe",
    "Loop",
    "Objective",
    "PeriodicDecay",
    "Recipe",
    "RunFolder",
    "SparseTraining",
    "StageTimes",
    "StepDecay",
    "SubnetCallback",
    "Workers",
    "check_parts",
    "evaluate",
    "fast_network",
    "loss_scaled",
    "make_strategy",
    "predict_logits",
    "recalibrate_batch_norm",
    "train_network",
    "train_sparse",
]
