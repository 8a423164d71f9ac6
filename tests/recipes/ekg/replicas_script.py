"""Trains a small network with EKG's training on one and on two logical CPU devices; prints JSON.

A process of its own, because devices can be split only before TensorFlow starts.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

from tfprune.recipes import method as base
from tfprune.recipes.data import ImageData, load_data
from tfprune.recipes.ekg import EKGConfig
from tfprune.recipes.ekg import method as ekg
from tfprune.recipes.models import build_model
from tfprune.recipes.models.building import find_architecture
from tfprune.recipes.training import RunFolder


def network():
    widths = dict.fromkeys(find_architecture("ResNet-20").default_widths(), 8)
    return build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), widths=widths, seed=0)


class Broken(ImageData):
    """Data that end after four steps if training starts at the first one."""

    def training_batches(self, request):
        steps = super().training_batches(request)
        return steps.take(4) if request.start_step == 0 else steps


def run(name, strategy, *, stop=False, **changes):
    """Losses, metrics and weights of two epochs; with `stop`, of a run that was broken off and resumed."""
    data = load_data("digits")
    data = replace(data, train_images=data.train_images[:90], train_labels=data.train_labels[:90])
    data = Broken(**vars(data)) if stop else data
    config = EKGConfig(dataset="digits", batch_size=30, decay_points=(), searching=False, **changes)
    base.open_strategy = lambda config: strategy
    ekg.load_baseline = lambda config, data: network()

    def once(config):
        method = ekg.EKGMethod(config, data)
        method.folder = RunFolder.create(Path(sys.argv[1]) / name, {}, resume=True)
        return method.trained(network(), name="part", epochs=2, learning_rate=0.05)

    try:
        model = once(config)
    except Exception:
        if not stop:
            raise
        model = once(replace(config, resume=True))
    rows = (Path(sys.argv[1]) / name / "metrics" / "part.jsonl").read_text().splitlines()
    return {
        "rows": [json.loads(row) for row in rows],
        "weights": [np.asarray(variable, float).ravel().tolist() for variable in model.variables],
    }


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    results = {
        "one": run("one", one),
        "synchronized": run("synchronized", two, sync_batch_norm=True),
        "resumed": run("resumed", two, stop=True, sync_batch_norm=True),
        "local": run("local", two, sync_batch_norm=False),
    }
    print(json.dumps(results))
