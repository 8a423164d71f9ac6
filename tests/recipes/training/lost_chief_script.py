"""One of several workers; the chief is killed when all have met, the others go on to train.

Usage: lost_chief_script.py, with TF_CONFIG in the environment. What a training ends with is printed.
"""

import os
import signal

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras

from tfprune.errors import WorkerError
from tfprune.recipes.data import BatchRequest, load_data
from tfprune.recipes.training import TrainingConfig, Workers, fast_copy, make_strategy, train_model

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
            fast = fast_copy(model, strategy, precision="float32", synchronized=True)
            sgd = keras.optimizers.SGD(0.1)
        config = TrainingConfig(BatchRequest(batch_size=64, epochs=1, seed=0))
        train_model(fast, sgd, config, data=data, strategy=strategy)
    except WorkerError as error:
        print(error)
