"""A training on images that are read from the disk, stopped in the middle of an epoch."""

import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.jpeg_tree import digits_tree
from tfprune.layers import FusedBatchNormalization
from tfprune.optimizers import SGD
from tfprune.recipes.data import BatchRequest, ShardedRows, open_data
from tfprune.recipes.ekg import KnowledgeObjective
from tfprune.recipes.training import Loop, RunFolder, evaluate

STEPS, EPOCHS, BATCH = 5, 2, 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of JPEG files, of which one cannot be read."""
    root = digits_tree(tmp_path_factory.mktemp("data"), classes=3, train=9, test=3)
    file = sorted(root.glob("train/n01/*"))[4]
    file.write_bytes(file.read_bytes()[:200])
    return open_data(root, image_size=16, resize_size=20)


def train(folder, data, stop_after=None):
    """EKG's fine-tuning: two recolored views, and a memory bank in shards."""
    keras.utils.set_random_seed(3)
    convolution = [keras.layers.Conv2D(8, 3, strides=2, use_bias=False), FusedBatchNormalization(), keras.layers.ReLU()]
    head = [keras.layers.Dropout(0.2), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((16, 16, 3)), *convolution, *head])
    rows = np.random.default_rng(0).normal(size=(27, 3, 2)).astype(np.float16)
    settings = {"batch_size": BATCH, "epochs": EPOCHS, "seed": 4, "views": 2, "color_jitter": True}

    def batches(start):
        dataset = data.training_batches(
            BatchRequest(**settings, knowledge=ShardedRows(np.split(rows, [10, 20])), start_step=start)
        )
        for step, batch in enumerate(dataset, start + 1):
            if step == stop_after:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    loop = Loop(model, SGD(0.1, 0.9, True, 5e-4), KnowledgeObjective(3), global_batch_size=BATCH)
    found = loop.fit(
        batches,
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        name="fit",
        run=RunFolder.create(folder, {}, resume=True),
        evaluate=lambda: {"test_loss": evaluate(model, data.test_batches(4)).loss},
        resume=True,
        log_every=1,
    )
    return [np.asarray(weight).copy() for weight in model.weights], found


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    return train(tmp_path_factory.mktemp("uninterrupted"), data)


def test_stopped_in_the_middle_of_an_epoch(data, uninterrupted, tmp_path):
    step = 8
    assert data.steps_per_epoch(BATCH) == STEPS
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, data, stop_after=step)
    saved = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "fit"))
    assert json.loads(saved.get_tensor("state/.ATTRIBUTES/py_state"))["step"] == step
    weights, rows = train(tmp_path, data)
    for ours, theirs in zip(weights, uninterrupted[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert rows == uninterrupted[1]
    assert "training image" in data.notes()[0]
