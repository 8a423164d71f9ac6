"""Augmentation layers do nothing when a model serves, and hold no channels."""

import inspect

import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, sizes
from tfprune.graph import channel_groups, complexity
from tfprune.graph.rules.lookup import has_rule

layers = keras.layers
BASE = layers.RandomFlip.__mro__[1]
SETTINGS = {
    "RandomZoom": {"height_factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomCrop": {"height": 4, "width": 4},
    "CenterCrop": {"height": 4, "width": 4},
    "Resizing": {"height": 4, "width": 4},
    "RandomPosterization": {"factor": 4},
    "RandomErasing": {"factor": 0.2},
    "MaxNumBoundingBoxes": {"max_number": 3, "bounding_box_format": "xyxy"},
    "Equalization": {},
}
INERT = sorted(
    name
    for name, kind in vars(layers).items()
    if inspect.isclass(kind) and issubclass(kind, BASE) and name.startswith(("Random", "MixUp", "CutMix", "AugMix"))
)


def made(name):
    kind = getattr(layers, name)
    if name in SETTINGS:
        return kind(**SETTINGS[name])
    first = next(iter(inspect.signature(kind).parameters.values()))
    return kind() if first.default is not first.empty or first.kind is first.VAR_KEYWORD else kind(0.1)


def test_every_augmentation_layer_of_keras_is_known():
    others = set()
    for name, kind in vars(layers).items():
        if inspect.isclass(kind) and issubclass(kind, BASE) and kind is not BASE and not has_rule(made(name)):
            others.add(name)
    assert others == {"ContrastLimitedAdaptiveHistogramEqualization"}  # it changes images when serving, too


@pytest.mark.parametrize("name", [name for name in INERT if name != "RandomCrop"])
def test_inert_layers_are_the_identity_when_serving(name):
    values = np.random.default_rng(0).uniform(0, 1, (2, 6, 6, 3)).astype("float32")
    np.testing.assert_array_equal(made(name)(values, training=False), values)
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(5, 3, padding="same", name="make")(made(name)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert channel_groups(model).pinned == ()
    assert name not in {row.kind for row in complexity(model).layers}


@pytest.mark.parametrize("name", ["RandomFlip", "RandomRotation", "CenterCrop", "AutoContrast"])
def test_between_convolutions_they_pass_channels_on(name):
    inputs = keras.Input((6, 6, 3))
    x = made(name)(layers.Conv2D(6, 3, padding="same", name="make")(inputs))
    assert sizes(agrees(keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling2D()(x))))) == {"make": 6}


def test_layers_of_keras_on_inputs_are_not_reported():
    words = keras.Input((4,), dtype="string")
    x = layers.Embedding(12, 6, name="make")(layers.Hashing(12)(words))
    groups = channel_groups(keras.Model(words, layers.Dense(2)(layers.GlobalAveragePooling1D()(x))))
    assert groups.pinned == ()
    assert sizes(groups) == {"make": 6}
