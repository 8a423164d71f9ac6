import keras
import numpy as np
import pytest

layers = keras.layers


def make_network(shape=(8, 8, 1)):
    inputs = keras.Input(shape, name="input")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.ReLU()(layers.Conv2D(6, 3, padding="same", name="conv2")(x))
    return keras.Model(inputs, layers.Dense(10, name="fc")(layers.GlobalAveragePooling2D()(x)), name="net")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Model files: a network, one that takes images of any size, and one with two inputs; examples."""
    folder = tmp_path_factory.mktemp("models")
    for name, shape in (("net", (8, 8, 1)), ("open", (None, None, 1))):
        keras.utils.set_random_seed(0)
        make_network(shape).save(folder / f"{name}.keras")
    inputs = [keras.Input((4,), name="a"), keras.Input((4,), name="b")]
    x = layers.Dense(6, name="left")(inputs[0]) + layers.Dense(6, name="right")(inputs[1])
    keras.Model(inputs, layers.Dense(2)(x)).save(folder / "two.keras")
    rng = np.random.default_rng(0)
    x = rng.random((60, 8, 8, 1), np.float32)
    np.savez(folder / "examples.npz", x=x, y=np.arange(60) % 10)
    np.savez(folder / "unlabelled.npz", x=x)
    return folder
