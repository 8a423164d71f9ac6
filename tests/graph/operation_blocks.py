"""Blocks of a convolutional network that are written with `keras.ops`, for models that are put together at random."""

import keras
import numpy as np

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


OPERATION_BLOCKS = {
    "wider": lambda x: convolution(x, 12),
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
    "mixed": lambda x: ops.matmul(x, np.cos(np.arange(5.0 * x.shape[-1])).reshape(-1, 5).astype(np.float32)),
    "blur": lambda x: ops.depthwise_conv(x, np.full((2, 2, x.shape[-1], 1), 0.25, np.float32), padding="same"),
    "spread": lambda x: x - ops.mean(x, axis=(1, 2), keepdims=True),
    "pool": lambda x: ops.average_pool(x, 2, strides=1, padding="same"),
    "layer norm": lambda x: layers.LayerNormalization()(x),
}
