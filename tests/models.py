"""Small Keras models that several test modules build.

Each function returns a model of one shape that users prune: dense layers in a row, convolutions in a row, a shortcut,
concatenations, a model that is called within another. They are small enough to be traced and trained in a second.
Layers have names, which paths of weights and plans then begin with. Models with one peculiarity stand in the test of
it; `tests/graph/model_zoo.py` has those that together use every rule of the channel graph, and
`tests/criteria/weights/golden_nets.py` those that golden numbers were computed with.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np

layers = keras.layers


def dense_chain(
    width: int,
    widths: Sequence[int],
    *,
    activation: str | None = None,
    last: str | None = None,
    use_bias: bool = True,
    names: Sequence[str] = (),
    name: str = "dense_chain",
) -> keras.Model:
    """Dense layers in a row.

    Args:
        width: Width of the input.
        widths: Widths of the layers.
        activation: Activation of all layers except the last.
        last: Activation of the last layer.
        use_bias: Whether the layers have biases.
        names: Names of the layers; by default `dense0`, `dense1` and so on.
        name: Name of the model.
    """
    names = names or [f"dense{number}" for number in range(len(widths))]
    activations = [activation] * (len(widths) - 1) + [last]
    inputs = x = keras.Input((width,))
    for units, act, layer_name in zip(widths, activations, names, strict=True):
        x = layers.Dense(units, act, use_bias=use_bias, name=layer_name)(x)
    return keras.Model(inputs, x, name=name)


def batch_norm(name: str) -> keras.layers.Layer:
    """Keras's batch norm with averages that follow quickly."""
    return layers.BatchNormalization(momentum=0.9, name=name)


def conv_chain(
    input_shape: tuple[int | None, ...],
    widths: Sequence[int],
    classes: int,
    *,
    seed: int,
    padding: str = "same",
    normalization: Callable[[str], keras.layers.Layer] | None = batch_norm,
    dropout: float = 0.0,
    dtype: str | None = None,
    regularizer: keras.Regularizer | None = None,
) -> keras.Model:
    """Convolutions of 3 x 3 with normalization and ReLU in a row, global average pooling, and a dense layer.

    The layers are called `conv0`, `bn0`, `conv1` and so on, and `fc`. Only a convolution without normalization has a
    bias.

    Args:
        input_shape: Shape of an image.
        widths: Filters of each convolution.
        classes: Width of the dense layer.
        seed: Seed of the initial weights, which depend on nothing else.
        padding: Padding of the convolutions.
        normalization: Makes the normalization of a given name; None leaves it out.
        dropout: Rate of a dropout before the pooling.
        dtype: Policy of all layers.
        regularizer: Regularizer of the convolutions' kernels.
    """
    inputs = x = keras.Input(input_shape)
    for number, filters in enumerate(widths):
        x = layers.Conv2D(
            filters,
            3,
            padding=padding,
            use_bias=normalization is None,
            kernel_initializer=keras.initializers.HeNormal(seed + number),
            kernel_regularizer=regularizer,
            dtype=dtype,
            name=f"conv{number}",
        )(x)
        x = normalization(f"bn{number}")(x) if normalization else x
        x = layers.ReLU(dtype=dtype)(x)
    x = layers.Dropout(dropout, dtype=dtype)(x) if dropout else x
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    start = keras.initializers.HeNormal(seed + len(widths))
    return keras.Model(inputs, layers.Dense(classes, kernel_initializer=start, dtype=dtype, name="fc")(x))


def tiny_architecture(*_, input_shape, num_classes, seed, **__) -> keras.Model:
    """Stands in for `build_model`: two convolutions, whatever architecture is asked for."""
    return conv_chain(input_shape, (8, 12), num_classes, seed=seed)


def shortcut_model(seed: int = 0) -> keras.Model:
    """Four convolutions and a shortcut for images of 8 x 8 x 1 and ten classes: three channel groups."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1), name="images")

    def convolution(x: keras.KerasTensor, number: int) -> keras.KerasTensor:
        x = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"conv{number}")(x)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{number}")(x)

    x = layers.ReLU(name="relu0")(convolution(inputs, 0))
    y = layers.ReLU(name="relu1")(convolution(x, 1))
    x = layers.ReLU(name="relu2")(layers.Add(name="add")([x, convolution(y, 2)]))
    x = layers.ReLU(name="relu3")(convolution(x, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x), name="tiny")


def concatenations(size: int, width: int, growth: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Two blocks that append channels to what they read, as in DenseNet.

    Args:
        size: Height and width of the images, which have three channels.
        width: Filters of the first convolution.
        growth: Channels that each block appends.

    Returns:
        The input and the last feature maps.
    """
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(width, 3, padding="same", name="stem")(inputs)
    for name in ("first", "second"):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(growth, 3, padding="same", name=name)(y)])
    return inputs, layers.ReLU()(layers.BatchNormalization()(x))


def nested_blocks(size: int, width: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """A residual block that is a model within the model and is called twice.

    Args:
        size: Height and width of the images, which have three channels.
        width: Filters of all convolutions.

    Returns:
        The input and the last feature maps.
    """
    inner_inputs = keras.Input((size, size, width))
    y = layers.ReLU()(layers.BatchNormalization()(inner_inputs))
    y = layers.Conv2D(width, 3, padding="same", name="conv")(y)
    inner = keras.Model(inner_inputs, layers.Add()([inner_inputs, y]), name="inner")
    inputs = keras.Input((size, size, 3))
    return inputs, inner(inner(layers.Conv2D(width, 1, name="stem")(inputs)))


def residual_blocks_model(
    blocks: int, *, width: int = 6, activation: str | None = None, seed: int = 0, name: str = "residual_blocks"
) -> keras.Model:
    """Residual blocks of two convolutions in a row, for images of 6 x 6 x 3 and two classes.

    Block `i` has the layers `conv{i}a` and `conv{i}b` and ends in the sum `add{i}`; all have biases other than 0.

    Args:
        blocks: Number of blocks.
        width: Channels between the blocks; within one there are two more.
        activation: Activation after each sum, called `act{i}`; None leaves it out.
        seed: Seed of the weights.
        name: Name of the model.
    """
    inputs = keras.Input((6, 6, 3), name="images")
    x = layers.Conv2D(width, 3, padding="same", name="stem")(inputs)
    for number in range(blocks):
        y = layers.Conv2D(width + 2, 3, padding="same", activation="relu", name=f"conv{number}a")(x)
        y = layers.Conv2D(width, 3, padding="same", name=f"conv{number}b")(y)
        x = layers.Add(name=f"add{number}")([x, y])
        x = layers.Activation(activation, name=f"act{number}")(x) if activation else x
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(2, name="fc")(x), name=name)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    return model
