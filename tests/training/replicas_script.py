"""Trains small models on one and on two logical CPU devices; prints JSON for test_replicas.py to judge.

A process of its own, because devices can be split only before TensorFlow starts.
"""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.layers import FusedBatchNormalization
from tfprune.optimizers import SGD
from tfprune.training import CrossEntropy, Loop, evaluate

ROWS, STEPS = 15, 4  # 15 rows do not divide by two replicas
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(2.0, 3.0, size=(ROWS * STEPS, 8, 8, 3)).astype(np.float32)
LABELS = RNG.integers(0, 4, ROWS * STEPS)


def train(strategy, *, synchronized, dropout=0.0, **settings):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        layers = [keras.Input((8, 8, 3))]
        for channels in (5, 8):
            layers += [keras.layers.Conv2D(channels, 3, use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-3))]
            layers += [FusedBatchNormalization(momentum=0.9, synchronized=synchronized), keras.layers.ReLU()]
        layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(dropout), keras.layers.Dense(4)]
        model = keras.Sequential(layers)
        optimizer = SGD(0.1, 0.9, True, 5e-4)
    loop = Loop(model, optimizer, CrossEntropy(), global_batch_size=ROWS, strategy=strategy, **settings)
    batches = [{"images": IMAGES[i : i + ROWS], "labels": LABELS[i : i + ROWS]} for i in range(0, ROWS * STEPS, ROWS)]
    rows = [loop.train_step(batch) for batch in batches]
    evaluation = evaluate(model, batches)
    return {
        "weights": [[v.numpy().astype(float).ravel().tolist() for v in replicas(w)] for w in model.weights],
        "losses": [row["loss"] for row in rows],
        "accuracies": [row["accuracy"] for row in rows],
        "evaluation": evaluation._asdict(),
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
    results = {
        "one": train(one, synchronized=False),
        "synchronized": train(two, synchronized=True),
        "one_accumulated": train(one, synchronized=False, accumulate=3),
        "synchronized_accumulated": train(two, synchronized=True, accumulate=3),
        "local": train(two, synchronized=False),
        "local_xla": train(two, synchronized=False, compile="on"),
        "refusal": refusal(two),
    }
    print(json.dumps(results))
