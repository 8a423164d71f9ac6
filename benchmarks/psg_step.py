"""CPU seconds of one training step with predicted weight gradients, beside dense and masked steps.

    python benchmarks/psg_step.py --arch ResNet-20 ResNet-18 --batch_size 64 --rounds 7

One thread; the variants take turns in one process, so that whatever else the machine does hits all of them alike. All
have fused batch norm, SGD and `training.Loop`. Variants:

    dense      no masks
    masked     masks of density 0.3
    psg        these, and weight gradients as in Peek-a-Boo's published command: inputs of 8 bits, output gradients
               of 16, relative threshold 1e-7, sparsify
    psg_exact  the same without sparsify: exact gradients take the place of those below the threshold: both are formed
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from program import new_parser, use_threads

from tfprune.graph import convert, prunable_weights
from tfprune.masks import Masks
from tfprune.optimizers import SGD
from tfprune.recipes.models import build_model
from tfprune.recipes.training import CrossEntropy, Loop

VARIANTS = ("dense", "masked", "psg", "psg_exact")
_PUBLISHED = {"input_bits": 8, "gradient_bits": 16, "relative_threshold": 1e-7, "take_sign": False}


def variant(model: keras.Model, name: str) -> keras.Model:
    """The model that a variant trains."""
    fast = convert(model, "fused")
    if name == "dense":
        return fast
    rng = np.random.default_rng(0)
    masks = Masks({key: rng.random(weight.shape) < 0.3 for key, weight in prunable_weights(model).items()})
    if name == "masked":
        return convert(fast, "masked", masks)
    return convert(fast, "psg", masks, options={**_PUBLISHED, "sparsify": name == "psg"})


def measure(arch: str, names: Sequence[str], batch_size: int, rounds: int) -> dict[str, Any]:
    """CPU seconds of each round and variant, the variants taking turns, and of building and the first step."""
    rng = np.random.default_rng(0)
    batch = {
        "images": tf.constant(rng.normal(size=(batch_size, 32, 32, 3)).astype(np.float32)),
        "labels": tf.constant(rng.integers(0, 10, batch_size)),
    }
    stock = build_model(arch, num_classes=10, input_shape=(32, 32, 3), seed=0)
    loops: dict[str, Loop] = {}
    first: dict[str, float] = {}
    for name in names:
        start = time.process_time()
        optimizer = SGD(0.01, momentum=0.9, weight_decay=5e-4)
        loops[name] = Loop(variant(stock, name), optimizer, CrossEntropy(), global_batch_size=batch_size)
        loops[name].train_step(batch)
        first[name] = time.process_time() - start
        loops[name].train_step(batch)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, loop in loops.items():
            start = time.process_time()
            loop.train_step(batch)
            seconds[name].append(time.process_time() - start)
    return {"arch": arch, "batch_size": batch_size, "first": first, "seconds": seconds}


def print_table(row: dict[str, Any]) -> None:
    """Medians; against the first variant, the median of the ratios of each round, and the ratio of the medians."""
    medians = {name: statistics.median(values) for name, values in row["seconds"].items()}
    baseline = next(iter(medians))
    print(f"\n{row['arch']}, batch {row['batch_size']}, CPU seconds on one thread")
    print(f"{'variant':<12}{'median':>9}{'least':>9}{'build+1st':>11}{'times ' + baseline:>14}{'of medians':>12}")
    for name, median in medians.items():
        # Ratios by round: what disturbs a round disturbs all of its variants.
        pairs = zip(row["seconds"][name], row["seconds"][baseline], strict=True)
        ratio = statistics.median(each / other for each, other in pairs)
        least = min(row["seconds"][name])
        columns = f"{name:<12}{median:>9.3f}{least:>9.3f}{row['first'][name]:>11.1f}{ratio:>14.2f}"
        print(f"{columns}{median / medians[baseline]:>12.2f}", flush=True)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", nargs="+", default=["ResNet-20", "ResNet-18"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=7, help="steps of each variant")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--results", type=Path, help="append raw numbers to this file, one JSON object a line")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table per architecture."""
    options = make_parser().parse_args(arguments)
    use_threads(1)
    for arch in options.arch:
        row = measure(arch, options.variants, options.batch_size, options.rounds)
        print_table(row)
        if options.results:
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
