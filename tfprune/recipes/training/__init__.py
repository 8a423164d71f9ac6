"""Training and evaluation of models.

`train_model` trains a model on a data set as a `TrainingConfig` says. It is built from `Loop`, which also trains on
any other batches and objective: compiled, on several devices and workers, resumable. `RunFolder` holds the files of a
run.
"""

from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.recipes.training.evaluation import Evaluation, evaluate, predict_logits
from tfprune.recipes.training.fit import GracefulInterrupt
from tfprune.recipes.training.logs import ScoreEvents, StageTimes
from tfprune.recipes.training.loop import Loop, check_parts
from tfprune.recipes.training.objectives import Consistency, CrossEntropy, Objective
from tfprune.recipes.training.run_folder import RunFolder
from tfprune.recipes.training.schedules import DensityRamp, EpochRates, PeriodicDecay, StepDecay, missed_drops
from tfprune.recipes.training.step import GradientProbe, loss_scaled
from tfprune.recipes.training.strategy import make_strategy
from tfprune.recipes.training.train import SubnetCallback, TrainingConfig, fast_copy, train_model
from tfprune.recipes.training.workers import Workers

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
    "RunFolder",
    "ScoreEvents",
    "StageTimes",
    "StepDecay",
    "SubnetCallback",
    "TrainingConfig",
    "Workers",
    "check_parts",
    "evaluate",
    "fast_copy",
    "loss_scaled",
    "make_strategy",
    "missed_drops",
    "predict_logits",
    "recalibrate_batch_norm",
    "train_model",
]
