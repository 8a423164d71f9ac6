"""Trains small models on one and on two logical CPU devices; prints JSON for test_replicas.py to judge.

Usage: replicas_script.py [more]; more accumulates, trains in float16, and compiles.
A process of its own, because devices can be split only before TensorFlow starts.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.layers import FusedBatchNormalization
from tfprune.optimizers import SGD
from tfprune.recipes.training import CrossEntropy, Loop, evaluate

ROWS, STEPS = 16, 4
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(2.0, 3.0, size=(ROWS * STEPS, 8, 8, 3)).astype(np.float32)
LABELS = RNG.integers(0, 4, ROWS * STEPS)


PLAIN = {
    "synchronized": {"synchronized": True},
    "local": {"synchronized": False},
}
MORE = {
    "synchronized_accumulated": {"synchronized": True, "accumulate": 4},
    "float16": {"synchronized": True, "precision": "mixed_float16"},
    # So large that gradients overflow at first, not on all replicas.
    "overflow": {"synchronized": True, "precision": "mixed_float16", "scale": 2.0**20},
    "overflow_accumulated": {"synchronized": True, "precision": "mixed_float16", "scale": 2.0**20, "accumulate": 4},
}


def train(strategy, *, synchronized, dropout=0.0, precision="float32", scale=1024.0, **settings):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    with strategy.scope():
        layers = [keras.Input((8, 8, 3))]
        for channels in (5, 8):
            layers += [keras.layers.Conv2D(channels, 3, use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-3))]
            layers += [FusedBatchNormalization(momentum=0.9, synchronized=synchronized), keras.layers.ReLU()]
        layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(dropout), keras.layers.Dense(4)]
        model = keras.Sequential(layers)
        optimizer = SGD(0.1, 0.9, True, 5e-4)
        if precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
    loop = Loop(model, optimizer, CrossEntropy(), global_batch_size=ROWS, strategy=strategy, **settings)
    batches = [{"images": IMAGES[i : i + ROWS], "labels": LABELS[i : i + ROWS]} for i in range(0, ROWS * STEPS, ROWS)]
    rows = [loop.train_step(batch) for batch in batches]
    evaluation = evaluate(model, batches)
    return {
        "weights": [[v.numpy().astype(float).ravel().tolist() for v in replicas(w)] for w in model.weights],
        "losses": [row["loss"] for row in rows],
        "accuracies": [row["accuracy"] for row in rows],
        "evaluation": evaluation._asdict(),
        "loss_scale": float(optimizer.scale_loss(1.0)) if precision == "mixed_float16" else 1.0,
        "taken": int(tf.convert_to_tensor(optimizer.iterations)),
    }


def replicas(weight):
    return getattr(weight.value, "values", (weight.value,))


def refusal(strategy):
    try:
        train(strategy, synchronized=True, compile="on")
    except ConfigError as error:
        return str(error)
    return None


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    if sys.argv[1:] == ["more"]:
        results = {
            "one_accumulated": train(one, synchronized=False, accumulate=4),
            "one_float16": train(one, synchronized=False, precision="mixed_float16"),
            **{name: train(two, **settings) for name, settings in MORE.items()},
            "local_xla": train(two, synchronized=False, compile="on"),
        }
    else:
        results = {
            "one": train(one, synchronized=False),
            **{name: train(two, **settings) for name, settings in PLAIN.items()},
            "refusal": refusal(two),
        }
    print(json.dumps(results))
