"""Training a plain model with the settings of a run: fast layers in, plain layers out."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfprune.graph import complexity, convert
from tfprune.optimizers import SGD
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.training import Evaluation, Loop, Objective, RunFolder, StepDecay, Workers, evaluate, loss_scaled

Batches = Callable[[int, Sequence[int] | None], tf.data.Dataset]


def train(
    config: EKGConfig,
    model: keras.Model,
    objective: Objective,
    batches: Batches,
    *,
    data: ImageDataset,
    strategy: tf.distribute.Strategy,
    run: RunFolder,
    name: str,
    epochs: int,
    learning_rate: float,
) -> keras.Model:
    """Trains a copy of a model with SGD, Nesterov momentum 0.9 and a learning rate that drops in steps.

    Args:
        config: Batch size, decay of weights and learning rate, number format, compilation.
        model: A plain model that gives logits. It is not changed.
        objective: What to minimise.
        batches: Training batches from a step on: of each these rows, or all.
        data: The data set, for the test after each epoch.
        strategy: The devices.
        run: Where metrics and checkpoints go.
        name: Of the training within the run.
        epochs: Epochs.
        learning_rate: Of the first epochs.

    Returns:
        The trained model, plain layers again.
    """
    flops = complexity(model).flops
    steps = data.steps_per_epoch(config.batch_size)
    with Workers(strategy).scope():
        options = {"synchronized": config.sync_batch_norm and strategy.num_replicas_in_sync > 1}
        fast = convert(model, "fused", dtype=config.precision, options=options)
        rate = StepDecay(learning_rate, config.decay_points, config.decay_rate, epochs, steps)
        loop = Loop(
            fast,
            _optimizer(config, rate),
            objective,
            global_batch_size=config.batch_size,
            strategy=strategy,
            compile=config.compile,
            accumulate=config.accum,
        )
    loop.fit(
        lambda start: batches(start, loop.rows),
        steps_per_epoch=steps,
        epochs=epochs,
        name=name,
        run=run,
        evaluate=lambda: _row(test(config, fast, data)),
        resume=config.resume,
        description=name,
        postfix=lambda: f"FLOPs {flops / 1e6:.1f} M",
        log_every=config.do_log,
    )
    return convert(fast, "plain", dtype="float32")


def _optimizer(config: EKGConfig, rate: StepDecay) -> keras.optimizers.Optimizer:
    return loss_scaled(SGD(rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay), config.precision)


def test(config: EKGConfig, model: keras.Model, data: ImageDataset) -> Evaluation:
    """Evaluates a model on the test images, as the settings ask for."""
    batches = data.test_batches(config.val_batch_size)
    return evaluate(model, batches, batch_statistics=config.batch_statistics, compile=config.compile)


def _row(evaluation: Evaluation) -> dict[str, float]:
    return {"test_loss": evaluation.loss, "test_accuracy": evaluation.top1}
