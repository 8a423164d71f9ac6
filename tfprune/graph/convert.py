"""Conversion of a model's layers: faster or plain ones, masked ones, gates, sub-networks."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

import keras
import numpy as np

from tfprune.errors import ConfigError, UnsupportedLayerError, check_choice
from tfprune.graph.calls import Call, check_not_quantized, model_calls, no_graph
from tfprune.graph.layer_copies import configuration, copied_layer, recast_layer
from tfprune.graph.prunable_weights import prunable_weights
from tfprune.graph.rebuild import rebuild
from tfprune.graph.subclassed import functional_model
from tfprune.graph.subnet import bake_subnets, keep_selection, subnet_model, subnet_options
from tfprune.layers import (
    PSG,
    FrozenBatchNormalization,
    FusedBatchNormalization,
    Masked,
    MaskedLayer,
    MaskedWeights,
    ScoredBatchNormalization,
    unmasked,
)
from tfprune.layers.kernels import LayerVariant, prunable_kernels, stock_class, variants
from tfprune.masks import Masks
from tfprune.reprs import described, short

layers = keras.layers
_STOCK_BATCH_NORM = layers.BatchNormalization

LAYER_TYPES = ("plain", "fused", "channel_masked", "gated", "masked", "psg", "subnet")
"""What `convert` can make of a model's layers:

- `plain`: Keras' own layers, with the effect of masks in the weights
- `fused`: batch norm on the fused kernel
- `channel_masked`: a mask on the input and output channels of every kernel, and fused batch norm
- `gated`: a gate in every batch norm
- `masked`: a mask on every weight of a kernel
- `psg`: these, and predicted gradients of the kernels
- `subnet`: frozen kernels, of which trained scores pick a part

Which class a kernel layer becomes is said by the table in `tfprune.layers.kernels`.
"""

Match = Literal["name", "position"]
"""How masks find their weights, and plans their layers, in another model: by names, or by order."""

_OF_MASKED_WEIGHTS = ("masked", "psg")
_BATCH_NORMS: dict[str, dict[type, type]] = {
    "plain": {FusedBatchNormalization: _STOCK_BATCH_NORM, FrozenBatchNormalization: _STOCK_BATCH_NORM},
    "fused": {_STOCK_BATCH_NORM: FusedBatchNormalization},
    "channel_masked": {_STOCK_BATCH_NORM: FusedBatchNormalization},
    "gated": {_STOCK_BATCH_NORM: ScoredBatchNormalization, FusedBatchNormalization: ScoredBatchNormalization},
}
_NON_NEGATIVE_ACTIVATIONS = (
    keras.activations.relu,
    keras.activations.relu6,
    keras.activations.sigmoid,
    keras.activations.hard_sigmoid,
    keras.activations.softmax,
    keras.activations.softplus,
    keras.activations.exponential,
)
_MAKES_NON_NEGATIVE = {*("Relu", "Relu6", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp", "Absolute", "Square")}
_KEEPS_NON_NEGATIVE = {
    *("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Mean", "Max", "Sum"),
    *("Reshape", "Flatten", "Permute", "Transpose", "RepeatVector", "Squeeze", "ExpandDims"),
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *(f"{kind}Pooling{n}D" for n in (1, 2, 3) for kind in ("Max", "Average", "GlobalMax", "GlobalAverage")),
    *(f"{kind}{n}D" for n in (1, 2, 3) for kind in ("ZeroPadding", "Cropping")),
    *("UpSampling1D", "UpSampling3D", "MaxPool", "AveragePool", "Identity"),
}


def convert(
    model: keras.Model,
    family: str,
    masks: Mapping[str, Any] | None = None,
    *,
    match: Match = "name",
    dtype: str | None = None,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> keras.Model:
    """Copies a model with its layers swapped for those of a family.

    Layer names and weights stay the same; weights that only the new layers have get their initial values.

    The families `masked` (masks on weights) and `psg` (these, and predicted gradients) take masks. All that
    `prunable_weights` names can be masked: layers that have no masked class of their own are put into a
    `tfprune.layers.MaskedLayer`. Predicted gradients exist for dense layers and 2D convolutions. `subnet` freezes all
    weights and trains scores that pick among them: `convert(model, "subnet", density=0.2, scope="global",
    binary_activations=True)`; `graph.subnet.SubnetOptions` documents its settings. `plain` converts all of these back
    to Keras' layers, with the weights that they compute with: zeros where they were masked.

    Args:
        model: A functional, sequential or subclassed model. It is not changed.
        family: One of `LAYER_TYPES`.
        masks: For `masked` and `psg`: `tfprune.masks.Masks`, or arrays of zeros and ones by name as in
            `prunable_weights(model, embeddings=True)`. Only layers with a mask are swapped. Default: all layers with
            prunable weights but embeddings are; masks of layers that are already masked are carried over, others keep
            everything.
        match: `name`: masks have the names of the model's weights. `position`: there is one mask for each weight of
            `prunable_weights(model)`, in its order, under any name, such as those of a model of the same architecture
            that was built again and has other automatic names.
        dtype: Dtype policy for all layers of the copy, such as `mixed_bfloat16`, except output layers, which become
            float32. Default: as in `model`.
        options: Constructor arguments of the new layers that the old ones do not have. For `psg`, `input_signed` is
            derived for each layer from the graph unless it is given here.
        **settings: Further options, as arguments.

    Returns:
        A new model.

    Raises:
        ConfigError: The family or `match` is unknown, the masks are not the model's, or the family takes no masks.
        UnsupportedLayerError: A weight that is to have predicted gradients belongs to a layer without them, or Keras
            has quantized the model.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> sparse = convert(model, "masked", {"fc/kernel": np.eye(4, 3)})
        >>> int(np.count_nonzero(convert(sparse, "plain").get_layer("fc").kernel))
        3
    """
    if not isinstance(model, keras.Model):
        raise no_graph(model)
    _check_family(family)
    check_not_quantized(model)
    model = functional_model(model)
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"options: expected arguments by name, received {described(options)}")
    options, dtype = {**(options or {}), **settings}, _policy(dtype)
    if family in _OF_MASKED_WEIGHTS:
        check_choice("match", match, Match)
        if masks is not None:
            masks = _fitting(masks, model, match)
        return _masked_model(model, cast(LayerVariant, family), masks, dtype=dtype, options=options)
    if masks is not None:
        raise ConfigError(f"expected the family masked or psg with masks, received {family!r}; leave the masks out")
    if family == "subnet":
        return subnet_model(model, subnet_options(options), dtype=dtype)
    if family == "plain":
        model = bake_subnets(model)
    outputs = set(getattr(model, "output_names", ()))

    def make(layer: keras.Layer) -> keras.Layer:
        return swap_layer(layer, family, dtype="float32" if dtype and layer.name in outputs else dtype, options=options)

    return keep_selection(rebuild(model, make, weights=_baked_value if family == "plain" else None, keep_class=True))


def _policy(dtype: Any) -> Any:
    """Returns a dtype policy that a user gives, or None; raises `ConfigError` if Keras has no such policy."""
    if dtype is None or isinstance(dtype, keras.dtype_policies.DTypePolicy):
        return dtype
    try:
        if not isinstance(dtype, str) or not dtype.isidentifier():
            raise ValueError("no name")
        keras.dtype_policies.get(dtype)
    except ValueError as error:
        raise ConfigError(f"dtype: expected a policy such as mixed_bfloat16, received {described(dtype)}") from error
    return dtype


def _check_family(family: object, known: Collection[str] = LAYER_TYPES) -> None:
    if not isinstance(family, str) or family not in known:
        raise ConfigError(f"expected a layer family out of {', '.join(LAYER_TYPES)}; received {family!r}")


def swap_layer(
    layer: keras.Layer, family: str, *, dtype: str | None = None, options: Mapping[str, Any] | None = None
) -> keras.Layer:
    """Makes a layer of a family from another layer. The new layer is not built.

    Args:
        layer: The old layer.
        family: One of `LAYER_TYPES` but `masked`, `psg` and `subnet`, which look at the whole model; layers it has
            nothing for are copied.
        dtype: Dtype policy of the new layer. Default: that of the old one.
        options: Constructor arguments that the old layer does not have.

    Returns:
        The new layer, of the same name.

    Raises:
        ConfigError: The family is unknown.
    """
    _check_family(family, _BATCH_NORMS)
    if isinstance(layer, MaskedLayer):
        new = swap_layer(layer.layer, family, dtype=dtype, options=options)
        return new if family == "plain" else MaskedLayer.around(new, layer.masks)
    if family == "plain" and isinstance(layer, Masked):
        new = _stock_layer(layer)
        if dtype is not None:
            new.dtype_policy = dtype
        return new
    swaps = _BATCH_NORMS[family] | (variants("channel_masked") if family == "channel_masked" else {})
    if type(layer) not in swaps:
        return copied_layer(layer) if dtype is None else recast_layer(layer, dtype)
    kind: Any = swaps[type(layer)]
    config = _accepted(configuration(layer), layer, kind) | dict(options or {})
    return _made(kind, config if dtype is None else config | {"dtype": dtype}, options)


def _made(kind: Any, config: dict[str, Any], options: Mapping[str, Any] | None) -> keras.Layer:
    """Returns a layer; raises `ConfigError` if it does not take the options of the user in its configuration."""
    try:
        return kind.from_config(config)
    except (TypeError, ValueError) as error:
        if not options or isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"options: expected arguments of {kind.__name__}, received {short(dict(options))}, which it does not take"
        ) from error


def _accepted(config: dict[str, Any], old: keras.Layer, kind: type) -> dict[str, Any]:
    """Returns a layer's configuration without settings that only the old class has."""
    if issubclass(kind, type(old)):
        return config
    known = kind(name="probe").get_config()
    return {key: value for key, value in config.items() if key in known}


def masks_of(model: keras.Model) -> Masks:
    """Returns the masks of a model with masked layers.

    Args:
        model: A functional or sequential model, converted to the family `masked` or `psg`.

    Returns:
        A mask for each masked kernel.

    Raises:
        ConfigError: The model has none.

    Example:
        >>> import keras
        >>> from tfprune.graph import convert
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> masks_of(convert(model, "masked", {"fc/kernel": np.eye(4, 3)})).counts
        {'fc/kernel': (3, 12)}
    """
    masked = mask_variables(model)
    if not masked:
        raise ConfigError(
            f'expected masked layers in {model.name}, found none; make some with convert(model, "masked", masks)'
        )
    return Masks({name: np.asarray(mask) for name, mask in masked.items()})


def _masked_model(
    model: keras.Model,
    family: LayerVariant,
    given: Masks | None,
    *,
    dtype: str | None,
    options: Mapping[str, Any] | None,
) -> keras.Model:
    """Copies a model with masked layers; see `convert`."""
    weights = prunable_weights(model, embeddings=given is not None)
    swapped = {id(variable) for name, variable in weights.items() if given is None or name in given}
    non_negative = _non_negative_inputs(model) if family == "psg" else set()
    outputs = set(getattr(model, "output_names", ()))

    def make(layer: Any) -> keras.Layer:
        precision = "float32" if dtype and layer.name in outputs else dtype
        every = prunable_kernels(layer, embeddings=True)
        kernels = {path: held for path, held in every.items() if id(held.variable) in swapped}
        if not kernels:
            return recast_layer(layer, precision) if precision else copied_layer(layer)
        if not _has_class(layer, family):
            if family == "psg":
                raise UnsupportedLayerError(_no_psg(layer, kernels))
            stock = unmasked(layer)
            stock = recast_layer(stock, precision) if precision else copied_layer(stock)
            return MaskedLayer.around(stock, {path: held.variable for path, held in kernels.items()})
        signed = {"input_signed": id(layer) not in non_negative} if family == "psg" else {}
        new = _masked_layer(layer, family, {**signed, **(options or {})})
        if precision:
            new.dtype_policy = precision
        return new

    new = rebuild(model, make, keep_class=True)
    if given is not None:
        names = {id(variable): name for name, variable in weights.items()}
        masked = mask_variables(new)
        for call in model_calls(model):  # several layers may hold one kernel, such as a layer and its wrapper
            for path, held in prunable_kernels(call.layer, embeddings=True).items():
                if id(held.variable) in swapped:
                    masked[f"{call.name}/{path}"].assign(given[names[id(held.variable)]])
    return new


def _stock_layer(layer: Any) -> keras.Layer:
    """Makes Keras' layer from a masked one. The new layer is not built."""
    stock: Any = stock_class(type(layer), "masked", "psg")
    if stock is None:
        raise UnsupportedLayerError(
            f"expected a masked layer of the table of kernels, received {layer.name} ({type(layer).__name__}); "
            "register it with tfprune.layers.register_kernel_layer"
        )
    return stock.from_config(configuration(layer, stock=True))


def _baked_value(layer: keras.Layer, variable: keras.Variable) -> Any:
    """Returns the value of a variable in a copy without masks: kernels are 0 where they were masked."""
    if isinstance(layer, Masked):
        for path, kernel in layer.masked_kernels.items():
            if kernel is variable:
                return np.where(np.asarray(layer.masks[path]), np.asarray(variable), np.zeros([], variable.dtype))
    return variable


def _fitting(masks: Mapping[str, Any], model: keras.Model, match: Match) -> Masks:
    """Returns masks by the names of the model's weights.

    Raises:
        ConfigError: They do not fit.
    """
    masks = masks if isinstance(masks, Masks) else Masks(masks)
    weights = prunable_weights(model, embeddings=True)
    if match == "position" or any(name not in weights for name in masks):
        weights = prunable_weights(model)
    if match == "position":
        return _matched_by_position(masks, weights)
    absent = next((name for name in masks if name not in weights), None)
    try:
        masks.check(weights if absent else {name: weights[name] for name in masks})
    except ConfigError as error:
        if not _alike(masks, weights):
            raise
        raise ConfigError(
            f'{error} Their shapes are those of the model in this order: match="position" takes them so'
        ) from None
    return masks


def _has_class(layer: Any, family: LayerVariant) -> bool:
    """Returns whether the table has a class of a family that can take a layer's place."""
    return (stock_class(type(layer), "masked", "psg") or type(layer)) in variants(family)


def _no_psg(layer: Any, kernels: Mapping[str, Any]) -> str:
    known = ", ".join(each.__name__ for each in variants("psg"))
    return (
        f"{layer.name}/{next(iter(kernels))}: expected one of {known} (Keras' own, not derived) for the family 'psg', "
        f"received {type(unmasked(layer)).__name__}; leave its weights out of the masks"
    )


def _matched_by_position(masks: Masks, weights: Mapping[str, keras.Variable]) -> Masks:
    """Gives masks the names of the model's weights, in order."""
    if len(masks) != len(weights):
        raise ConfigError(
            f"masks: expected one for each of the {len(weights)} prunable weights of the model, received {len(masks)}; "
            "match them by name, or give masks of the same architecture"
        )
    renamed = Masks(dict(zip(weights, masks.values(), strict=True)))
    renamed.check(weights)
    return renamed


def _alike(masks: Masks, weights: Mapping[str, keras.Variable]) -> bool:
    return [mask.shape for mask in masks.values()] == [tuple(weight.shape) for weight in weights.values()]


def _masked_layer(layer: Any, family: LayerVariant, options: Mapping[str, Any]) -> keras.Layer:
    kind: Any = variants(family)[stock_class(type(layer), "masked", "psg") or type(layer)]
    keeps_settings = isinstance(layer, PSG) and issubclass(kind, PSG)
    config = configuration(layer, stock=isinstance(layer, MaskedWeights) and not keeps_settings)
    return _made(kind, config | dict(options), options)


def mask_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the masks of a model by the name of the weight that they mask."""
    found: dict[str, keras.Variable] = {}
    seen: set[int] = set()
    for call in model_calls(model):
        if isinstance(call.layer, Masked) and id(call.layer) not in seen:
            found |= {f"{call.name}/{path}": mask for path, mask in call.layer.masks.items()}
            seen.add(id(call.layer))
    return found


def _non_negative_inputs(model: keras.Model) -> set[int]:
    """Finds the layers whose inputs cannot be negative at any of their calls.

    ReLUs, sigmoids, softmax and similar ones produce such values, as activations, layers and operations. Pooling,
    padding, dropout, changes of shape, concatenation, sums, means and products preserve them.

    Args:
        model: A functional or sequential model.

    Returns:
        The `id`s of the layers.
    """
    tensors: set[int] = set()
    known: dict[int, bool] = {}
    for call in model_calls(model):
        never = bool(call.inputs) and all(id(tensor) in tensors for tensor in call.inputs)
        known[id(call.layer)] = known.get(id(call.layer), True) and never
        if _makes(call.layer) or (never and _passes(call)):
            tensors.update(id(tensor) for tensor in call.outputs)
    return {layer for layer, never in known.items() if never}


def _makes(layer: Any) -> bool:
    if isinstance(layer, layers.ReLU):
        return not layer.negative_slope and layer.threshold >= 0
    kind = type(layer)
    if kind.__module__.startswith("keras.") and kind.__name__ in _MAKES_NON_NEGATIVE:
        return not getattr(layer, "negative_slope", 0)
    return any(getattr(layer, "activation", None) is each for each in _NON_NEGATIVE_ACTIVATIONS)


def _passes(call: Call) -> bool:
    kind = type(call.layer)
    if kind is layers.UpSampling2D:
        return call.layer.interpolation in ("nearest", "bilinear")
    # An operation may also take a constant, which may be negative.
    bare = not isinstance(call.layer, keras.Layer)
    if bare and kind.__name__ in ("Add", "Multiply", "Minimum") and len(call.inputs) < 2:
        return False
    return kind.__module__.startswith("keras.") and kind.__name__ in _KEEPS_NON_NEGATIVE
