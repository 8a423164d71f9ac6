"""A tiny network and a few digits."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tfprune.data import ImageData, load_data
from tfprune.methods.tickets import DenseConfig, TicketConfig, pipeline


@pytest.fixture(scope="session")
def few_digits() -> ImageData:
    """A corner of the digits: 20 training images of every class, 60 test images."""
    data = load_data("digits")
    some = np.sort(np.concatenate([np.flatnonzero(data.train_labels == label)[:20] for label in range(10)]))
    return replace(
        data,
        train_images=data.train_images[some],
        train_labels=data.train_labels[some],
        test_images=data.test_images[:60],
        test_labels=data.test_labels[:60],
    )


def tiny_network(*_, input_shape, num_classes, seed, **__) -> keras.Model:
    """Two convolutions with batch norm and a dense layer, in place of an architecture."""
    layers = keras.layers
    inputs = x = keras.Input(input_shape)
    for number, filters in enumerate((8, 12)):
        start = keras.initializers.HeNormal(seed=seed + number)
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=start, name=f"conv{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name=f"bn{number}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    start = keras.initializers.HeNormal(seed=seed + 2)
    return keras.Model(inputs, layers.Dense(num_classes, kernel_initializer=start, name="fc")(x))


@pytest.fixture
def tiny_world(few_digits, monkeypatch, tmp_path):
    """Runs the pipeline on the tiny network; gives `run(**settings)`, every run in a folder `train_path` of its own."""
    monkeypatch.setattr(pipeline, "build_model", tiny_network)
    monkeypatch.setattr(pipeline, "load_checkpoint", lambda path, **_: keras.saving.load_model(path))

    def run(train_path="run", kind=TicketConfig, **changes):
        settings = {"batch_size": 50, "epochs": 2, "milestones": (1,), "export": False, "do_log": 2}
        if kind is TicketConfig:
            settings |= {"density": 0.3, "prune_iters": 3, "samples_per_class": 2, "rounds": 2}
        return pipeline.run(kind(train_path=str(tmp_path / train_path), **settings | changes), few_digits)

    run.dense = lambda train_path="dense", **changes: run(train_path, DenseConfig, **changes)
    return run
