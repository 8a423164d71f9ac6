"""Weights under PyTorch's names, of the originals' models, put into ours.

names = kernel_names(model, golden_names)        # {"layer1.0.conv1.weight": "block0.0_conv1/kernel", ...}
load_torch_state(model, state)                   # every array of a state_dict
to_keras(mask)                                   # OIHW to HWIO, OI to IO
load_torch_state(build_model("ResNet-18", init="kaiming_normal", padding="symmetric", ...), peekaboo_recipe(...))
"""

import re
from collections.abc import Iterable, Mapping

import keras
import numpy as np

_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn|shortcut|downsample)\.?(\d)")
_VECTORS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_IGNORED = ("num_batches_tracked", "weight_mask", "bias_mask")


def to_keras(array: np.ndarray, flattened: tuple[int, int, int] | None = None) -> np.ndarray:
    """A kernel or mask in Keras' order of axes: OIHW to HWIO, OI to IO, vectors as they are.

    Args:
        array: The array in PyTorch's order.
        flattened: `(channels, height, width)` of the map that a dense kernel reads, where it reads a flattened one.
    """
    if flattened is not None:
        outputs = array.shape[0]
        return array.reshape(outputs, *flattened).transpose(2, 3, 1, 0).reshape(-1, outputs)
    return array.transpose((2, 3, 1, 0) if array.ndim == 4 else (1, 0)) if array.ndim > 1 else array


def layer_name(module: str, *, bottleneck: bool) -> str:
    """Our name of a module of a residual model: `layer1.0.conv1` is `block0.0_conv1`."""
    if module in ("linear", "fc"):
        return "fc"
    if module in ("conv1", "bn1"):
        return module[:-1]
    match = _BLOCK.fullmatch(module)
    assert match, module
    stage, block, kind, number = match.groups()
    if kind in ("shortcut", "downsample"):
        short = "conv3" if number == "0" else "bn3"
    else:
        short = f"{kind}{int(number) - bottleneck}"
    return f"block{int(stage) - 1}.{block}_{short}"


def module_names(model: keras.Model, modules: Iterable[str], convolutions: Iterable[str]) -> dict[str, str]:
    """Our layer of each module.

    Args:
        model: A model of `build_model`.
        modules: Names of modules in PyTorch's order, those with parameters.
        convolutions: Which of them are convolutions (the others are batch norms).
    """
    modules, convolutions = list(dict.fromkeys(modules)), set(convolutions)
    names = {layer.name for layer in model.layers}
    if "conv" in names:
        bottleneck = any(name.endswith("conv0") for name in names)
        return {module: layer_name(module, bottleneck=bottleneck) for module in modules}
    with_kernel = iter([layer.name for layer in model.layers if hasattr(layer, "kernel")])
    norms = iter([layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)])
    return {module: next(with_kernel if module in convolutions else norms) for module in modules}


def kernel_names(model: keras.Model, weights: Iterable[str]) -> dict[str, str]:
    """Our `layer/kernel` of each weight that can be pruned, named as `layer1.0.conv1.weight`, in the original's order.

    Of a chain of layers (VGG, Conv models) all weights must be given, with or without the last.
    """
    modules = {name: name.removesuffix(".weight") for name in weights}
    layers = module_names(model, modules.values(), modules.values())
    return {name: f"{layers[module]}/kernel" for name, module in modules.items()}


def load_torch_state(model: keras.Model, state: Mapping[str, np.ndarray]) -> keras.Model:
    """Puts every array of a state_dict into the model; the model may have more (statistics of batch norms)."""
    state = {name: np.asarray(array) for name, array in state.items() if not name.endswith(_IGNORED)}
    kernels = [name.rpartition(".")[0] for name, array in state.items() if array.ndim > 1]
    layers = module_names(model, (name.rpartition(".")[0] for name in state), kernels)
    for name, array in state.items():
        module, _, parameter = name.rpartition(".")
        layer = model.get_layer(layers[module])
        if module not in kernels:
            getattr(layer, _VECTORS[parameter]).assign(array)
            continue
        variable = layer.bias if parameter == "bias" else layer.kernel
        if array.ndim == 4 and len(variable.shape) == 2:  # a dense layer written as a 1 x 1 convolution
            array = array[:, :, 0, 0]
        if array.ndim == 2 and (flat := flattened_shape(model, layer)) is not None:
            array = to_keras(array, flat)
        else:
            array = to_keras(array)
        variable.assign(array)
    return model


def flattened_shape(model: keras.Model, layer: keras.layers.Layer) -> tuple[int, int, int] | None:
    """`(channels, height, width)` of the map of more than one pixel that a dense layer reads, or `None`."""
    before = layer.input._keras_history.operation
    if not isinstance(before, keras.layers.Flatten):
        return None
    _, height, width, channels = before.input.shape
    return (channels, height, width) if height * width > 1 else None


def peekaboo_recipe(names: Iterable[str], shapes: Iterable[Iterable[int]], classifier: str, classes: int) -> dict:
    """Weights that golden/peekaboo.md calls `recipe0`: RandomState(0) over the tensors in order, classifier last."""
    random = np.random.RandomState(0)
    state: dict[str, np.ndarray] = {}
    for name, shape in zip(names, shapes, strict=True):
        fan_in = np.prod(shape[1:])
        state[name] = (random.randn(*shape) * np.sqrt(2 / fan_in)).astype(np.float32)
    features = shape[0]
    bound = 1 / np.sqrt(features)
    state[f"{classifier}.weight"] = random.uniform(-bound, bound, (classes, features)).astype(np.float32)
    state[f"{classifier}.bias"] = random.uniform(-bound, bound, classes).astype(np.float32)
    return state


def registration_order(model: keras.Model, kind: type[keras.layers.Layer] | str) -> list[keras.layers.Layer]:
    """The model's layers of a kind (or with a variable of that name) in the order in which the originals make them.

    In a residual model that is the stem, block after block with the shortcut at its end, and the classifier.
    """
    chosen = [
        layer for layer in model.layers if (hasattr(layer, kind) if isinstance(kind, str) else isinstance(layer, kind))
    ]

    def place(layer: keras.layers.Layer) -> tuple:
        match = re.fullmatch(r"block(\d+)\.(\d+)_(.*)", layer.name)
        if match is None:
            return (9, 9, "") if layer.name == "fc" else (-1, -1, "")
        return int(match[1]), int(match[2]), match[3]

    return sorted(chosen, key=place)
