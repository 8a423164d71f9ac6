"""SynFlow: how much flows through a weight from input to output."""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfprune.criteria.data import CriterionData
from tfprune.criteria.registry import DataUse
from tfprune.criteria.weights.criterion import Precision, Tensors, WeightCriterion, register_weight_criterion
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.errors import ConfigError, check_choice
from tfprune.graph.calls import model_graph

# Activations that are nearly the identity far above 0, or would be without their ceiling.
_LINEAR_ABOVE = ("elu", "selu", "gelu", "silu", "swish", "mish", "celu", "relu6", "hard_silu", "hard_swish", "softplus")
# Activations that a model may end in, for a flow.
_KEPT_AT_THE_END = ("linear", "relu", "leaky_relu", *_LINEAR_ABOVE)


@register_weight_criterion("synflow")
@dataclass(frozen=True, kw_only=True)
class SynFlow(WeightCriterion):
    """Synaptic flow: a weight's share of all paths from input to output.

    A path counts by the product of its weights' absolute values. The scores are `|dR/dw * w|`, where R is the sum of
    the outputs for an input of ones, and every variable (weights, biases, parameters and statistics of batch norms) has
    its absolute value. The values of data are not used. Activations that level off are left out at the end of the
    model, and nearly linear ones within it are replaced by rectifiers, see `linear_layer`.

    With the 100 iterations of its authors no layer is lost before the others are nearly empty, except for shortcuts of
    residual networks beside longer paths.

    Attributes:
        iterations: Prune in this many rounds.
        precision: Number format of the computation. Scores grow with depth, and neighboring ones differ by 1e-9 and
            less; float32 takes a third of the time and misplaces some weights near the threshold.
        input_shape: Shape of one example, for models that take inputs of any size. Default: the model's, or, if data
            is given, that of the data.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(),
        ...                           keras.layers.Dense(2)])
        >>> SynFlow(iterations=10)(model, density=0.5)
        Masks(2 weights, 198 of 396 kept, density 0.5)

    Reference:
        Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow (NeurIPS 2020),
        algorithm 1.
    """

    uses_data: ClassVar[DataUse] = "optional"
    traceable: ClassVar[bool] = True
    iterations: int = 100
    precision: Precision = "float64"
    input_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("precision", self.precision, Precision)

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`."""
        scoring, ones = self.once("model and input", lambda: self._model_and_input(model, list(masks), data))
        kernels = scoring.values(masks)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            outputs = scoring(kernels, ones)
            flow = tf.add_n([tf.reduce_sum(tf.cast(each, self.precision)) for each in keras.tree.flatten(outputs)])
        gradients = tape.gradient(flow, kernels, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return {name: tf.abs(gradients[name] * kernel) for name, kernel in kernels.items()}

    def prepare(self, model: keras.Model, masks: Tensors, data: CriterionData | None) -> None:
        """Makes the copy of the model, see `WeightCriterion.prepare`."""
        self.once("model and input", lambda: self._model_and_input(model, list(masks), data))

    def _model_and_input(
        self, model: keras.Model, names: list[str], data: CriterionData | None
    ) -> tuple[ScoringModel, Any]:
        """Copies a model with absolute values of all variables and activations that let a flow pass; adds ones."""
        graph = model_graph(model)
        given = {id(tensor) for tensor in graph.outputs}
        last = {id(call.layer) for call in graph.calls for tensor in call.outputs if id(tensor) in given}
        scoring = ScoringModel(
            model, names, self.precision, change_layer=lambda new, old: linear_layer(new, id(old) in last)
        )
        for variable in scoring.model.variables:
            if keras.backend.is_float_dtype(variable.dtype):
                variable.assign(tf.abs(variable.value))
        return scoring, keras.tree.map_structure(lambda tensor: self._ones(tensor, data), scoring.inputs)

    def _ones(self, tensor: keras.KerasTensor, data: CriterionData | None) -> tf.Tensor:
        """Returns one example of ones for an input."""
        shape = tuple(tensor.shape[1:])
        if None in shape and self.input_shape is not None:
            fits = len(shape) == len(self.input_shape)
            fits = fits and all(a in (None, b) for a, b in zip(shape, self.input_shape, strict=True))
            if not fits:
                raise ConfigError(f"input_shape: expected one like {shape}, received {self.input_shape}; change it")
            shape = self.input_shape
        elif None in shape and data is not None:
            x = next(data.inputs(1))
            if not keras.tree.is_nested(x):
                shape = tuple(x.shape[1:])
        if None in shape:
            raise ConfigError(
                f"criterion {self.name}: the model takes inputs of any size ({shape}); give input_shape=, such as "
                "(224, 224, 3)"
            )
        return tf.ones((1, *shape), tensor.dtype)


def linear_layer(layer: keras.Layer, at_the_end: bool) -> None:
    """Changes a layer so that its activation lets a positive flow pass unchanged.

    Rectifiers stay as they are. Activations that are nearly the identity far above 0, such as gelu, and rectifiers with
    a ceiling become rectifiers: at the size that flows reach, their gradients would be 0 or rounded. Activations that
    level off, such as softmax, are left out where the model ends; within it they stay, since they usually are gates.

    Args:
        layer: A layer that is not built yet. It is changed.
        at_the_end: Whether it produces an output of the model.
    """
    if isinstance(layer, keras.layers.ReLU):
        layer.max_value = None
        layer.threshold = 0.0
        return
    name = _activation(layer)
    if name is None:
        return
    if at_the_end and name not in _KEPT_AT_THE_END:
        _set(layer, keras.activations.linear)
    elif name in _LINEAR_ABOVE:
        _set(layer, keras.activations.relu)


def _activation(layer: Any) -> str | None:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", None) if callable(activation) else None


def _set(layer: Any, activation: Any) -> None:
    if isinstance(layer, keras.layers.Softmax):
        layer.call = lambda inputs, mask=None: inputs
    else:
        layer.activation = activation
