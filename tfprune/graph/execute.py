"""Running the calls of a model one by one.

`Forward` runs a model as it is, on its layers' own weights or on others of the same shapes, and shows tensors on the
way: criteria, reweighting and scoring in double precision use it. `execute` runs calls on weights of other shapes, cut
for one sub-network of a search. It cannot be the same function: a Keras layer checks the widths it was built for, so
`execute` has TensorFlow functions of its own for the layers that a search resizes, without Keras' casts between
number formats, and with batch norm that neither reads nor updates moving averages.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.graph.calls import Call, ModelGraph, functional_graph, model_graph
from tfprune.graph.channel_groups import ChannelGroups, groups_except
from tfprune.graph.labels import PINNED, LayerChannels
from tfprune.graph.rules.lookup import has_rule
from tfprune.keras_private import LayerScale, standardized_inputs, takes_training, tensors_in
from tfprune.layers.kernels import Weights, kernel_layer

Runner = Callable[[Any, list[tf.Tensor], Weights], tf.Tensor]


class Tensors(dict[int, Any]):
    """Values of symbolic tensors by `id`.

    Attributes:
        sizes: The shapes of the model's inputs in the batch.
    """

    sizes: tuple[tuple[int, ...], ...] = ()


class Forward:
    """Runs a functional or sequential model call by call, in inference mode.

    Nothing in the model changes: moving averages stay as they are. Where layers were opened that need to know sizes,
    the model is read again for each size of a batch.

    Args:
        model: A functional or sequential model.
        groups: Its channel groups, or its graph, whose calls and tensors are used. Default: `model_graph(model)`.
        batch_statistics: Let batch norms use the statistics of the batch, except frozen ones.

    Attributes:
        exact: Whether all sizes of a batch must be known when a function with it is traced.

    Raises:
        ConfigError: The groups belong to another model.
        UnsupportedLayerError: The model has no graph.
    """

    def __init__(
        self,
        model: keras.Model,
        groups: ChannelGroups | ModelGraph | None = None,
        *,
        batch_statistics: bool = False,
    ) -> None:
        own = model_graph(model) if groups is None else groups
        source = own.graph if isinstance(own, ChannelGroups) else own
        self._model, self._source = model, source
        self._graph: Any = functional_graph(model)
        known = {
            id(raw): id(tensor)
            for call in source.calls
            if isinstance(call.layer, keras.layers.InputLayer)
            for raw, tensor in zip(call.node.output_tensors, call.outputs, strict=True)
        }
        if self._graph is None or not all(id(tensor) in known for tensor in self._graph.inputs):
            raise ConfigError(
                f"expected the channel groups of model {model.name}, received those of another one; "
                "give channel_groups(model)"
            )
        self._inputs = [known[id(tensor)] for tensor in self._graph.inputs]
        self._outputs = [id(tensor) for tensor in source.outputs]
        self._batch_statistics = batch_statistics
        self._traced: dict[int, Callable[..., Any]] = {}
        self._readings: dict[Any, dict[int, Call]] = {}
        self._last = {id(tensor): id(call) for call in self.calls for tensor in call.inputs}
        self.exact = source.sizes is not None

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls, producers before consumers, without input layers."""
        return tuple(call for call in self._source.calls if not isinstance(call.layer, keras.layers.InputLayer))

    def inputs(self, x: Any) -> Tensors:
        """Returns the values of the model's symbolic inputs by `id`, for a batch in the structure the model takes."""
        values = standardized_inputs(self._graph, x)
        tensors = Tensors(zip(self._inputs, values, strict=True))
        tensors.sizes = tuple(tuple(value.shape) for value in values)
        return tensors

    def run(self, call: Call, tensors: Tensors) -> None:
        """Runs one call.

        Args:
            call: One of `calls`.
            tensors: Values of symbolic tensors by `id`; the call's outputs are added.
        """
        outputs = self.outputs(call, tensors, call.layer)
        tensors.update((id(tensor), value) for tensor, value in zip(call.outputs, outputs, strict=True))

    def outputs(self, call: Call, tensors: Mapping[int, Any], layer: keras.Operation) -> list[tf.Tensor]:
        """Returns the outputs of a layer on the arguments of a call.

        Args:
            call: One of `calls`.
            tensors: Values of symbolic tensors by `id`.
            layer: Takes the same arguments as the call's layer.
        """
        with keras.StatelessScope():
            return self._apply(call, tensors, layer, self._callable(layer))

    def forget(self, call: Call, tensors: Tensors) -> None:
        """Drops the inputs of a call that no later one takes."""
        for tensor in call.inputs:
            if self._last[id(tensor)] == id(call):
                tensors.pop(id(tensor), None)

    def __call__(
        self,
        x: Any,
        look: Callable[[int, tf.Tensor], None] | None = None,
        *,
        weights: Sequence[tuple[keras.Variable, tf.Tensor]] = (),
    ) -> Any:
        """Runs the model.

        Args:
            x: Inputs of a batch, in the structure that the model takes.
            look: Called with the `id` of each symbolic tensor of the calls and its value, once that is known.
            weights: Variables of the model and the values to use instead of their own; gradients flow into these.

        Returns:
            The outputs, in the model's structure.
        """
        tensors = self.inputs(x)
        with keras.StatelessScope(state_mapping=list(weights)):
            for call in self.calls:
                # A traced function would keep the values of the weights that it was traced with.
                function = call.layer if weights else self._callable(call.layer)
                outputs = self._apply(call, tensors, call.layer, function)
                tensors.update((id(tensor), value) for tensor, value in zip(call.outputs, outputs, strict=True))
                if look is not None:
                    for tensor in call.outputs:
                        look(id(tensor), tensors[id(tensor)])
        return self.results(tensors)

    def results(self, tensors: Mapping[int, tf.Tensor]) -> Any:
        """Returns the model's outputs in its structure, given the values of symbolic tensors by `id`."""
        return keras.tree.pack_sequence_as(self._graph.output, [tensors[tensor] for tensor in self._outputs])

    def _apply(
        self, call: Call, tensors: Mapping[int, Any], layer: keras.Operation, function: Callable[..., Any]
    ) -> list[tf.Tensor]:
        """Applies a function in the mode of this forward, not in the mode that the call was written with."""
        actual = self._reading(tensors)[id(call)] if self.exact else call
        if function is call.layer:
            function = actual.layer
        values = {id(own): tensors[id(tensor)] for own, tensor in zip(actual.inputs, call.inputs, strict=True)}
        arguments, named = actual.arguments(values)
        if takes_training(layer):
            norm = isinstance(layer, keras.layers.BatchNormalization)
            named = named | {"training": self._batch_statistics and norm}
        return tensors_in(function(*arguments, **named))

    def _reading(self, tensors: Mapping[int, Any]) -> dict[int, Call]:
        """Returns the calls of the model for the sizes of a batch, by the `id` of those that it was given."""
        assert isinstance(tensors, Tensors), "they come from `inputs`"
        sizes = tensors.sizes
        if sizes not in self._readings:
            with tf.init_scope():  # within a function that is traced, constants would belong to it
                calls = model_graph(self._model, self._source.opens, sizes).calls
            if list(map(_kind, calls)) != list(map(_kind, self._source.calls)):
                raise ConfigError(
                    f"data: expected inputs for which {self._model.name} computes the same as for those of shapes "
                    f"{self._source.sizes}, received {sizes}; give longer inputs"
                )
            self._readings[sizes] = {id(call): own for call, own in zip(self._source.calls, calls, strict=True)}
        return self._readings[sizes]

    def _callable(self, layer: Any) -> Callable[..., Any]:
        """Returns the layer; traced if it is a grouped convolution, which Keras on CPUs compiles at each eager call."""
        grouped = getattr(layer, "groups", 1) > 1 and kernel_layer(layer) is not None
        if not (grouped and tf.executing_eagerly()):
            return layer
        if id(layer) not in self._traced:
            self._traced[id(layer)] = tf.function(layer.__call__, reduce_retracing=True)
        return self._traced[id(layer)]


def _kind(call: Call) -> Any:
    """Returns the layer of a call; of an operation, which is a new one in each reading, its name and class."""
    return id(call.layer) if isinstance(call.layer, keras.Layer) else (call.name, type(call.layer))


def execute(calls: Sequence[Call], tensors: dict[int, tf.Tensor], weights: Callable[[Call], Weights]) -> None:
    """Runs calls one after the other on given weights, batch norm with the statistics of the batch.

    Args:
        calls: Producers before consumers.
        tensors: Values of symbolic tensors by `id`; the outputs are added.
        weights: From a call to its weights by attribute name. A call without any runs as the layer does, on the layer's
            own weights, in inference mode.
    """
    for call in calls:
        inputs = [tensors[id(tensor)] for tensor in call.inputs]
        run = _special(call.layer, weights(call))
        outputs = [run(call.layer, inputs, weights(call))] if run else _as_the_layer_does(call, tensors, inputs)
        tensors.update((id(tensor), value) for tensor, value in zip(call.outputs, outputs, strict=True))


def _special(layer: keras.Operation, weights: Weights) -> Runner | None:
    """Returns how to run a layer on given weights, or without Keras' casts; None if it needs neither."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not (layer.negative_slope or layer.threshold or layer.max_value)
        return _relu if plain else None
    if isinstance(layer, keras.layers.BatchNormalization) and (weights or not (layer.scale or layer.center)):
        return _batch_norm
    if isinstance(layer, keras.layers.Reshape):
        return _reshape if _wide_axes(layer) == 1 else None
    own_weights = bool(layer.weights) if isinstance(layer, keras.Layer) else False
    return _runner(layer) if bool(weights) == own_weights else None


def _runner(layer: Any) -> Runner | None:
    """Returns the function that runs a kind of layer on given weights, if there is one."""
    row = kernel_layer(layer)
    if row is not None:
        return None if row.product is None else _kernel_product
    return next((run for kind, run in _RUN.items() if isinstance(layer, kind)), None)


def _as_the_layer_does(call: Call, tensors: dict[int, tf.Tensor], inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    arguments, named = call.arguments(tensors)
    outputs = keras.tree.flatten(call.layer(*arguments, **named))
    dtype = tf.as_dtype(inputs[0].dtype)
    return [tf.cast(output, dtype) for output in outputs] if dtype.is_floating else outputs


def _kernel_product(layer: Any, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    row = kernel_layer(layer)
    assert row is not None, "chosen by its row"
    assert row.product is not None, "chosen by its product"
    output = row.product(layer, inputs[0], weights)
    if "bias" in weights:
        output = output + tf.cast(weights["bias"], output.dtype)
    activation = getattr(layer, "activation", None)
    return output if activation is None else activation(output)


def _relu(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return tf.nn.relu(inputs[0])


def _layer_norm(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    mean, variance = tf.nn.moments(inputs[0], [-1], keepdims=True)
    output = tf.nn.batch_normalization(inputs[0], mean, variance, None, None, layer.epsilon)
    for weight, apply in (("gamma", tf.multiply), ("beta", tf.add)):
        output = apply(output, tf.cast(weights[weight], output.dtype)) if weight in weights else output
    return output


def _layer_scale(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return inputs[0] * tf.cast(weights["gamma"], inputs[0].dtype)


def _prelu(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return tf.nn.relu(inputs[0]) - tf.cast(weights["alpha"], inputs[0].dtype) * tf.nn.relu(-inputs[0])


def _reshape(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    """Reshapes to a target with one axis wider than 1, which takes the present width."""
    sizes = [1 if size == 1 else -1 for size in layer.target_shape]
    return tf.reshape(inputs[0], [tf.shape(inputs[0])[0], *sizes])


def _batch_norm(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    (values,) = inputs
    rows = values.shape.rank != 4
    flat = tf.reshape(values, [-1, 1, 1, tf.shape(values)[-1]]) if rows else values
    width = tf.shape(values)[-1:]
    scale = weights.get("gamma", tf.ones(width))
    offset = weights.get("beta", tf.zeros(width))
    output = tf.raw_ops.FusedBatchNormV3(
        x=flat, scale=scale, offset=offset, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )[0]
    return tf.reshape(output, tf.shape(values)) if rows else output


def _activation(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return layer.activation(inputs[0])


def _add(layer: keras.Layer, inputs: list[tf.Tensor], weights: Weights) -> tf.Tensor:
    return tf.add_n(inputs) if len(inputs) > 2 else inputs[0] + inputs[1]


_RUN: dict[type, Runner] = {
    keras.layers.LayerNormalization: _layer_norm,
    keras.layers.PReLU: _prelu,
    LayerScale: _layer_scale,
    keras.layers.Activation: _activation,
    keras.layers.Add: _add,
}


def executable_groups(model: keras.Model) -> ChannelGroups:
    """Finds the channel groups of a model that `execute` can run at other widths.

    Args:
        model: A functional or sequential model.

    Returns:
        The groups; layers that do not run on given weights are not pruned, and are reported.
    """
    groups = groups_except(model, {}, opens=False)
    rigid = [call for call in groups.calls if not _executable(call, groups.by_layer[call.name])]
    if not rigid:
        return groups
    return groups_except(model, {call.name: "no search at other widths" for call in rigid}, opens=False)


def _executable(call: Call, channels: LayerChannels) -> bool:
    """Returns whether a call can be run at another width."""
    layer: Any = call.layer
    prunable = any(np.any(slot.channels != PINNED) for slot in channels.slots)
    if not prunable and not any(np.any(axis != PINNED) for edit in channels.edits for axis in edit.axes):
        return True
    if any(_adjacent(slot.channels) for slot in channels.slots):
        return False
    if isinstance(layer, keras.layers.Reshape):
        return _wide_axes(layer) == 1
    return has_rule(layer) and takes_weights(layer) and getattr(layer, "depth_multiplier", 1) == 1


def _adjacent(channels: np.ndarray) -> bool:
    """Returns whether positions of one channel are side by side along an axis, where no zeros can be put between."""
    return bool(np.any((np.diff(channels) == 0) & (channels[1:] != PINNED)))


def takes_weights(layer: Any) -> bool:
    """Returns whether `execute` runs a layer on given weights; it runs other layers on their own."""
    if getattr(layer, "data_format", None) == "channels_first":
        return False
    if isinstance(layer, keras.layers.LayerNormalization):
        return layer.axis in (-1, [-1])
    return isinstance(layer, keras.layers.BatchNormalization) or _runner(layer) is not None


def averages_channels(groups: ChannelGroups) -> bool:
    """Returns whether layers normalize over prunable channels, where zero channels would change results."""
    return any(
        isinstance(each.layer, keras.layers.LayerNormalization) and np.any(slot.channels != PINNED)
        for each in groups.by_layer.values()
        for slot in each.slots
    )


def _wide_axes(layer: keras.Layer) -> int:
    return sum(size != 1 for size in layer.target_shape)
