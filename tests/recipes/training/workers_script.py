"""One of several workers; trains what replicas_script.py trains on two devices and prints JSON.

Usage: workers_script.py, with TF_CONFIG in the environment.
"""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
from replicas_script import MORE, PLAIN, train

from tfprune.recipes.training import make_strategy

if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    strategy = make_strategy((0,), "multi_worker")
    print(json.dumps({name: train(strategy, **settings) for name, settings in {**PLAIN, **MORE}.items()}))
