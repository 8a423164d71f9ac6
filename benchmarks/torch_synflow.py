"""SynFlow on ResNet-18 in PyTorch, written from the description of the published procedure, to compare times with.

An iteration takes absolute values of all parameters and buffers, runs an input of ones forward and backward in float64,
restores the signs, puts the scores together, finds the threshold with `kthvalue`, and writes the masks. What the
original spends besides, on a loader with eight workers that is read for the shape of an image, is left out.
"""

import time

import torch
from torch import nn
from torch.nn import functional


class MaskedConv(nn.Conv2d):
    """A convolution whose weight is multiplied by a mask."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, size // 2, bias=False)
        self.register_buffer("mask", torch.ones_like(self.weight))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolves."""
        return functional.conv2d(x, self.weight * self.mask, None, self.stride, self.padding)


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = MaskedConv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = MaskedConv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(
            *([MaskedConv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)] if changes else [])
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the block."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet18() -> nn.Module:
    """The network for images of 32 x 32."""
    layers: list[nn.Module] = [MaskedConv(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU()]
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def iteration(model: nn.Module, convolutions: list[MaskedConv], density: float) -> None:
    """One iteration."""
    state = model.state_dict()
    signs = {name: torch.sign(value) for name, value in state.items()}
    for value in state.values():
        value.abs_()
    for convolution in convolutions:
        convolution.weight.grad = None
    model(torch.ones(1, 3, 32, 32, dtype=torch.float64)).sum().backward()
    scores = [(conv.weight.grad * conv.weight).detach().abs_() for conv in convolutions]
    for name, value in state.items():
        value.mul_(signs[name])
    flat = torch.cat([score.flatten() for score in scores])
    count = int((1 - density) * flat.numel())
    threshold = torch.kthvalue(flat, count).values
    for convolution, score in zip(convolutions, scores, strict=True):
        convolution.mask.copy_(torch.where(score > threshold, 1.0, 0.0))


def seconds_per_iteration(iterations: int, density: float, of: int) -> float:
    """CPU seconds of one of the first iterations, on one thread.

    Args:
        iterations: How many to time, after one that is not.
        density: Fraction to keep in the end.
        of: After how many iterations that would be.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = resnet18().double().eval()
    convolutions = [module for module in model.modules() if isinstance(module, MaskedConv)]
    start = 0.0
    for step in range(iterations + 1):
        if step == 1:
            start = time.process_time()
        iteration(model, convolutions, density ** ((step + 1) / of))
    return (time.process_time() - start) / iterations
