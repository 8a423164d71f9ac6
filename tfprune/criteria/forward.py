"""Running a model call by call, with a look at tensors on the way."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.data import CriterionData
from tfprune.errors import ConfigError
from tfprune.graph import Call, ChannelGroups
from tfprune.graph.calls import functional_graph, model_graph
from tfprune.graph.rebuild import copied_layer

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
layers = keras.layers
_KINDS = (
    layers.Dense,
    layers.EinsumDense,
    layers.Embedding,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
_WITHOUT = {"activation": "linear", "use_bias": False, "bias_axes": None, "activity_regularizer": None}
Look = Callable[[Call, Mapping[int, tf.Tensor]], Iterable[tuple[Any, tf.Tensor]]]


class Forward:
    """Runs a model by the calls of its channel groups, on its own weights.

    The model runs in inference mode, but for batch norms if so asked. Nothing in it changes: moving averages stay.

    Args:
        model: A functional or sequential model.
        groups: Its channel groups.
        batch_statistics: Let batch norms use the statistics of the batch, except frozen ones.

    Raises:
        ConfigError: The groups are another model's.
    """

    def __init__(self, model: keras.Model, groups: ChannelGroups, *, batch_statistics: bool = False) -> None:
        graph = model_graph(model)
        if [id(call.layer) for call in graph.calls] != [id(call.layer) for call in groups.calls]:
            raise ConfigError(
                f"expected the channel groups of model {model.name}, received those of another one; "
                "give channel_groups(model)"
            )
        # Keras' tensors within a nested model that is called again are copies, made anew each time a graph is read.
        known = {
            id(new): id(old)
            for ours, theirs in zip(graph.calls, groups.calls, strict=True)
            for new, old in zip(ours.outputs, theirs.outputs, strict=True)
        }
        self._calls = groups.calls
        self._graph: Any = functional_graph(model)
        self._inputs = [known[id(tensor)] for tensor in self._graph.inputs]
        self._outputs = [known[id(tensor)] for tensor in graph.outputs]
        self._batch_statistics = batch_statistics
        self._traced: dict[int, Callable[..., Any]] = {}
        self._last = {id(tensor): id(call) for call in self.calls for tensor in call.inputs}

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls, producers before consumers, input layers left out."""
        return tuple(call for call in self._calls if not isinstance(call.layer, keras.layers.InputLayer))

    def inputs(self, x: Any) -> dict[int, tf.Tensor]:
        """Values of the model's symbolic inputs by `id`, for a batch in the structure that the model takes."""
        return dict(zip(self._inputs, self._graph._standardize_inputs(x), strict=True))

    def run(self, call: Call, tensors: dict[int, tf.Tensor]) -> None:
        """Runs one call.

        Args:
            call: One of `calls`.
            tensors: Values of symbolic tensors by `id`; the call's outputs are added.
        """
        outputs = self.outputs(call, tensors, call.layer)
        tensors.update((id(tensor), value) for tensor, value in zip(call.outputs, outputs, strict=True))

    def outputs(self, call: Call, tensors: Mapping[int, tf.Tensor], layer: keras.Operation) -> list[tf.Tensor]:
        """What a layer puts out in the place of a call's own.

        Args:
            call: One of `calls`.
            tensors: Values of symbolic tensors by `id`.
            layer: Takes the same arguments as the call's layer.
        """
        arguments, named = call.arguments(tensors)
        named = self._with_mode(layer, named)
        with keras.StatelessScope():
            return keras.tree.flatten(self._callable(layer)(*arguments, **named))

    def forget(self, call: Call, tensors: dict[int, tf.Tensor]) -> None:
        """Drops the inputs of a call that no later one takes."""
        for tensor in call.inputs:
            if self._last[id(tensor)] == id(call):
                tensors.pop(id(tensor), None)

    def __call__(self, x: Any, look: Callable[[int, tf.Tensor], None] | None = None) -> Any:
        """Runs the model.

        Args:
            x: Inputs of a batch, in the structure that the model takes.
            look: Called with the `id` of each symbolic tensor of the calls and its value, once that is known.

        Returns:
            The outputs, in the model's structure.
        """
        tensors = self.inputs(x)
        for call in self.calls:
            self.run(call, tensors)
            if look is not None:
                for tensor in call.outputs:
                    look(id(tensor), tensors[id(tensor)])
        outputs = [tensors[tensor] for tensor in self._outputs]
        return keras.tree.pack_sequence_as(self._graph.output, outputs)

    def _callable(self, layer: keras.Operation) -> Callable[..., Any]:
        """The layer; traced, where Keras on CPUs has XLA compile it anew for each eager call."""
        if not (isinstance(layer, _CONVOLUTIONS) and layer.groups > 1 and tf.executing_eagerly()):
            return layer
        if id(layer) not in self._traced:
            self._traced[id(layer)] = tf.function(layer.__call__, reduce_retracing=True)
        return self._traced[id(layer)]

    def _with_mode(self, layer: keras.Operation, named: dict[str, Any]) -> dict[str, Any]:
        """Named arguments of a call, with the mode to run in; like Keras, whatever mode the call was written with."""
        if not getattr(layer, "_call_has_training_arg", False):
            return named
        norm = isinstance(layer, keras.layers.BatchNormalization)
        return named | {"training": self._batch_statistics and norm}


def traced(function: Callable[[Any, Any], Any], x: Any, y: Any) -> Callable[[Any, Any], Any]:
    """A `tf.function` of `(x, y)`, traced once for batches of any size.

    Args:
        function: What to trace.
        x: Inputs of an example batch.
        y: Its labels.

    Returns:
        The traced function. Batches of other shapes or types than those of the example are traced anew.
    """
    compiled = tf.function(function, reduce_retracing=True)
    compiled.get_concrete_function(*keras.tree.map_structure(_any_size, (x, y)))
    return compiled


def _any_size(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


def bare_layer(layer: Any, shape: Any) -> keras.Layer:
    """A layer whose outputs are another one's before bias and activation.

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
    if not isinstance(layer, _KINDS):
        raise ConfigError(
            f"data: expected dense layers, embeddings and convolutions, received {layer.name} "
            f"({type(layer).__name__}), whose outputs are not what its kernels make of inputs; ignore it, or leave out "
            "the data"
        )
    plain = getattr(layer, "activation", None) in (None, keras.activations.linear)
    if plain and getattr(layer, "bias", None) is None:
        return layer
    config = layer.get_config()
    changes = {key: _always(value) for key, value in _WITHOUT.items() if key in config}
    changes |= {key: _always("zeros") for key in config if key.endswith("_initializer")}
    bare = copied_layer(layer, changes)
    bare.build(shape)
    for variable in bare.weights:
        variable.assign(getattr(layer, variable.name))
    return bare


def _always(value: Any) -> Any:
    return lambda _: value


"""From a call that has just run, and values of symbolic tensors by `id`, among them its inputs and outputs, to what is
to be measured there: names, and float64 rows `[..., rows, features]`."""


def second_moments(
    forward: Forward, data: CriterionData, look: Look, batches: int | None = None
) -> dict[Any, np.ndarray]:
    """Goes through the data once, and sums what it sees; no more than a batch's tensors are held at a time.

    Args:
        forward: Runs the model.
        data: The data; labels are not looked at.
        look: Says what is measured. Rows of the same name belong together, whatever batch or call they are of.
        batches: Stop after so many batches. Default: all.

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
                        f"data: expected finite values in layer {call.name}, received NaN or infinity; mend the data "
                        "or the model"
                    )
                if name in sums:
                    sums[name] += products
                else:
                    sums[name] = products
                counts[name] = counts.get(name, 0) + rows.shape[-2]
            forward.forget(call, tensors)
    return {name: total / counts[name] for name, total in sums.items()}
