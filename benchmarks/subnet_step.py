"""What training a sub-network costs beside training all weights: CPU seconds of a step, and of a selection.

    python benchmarks/subnet_step.py --out benchmarks/results/subnet_step.jsonl

Steps of all kinds are run in turn, one thread, batches of random images. What the machine does besides slows memory
down, so beside the ratio of the medians stands that of the fastest steps. Compare with the original: 1.05 to 1.12 for
Conv4, 1.15 for ResNet-18, where its sort alone is a fifth of the step.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from program import new_parser, use_threads

import tfprune
from tfprune.files import as_file, make_folder
from tfprune.graph.subnet import SubnetOptions, subnet_model
from tfprune.layers import subnet_layers
from tfprune.ops.top_k import exact_top, largest
from tfprune.optimizers import SGD
from tfprune.recipes.models import build_model
from tfprune.recipes.training import CrossEntropy, Loop

KINDS = ("dense", "layer", "global")


def loop_of(arch: str, kind: str, density: float, batch: int) -> Loop:
    """A loop that trains all weights, or a sub-network."""
    plain = build_model(
        arch, num_classes=10, input_shape=(32, 32, 3), batch_norm="fixed", classifier_bias=False, seed=0
    )
    if kind == "dense":
        model = tfprune.convert(plain, "fused")
    else:
        model = subnet_model(plain, SubnetOptions(density=density, scope=kind, seed=0))
    return Loop(model, SGD(0.01, 0.9, weight_decay=1e-4), CrossEntropy(), global_batch_size=batch)


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU time of a call, all threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure_steps(arch: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row: steps of one architecture."""
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(args.batch, 32, 32, 3)).astype(np.float32))
    batch = {"images": images, "labels": tf.constant(random.integers(0, 10, args.batch))}
    loops = {kind: loop_of(arch, kind, args.density, args.batch) for kind in KINDS}
    for loop in loops.values():
        loop.train_step(batch)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for run in range(args.runs):
        for kind in KINDS if run % 2 else reversed(KINDS):
            times[kind].append(cpu_seconds(partial(loops[kind].train_step, batch)))
    medians = {kind: float(np.median(values)) for kind, values in times.items()}
    ratios = {kind: np.array(times[kind]) / np.array(times["dense"]) for kind in KINDS[1:]}
    kept = {kind: [int(np.sum(layer.mask)) for layer in subnet_layers(loops[kind].model)] for kind in KINDS[1:]}
    return {
        "arch": arch,
        "batch": args.batch,
        "density": args.density,
        "runs": args.runs,
        "cpu_seconds": {kind: [round(value, 4) for value in values] for kind, values in times.items()},
        "median": {kind: round(value, 4) for kind, value in medians.items()},
        "load": os.getloadavg(),
        "ratio_of_medians": {kind: round(medians[kind] / medians["dense"], 4) for kind in KINDS[1:]},
        "ratio_of_minima": {kind: round(min(times[kind]) / min(times["dense"]), 4) for kind in KINDS[1:]},
        "median_of_ratios": {kind: round(float(np.median(values)), 4) for kind, values in ratios.items()},
        "kept": {kind: sum(values) for kind, values in kept.items()},
        "weights": sum(int(np.prod(layer.mask.shape)) for layer in subnet_layers(loops["layer"].model)),
    }


def measure_selection(weights: int, runs: int) -> dict[str, Any]:
    """One row: finding the largest fifth of random scores, in three ways."""
    scores = tf.constant(np.abs(np.random.default_rng(0).uniform(-0.02, 0.02, weights)).astype(np.float32))
    count = tf.constant(weights // 5)
    ways = {
        "interpolation": tf.function(largest),
        "bisection": tf.function(exact_top),
        "sort": tf.function(lambda values, count: tf.argsort(values)[-count:]),
    }
    row: dict[str, Any] = {"selection_of": weights, "runs": runs}
    for name, function in ways.items():
        function(scores, count)
        row[name] = round(float(np.median([cpu_seconds(partial(function, scores, count)) for _ in range(runs)])), 4)
    return row


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--archs", nargs="+", default=["Conv4", "ResNet-18"])
    parser.add_argument("--density", type=float, default=0.2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--scores", type=int, nargs="+", default=[2_425_024, 11_164_352], help="to select from, alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=as_file)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, and appends to a file."""
    args = make_parser().parse_args(arguments)
    use_threads(args.threads, args.threads)
    rows = [measure_selection(weights, 5) for weights in args.scores]
    print(*(json.dumps(row) for row in rows), sep="\n", flush=True)
    for arch in args.archs:
        rows.append(measure_steps(arch, args))
        print(json.dumps(rows[-1]), flush=True)
    if args.out:
        make_folder(args.out.parent)
        with args.out.open("a") as file:
            file.writelines(
                json.dumps(row | {"tensorflow": tf.__version__, "keras": keras.__version__}) + "\n" for row in rows
            )


if __name__ == "__main__":
    main()
