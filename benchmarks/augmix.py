"""What AugMix and Gaussian noise cost, beside the training step that they feed, or on images from the disk.

    python benchmarks/augmix.py --data_path DIR --arch Conv4 ResNet-18 --batch_size 128 --rounds 5
    python benchmarks/augmix.py --from_disk 64 224 --batch_size 64 --rounds 5

The first: batches of CIFAR-10, plain and with changed views, and steps of a sub-network at density 0.2 on one view, in
turns in one process; CPU seconds on one thread, so that neither the number of cores nor other programs matter. A
pipeline keeps up with its step if it takes less wall time; on a CPU the two share the cores, on a GPU the images per
second and core are what counts.

The second: random resized crops of these sizes, of the photographs of `input_pipeline.py`, on all cores. An image's CPU
time is the cost of all its views; images per second are what a training gets, which is less than the cores could do as
far as AugMix waits for Python's lock.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from input_pipeline import write_images
from program import new_parser, use_threads

from tfprune.graph import convert
from tfprune.optimizers import SGD
from tfprune.recipes.data import AugMix, BatchRequest, GaussianNoise, ImageData, load_data, open_data
from tfprune.recipes.models import build_model
from tfprune.recipes.training import CrossEntropy, Loop

VIEWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noise": {"view": GaussianNoise()},
    "augmix": {"view": AugMix()},
    "augmix, all operations": {"view": AugMix(all_operations=True)},
    "augmix, 3 views for JSD": {"view": AugMix(), "views": 3},
}


def pipelines(data: ImageData, batch_size: int) -> dict[str, Callable[[], object]]:
    """Passes over a small data set, all of its batches, each kind of images."""
    made = {
        name: data.training_batches(BatchRequest(batch_size=batch_size, epochs=1, seed=0, **views))
        for name, views in VIEWS.items()
    }
    return {name: lambda batches=batches: list(batches) for name, batches in made.items()}


def steps(data: ImageData, archs: Sequence[str], batch_size: int) -> dict[str, Callable[[], object]]:
    """Training steps of sub-networks, on one batch that is always the same."""
    batch = next(iter(data.training_batches(BatchRequest(batch_size=batch_size, epochs=1, seed=0))))
    result = {}
    for arch in archs:
        dense = build_model(arch, num_classes=data.num_classes, input_shape=data.input_shape, seed=0)
        network = convert(convert(dense, "fused"), "subnet", options={"density": 0.2, "seed": 0})
        loop = Loop(network, SGD(0.1, momentum=0.9), CrossEntropy(), global_batch_size=batch_size)
        result[f"step of {arch}"] = lambda loop=loop: loop.train_step(batch)
    return result


def in_memory(options: argparse.Namespace) -> None:
    """Prints milliseconds of CPU time per image and images per CPU second, beside steps."""
    use_threads(1)
    whole = load_data(options.dataset, options.data_path)
    images = options.batch_size * options.batches
    data = replace(whole, train_images=whole.train_images[:images], train_labels=whole.train_labels[:images])
    passes, single = pipelines(data, options.batch_size), steps(data, options.arch, options.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in (*passes, *single)}
    for turn in range(1 + options.rounds):
        for name, do in (passes | single).items():
            start = time.process_time()
            do()
            if turn:  # the first one traces
                count = images if name in passes else options.batch_size
                seconds[name].append((time.process_time() - start) / count)
    print(f"batches of {options.batch_size}, CPU time on one thread, medians\n")
    print("| | ms per image | images per CPU second |\n|---|---|---|")
    for name, times in seconds.items():
        image = statistics.median(times)
        print(f"| {name} | {1e3 * image:.3f} | {1 / image:,.0f} |")


def from_disk(options: argparse.Namespace) -> None:
    """Prints milliseconds of CPU time per image, and images per second."""
    print(f"batches of {options.batch_size}, {os.cpu_count()} cores, the best of {options.rounds} rounds\n")
    print("| | CPU ms per image | images per second |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        write_images(Path(root), 4 * options.batch_size)
        for side in options.from_disk:
            data = open_data(root, image_size=side)
            seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in VIEWS}
            for _ in range(options.rounds):
                for name, views in VIEWS.items():
                    batches = data.training_batches(
                        BatchRequest(batch_size=options.batch_size, epochs=10_000, seed=0, **views)
                    )
                    seconds[name].append(passed(batches, options.batches))
            images = options.batches * options.batch_size
            for name, each in seconds.items():
                wall, cpu = (min(column) for column in zip(*each, strict=True))
                print(f"| {side} x {side}, {name} | {1e3 * cpu / images:.2f} | {images / wall:,.0f} |")


def passed(dataset: tf.data.Dataset, count: int) -> tuple[float, float]:
    """Wall and CPU seconds of so many batches, after two others."""
    batches = iter(dataset)
    next(batches), next(batches)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(batches)
    return time.perf_counter() - wall, time.process_time() - cpu


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_path")
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--arch", nargs="*", default=["Conv4", "ResNet-18"])
    parser.add_argument("--from_disk", type=int, nargs="+", metavar="SIDE", help="images from the disk, no steps")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=4, help="of a pass")
    parser.add_argument("--rounds", type=int, default=5, help="passes over each kind of images, and steps, in turns")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    options = make_parser().parse_args(arguments)
    (in_memory if options.from_disk is None else from_disk)(options)


if __name__ == "__main__":
    main()
