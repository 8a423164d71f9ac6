"""The small nets of the reference numbers, built by hand, and what belongs to them."""

from contextlib import contextmanager

import keras
import numpy as np

from tests.recipes.models.torch_names import to_keras
from tfprune.graph import prunable_weights

layers = keras.layers


@contextmanager
def dtype_policy(name):
    """Layers that are made in the context compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def padded_conv(x, name, filters, stride, bias):
    x = layers.ZeroPadding2D(1)(x)
    return layers.Conv2D(filters, 3, stride, use_bias=bias, name=name)(x)


def peekaboo_net(variant):
    """The net A1 to A5 of golden/peekaboo.md, without its weights."""
    biases, pools = variant == "A4", variant == "A5"
    x = inputs = keras.Input((16, 16, 3))
    for number, filters in ((1, 8), (2, 12), (3, 16)):
        x = padded_conv(x, f"conv{number}", filters, 1 if number == 1 or pools else 2, biases)
        x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"bn{number}")(x))
        if pools and number < 3:
            x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="linear")(layers.GlobalAveragePooling2D()(x)))


def peekaboo_model(golden, variant, policy=None):
    """The same with its weights."""
    with dtype_policy(policy or keras.config.dtype_policy()):
        model = peekaboo_net(variant)
    for name in ("conv1", "conv2", "conv3", "linear"):
        layer = model.get_layer(name)
        layer.kernel.assign(to_keras(golden[f"a/w/{name}.weight"]))
        if layer.use_bias:
            layer.bias.assign(golden[f"a/w/{name}.bias"])
    if variant == "A3":
        load_norms(model, golden, "a/w/")
    return model


def load_norms(model, golden, prefix):
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for ours, theirs in zip(
                ("gamma", "beta", "moving_mean", "moving_variance"),
                ("weight", "bias", "running_mean", "running_var"),
                strict=True,
            ):
                getattr(layer, ours).assign(golden[f"{prefix}{layer.name}.{theirs}"])


def peekaboo_data(golden):
    return golden["a/x"].transpose(0, 2, 3, 1), golden["a/y"]


def random_tickets_net(classes=3):
    """The tiny net of golden/random_tickets.md, without its weights."""
    inputs = keras.Input((8, 8, 3))
    x = padded_conv(inputs, "conv1", 4, 1, False)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="bn1")(x))
    x = padded_conv(x, "conv2", 6, 2, True)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="bn2")(x))
    return keras.Model(inputs, layers.Dense(classes, name="fc")(layers.GlobalAveragePooling2D()(x)))


def random_tickets_model(golden, prefix="tiny/w", classes=3):
    """The same with the weights of a prefix, in double precision."""
    with dtype_policy("float64"):
        model = random_tickets_net(classes)
    for name in ("conv1", "conv2", "fc"):
        layer = model.get_layer(name)
        layer.kernel.assign(to_keras(golden[f"{prefix}/{name}.weight"]))
        if layer.use_bias:
            layer.bias.assign(golden[f"{prefix}/{name}.bias"])
    load_norms(model, golden, f"{prefix}/")
    return model


def unpacked(bits, shapes):
    """Masks in Keras' order of axes from the packed bits of masks in PyTorch's."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    flat = np.unpackbits(bits)[: sum(sizes)].astype(bool)
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [to_keras(part.reshape(shape)) for part, shape in zip(parts, shapes, strict=True)]


def names_of(model, ignore=()):
    return list(prunable_weights(model, ignore=ignore))
