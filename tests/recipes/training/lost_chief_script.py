"""One of several workers; the chief is killed when all have met, the others go on to train.

Usage: lost_chief_script.py, with TF_CONFIG in the environment. What a training ends with is printed.
"""

import os
import signal

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras

from tfprune.errors import WorkerError
from tfprune.graph import prunable_weights
from tfprune.masks import Masks
from tfprune.recipes.data import load_data
from tfprune.recipes.training import SparseTraining, Workers, make_strategy, train_sparse

if __name__ == "__main__":
    strategy = make_strategy((0,), "multi_worker")
    workers = Workers(strategy)
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
    masks = Masks.full(prunable_weights(model))
    data = load_data("digits")
    workers.wait()
    if workers.is_chief:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        train_sparse(SparseTraining(epochs=1, batch_size=64), model, masks, data=data, strategy=strategy)
    except WorkerError as error:
        print(error)
