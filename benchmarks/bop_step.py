"""What Bop's update costs in a training step.

    python benchmarks/bop_step.py --rounds 10 --out benchmarks/results/bop_step.jsonl

CPU seconds on one thread, Bop and SGD taking turns in one process, so that whatever else the machine does hits both
alike. Measured are whole steps of `training.Loop`, and the optimizers' updates alone, on the same variables with random
gradients. Sign-trained are all convolution kernels, as in Peek-a-Boo; in the whole steps nothing is masked.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from program import new_parser, use_threads

from tfprune.files import as_file, make_folder
from tfprune.graph import convert
from tfprune.optimizers import SGD, Bop
from tfprune.recipes.models import build_model
from tfprune.recipes.training import CrossEntropy, Loop

CLASSES = 10
Run = Callable[[], object]
OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "bop": lambda: Bop(1e-3, 1e-6, sign_trained=["*conv*/kernel"]),
    "sgd": lambda: SGD(0.1, 0.9, weight_decay=5e-4, momentum_form="torch"),
}


def make_loop(arch: str, optimizer: keras.optimizers.Optimizer, batch_size: int) -> Loop:
    """A loop on the named network with fused batch norm."""
    model = convert(build_model(arch, num_classes=CLASSES, input_shape=(32, 32, 3), seed=0), "fused")
    return Loop(model, optimizer, CrossEntropy(), global_batch_size=batch_size)


def whole_step(loop: Loop, batch_size: int) -> Run:
    """One training step."""
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(batch_size, 32, 32, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, CLASSES, batch_size))
    return lambda: loop.train_step({"images": images, "labels": labels})


def update_alone(loop: Loop) -> Run:
    """The optimizer's share of the step: gradients are at hand."""
    rng = np.random.default_rng(1)
    variables = loop.model.trainable_variables
    gradients = [tf.constant(rng.normal(0.0, 1e-3, variable.shape), tf.float32) for variable in variables]
    return tf.function(lambda: loop.optimizer.apply(gradients, variables))


def measure(runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """CPU seconds by name and round, the runs taking turns; a first round is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(round(time.process_time() - start, 5))
    return {name: values[1:] for name, values in seconds.items()}


def compare(arch: str, batch_size: int, rounds: int) -> dict[str, Any]:
    """All seconds of one network, and the shares that follow from their medians."""
    loops = {name: make_loop(arch, make(), batch_size) for name, make in OPTIMIZERS.items()}
    steps = measure({name: whole_step(loop, batch_size) for name, loop in loops.items()}, rounds)
    updates = measure({name: update_alone(loop) for name, loop in loops.items()}, 2 * rounds)
    median = statistics.median
    return {
        "arch": arch,
        "batch_size": batch_size,
        "sign_trained_weights": int(sum(np.prod(average.shape) for average in loops["bop"].optimizer.averages)),
        "step_seconds": steps,
        "update_seconds": updates,
        "update_share": {name: median(updates[name]) / median(steps[name]) for name in loops},
        "step_bop_against_sgd": median(steps["bop"]) / median(steps["sgd"]),
        "tensorflow": tf.__version__,
    }


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", nargs="+", default=["ResNet-18"], help="networks for 32x32 images")
    parser.add_argument("--rounds", type=int, default=10, help="steps of each optimizer; updates alone twice as many")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--out", type=as_file, help="JSON lines are appended here")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line per network and appends the raw seconds to a file."""
    options = make_parser().parse_args(arguments)
    use_threads(1)
    for arch in options.arch:
        row = compare(arch, options.batch_size, options.rounds)
        print(f"{arch}, batch {options.batch_size}, medians of CPU seconds on one thread")
        for name, share in row["update_share"].items():
            step, update = (statistics.median(row[f"{part}_seconds"][name]) for part in ("step", "update"))
            print(f"{name:<6} step {step:8.3f}   update alone {update:8.4f}   share {share:7.2%}")
        print(f"step with Bop against SGD: {row['step_bop_against_sgd']:.3f}", flush=True)
        if options.out:
            make_folder(options.out.parent)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
