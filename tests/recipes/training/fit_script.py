"""A small training in a process of its own, for the tests of `Loop.fit` to kill.

Usage: fit_script.py FOLDER [--resume] [--slow SECONDS]; prints a hash of all final weights.
"""

import argparse
import hashlib
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers import FusedBatchNormalization
from tfprune.optimizers import SGD
from tfprune.recipes.training import CrossEntropy, Loop, RunFolder, StepDecay, evaluate

STEPS, EPOCHS, BATCH = 5, 4, 8


def make_model() -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = [keras.Input((6, 6, 3)), keras.layers.Conv2D(5, 3, use_bias=False), FusedBatchNormalization(momentum=0.9)]
    layers += [keras.layers.ReLU(), keras.layers.Dropout(0.3), keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([*layers, keras.layers.Dense(4)])


def make_loop() -> Loop:
    schedule = StepDecay(0.1, (0.5,), 0.1, EPOCHS, STEPS)
    return Loop(make_model(), SGD(schedule, 0.9, True, 5e-4), CrossEntropy(), global_batch_size=BATCH)


def batches(start: int, slow: float = 0.0, bad_step: int | None = None) -> tf.data.Dataset:
    """Batch number `step` is a function of `step`, as `Loop.fit` wants it."""

    def generate():
        for step in range(start, STEPS * EPOCHS):
            rng = np.random.default_rng(step)
            images = rng.normal(size=(BATCH, 6, 6, 3)).astype(np.float32)
            if step == bad_step:
                images[0] = np.nan
            time.sleep(slow)
            yield {"images": images, "labels": rng.integers(0, 4, BATCH)}

    signature = {"images": tf.TensorSpec([BATCH, 6, 6, 3]), "labels": tf.TensorSpec([BATCH], tf.int64)}
    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def train(folder: str | None, *, resume: bool = False, slow: float = 0.0, bad_step: int | None = None, **settings):
    loop = make_loop()
    run = RunFolder.create(folder, {"epochs": EPOCHS}, resume=resume) if folder else None
    rows = loop.fit(
        lambda start: batches(start, slow, bad_step),
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        name="fit",
        run=run,
        evaluate=lambda: {"test_loss": evaluate(loop.model, batches(0).take(2)).loss},
        resume=resume,
        **{"log_every": 2, "checkpoint_minutes": 0.0, **settings},
    )
    return loop.model, rows


def digest(model: keras.Model) -> str:
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in model.weights)).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--slow", type=float, default=0.0)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    print(digest(train(arguments.folder, resume=arguments.resume, slow=arguments.slow)[0]), flush=True)
