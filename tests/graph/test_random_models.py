"""Models that hypothesis puts together from many constructs: slimmed, masked and counted ones agree."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.agreement import assert_close, assert_named, example_inputs, outputs, random_mask, randomize
from tfprune.graph import CostModel, channel_groups, complexity, masked, slim

layers, ops = keras.layers, keras.ops


def convolution(x, width):
    return layers.Conv2D(width, 3, padding="same", activation="relu")(x)


def excited(x):
    gate = layers.Dense(x.shape[-1], activation="sigmoid")(ops.mean(x, axis=(1, 2)))
    return x * gate[:, None, None, :]


def attended(x):
    """Positions of one row attend to each other."""
    row = ops.mean(x, axis=1)
    query, key = (layers.Dense(6)(row) for _ in range(2))
    weights = ops.softmax(ops.einsum("btc,bsc->bts", query, key))
    return x + ops.expand_dims(ops.matmul(weights, row), 1)


def joined(x):
    return ops.concatenate([x, ops.zeros_like(x), convolution(x, 4)], axis=-1)


def interleaved(x):
    """Stacks pairs of channels, and lays them side by side."""
    pairs = ops.stack([x, ops.tanh(x)], axis=-1)
    return ops.reshape(pairs, (-1, *x.shape[1:3], 2 * x.shape[-1]))


def swapped(x):
    left, right = ops.split(x, [x.shape[-1] // 3 + 1], axis=-1)
    return ops.concatenate([right, left], axis=-1)


def gated(x):
    return ops.glu(convolution(x, 8))


STEPS = {
    "convolution": lambda x: convolution(x, 6),
    "residual": lambda x: x + convolution(x, x.shape[-1]),
    "excited": excited,
    "attended": attended,
    "joined": joined,
    "interleaved": interleaved,
    "swapped": swapped,
    "gated": gated,
    "clip": lambda x: ops.clip(x, -1, 2),
    "where": lambda x: ops.where(x > 0.1, x, 0.1 * x),
    "leading": lambda x: x[..., : x.shape[-1] // 2 + 1],
    "reversed": lambda x: x[..., ::-1],
    "pairs": lambda x: x[..., ::2] - x[..., 1::2] if x.shape[-1] % 2 == 0 else x,
    "rows": lambda x: x[:, ::-1, :, :],
    "tile": lambda x: ops.tile(x, (1, 1, 1, 2)),
    "repeat": lambda x: ops.repeat(x, 2, axis=-1),
    "flip": lambda x: ops.flip(x, axis=(2, 3)),
    "roll": lambda x: ops.roll(x, 1, axis=1),
    "pad": lambda x: ops.pad(x, ((0, 0), (0, 0), (0, 0), (1, 0))),
    "take": lambda x: ops.take(x, np.arange(x.shape[-1])[::-1][: x.shape[-1] - 1], axis=-1),
    "normalize": lambda x: ops.normalize(x, axis=-1),
    "constant": lambda x: x * np.linspace(0.5, 2, x.shape[-1], dtype=np.float32) + 0.1,
    "mixed": lambda x: ops.matmul(x, np.cos(np.arange(5.0 * x.shape[-1])).reshape(-1, 5).astype(np.float32)),
    "blur": lambda x: ops.depthwise_conv(x, np.full((2, 2, x.shape[-1], 1), 0.25, np.float32), padding="same"),
    "spread": lambda x: x - ops.mean(x, axis=(1, 2), keepdims=True),
    "over channels": lambda x: x - ops.mean(x, axis=-1, keepdims=True),
    "pool": lambda x: ops.average_pool(x, 2, strides=1, padding="same"),
    "norm": lambda x: layers.LayerNormalization()(x),
}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=5), st.integers(0, 99))
def test_slimmed_masked_and_counted_models_agree(steps, seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4, 4, 3))
    x = convolution(inputs, 6)
    for step in steps:
        x = STEPS[step](x)
        if x.shape[-1] > 24:
            x = convolution(x, 5)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    randomize(model, seed)
    groups = channel_groups(model)
    assert_named(groups)
    mask = random_mask(groups, seed)
    small, data = slim(model, mask, groups), example_inputs(model, seed=seed)
    assert_close(outputs(small, data), outputs(masked(model, mask, groups), data), 1e-4)
    assert CostModel(model, groups).complexity(mask) == complexity(small)
    again = type(small).from_config(small.get_config())
    again.set_weights(small.get_weights())
    assert_close(outputs(again, data), outputs(small, data), 1e-6)
