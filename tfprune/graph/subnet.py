"""Conversion to models of which a random sub-network is trained, and back."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np

from tfprune.errors import ConfigError
from tfprune.graph.calls import Ignored, functional_graph
from tfprune.graph.layer_copies import configuration, copied_layer
from tfprune.graph.model_class import has_own_class, warn_of_losses
from tfprune.graph.prunable_weights import prunable_weights
from tfprune.graph.rebuild import rebuild
from tfprune.keras_private import compile_settings, flat_layers, input_structure, output_structure
from tfprune.layers import (
    BinaryActivation,
    FrozenBatchNormalization,
    FusedBatchNormalization,
    GlobalSubnet,
    Subnet,
    binary_activation,
    refresh_masks,
    subnet_layers,
)
from tfprune.layers.kernels import prunable_kernels, stock_class, variants
from tfprune.layers.subnet import check_settings

_BATCH_NORMS = (keras.layers.BatchNormalization, FusedBatchNormalization, FrozenBatchNormalization)


@dataclass(frozen=True, kw_only=True)
class SubnetOptions:
    """Options of a conversion to sub-network layers.

    Attributes:
        density: Fraction of weights to keep, in (0, 1].
        scope: Whether the largest scores are picked in each `layer` or among all layers (`global`).
        selection: `top`, `sampled` or `fixed`, see `tfprune.layers.Subnet`.
        binary_activations: Replace every ReLU by `BinaryActivation`.
        ignore: Layers that are not converted, and are trained as before; as for `graph.prunable_weights`.
        learn_batchnorm: Also train gammas, betas and biases.
        bias_only: Of these, train betas and biases only.
        tune_batchnorm: Train these and no scores: a second stage, with one of the two settings above.
        score_initializer: See `tfprune.layers.Subnet`.
        seed: Seed of the initial scores.
        original_quirks: See `tfprune.layers.Subnet`.

    Raises:
        ConfigError: A setting has an invalid value, or `tune_batchnorm` has nothing to train.
    """

    density: float = 0.5
    scope: str = "layer"
    selection: str = "top"
    binary_activations: bool = False
    ignore: Ignored | Iterable[Ignored] = ()
    learn_batchnorm: bool = False
    bias_only: bool = False
    tune_batchnorm: bool = False
    score_initializer: Any = None
    seed: int | None = None
    original_quirks: bool = False

    def __post_init__(self) -> None:
        check_settings(self.density, self.scope, self.selection)
        if self.tune_batchnorm and not (self.learn_batchnorm or self.bias_only):
            raise ConfigError(
                "tune_batchnorm: expected learn_batchnorm or bias_only with it, as nothing would be trained, received "
                "neither; add one"
            )


def subnet_options(settings: Mapping[str, Any]) -> SubnetOptions:
    """Makes options from settings by name.

    Raises:
        ConfigError: A setting is unknown or has an invalid value.
    """
    known = [each.name for each in fields(SubnetOptions)]
    for name in settings:
        if name not in known:
            raise ConfigError(f"subnet: expected settings out of {', '.join(known)}; received {name!r}")
    return SubnetOptions(**settings)


def subnet_model(model: keras.Model, options: SubnetOptions, dtype: str | None = None) -> keras.Model:
    """Copies a model with sub-network layers instead of its convolutions and dense layers.

    Weights are carried over and frozen; random initial scores pick among them. Other layers with kernels, and ignored
    ones, are copied as they are.

    Args:
        model: A functional or sequential model, built. It is not changed.
        options: Options of the conversion.
        dtype: Dtype policy for all layers of the copy except output layers, which become float32. Default: as in
            `model`.

    Returns:
        A model of the same names; a `tfprune.layers.GlobalSubnet` where the scope is `global`.

    Raises:
        ConfigError: There are no kernels that can be converted.
        UnsupportedLayerError: The model has no graph.
    """
    kernels = {id(variable) for variable in prunable_weights(model, ignore=options.ignore).values()}
    outputs = set(getattr(model, "output_names", ()))

    def make(layer: keras.Layer) -> keras.Layer:
        new = _subnet_layer(
            layer, options, swap=any(id(each.variable) in kernels for each in prunable_kernels(layer).values())
        )
        if dtype is not None and not isinstance(layer, keras.layers.InputLayer):
            new.dtype_policy = "float32" if layer.name in outputs else dtype
        return new

    new = keep_selection(rebuild(model, make, keep_class=True))
    if not subnet_layers(new):
        raise ConfigError(
            f"expected convolutions (2D, depthwise) or dense layers of Keras' own in {model.name}, found none to swap"
        )
    refresh_masks(new)
    return new


def keep_selection(model: keras.Model) -> keras.Model:
    """Returns a `GlobalSubnet` of a model that has layers of the scope `global`; any other model as it is."""
    if isinstance(model, GlobalSubnet) or not any(layer.scope == "global" for layer in subnet_layers(model)):
        return model
    graph = functional_graph(model)
    selecting = GlobalSubnet(
        keras.tree.pack_sequence_as(input_structure(graph), graph.inputs),
        keras.tree.pack_sequence_as(output_structure(graph), graph.outputs),
        name=model.name,
    )
    selecting.trainable = model.trainable
    if has_own_class(model):
        warn_of_losses([(model, "sub-networks of the scope global need a model of the class GlobalSubnet")])
    if model.compiled:
        selecting.compile(**{**compile_settings(model), "optimizer": model.optimizer})
    return selecting


def bake_subnets(model: keras.Model) -> keras.Model:
    """Copies a model with Keras' layers instead of sub-network layers, with their effective kernels.

    Binary activations become `keras.ops.sign`, which has no useful gradient: the copy is for inference.

    Args:
        model: A functional or sequential model. It is not changed.

    Returns:
        The copy; `model` itself if it has no such layers.

    Raises:
        ConfigError: Sub-networks are sampled, so there is no single kernel.
    """
    layers = flat_layers(model)
    if not any(isinstance(each, Subnet | BinaryActivation) or _fires_signs(each) for each in layers):
        return model
    signs = any(isinstance(each, BinaryActivation) or _fires_signs(each) for each in layers)
    signed: set[int] = set()

    def make(layer: keras.Layer) -> keras.Layer:
        new = _stock_layer(layer)
        if isinstance(layer, BinaryActivation) or _fires_signs(layer):
            signed.add(id(new))
        return new

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, BinaryActivation):
            return keras.ops.sign(*args)
        outputs = layer(*args, **kwargs)
        return keras.ops.sign(outputs) if id(layer) in signed else outputs

    return rebuild(model, make, call if signs else None, _effective, keep_class=True)


def _subnet_layer(layer: keras.Layer, options: SubnetOptions, *, swap: bool) -> keras.Layer:
    """Makes the layer of the copy."""
    kind = type(layer)
    subnet: Any = variants("subnet").get(kind)
    if subnet is not None and swap:
        config = configuration(layer) | {
            "density": options.density,
            "scope": options.scope,
            "selection": options.selection,
            "score_initializer": options.score_initializer,
            # Not the seed of the layer's weights: scores drawn from the same bits would depend on the weights.
            "seed": layer_seed(options.seed, f"{layer.name}/scores"),
            "original_quirks": options.original_quirks,
            "train_scores": not options.tune_batchnorm,
            "train_bias": options.learn_batchnorm or options.bias_only,
        }
        if options.binary_activations and _rectifies(layer):
            config["activation"] = binary_activation
        return subnet.from_config(config)
    if options.binary_activations and _rectifies(layer) and kind in (keras.layers.ReLU, keras.layers.Activation):
        return BinaryActivation(name=layer.name, dtype=layer.dtype_policy)
    if kind in _BATCH_NORMS:
        config = {key: value for key, value in configuration(layer).items() if key != "train_offset"}
        if options.learn_batchnorm and not options.bias_only:
            return FusedBatchNormalization.from_config(config)
        return FrozenBatchNormalization.from_config(config | {"train_offset": options.bias_only})
    return copied_layer(layer)


def _stock_layer(layer: keras.Layer) -> keras.Layer:
    stock: Any = stock_class(type(layer), "subnet")
    if stock is None:
        return copied_layer(layer)
    if layer.selection == "sampled":
        raise ConfigError(
            f"layer {layer.name}: expected a sub-network with a mask, received a sampled one; convert it with "
            "selection='top' first"
        )
    return stock.from_config(configuration(layer, stock=True) | ({"activation": None} if _fires_signs(layer) else {}))


def _effective(layer: keras.Layer, variable: keras.Variable) -> Any:
    """Returns the value of a variable in the baked copy."""
    if isinstance(layer, Subnet) and variable is layer.kernel:
        return np.asarray(layer.effective_kernel())
    return variable


def _rectifies(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.ReLU) or getattr(layer, "activation", None) is keras.activations.relu


def _fires_signs(layer: Any) -> bool:
    return getattr(layer, "activation", None) is binary_activation


def layer_seed(seed: int | None, name: str) -> int | None:
    """Returns the seed of one layer's weights: layers of one shape must not start with equal weights.

    Args:
        seed: The model's seed, or None.
        name: The layer's name.

    Returns:
        A seed that depends on both; None without a seed.
    """
    return None if seed is None else zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF
