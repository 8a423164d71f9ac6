"""CPU time of AugMix and of Gaussian noise, beside that of the training step that they feed.

    python benchmarks/augmix.py --data_path DIR --arch Conv4 ResNet-18 --batch_size 128 --rounds 5

Batches of CIFAR-10 from `view_batches`, the plain ones of training for comparison, and steps of a sub-network at
density 0.2 on one view, in turns in one process; CPU seconds, so that neither the number of cores nor other programs
matter. A pipeline keeps up with its step if it takes less wall time; on a CPU the two share the cores, on a GPU the
images per second and core are what counts.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tfprune.data import AugMix, GaussianNoise, ImageData, load_data, view_batches
from tfprune.graph import convert
from tfprune.models import build_model
from tfprune.optimizers import SGD
from tfprune.training import CrossEntropy, Loop


def pipelines(data: ImageData, batch_size: int) -> dict[str, Callable[[], object]]:
    """Passes over a small data set, all of its batches, each kind of images."""
    given = {"batch_size": batch_size, "epochs": 1, "seed": 0}
    made = {
        "plain": data.training_batches(**given),
        "noise": view_batches(data, view=GaussianNoise(), **given),
        "augmix": view_batches(data, view=AugMix(), **given),
        "augmix, all operations": view_batches(data, view=AugMix(all_operations=True), **given),
        "augmix, 3 views for JSD": view_batches(data, view=AugMix(), views=3, **given),
    }
    return {name: lambda batches=batches: list(batches) for name, batches in made.items()}


def steps(data: ImageData, archs: Sequence[str], batch_size: int) -> dict[str, Callable[[], object]]:
    """Training steps of sub-networks, on one batch that is always the same."""
    batch = next(iter(data.training_batches(batch_size=batch_size, epochs=1, seed=0)))
    result = {}
    for arch in archs:
        dense = build_model(arch, num_classes=data.num_classes, input_shape=data.input_shape, seed=0)
        network = convert(convert(dense, "fused"), "subnet", options={"density": 0.2, "seed": 0})
        loop = Loop(network, SGD(0.1, momentum=0.9), CrossEntropy(), global_batch_size=batch_size)
        result[f"step of {arch}"] = lambda loop=loop: loop.train_step(batch)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints milliseconds of CPU time per image and images per CPU second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path")
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--arch", nargs="*", default=["Conv4", "ResNet-18"])
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=4, help="of a pass")
    parser.add_argument("--rounds", type=int, default=5, help="passes over each kind of images, and steps, in turns")
    options = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
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


if __name__ == "__main__":
    main()
