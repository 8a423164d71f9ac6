"""Trains sub-networks on one and on two logical CPU devices; prints JSON for test_subnet_layers.py to judge."""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers import GlobalSubnet, SubnetConv2D, SubnetDense, refresh_masks, subnet_layers
from tfprune.optimizers import SGD
from tfprune.recipes.training import CrossEntropy, Loop

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(16, 8, 8, 3)).astype(np.float32)
LABELS = RNG.integers(0, 4, 16)


def train(strategy, scope, compile):
    with strategy.scope():
        inputs = keras.Input((8, 8, 3))
        x = SubnetConv2D(8, 3, density=0.3, scope=scope, seed=1, activation="relu", kernel_initializer=he(2))(inputs)
        x = keras.layers.GlobalAveragePooling2D()(x)
        outputs = SubnetDense(4, density=0.3, scope=scope, seed=3, kernel_initializer=he(4))(x)
        model = GlobalSubnet(inputs, outputs)
        optimizer = SGD(0.1, 0.9, weight_decay=1e-4)
    loop = Loop(model, optimizer, CrossEntropy(), global_batch_size=16, strategy=strategy, compile=compile)
    losses = [loop.train_step({"images": IMAGES, "labels": LABELS})["loss"] for _ in range(5)]
    masks = [
        [value.numpy().ravel().astype(int).tolist() for value in replicas(layer.mask)] for layer in subnet_layers(model)
    ]
    refresh_masks(model)
    return {"losses": losses, "masks": masks, "refreshed": [int(np.sum(layer.mask)) for layer in subnet_layers(model)]}


def he(seed):
    return keras.initializers.HeNormal(seed=seed)


def replicas(weight):
    return getattr(weight.value, "values", (weight.value,))


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    runs = {
        f"{scope}/{name}/{compile}": train(strategy, scope, compile)
        for scope in ("layer", "global")
        for name, strategy in (("one", one), ("two", two))
        for compile in ("off", "on")
    }
    print(json.dumps(runs))
