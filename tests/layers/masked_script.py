"""Trains masked layers on one and on two logical CPU devices; prints JSON for test_masked_layers.py to judge."""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from tfprune.graph import convert, prunable_weights
from tfprune.optimizers import SGD
from tfprune.recipes.training import CrossEntropy, Loop

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(16, 8, 8, 3)).astype(np.float32)
LABELS = RNG.integers(0, 4, 16)


def train(strategy, family):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
        stock = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
        rng = np.random.default_rng(1)
        masks = {name: rng.random(weight.shape) < 0.5 for name, weight in prunable_weights(stock).items()}
        model = convert(stock, family, masks, options={"take_sign": False} if family == "psg" else None)
        optimizer = SGD(0.1, 0.9)
    before = {name: np.asarray(weight).copy() for name, weight in prunable_weights(model).items()}
    loop = Loop(model, optimizer, CrossEntropy(), global_batch_size=16, strategy=strategy)
    losses = [loop.train_step({"images": IMAGES, "labels": LABELS})["loss"] for _ in range(5)]
    after = {name: np.asarray(weight) for name, weight in prunable_weights(model).items()}
    copies = [[value.numpy() for value in replicas(weight)] for weight in model.variables]
    return {
        "losses": losses,
        "replicas_equal": all(np.array_equal(each, values[0]) for values in copies for each in values),
        "masked_kept": all(np.array_equal(before[name][~mask], after[name][~mask]) for name, mask in masks.items()),
    }


def replicas(weight):
    return getattr(weight.value, "values", (weight.value,))


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    runs = {
        f"{family}/{name}": train(strategy, family)
        for family in ("masked", "psg")
        for name, strategy in (("one", one), ("two", two))
    }
    print(json.dumps(runs))
