"""Measurements that criteria take while a model runs call by call.

`second_moments` sums the outer products of what kernels read or produce, batch by batch; `bare_layer` gives a layer's
outputs before bias and activation, which works for every kind of convolution; `traced` compiles a function for batches
of any size.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.data import CriterionData
from tfprune.errors import ConfigError
from tfprune.graph import Call, Forward
from tfprune.graph.layer_copies import configuration, copied_layer
from tfprune.layers.kernels import kernel_layer

_WITHOUT = {"activation": "linear", "use_bias": False, "bias_axes": None, "activity_regularizer": None}
Look = Callable[[Call, Mapping[int, tf.Tensor]], Iterable[tuple[Any, tf.Tensor]]]
"""From a call that has just run, and values of symbolic tensors by `id`, among them its inputs and outputs, to what is
to be measured there: names, and float64 rows `[..., rows, features]`."""


def traced(function: Callable[..., Any], *example: Any, exact: bool = False) -> Callable[..., Any]:
    """Returns a `tf.function`, traced once for batches of any size.

    Args:
        function: The function, such as one of inputs and labels.
        *example: Its arguments for an example batch.
        exact: Whether it must know the size of a batch when it is traced, see `Forward.exact`.

    Returns:
        The traced function. Batches of other shapes or types than those of the example are traced again.
    """
    if exact:
        return tf.function(function)
    compiled = tf.function(function, reduce_retracing=True)
    compiled.get_concrete_function(*keras.tree.map_structure(_any_size, example))
    return compiled


def _any_size(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


def bare_layer(layer: Any, shape: Any) -> keras.Layer:
    """Returns a layer whose outputs are those of another one before bias and activation.

    Args:
        layer: A dense layer, embedding or convolution (depthwise, separable, transposed ones too), built. It is not
            changed.
        shape: Shape of its inputs, batch included.

    Returns:
        The layer itself, if it has neither; else a new one with the same kernels as they are now.

    Raises:
        ConfigError: The layer is of another kind, and may compute anything.

    Example:
        >>> dense = keras.layers.Dense(2, activation="relu", bias_initializer="ones", kernel_initializer="identity")
        >>> dense.build((None, 2))
        >>> bare_layer(dense, (None, 2))(keras.ops.array([[-1.0, 5.0]])).numpy().tolist()
        [[-1.0, 5.0]]
    """
    if kernel_layer(layer) is None:
        raise ConfigError(
            f"data: expected dense layers, embeddings and convolutions, received {layer.name} "
            f"({type(layer).__name__}), whose outputs are not products of kernels and inputs; ignore it, or leave out "
            "the data"
        )
    plain = getattr(layer, "activation", None) in (None, keras.activations.linear)
    if plain and getattr(layer, "bias", None) is None:
        return layer
    config = configuration(layer)
    changes = {key: _always(value) for key, value in _WITHOUT.items() if key in config}
    changes |= {key: _always("zeros") for key in config if key.endswith("_initializer")}
    bare = copied_layer(layer, changes)
    bare.build(shape)
    for variable in bare.weights:
        variable.assign(getattr(layer, variable.name))
    return bare


def _always(value: Any) -> Any:
    return lambda _: value


def second_moments(
    forward: Forward, data: CriterionData, look: Look, batches: int | None = None
) -> dict[Any, np.ndarray]:
    """Sums outer products in one pass over the data; only the tensors of one batch are held at a time.

    Args:
        forward: Runs the model.
        data: The data; labels are not used.
        look: Returns what is measured. Rows of the same name are summed, from any batch or call.
        batches: Stop after this many batches. Default: all.

    Returns:
        By name, the mean over all rows of their outer products, float64 `[..., features, features]`.

    Raises:
        ConfigError: The data cannot be used, or something that is measured is not finite.
    """
    sums: dict[Hashable, np.ndarray] = {}
    counts: dict[Hashable, int] = {}
    for x in data.inputs(batches):
        tensors = forward.inputs(x)
        for call in forward.calls:
            forward.run(call, tensors)
            for name, rows in look(call, tensors):
                products = tf.matmul(rows, rows, transpose_a=True).numpy()
                if not np.isfinite(products).all():
                    raise ConfigError(
                        f"data: expected finite values in layer {call.name}, received NaN or infinity; fix the data "
                        "or the model"
                    )
                if name in sums:
                    sums[name] += products
                else:
                    sums[name] = products
                counts[name] = counts.get(name, 0) + rows.shape[-2]
            forward.forget(call, tensors)
    return {name: total / counts[name] for name, total in sums.items()}
