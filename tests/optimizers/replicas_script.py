"""Trains small models with Bop on one and on two logical CPU devices; prints JSON for test_bop.py to judge.

A process of its own, because devices can be split only before TensorFlow starts.
"""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from tfprune.optimizers import SGD, Bop
from tfprune.recipes.training import CrossEntropy, Loop, PeriodicDecay

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(40, 6, 6, 3)).astype(np.float32)
LABELS = RNG.integers(0, 4, 40)


def make(strategy, *, wrapped=False):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        layers = [keras.Input((6, 6, 3)), keras.layers.Conv2D(5, 3, use_bias=False), keras.layers.ReLU()]
        model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)])
        companion = SGD(0.1, 0.9, weight_decay=5e-4, momentum_form="torch")
        bop = Bop(PeriodicDecay(0.2, 0.5, 1, 2), 1e-4, companion, sign_trained=["*conv2d*/kernel"])
        return model, bop, keras.optimizers.LossScaleOptimizer(bop, initial_scale=8.0) if wrapped else bop


def loop(strategy, **settings):
    model, bop, optimizer = make(strategy)
    trained = Loop(model, optimizer, CrossEntropy(), global_batch_size=8, strategy=strategy, **settings)
    for start in range(0, 40, 8):
        trained.train_step({"images": IMAGES[start : start + 8], "labels": LABELS[start : start + 8]})
    return result(model, bop)


def fit(strategy, *, wrapped):
    model, bop, optimizer = make(strategy, wrapped=wrapped)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0)
    return result(model, bop)


def result(model, bop):
    replicas = [getattr(variable.value, "values", (variable.value,)) for variable in [*model.weights, *bop.variables]]
    found = {
        "weights": [[value.numpy().astype(float).ravel().tolist() for value in values] for values in replicas],
        "flips": [int(bop.flips), int(bop.total_flips), *bop.flips_by_variable.values()],
    }
    bop.reset_flips()
    return found | {"reset": [int(bop.flips), int(bop.total_flips), float(bop.last_adaptivity_rate)]}


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = {"loop_one": loop(one), "loop_two": loop(two), "loop_two_xla": loop(two, compile="on")}
    found |= {"loop_one_accumulated": loop(one, accumulate=2), "loop_two_accumulated": loop(two, accumulate=2)}
    found |= {"fit_one": fit(one, wrapped=False), "fit_two": fit(two, wrapped=False)}
    found |= {"fit_two_wrapped": fit(two, wrapped=True)}
    print(json.dumps(found))
