"""Trains with Bop, then Adam, on two logical CPU devices of one process; prints JSON for test_strategy.py to judge.

A process of its own, because devices can be split only before TensorFlow starts, and because the errors last.
"""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.optimizers import SGD, Bop
from tfprune.recipes.training import CrossEntropy, Loop, PeriodicDecay, make_strategy

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(8, 6, 6, 3)).astype(np.float32), RNG.integers(0, 4, 8)


def small_model(filters):
    layers = [keras.Input((6, 6, 3)), keras.layers.Conv2D(filters, 3, name="conv"), keras.layers.ReLU()]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)])


def bop():
    return Bop(PeriodicDecay(0.2, 0.5, 1, 2), 1e-4, SGD(0.1), sign_trained=["*conv/kernel"])


def loss(strategy, filters, make_optimizer):
    with strategy.scope():
        model, optimizer = small_model(filters), make_optimizer()
    loop = Loop(model, optimizer, CrossEntropy(), global_batch_size=8, strategy=strategy)
    return loop.train_step({"images": IMAGES, "labels": LABELS})["loss"]


def message(train):
    try:
        train()
    except ConfigError as error:
        return str(error)
    return "no error"


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    devices = tf.config.list_logical_devices("CPU")
    tf.config.list_logical_devices = lambda kind=None: devices  # two GPUs, as far as make_strategy can see
    first, again = make_strategy((0, 1)), make_strategy((0, 1))
    losses = [loss(first, 5, bop), loss(again, 7, lambda: keras.optimizers.Adam(1e-3))]
    other = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    error = message(lambda: loss(other, 9, lambda: SGD(0.1)))
    print(json.dumps({"same": first is again, "losses": losses, "error": error}))
