"""The PyTorch twin of a plain convolutional Keras model: the same layers, names and weights."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from tfprune.graph import Call, model_calls

layers = keras.layers


class TorchTwin(nn.Module):
    """A PyTorch model of the layers of a Keras model, called in the same order.

    Kernels of odd size are padded on both sides, as PyTorch users write them, so padding layers fall away and outputs
    of strided layers differ at the borders.

    Args:
        model: A Keras model of `Conv2D`, `DepthwiseConv2D`, `BatchNormalization`, `Dense`, ReLU, `Add`, pooling.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.parts = nn.ModuleDict()
        self.calls: list[tuple[str, tuple[int, ...], int]] = []
        for call in model_calls(model)[1:]:
            if call.name not in self.parts:
                self.parts[call.name] = _twin(call)
            self.calls.append((call.name, tuple(map(id, call.inputs)), id(call.outputs[0])))
        self.source, self.sink = id(model.inputs[0]), id(model.outputs[0])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images `[batch, channels, height, width]`."""
        values = {self.source: images}
        for name, read, made in self.calls:
            values[made] = self.parts[name](*(values[each] for each in read))
        return values[self.sink]


class _Sum(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left + right


def _twin(call: Call) -> nn.Module:
    layer: Any = call.layer
    for kind, make in _KINDS.items():
        if isinstance(layer, kind):
            return make(layer)
    raise TypeError(f"expected layers of a plain convolutional network, received {call.name} ({type(layer).__name__})")


def _conv(layer: Any) -> nn.Module:
    *window, width, filters = layer.kernel.shape
    conv = nn.Conv2d(width, filters, window, layer.strides, [size // 2 for size in window], bias=layer.use_bias)
    return _filled(conv, layer, (3, 2, 0, 1))


def _depthwise(layer: Any) -> nn.Module:
    *window, width, multiplier = layer.kernel.shape
    padding = [size // 2 for size in window]
    conv = nn.Conv2d(width, width * multiplier, window, layer.strides, padding, groups=width, bias=layer.use_bias)
    return _filled(conv, layer, (2, 3, 0, 1))


def _dense(layer: Any) -> nn.Module:
    return _filled(nn.Linear(*layer.kernel.shape, bias=layer.use_bias), layer, (1, 0))


def _filled(module: Any, layer: Any, order: tuple[int, ...]) -> nn.Module:
    kernel = np.ascontiguousarray(np.transpose(np.asarray(layer.kernel), order))
    module.weight.data = torch.from_numpy(kernel).reshape(module.weight.shape)
    if layer.use_bias:
        module.bias.data = torch.tensor(np.asarray(layer.bias))
    return module


def _norm(layer: Any) -> nn.Module:
    norm = nn.BatchNorm2d(layer.gamma.shape[0], eps=layer.epsilon)
    norm.weight.data, norm.bias.data = (torch.tensor(np.asarray(each)) for each in (layer.gamma, layer.beta))
    norm.running_mean = torch.tensor(np.asarray(layer.moving_mean))
    norm.running_var = torch.tensor(np.asarray(layer.moving_variance))
    return norm


def _activation(layer: Any) -> nn.Module:
    if isinstance(layer, layers.ReLU) and layer.max_value == 6:
        return nn.ReLU6()
    if isinstance(layer, layers.ReLU) or layer.activation is keras.activations.relu:
        return nn.ReLU()
    raise TypeError(f"expected ReLU, received {layer.name}")


_KINDS: dict[Any, Callable[[Any], nn.Module]] = {
    layers.DepthwiseConv2D: _depthwise,
    layers.Conv2D: _conv,
    layers.Dense: _dense,
    layers.BatchNormalization: _norm,
    layers.ReLU | layers.Activation: _activation,
    layers.Add: lambda _: _Sum(),
    layers.MaxPooling2D: lambda layer: nn.MaxPool2d(layer.pool_size, layer.strides, layer.pool_size[0] // 2),
    layers.GlobalAveragePooling2D: lambda _: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    layers.ZeroPadding2D | layers.Dropout: lambda _: nn.Identity(),
}
