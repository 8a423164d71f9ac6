"""Running a model call by call, with a look at tensors on the way."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.graph import Call, ChannelGroups
from tfprune.graph.calls import functional_graph, model_graph

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


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
