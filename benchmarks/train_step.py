"""CPU seconds of one training step, variant against variant.

    python benchmarks/train_step.py --arch ResNet-20 ResNet-56 --rounds 10

One thread; the variants take turns in one process, so that whatever else the machine does hits all of them alike, and
the ratios hold where the seconds do not. Variants:

    keras      the stock model with stock batch norm and SGD in a plain tf.function
    ours       fused batch norm, `training.Loop`
    ours_bf16  the same in mixed_bfloat16
    channel_masked  the same with a channel mask on every kernel
    torch      PyTorch, channels_last, the same network and SGD (left out by default where PyTorch is not installed)
"""

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if importlib.util.find_spec("torch"):
    pass  # before TensorFlow: imported after it, by PyTorch's optimizers, it can end the process

import keras
import numpy as np
import tensorflow as tf
from program import missing, new_parser, use_threads

from tfprune.graph import convert
from tfprune.optimizers import SGD
from tfprune.recipes.models import build_model
from tfprune.recipes.training import CrossEntropy, Loop

CLASSES = 10
Step = Callable[[], float]


def keras_step(arch: str, images: np.ndarray, labels: np.ndarray) -> Step:
    """What one writes with Keras and TensorFlow alone."""
    model = build_model(arch, num_classes=CLASSES, input_shape=images.shape[1:], seed=0)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    batch = tf.constant(images), tf.constant(labels)
    return lambda: float(step(*batch))


def our_step(
    arch: str, images: np.ndarray, labels: np.ndarray, family: str = "fused", dtype: str | None = None
) -> Step:
    """`training.Loop` on a converted model."""
    stock = build_model(arch, num_classes=CLASSES, input_shape=images.shape[1:], seed=0)
    optimizer = SGD(0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loop = Loop(convert(stock, family, dtype=dtype), optimizer, CrossEntropy(), global_batch_size=len(images))
    batch = {"images": tf.constant(images), "labels": tf.constant(labels)}
    return lambda: loop.train_step(batch)["loss"]


def torch_step(arch: str, images: np.ndarray, labels: np.ndarray) -> Step:
    """The same network and optimizer in PyTorch."""
    import torch

    torch.set_num_threads(1)  # more would spin at barriers and count as CPU time
    model = torch_resnet(int(arch.split("-")[1])).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    inputs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(memory_format=torch.channels_last)
    targets = torch.from_numpy(labels)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def torch_resnet(depth: int):
    """A CIFAR ResNet (He et al., 2016) of 6n+2 layers with 1x1 projections."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(before, after, 3, stride, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
                nn.Conv2d(after, after, 3, 1, 1, bias=False),
                nn.BatchNorm2d(after),
            )
            projection = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            self.shortcut = nn.Identity() if before == after and stride == 1 else projection
            self.relu = nn.ReLU(inplace=True)

        def forward(self, inputs):
            return self.relu(self.body(inputs) + self.shortcut(inputs))

    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    before = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range((depth - 2) // 6):
            layers.append(Block(before, width, 2 if stage and not block else 1))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


VARIANTS: dict[str, Callable[[str, np.ndarray, np.ndarray], Step]] = {
    "keras": keras_step,
    "ours": our_step,
    "ours_bf16": lambda *args: our_step(*args, dtype="mixed_bfloat16"),
    "channel_masked": lambda *args: our_step(*args, family="channel_masked"),
    "torch": torch_step,
}


def measure(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """CPU seconds per variant and round, the variants taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    return seconds


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", nargs="+", default=["ResNet-20", "ResNet-56"], help="CIFAR ResNets of 6n+2 layers")
    parser.add_argument("--rounds", type=int, default=10, help="steps of each variant")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="default: all that are installed")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table per architecture."""
    options = make_parser().parse_args(arguments)
    names = options.variants or list(VARIANTS)
    if "torch" in names and missing("train_step.py compares with PyTorch", "torch"):
        if options.variants:
            return 2
        names.remove("torch")
    use_threads(1)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(options.batch_size, 32, 32, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, options.batch_size)
    for arch in options.arch:
        steps, first = {}, {}
        for name in names:
            start = time.process_time()
            steps[name] = VARIANTS[name](arch, images, labels)
            steps[name]()
            first[name] = time.process_time() - start
            steps[name]()
        print_table(arch, options.batch_size, measure(steps, options.rounds), first)
    return 0


def print_table(arch: str, batch_size: int, seconds: dict[str, list[float]], first: dict[str, float]) -> None:
    """Medians, and each against the first variant."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    baseline = next(iter(medians))
    print(f"\n{arch}, batch {batch_size}, CPU seconds on one thread, median of {len(seconds[baseline])} steps")
    print(f"{'variant':<16}{'median':>9}{'least':>9}{'build+1st':>11}{'speed against ' + baseline:>26}")
    for name, median in medians.items():
        speed = medians[baseline] / median
        print(f"{name:<16}{median:>9.3f}{min(seconds[name]):>9.3f}{first[name]:>11.1f}{speed:>25.2f}x", flush=True)


if __name__ == "__main__":
    sys.exit(main())
