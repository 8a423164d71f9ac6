"""One of several workers; the chief is killed when all have met, the others go on to train.

Usage: lost_chief_script.py, with TF_CONFIG in the environment. What a training ends with is printed.
"""

import os
import signal

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras

from tfprune.errors import WorkerError
from tfprune.recipes.data import load_data
from tfprune.recipes.training import Recipe, Workers, fast_network, make_strategy, train_network

if __name__ == "__main__":
    strategy = make_strategy((0,), "multi_worker")
    workers = Workers(strategy)
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
    data = load_data("digits")
    workers.wait()
    if workers.is_chief:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        with workers.scope():
            fast = fast_network(model, strategy, precision="float32", synchronized=True)
            sgd = keras.optimizers.SGD(0.1)
        train_network(fast, sgd, Recipe(epochs=1, batch_size=64), data=data, strategy=strategy)
    except WorkerError as error:
        print(error)
